"""Selection on validation of the models that are measured again with fresh seeds."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mtk.analysis import run_table
from mtk.analysis.fronts import non_dominated
from mtk.analysis.metric_sets import Objective, points

STATIC = run_table.STATIC
# Maximum number of models per method.
MOST_MODELS = 5


def select(runs: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """Returns the rows of the models that validation selects: see `selection`.

    Args:
        runs: One run of each configuration, as in `measured`, with `label`.
        objectives: The objectives to compare.
    """
    runs = runs.drop_duplicates(["label", "configuration"])
    parts = []
    for label, own in runs.groupby("label", sort=False):
        losses = points(own, objectives, "validation")
        values = own["monitored"].to_numpy(float)
        values = np.where(np.isfinite(values), values, losses.mean(1))
        known = own["weights"].notna().all() and label == STATIC
        chosen = (
            best_of_each([weighting(weights) for weights in own["weights"]], values)
            if known
            else spread_front(losses, values, len(own) if label == STATIC else MOST_MODELS)
        )
        parts.append(own.iloc[chosen])
    return pd.concat(parts) if parts else runs


def weighting(weights: Mapping[str, float]) -> Hashable:
    """Returns a key that is equal for equal static weights."""
    return tuple(round(weights[task], 9) for task in sorted(weights))


def best_of_each(groups: Sequence[Hashable], values: np.ndarray) -> list[int]:
    """Returns the position of the smallest value in each group: the best model of each weighting.

    Args:
        groups: `(N,)`, equal for models with the same task weights.
        values: `(N,)`, selection values on validation; lower is better.
    """
    best: dict[Hashable, int] = {}
    for number in np.argsort(values, kind="stable"):
        if np.isfinite(values[number]):
            best.setdefault(groups[number], int(number))
    return sorted(best.values())


def spread_front(losses: np.ndarray, values: np.ndarray, most: int = MOST_MODELS) -> list[int]:
    """Returns the positions of at most `most` non-dominated models.

    The model with the smallest value is included even if it is dominated, as it may be if a metric
    selects. If there are too many, it is taken first, and then, repeatedly, the model farthest from
    those already taken, in widths of the front.

    Args:
        losses: `(N, K)`, on validation; lower is better.
        values: `(N,)`, selection values on validation; lower is better.
        most: Maximum number of models.
    """
    usable = np.flatnonzero(np.isfinite(losses).all(1) & np.isfinite(values))
    if not len(usable):
        return []
    best = usable[values[usable].argmin()]
    front = np.union1d(usable[non_dominated(losses[usable])], best)
    width = np.ptp(losses[front], axis=0)
    place = losses[front] / np.where(width > 0, width, 1.0)
    taken = [int(values[front].argmin())]
    while len(taken) < min(most, len(front)):
        distance = np.abs(place[:, None] - place[taken]).max(2).min(1)
        distance[taken] = -1.0
        taken.append(int(distance.argmax()))
    return sorted(front[taken].tolist())


@dataclass(frozen=True)
class Candidates:
    """N configurations of one method.

    Attributes:
        validation: `(N, K)`, values used for selection; lower is better.
        test: `(N, K)`, values that are reported; lower is better.
        rows: `(N,)`, positions in the table.
    """

    validation: np.ndarray
    test: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.validation)

    def __getitem__(self, chosen: np.ndarray) -> "Candidates":
        """Returns a subset of the configurations."""
        return Candidates(self.validation[chosen], self.test[chosen], self.rows[chosen])

    @property
    def selected(self) -> np.ndarray:
        """Positions of the models that are not dominated on validation."""
        return np.flatnonzero(non_dominated(self.validation))

    @property
    def front(self) -> np.ndarray:
        """`(M, K)`, test values of the models that are not dominated on validation."""
        return self.test[self.selected]

    def average(self, scale: np.ndarray) -> "Candidates":
        """Returns the same models with the mean over tasks, in units of `scale` `(K,)`."""
        return replace(
            self,
            validation=(self.validation / scale).mean(1, keepdims=True),
            test=(self.test / scale).mean(1, keepdims=True),
        )


def candidates(found: pd.DataFrame, objectives: Sequence[Objective]) -> Candidates:
    """Returns the comparable and measured configurations of a table as candidates.

    Args:
        found: The result of `configurations`.
        objectives: The objectives to compare.
    """
    validation, test = (points(found, objectives, split) for split in ("validation", "test"))
    values = np.concatenate([validation, test], axis=1)
    usable = (found["comparable"] & found["measured"]).to_numpy(bool) & np.isfinite(values).all(1)
    return Candidates(validation, test, np.arange(len(found)))[usable]
