"""Simulated studies with known truth: tables of runs like those of `mtk.analysis.load`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from mtk.analysis import asked, measured, select
from mtk.analysis.measure import grouped
from mtk.analysis.metric_sets import Objective
from mtk.analysis.schema import MEASURE, SELECT
from mtk.analysis.select import STATIC
from mtk.analysis.verdict import Verdict, judge
from mtk.example_values import ExampleValues

# What a learning rate that is one or two steps from the best one costs, in widths of the front.
_PENALTY = (0.0, 0.1, 0.3)
GAINING = "method 0"
# Of a method that is noisy, the noise is so many times that of the others.
_NOISY = 6.0


@dataclass(frozen=True)
class Cell:
    """A kind of study.

    Attributes:
        noise: Standard deviation over seeds, in widths of the front.
        gain: By how much the first method is better in every task, in widths of the front.
        ratio: By how much the curvatures of the losses differ at most.
        num_tasks: K.
        seeds: Fresh seeds of the second stage.
        common: Share of the variance over seeds that is common to all runs of a seed.
        flat: Whether most weightings do equally well: a task's loss hardly falls from half of the
            weight on.
        reach: How far the methods' hidden weights reach, in logits of the outermost static ones.
        noisy: Whether the first method has six times the noise of the others.
        static_noise: Noise of the static models, as a multiple of that of the methods.
        test_size: Examples of the finite test set that all runs share; 0 for an infinite one.
        test_noise: Standard deviation of a model's test values by that, in widths of the front.
        interaction: Share of its variance that is not the same for all seeds of a model.
        methods: How many; all but the first one are static weightings in disguise.
        weightings: How many static ones.
        rates: Learning rates of each.
    """

    noise: float = 0.04
    gain: float = 0.0
    ratio: float = 1.0
    num_tasks: int = 2
    seeds: int = 5
    common: float = 0.8
    flat: bool = False
    reach: float = 1.0
    noisy: bool = False
    static_noise: float = 1.0
    test_size: int = 0
    test_noise: float = 0.0
    interaction: float = 0.5
    methods: int = 8
    weightings: int = 9
    rates: int = 3

    @property
    def objectives(self) -> list[Objective]:
        return [Objective(f"task{k}", "loss", 1) for k in range(self.num_tasks)]


def weightings(num_tasks: int, number: int) -> np.ndarray:
    """Returns static weights `(number, K)`.

    Of two tasks, 0.1 to 0.9; of more, equal ones, those that prefer one task, and those that
    neglect one.
    """
    if num_tasks == 2:
        first = np.linspace(0.1, 0.9, number)
        return np.stack([first, 1 - first], axis=1)
    ones, eye = np.ones((1, num_tasks)), np.eye(num_tasks)
    prefer = 0.2 / (num_tasks - 1) + (0.8 - 0.2 / (num_tasks - 1)) * eye
    neglect = np.where(eye > 0, 0.1, 1.0)
    found = np.concatenate([ones, prefer, neglect])[:number]
    return found / found.sum(1, keepdims=True)


def optimal_losses(weights: np.ndarray, matrices: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Returns `(N, K)`: losses `(x - c)^T A (x - c) / 2` at the minima of their weighted sums."""
    matrix = np.einsum("nk,kpq->npq", weights, matrices)
    right = np.einsum("nk,kpq,kq->np", weights, matrices, centers)
    away = np.linalg.solve(matrix, right[..., None])[..., 0][:, None] - centers
    return 0.5 * np.einsum("nkp,kpq,nkq->nk", away, matrices, away)


