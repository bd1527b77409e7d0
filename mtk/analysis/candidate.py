"""The models among which validation selects, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mtk.analysis.fronts import non_dominated
from mtk.analysis.objectives import Objective, points
from mtk.analysis.weights import static_weights


@dataclass(frozen=True)
class Candidates:
    """N configurations of one method.

    Attributes:
        validation: `(N, K)`, what is selected by; less is better.
        test: `(N, K)`, what is reported; less is better.
        seeds: `(N,)`, runs behind each mean.
        groups: `(N,)`, equal for configurations that weigh the tasks alike.
        rows: `(N,)`, where they stand in the table.
    """

    validation: np.ndarray
    test: np.ndarray
    seeds: np.ndarray
    groups: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.validation)

    def __getitem__(self, chosen: np.ndarray) -> "Candidates":
        """Returns some of them."""
        parts = (self.validation, self.test, self.seeds, self.groups, self.rows)
        return Candidates(*(part[chosen] for part in parts))

    @property
    def selected(self) -> np.ndarray:
        """Positions of the models that are not dominated in validation."""
        return np.flatnonzero(non_dominated(self.validation))

    def average(self, scale: np.ndarray) -> "Candidates":
        """Returns the same models, judged by the mean over tasks in units of `scale` `(K,)`."""
        return replace(
            self,
            validation=(self.validation / scale).mean(1, keepdims=True),
            test=(self.test / scale).mean(1, keepdims=True),
        )

    def shifted(self, validation: np.ndarray, test: np.ndarray) -> "Candidates":
        """Returns the same models with `(N, K)` added to their values."""
        return replace(self, validation=self.validation + validation, test=self.test + test)


def candidates(found: pd.DataFrame, objectives: Sequence[Objective]) -> Candidates:
    """Returns the comparable configurations of a table as candidates.

    Args:
        found: As `configurations` makes it.
        objectives: What is compared.
    """
    validation, test = (points(found, objectives, split) for split in ("validation", "test"))
    values = np.concatenate([validation, test], axis=1)
    usable = found["comparable"].to_numpy(bool) & np.isfinite(values).all(1)
    weights = [repr(static_weights(row)) for row in found.to_dict("records")]
    return Candidates(
        validation,
        test,
        found["seeds"].to_numpy(int),
        np.unique(np.array(weights, str), return_inverse=True)[1],
        np.arange(len(found)),
    )[usable]
