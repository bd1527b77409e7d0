"""Effect of sparse learning rate grids on a result, compared with the effect of the seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from mtk.analysis import metric_sets
from mtk.analysis.metric_sets import Objective, points
from mtk.analysis.run_table import LEARNING_RATE, checked
from mtk.display import counted


@dataclass(frozen=True)
class SparseGrids:
    """Results of equally good tuning protocols, and of runs that differ only in the seed.

    Attributes:
        method: The method that was tuned.
        starts: `(G,)`, the k of each grid `{k 10^a, k 10^b, ...}`.
        by_grid: `(G,)`, test value of the model selected on validation from each grid.
        by_seed: `(S,)`, test value of the best configuration with each seed.
        rate: Learning rate of that configuration.
    """

    method: str
    starts: np.ndarray
    by_grid: np.ndarray
    by_seed: np.ndarray
    rate: float

    @property
    def ratio(self) -> float:
        """Standard deviation over grids without the seed's share, divided by that over seeds.

        Each grid's result is that of one run, so its variance includes that of the seed.
        """
        return self._ratio(1.0)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Returns a confidence interval of the ratio from the F distribution of the variances."""
        tail, freedom = (1 - level) / 2, (len(self.by_grid) - 1, len(self.by_seed) - 1)
        low, high = (self._ratio(stats.f.ppf(share, *freedom)) for share in (1 - tail, tail))
        return low, high

    def _ratio(self, quantile: float) -> float:
        of_variances = np.var(self.by_grid, ddof=1) / np.var(self.by_seed, ddof=1)
        return float(np.sqrt(np.maximum(of_variances / quantile - 1, 0)))


def sparse_grids(table: pd.DataFrame, objectives: Sequence[Objective], method: str) -> SparseGrids:
    """Splits a dense grid of learning rates into the sparse ones that it contains.

    The sparse grids are `{k 10^a}` over all powers of ten in the dense one, for each k. The result
    of a grid is the mean over tasks, on test, of the run selected on validation: by the runs' own
    monitor, or by the mean if they did not record it. Losses are divided by those of the first
    evaluation if the runs were selected by relative losses. Each configuration is represented by
    the run with its lowest seed; the spread over seeds is that of the configuration that is best on
    validation among those with several seeds.

    Args:
        table: The result of `load`.
        objectives: The objectives to average over.
        method: The method whose runs are used.

    Raises:
        ValueError: If the runs were selected by different monitors, fewer than three grids are
            complete, or no configuration was run with at least three seeds.
    """
    table = checked(table)
    own = metric_sets.finished(table[table["method"] == method]).sort_values("seed")
    # A schedule is a string and has no place in a grid.
    own = own.reindex(columns=[*dict.fromkeys([*own, LEARNING_RATE])])
    own = own[pd.to_numeric(own[LEARNING_RATE], errors="coerce") > 0]
    units = metric_sets.loss_units(own, objectives)
    test = points(own, objectives, "test") / (1.0 if units is None else units)
    own = own.assign(test=test.mean(1), validation=metric_sets.selected_or_mean(own, objectives))
    grids = _grids(own.drop_duplicates("configuration"))
    if len(grids) < 3:
        raise ValueError(
            f"{method}: {counted(len(grids), 'complete grid')} k·10^a of learning rates; three "
            "are needed"
        )
    by_model = own.groupby("configuration")
    repeated = own[by_model["seed"].transform("nunique") >= 3]
    if repeated.empty:
        raise ValueError(f"{method}: no configuration with at least three seeds")
    over_seeds = repeated.groupby("configuration")["validation"].mean()
    best = by_model.get_group(over_seeds.idxmin())
    return SparseGrids(
        method,
        np.array(list(grids), float),
        np.array([grid.loc[grid["validation"].idxmin(), "test"] for grid in grids.values()], float),
        best["test"].to_numpy(float),
        float(best[LEARNING_RATE].iloc[0]),
    )


def _grids(runs: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Returns the runs of each k for which every power of ten was run."""
    rates = runs[LEARNING_RATE].astype(float)
    powers = np.floor(np.log10(rates) + 1e-9)
    grids = runs.assign(power=powers).groupby((rates / 10.0**powers).round(6))
    number = powers.nunique() if powers.nunique() > 1 else np.inf
    return {float(k): grid for k, grid in grids if grid["power"].nunique() == number}
