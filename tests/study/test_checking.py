"""Runs that are built before a study starts, to detect errors."""

import itertools

import pytest

from mtk import config
from mtk.study import StudyError, checking
from mtk.study.checking import covering
from mtk.study.progress import Progress
from tests.quick import slow

RATE, DECAY = "experiment.Optimization.learning_rate", "experiment.Optimization.weight_decay"


def values_of(runs):
    return {
        (run.method, name, repr(value))
        for run in runs
        for name, value in {**run.point, "seed": run.seed}.items()
    }


@pytest.mark.parametrize("sizes", list(itertools.product((1, 2, 5), repeat=3)))
def test_few_runs_cover_every_value_of_every_method(make_sweep, sizes):
    rates, decays, seeds = sizes
    grid = {RATE: [0.1 * k for k in range(1, rates + 1)], DECAY: [0.1 * k for k in range(decays)]}
    runs = make_sweep(grid=grid, seeds=range(seeds)).runs
    chosen = list(covering(runs, []))
    assert values_of(chosen) == values_of(runs)
    assert len(chosen) <= 2 * (rates + decays + seeds - 2)
    assert [run.method for run in chosen[:1]] == ["static_weights"]
    # Runs that have begun are known to be valid.
    assert list(covering(runs, chosen)) == []
    known = [run for run in runs if run.method == "gradnorm"]
    assert {run.method for run in covering(runs, known)} == {"static_weights"}


@pytest.fixture
def built(monkeypatch):
    """Records the runs that would be built; those with a learning rate of 0.3 fail."""
    found = []

    def outcomes(runs, begun, further):
        del begun, further
        for run in runs:
            found.append(run)
            yield "too bad" if run.point[RATE] == 0.3 else ""

    monkeypatch.setattr(checking, "_outcomes", outcomes)
    return found


def test_build_error_is_reported_once(make_sweep, built, capsys):
    made = make_sweep()
    with pytest.raises(StudyError, match="No run was started") as caught:
        checking.check(made.runs, made.folder, Progress())
    assert str(caught.value).count("too bad") == 1
    assert "learning_rate': 0.3" in str(caught.value)
    assert len(built) == 4
    assert not made.folder.path.exists()


def test_failed_runs_are_built_only_when_retried(make_sweep, built):
    made = make_sweep(grid={RATE: [0.1]})
    for run in made.runs:
        made.folder.fail(run.hash, "something")
    checking.check(made.runs, made.folder, Progress())
    assert built == []
    checking.check(made.runs, made.folder, Progress(), retry_failed=True)
    assert built == made.runs


INVALID = [
    ({}, ""),
    ({"multi_digits.MultiDigits.dropout": 1.5}, "dropout=1.5"),
    ({"experiment.Optimization.batch_size": 10_000}, "10000"),
    ({"experiment.Training.monitor": "left_acuracy"}, "left_acuracy"),
    ({"combiners.GradNorm.alpha": -1.0}, "alpha"),
]
# Detected only when a step is traced.
INVALID_IN_A_STEP = [({"experiment.Sharing.gradients": "share"}, "share")]


@pytest.mark.parametrize(
    ("settings", "words", "trace"),
    [
        *[slow((*case, False)) for case in INVALID],
        *[(*case, True) for case in INVALID + INVALID_IN_A_STEP],
    ],
)
def test_building_detects_invalid_settings(make_sweep, settings, words, trace):
    small = {"multi_digits.MultiDigits.channels": (4, 4), "multi_digits.MultiDigits.partners": 1}
    run = make_sweep(settings={**small, **settings}).runs[-1]
    assert run.method == "gradnorm"
    problem = checking._Builder().problem(run.lines, trace)
    assert (words in problem) if words else (problem == "")


def test_data_and_network_are_built_once(make_sweep, monkeypatch):
    from mtk.workloads.multi_digits import MultiDigits

    calls = []
    network = MultiDigits.network
    monkeypatch.setattr(
        MultiDigits, "network", lambda self, seed=None: calls.append(seed) or network(self, seed)
    )
    builder = checking._Builder()
    small = {"multi_digits.MultiDigits.channels": (4, 4)}
    for run in make_sweep(settings=small, seeds=[0, 1]).runs:
        assert builder.problem(run.lines, trace=False) == ""
    assert calls == [0, 1]


def test_error_names_the_line_in_the_study(make_sweep):
    run = make_sweep(settings={"multi_digits.MultiDigits.dropout": 1.5}).runs[0]
    problem = checking._Builder().problem(run.lines, trace=False)
    assert "settings of the study, line 1" in problem
    config.parse()
