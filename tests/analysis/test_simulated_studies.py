"""Power and error rates of verdicts on simulated studies.

This is a short version; `tools/verdict_power.py` measures the whole table of docs/verdict.md.
"""

import functools

import numpy as np
import pytest
from simulated_studies import GAINING, Cell, optimal_losses, study, verdicts, weightings
from verdict_power import any_better, equivalent, found

from mtk.analysis.schema import MEASURE, SELECT
from tests.quick import slow


def share(cell, of, studies=4):
    return np.mean([of(said(cell, seed)) for seed in range(studies)])


said = functools.cache(verdicts)


@pytest.mark.parametrize(
    ("cell", "least"),
    [
        (Cell(gain=0.1, noise=0.04), 0.75),
        slow((Cell(gain=0.25, noise=0.12), 0.75)),
        slow((Cell(gain=0.25, num_tasks=3), 0.75)),
        (Cell(gain=0.25, num_tasks=5), 0.75),
    ],
)
def test_gain_is_detected(cell, least):
    assert share(cell, found) >= least


@pytest.mark.parametrize(
    "cell",
    [Cell(ratio=30.0), Cell(noise=0.12, ratio=30.0), Cell(num_tasks=3, ratio=10.0)],
)
def test_static_weightings_as_methods_are_not_better(cell):
    assert share(cell, any_better) == 0


def test_static_weightings_as_methods_are_equivalent():
    assert share(Cell(), equivalent) >= 0.6


def test_noisy_method_is_not_better():
    assert share(Cell(noisy=True), found) == 0


def test_methods_noisier_than_static_weights_are_not_better():
    """Static models are more numerous, so pooling their variance would be too optimistic."""
    cell = Cell(noise=0.1, common=0.0, static_noise=0.1, methods=4, seeds=3)
    assert share(cell, any_better, studies=16) <= 0.125


def test_margins_equal_the_simulated_gains():
    """Without noise, the measured margins equal the simulated gains."""
    said = verdicts(Cell(noise=1e-6, gain=0.1), 0)["front"]
    assert said[GAINING].margin == pytest.approx(0.1, abs=0.01)
    others = [verdict.margin for name, verdict in said.items() if name != GAINING]
    assert np.abs(others).max() < 0.01


def test_static_weights_minimize_their_weighted_loss():
    generator = np.random.default_rng(0)
    factors = generator.normal(size=(2, 3, 3))
    matrices = factors @ factors.transpose(0, 2, 1) + np.eye(3)
    weights = weightings(2, 9)
    losses = optimal_losses(weights, matrices, generator.normal(size=(2, 3)))
    weighted = weights @ losses.T  # Of each model, by each weighting.
    assert (weighted.argmin(1) == np.arange(9)).all()


def test_noise_of_a_seed_is_common_and_stages_share_no_seed():
    cell = Cell(noise=0.1, common=1.0, methods=3)
    runs = study(cell, np.random.default_rng(0))
    first, second = (runs[runs["stage"] == stage] for stage in (SELECT, MEASURE))
    assert not {*first["seed"]} & {*second["seed"]}
    assert len(first) == (9 + 3) * 3
    column = second.pivot(index="configuration", columns="seed", values="test/task0/loss")
    # All of the noise is common, so that all configurations move together.
    assert np.ptp(column.sub(column.mean(axis=1), axis=0).to_numpy(), axis=0).max() < 1e-9
