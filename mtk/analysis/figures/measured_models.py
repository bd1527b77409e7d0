"""The models that figures show: measured ones, with their intervals, and all others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mtk.analysis import metric_sets
from mtk.analysis.comparison import Comparison
from mtk.analysis.fronts import non_dominated
from mtk.analysis.measure import Measured
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView
from mtk.analysis.weights import shares_of


@dataclass(frozen=True)
class Shown:
    """A method's models in one set of objectives and one split, with the metrics' own signs.

    Attributes:
        values: `(N, K)`, of the measured models; without any, of the selected models.
        errors: `(N, K)`, half the width of each 95 % interval; NaN without an interval.
        others: `(M, K)`, of all other comparable configurations.
        first_weights: `(N,)`, the first task's static weight; NaN without static weights.
    """

    values: np.ndarray
    errors: np.ndarray
    others: np.ndarray
    first_weights: np.ndarray

    def of(self, tasks: list[int]) -> "Shown":
        """Returns the same models for a subset of the tasks."""
        values, errors, others = (v[:, tasks] for v in (self.values, self.errors, self.others))
        return Shown(values, errors, others, self.first_weights)

    @property
    def ends(self) -> np.ndarray:
        """The ends of all intervals `(2 N, K)`."""
        errors = np.nan_to_num(self.errors)
        return np.concatenate([self.values - errors, self.values + errors])


def shown(
    view: StudyView, space: str, split: str, questions: Sequence[Comparison]
) -> dict[str, Shown]:
    """Returns the models of each method, static weights first.

    Test: the models of the second stage, averaged over its seeds. Validation: the same models, in
    the runs that selected them. Training: the measured models that no other measured model of the
    method dominates in training.
    """
    measured = next((q.measured for q in questions if q.space == space and q.verdicts), None)
    return {m: _of_method(view, m, space, split, measured) for m in view.labels}


def _of_method(
    view: StudyView, method: str, space: str, split: str, measured: Measured | None
) -> Shown:
    own, chosen = view.of(method), view.spaces[space]
    signs = np.array([objective.sign for objective in chosen])
    values = metric_sets.points(own, chosen, split)
    known = np.isfinite(values).all(1)
    if split == "train":
        rows = np.flatnonzero((own["comparable"] & own["measured"]).to_numpy(bool) & known)
        rows = rows[non_dominated(values[rows])]
    elif measured is None:
        models = view.candidates(method, space)
        rows = models.rows[models.selected]
    else:
        names = list(own["configuration"])
        rows = np.array([names.index(c) for c in measured.configurations.get(method, [])], int)
    if measured is None or split != "test":
        rows = rows[known[rows]]
    points, errors = values[rows], np.full((len(rows), len(chosen)), np.nan)
    if measured is not None and split == "test" and len(rows):
        found = measured.models[method].values
        points, errors = found.mean(1), _half_intervals(found, measured)
    rest = np.setdiff1d(np.flatnonzero(own["comparable"].to_numpy(bool) & known), rows)
    first = shares_of(own.iloc[rows], chosen[0].task)
    return Shown(points * signs, errors, values[rest] * signs, first)


def _half_intervals(values: np.ndarray, measured: Measured) -> np.ndarray:
    """Returns half the widths of 95 % intervals of means over seeds, without common seed effects.

    The mean effect of a seed on all static models is subtracted before the deviation is computed.

    Reference:
        Cousineau, *Confidence intervals in within-subject designs* (2005).
    """
    seeds = values.shape[1]
    if seeds < 2:
        return np.full(values[:, 0].shape, np.nan)
    if STATIC in measured.models and len(measured.models[STATIC].values) > 1:
        values = values - measured.models[STATIC].values.mean(0)
    return values.std(1, ddof=1) / np.sqrt(seeds) * stats.t.isf(0.025, seeds - 1)
