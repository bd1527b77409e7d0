"""The models among which validation selects, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mtk.analysis.fronts import non_dominated
from mtk.analysis.objectives import Objective, points


@dataclass(frozen=True)
class Candidates:
    """N configurations of one method.

    Attributes:
        validation: `(N, K)`, what is selected by; less is better.
        test: `(N, K)`, what is reported; less is better.
        rows: `(N,)`, where they stand in the table.
    """

    validation: np.ndarray
    test: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.validation)

    def __getitem__(self, chosen: np.ndarray) -> "Candidates":
        """Returns some of them."""
        return Candidates(self.validation[chosen], self.test[chosen], self.rows[chosen])

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


def candidates(found: pd.DataFrame, objectives: Sequence[Objective]) -> Candidates:
    """Returns the comparable configurations of a table as candidates.

    Args:
        found: As `configurations` makes it.
        objectives: What is compared.
    """
    validation, test = (points(found, objectives, split) for split in ("validation", "test"))
    values = np.concatenate([validation, test], axis=1)
    usable = found["comparable"].to_numpy(bool) & np.isfinite(values).all(1)
    return Candidates(validation, test, np.arange(len(found)))[usable]
