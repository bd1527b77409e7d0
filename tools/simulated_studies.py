"""Studies whose truth is known: tables of runs as `mtk.analysis.load` makes them, no training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtk.analysis.comparison import asked
from mtk.analysis.measurement import MEASURE, SELECT, STATIC, measured, select
from mtk.analysis.objectives import Objective
from mtk.analysis.verdict import Verdict, judge

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
        reach: How far the methods' hidden weights reach, in logits of the outermost static ones.
        noisy: Whether the first method has six times the noise of the others.
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
    reach: float = 1.0
    noisy: bool = False
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


def study(cell: Cell, generator: np.random.Generator) -> pd.DataFrame:
    """Returns the runs of both stages; each method's hidden weights lie between the static ones."""
    static = weightings(cell.num_tasks, cell.weightings)
    mixed = generator.dirichlet(np.ones(len(static)), cell.methods) @ np.log(static)
    if cell.num_tasks == 2:
        logit = np.log(static[:, 0] / static[:, 1])
        mixed = np.zeros((cell.methods, 2))
        mixed[:, 0] = cell.reach * generator.uniform(logit.min(), logit.max(), cell.methods)
    hidden = np.exp(mixed) / np.exp(mixed).sum(1, keepdims=True)
    best, width = _truth(cell, static, hidden, generator)
    rates = np.arange(cell.rates)
    favourite = np.full(len(best), cell.rates // 2)
    favourite[len(static) :] = generator.integers(0, cell.rates, cell.methods)
    penalty = np.array(_PENALTY)[np.abs(rates - favourite[:, None])]
    truth = best[:, None] + penalty[..., None] * width
    own_noise = np.ones(len(best))
    own_noise[len(static)] = _NOISY if cell.noisy else 1.0
    labels = ["static"] * len(static) + [f"method {n}" for n in range(cell.methods)]
    names = [f"weights {n}" for n in range(len(static))] + labels[len(static) :]
    weights: list[dict[str, float] | None] = [
        {f"task{k}": float(w) for k, w in enumerate(row)} for row in static
    ]
    about = pd.DataFrame(
        {
            "method": np.repeat(labels, cell.rates),
            "configuration": [f"{name}, rate {rate}" for name in names for rate in rates],
            "static": np.repeat(np.arange(len(best)) < len(static), cell.rates),
        }
    ).assign(status="finished")
    about["weights"] = [w for w in weights + [None] * cell.methods for _ in rates]
    scale = cell.noise * width
    first = _runs(about, truth, scale, own_noise, cell.common, [0], SELECT, generator)
    labelled = first.assign(label=first["method"].where(~first["static"], STATIC))
    chosen = select(labelled, cell.objectives)
    kept = about["configuration"].isin(chosen["configuration"])
    fresh = _runs(
        about, truth, scale, own_noise, cell.common, range(1, 1 + cell.seeds), MEASURE, generator
    )
    return pd.concat([first, fresh[fresh["configuration"].isin(about["configuration"][kept])]])


def _truth(
    cell: Cell, static: np.ndarray, hidden: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what each model reaches at its best learning rate, and the width of the front."""
    size = cell.num_tasks + 1
    factors = np.eye(size) + 0.4 * generator.normal(size=(cell.num_tasks, size, size)) / size**0.5
    matrices = factors @ factors.transpose(0, 2, 1)
    exponents = generator.permutation(np.linspace(-0.5, 0.5, cell.num_tasks))
    matrices = matrices * (cell.ratio**exponents)[:, None, None]
    centers = generator.normal(size=(cell.num_tasks, size))
    best = optimal_losses(np.concatenate([static, hidden]), matrices, centers)
    width = np.ptp(best[: len(static)], axis=0)
    best[len(static)] -= cell.gain * width
    return best, width


def _runs(
    about: pd.DataFrame,
    truth: np.ndarray,
    scale: np.ndarray,
    own_noise: np.ndarray,
    common: float,
    seeds: Sequence[int],
    stage: str,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """Returns the runs of some seeds; what a seed does in validation it does half in test."""
    models, rates, tasks = truth.shape
    own = (
        generator.normal(size=(2, models, rates, len(seeds), tasks))
        * own_noise[:, None, None, None]
    )
    shared = generator.normal(size=(2, 1, 1, len(seeds), tasks))
    noise = common**0.5 * shared + (1 - common) ** 0.5 * own
    noise[1] = 0.5 * noise[0] + 0.75**0.5 * noise[1]
    values = truth[:, :, None] + scale * noise
    flat = values.reshape(2, models * rates, len(seeds), tasks)
    parts = []
    for number, seed in enumerate(seeds):
        columns = {
            f"{split}/task{k}/loss": flat[s, :, number, k]
            for s, split in enumerate(("validation", "test"))
            for k in range(tasks)
        }
        monitored = flat[0, :, number].mean(1)
        parts.append(about.assign(seed=seed, stage=stage, monitored=monitored, **columns))
    return pd.concat(parts, ignore_index=True)


def verdicts(cell: Cell, seed: int) -> dict[str, dict[str, Verdict]]:
    """Returns the verdicts on one simulated study, by question and method."""
    runs = study(cell, np.random.default_rng([seed, 15]))
    found = measured(runs, cell.objectives)
    static = found.models.pop(STATIC)
    names = asked(cell.num_tasks)
    return {name: judge(static, found.models, name, len(names)) for name in names}
