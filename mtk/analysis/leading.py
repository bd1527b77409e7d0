"""How far selected models lie beyond a front."""

from typing import NamedTuple

import numpy as np

from mtk.analysis.candidate import Candidates


class Lead(NamedTuple):
    """The best that a set of models has against a front.

    Attributes:
        amount: By how much the model must get worse in every task, in units of the scale, until a
            model of the front is at least as good everywhere; negative if one is already, minus
            infinity if only the front was extended.
        model: Position of that model among the candidates, or -1.
        extends: Selected models that are better than the whole front in some task, but better in
            all tasks than no model of the front: another weighting may well do the same.
        dominates: Selected models that dominate a model of the front.
    """

    amount: float
    model: int
    extends: int
    dominates: int


def lead(method: Candidates, static: Candidates, scale: np.ndarray) -> Lead:
    """Compares the models that validation selects of a method with those it selects of the front.

    Both selections look at validation only, all distances at test only.

    Args:
        method: The method's configurations.
        static: The static weightings.
        scale: `(K,)`, what counts as one in each task.
    """
    chosen = method.selected
    if not len(chosen) or not len(static):
        return Lead(-np.inf, -1, 0, 0)
    points, front = method.test[chosen], static.test[static.selected]
    gaps = (front[None] - points[:, None]) / scale  # (selected, front, K)
    amounts = gaps.max(2).min(1)
    dominates = ((gaps >= 0).all(2) & (gaps > 0).any(2)).any(1)
    extends = (points < front.min(0)).any(1) & ~dominates
    amounts = np.where(extends, -np.inf, amounts)
    best = int(amounts.argmax())
    model = int(chosen[best]) if np.isfinite(amounts[best]) else -1
    return Lead(float(amounts[best]), model, int(extends.sum()), int(dominates.sum()))


def scale_of(static: Candidates) -> np.ndarray:
    """Returns `(K,)`: how far the selected static models spread in each task.

    With a single selected model, or none that differ, the spread over all of them. A single value,
    such as the mean over tasks, has no front: there it is what the selected model reaches.
    """
    front = static.test[static.selected]
    if front.shape[1] == 1:
        return np.abs(front).max(0) + float((front == 0).all())
    spread, wider = np.ptp(front, axis=0), np.ptp(static.test, axis=0)
    spread = np.where(spread > 0, spread, wider)
    return np.where(spread > 0, spread, 1.0)
