"""Analysis of studies: tables of runs, selection on validation, fronts, statistics, reports.

Stages, one module each: `load` (run folders to one table), `select` (validation only), `measure`
(test only), `verdict`, `indicators`, `figures` and `reporting`. TensorFlow is not needed.
"""

from mtk.analysis.advice import advice
from mtk.analysis.comparison import Comparison, comparisons, selected, verdict_table, verdicts
from mtk.analysis.fronts import non_dominated
from mtk.analysis.indicators import (
    EqualBudget,
    additive_epsilon,
    delta_m,
    equal_budget,
    hypervolume,
    multiplicative_epsilon,
    r2,
    ranks,
    search_curve,
    utilities,
)
from mtk.analysis.learning_rate_grids import SparseGrids, sparse_grids
from mtk.analysis.load import load
from mtk.analysis.measure import Measured, Models, measured
from mtk.analysis.metric_sets import Objective, UnavailableError, find_metric_sets, points
from mtk.analysis.paired_margins import asked
from mtk.analysis.reporting import report
from mtk.analysis.reporting.hparams import write_hparams
from mtk.analysis.reporting.tables import against_single_tasks, single_task_table
from mtk.analysis.run_table import configurations
from mtk.analysis.select import Candidates, candidates, select
from mtk.analysis.study_view import StudyView, views, with_cost
from mtk.analysis.verdict import Verdict, judge
from mtk.analysis.weights import mean_weights, static_weights, weights_over_time
from mtk.errors import StudyError

__all__ = [
    "Candidates",
    "Comparison",
    "EqualBudget",
    "Measured",
    "Models",
    "Objective",
    "SparseGrids",
    "StudyError",
    "StudyView",
    "UnavailableError",
    "Verdict",
    "additive_epsilon",
    "advice",
    "against_single_tasks",
    "asked",
    "candidates",
    "comparisons",
    "configurations",
    "delta_m",
    "equal_budget",
    "find_metric_sets",
    "hypervolume",
    "judge",
    "load",
    "mean_weights",
    "measured",
    "multiplicative_epsilon",
    "non_dominated",
    "points",
    "r2",
    "ranks",
    "report",
    "search_curve",
    "select",
    "selected",
    "single_task_table",
    "sparse_grids",
    "static_weights",
    "utilities",
    "verdict_table",
    "verdicts",
    "views",
    "weights_over_time",
    "with_cost",
    "write_hparams",
]
