"""What studies mean: tables of runs, selection by validation, fronts, statistics, reports.

Needs no TensorFlow.
"""

from mtk.analysis.budget import EqualBudget, equal_budget
from mtk.analysis.candidate import Candidates, candidates
from mtk.analysis.comparison import Models, asked
from mtk.analysis.compute import search_curve, with_cost
from mtk.analysis.fronts import non_dominated
from mtk.analysis.hparams import write_hparams
from mtk.analysis.indicators import additive_epsilon, hypervolume, multiplicative_epsilon, r2
from mtk.analysis.judging import Question, questions, selected, verdicts
from mtk.analysis.loading import load
from mtk.analysis.measurement import Measured, measured, select
from mtk.analysis.objectives import Objective, points, spaces
from mtk.analysis.rate_grids import SparseGrids, sparse_grids
from mtk.analysis.repeats import configurations
from mtk.analysis.reporting import report
from mtk.analysis.single_task import delta_m
from mtk.analysis.study_list import StudyError
from mtk.analysis.utility import ranks, utilities
from mtk.analysis.verdict import Verdict, judge
from mtk.analysis.view import View, views
from mtk.analysis.weights import mean_weights, static_weights, weights_over_time

__all__ = [
    "Candidates",
    "EqualBudget",
    "Measured",
    "Models",
    "Objective",
    "Question",
    "SparseGrids",
    "StudyError",
    "Verdict",
    "View",
    "additive_epsilon",
    "asked",
    "candidates",
    "configurations",
    "delta_m",
    "equal_budget",
    "hypervolume",
    "judge",
    "load",
    "mean_weights",
    "measured",
    "multiplicative_epsilon",
    "non_dominated",
    "points",
    "questions",
    "r2",
    "ranks",
    "report",
    "search_curve",
    "select",
    "selected",
    "spaces",
    "sparse_grids",
    "static_weights",
    "utilities",
    "verdicts",
    "views",
    "weights_over_time",
    "with_cost",
    "write_hparams",
]