def quadratics(
    num_tasks: int, ratio: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns matrices `(K, P, P)` and centers `(K, P)` of losses, P = K + 1.

    Args:
        num_tasks: K.
        ratio: By how much the curvatures differ at most.
        generator: Draws them.
    """
    size = num_tasks + 1
    factors = np.eye(size) + 0.4 * generator.normal(size=(num_tasks, size, size)) / size**0.5
    exponents = generator.permutation(np.linspace(-0.5, 0.5, num_tasks))
    matrices = factors @ factors.transpose(0, 2, 1) * (ratio**exponents)[:, None, None]
    return matrices, generator.normal(size=(num_tasks, size))


class Truth(NamedTuple):
    """What the runs of a study scatter around.

    Attributes:
        about: Columns of each model and learning rate.
        values: `(N, rates, K)` losses without noise; the static models come first.
        deviation: `(N, K)` over seeds.
    """

    about: pd.DataFrame
    values: np.ndarray
    deviation: np.ndarray


def study(cell: Cell, generator: np.random.Generator) -> pd.DataFrame:
    """Returns the runs of both stages; each method's hidden weights lie between the static ones."""
    static = weightings(cell.num_tasks, cell.weightings)
    best, width = _optima(cell, static, _hidden(cell, static, generator), generator)
    rates = np.arange(cell.rates)
    favourite = np.full(len(best), cell.rates // 2)
    favourite[len(static) :] = generator.integers(0, cell.rates, cell.methods)
    penalty = np.array(_PENALTY)[np.abs(rates - favourite[:, None])]
    deviation = np.tile(cell.noise * width, (len(best), 1))
    deviation[len(static)] *= _NOISY if cell.noisy else 1.0
    deviation[: len(static)] *= cell.static_noise
    truth = Truth(_about(cell, static), best[:, None] + penalty[..., None] * width, deviation)
    first = _runs(cell, truth, [0], SELECT, generator)
    labelled = first.assign(label=first["method"].where(~first["static"], STATIC))
    chosen = select(labelled, cell.objectives)["configuration"]
    fresh = _runs(cell, truth, range(1, 1 + cell.seeds), MEASURE, generator)
    fresh = fresh[fresh["configuration"].isin(chosen)]
    if cell.test_size:
        fresh = _with_examples(cell, fresh, width, generator)
    return pd.concat([first, fresh])


def _with_examples(
    cell: Cell, runs: pd.DataFrame, width: np.ndarray, generator: np.random.Generator
) -> pd.DataFrame:
    """Returns the runs as they are measured on a finite test set.

    Examples are harder and easier for all models alike, which cancels; each model has a share of
    its own at all seeds, and one at each seed.
    """
    number, tasks = cell.test_size, cell.num_tasks
    scale = cell.test_noise * width * number**0.5
    names = list(dict.fromkeys(runs["configuration"]))
    own = generator.normal(size=(len(names), number, tasks)) * (1 - cell.interaction) ** 0.5
    difficulty = 3 * generator.normal(size=(number, tasks)) * scale
    runs = runs.assign(examples=None).reset_index(drop=True)
    columns = [f"test/task{k}/loss" for k in range(tasks)]
    orders = np.array(["the same"] * tasks)
    for row, name in enumerate(runs["configuration"]):
        at_seed = generator.normal(size=(number, tasks)) * cell.interaction**0.5
        values = difficulty + scale * (own[names.index(name)] + at_seed)
        values += runs.loc[row, columns].to_numpy(float)
        found = ExampleValues(
            np.array([f"task{k}/loss" for k in range(tasks)]),
            orders,
            np.full(tasks, number),
            values.T,
            np.ones((tasks, number)),
        )
        runs.loc[row, columns] = values.mean(0)
        runs.at[row, "examples"] = grouped(found)
    return runs


def _hidden(cell: Cell, static: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Returns the weights `(methods, K)` of the static weightings that methods are in disguise."""
    logs = generator.dirichlet(np.ones(len(static)), cell.methods) @ np.log(static)
    if cell.num_tasks == 2:
        logit = np.log(static[:, 0] / static[:, 1])
        drawn = generator.uniform(logit.min(), logit.max(), cell.methods)
        logs = np.stack([cell.reach * drawn, np.zeros(cell.methods)], axis=1)
    return np.exp(logs) / np.exp(logs).sum(1, keepdims=True)


def _about(cell: Cell, static: np.ndarray) -> pd.DataFrame:
    """Returns the columns that tell what each model and learning rate is."""
    rows = [
        ("static", f"weights {n}", {f"task{k}": float(w) for k, w in enumerate(row)})
        for n, row in enumerate(static)
    ]
    names = [f"method {n}" for n in range(cell.methods)]
    return pd.DataFrame(
        {
            "method": method,
            "configuration": f"{name}, rate {rate}",
            "static": weights is not None,
            "weights": weights,
            "status": "finished",
        }
        for method, name, weights in [*rows, *((name, name, None) for name in names)]
        for rate in range(cell.rates)
    )


def _optima(
    cell: Cell, static: np.ndarray, hidden: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what each model reaches at its best learning rate, and the width of the front."""
    matrices, centers = quadratics(cell.num_tasks, cell.ratio, generator)
    weights = np.concatenate([static, hidden])
    best = (1 - weights) ** 6 if cell.flat else optimal_losses(weights, matrices, centers)
    width = np.ptp(best[: len(static)], axis=0)
    best[len(static)] -= cell.gain * width
    return best, width


def _runs(
    cell: Cell,
    truth: Truth,
    seeds: Sequence[int],
    stage: str,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """Returns the runs of some seeds; half of what a seed does in validation it does in test."""
    models, rates, tasks = truth.values.shape
    own = generator.normal(size=(2, models, rates, len(seeds), tasks))
    shared = generator.normal(size=(2, 1, 1, len(seeds), tasks))
    usual = truth.deviation[-1]
    noise = usual * cell.common**0.5 * shared
    noise = noise + truth.deviation[:, None, None] * (1 - cell.common) ** 0.5 * own
    noise[1] = 0.5 * noise[0] + 0.75**0.5 * noise[1]
    flat = (truth.values[:, :, None] + noise).reshape(2, models * rates, len(seeds), tasks)
    parts = []
    for number, seed in enumerate(seeds):
        columns = {
            f"{split}/task{k}/loss": flat[s, :, number, k]
            for s, split in enumerate(("validation", "test"))
            for k in range(tasks)
        }
        monitored = flat[0, :, number].mean(1)
        parts.append(truth.about.assign(seed=seed, stage=stage, monitored=monitored, **columns))
    return pd.concat(parts, ignore_index=True)


def verdicts(cell: Cell, seed: int, examples: bool = True) -> dict[str, dict[str, Verdict]]:
    """Returns the verdicts on one simulated study, by question and method.

    Args:
        cell: The kind of study.
        seed: Which one of them.
        examples: Whether they see the test examples.
    """
    runs = study(cell, np.random.default_rng([seed, 15]))
    found = measured(
        runs if examples else runs.drop(columns="examples", errors="ignore"), cell.objectives
    )
    static = found.models.pop(STATIC)
    names = asked(cell.num_tasks)
    return {name: judge(static, found.models, name, len(names)) for name in names}
