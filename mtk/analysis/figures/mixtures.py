"""Figures 9 and 18: static weights, one mixture at a time."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from mtk.analysis import metric_sets
from mtk.analysis.figures import hyperparameters
from mtk.analysis.figures.style import figure, label_axes, panel
from mtk.analysis.fronts import non_dominated
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.run_table import LEARNING_RATE, WEIGHT_DECAY
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView
from mtk.analysis.weights import shares_of
from mtk.display import significant

_COLORS = mpl.colormaps["viridis"]
_SAYS = {"test": "test, selected by validation", "train": "training set, last step"}


def mixtures(view: StudyView) -> dict[float, pd.DataFrame]:
    """Returns the comparable static configurations by the weight of the first task.

    Raises:
        UnavailableError: If there are not exactly two tasks, or fewer than two known mixtures.
    """
    if len(view.tasks) != 2 or "loss" not in view.spaces:
        raise UnavailableError(f"only for two tasks; this study has {len(view.tasks)}")
    own = view.first_stage.of(STATIC)[lambda t: t["comparable"]]
    shares = shares_of(own, view.tasks[0])
    groups = {significant(share): rows for share, rows in own.groupby(shares)}
    if len(groups) < 2:
        raise UnavailableError(
            "the runs did not record their static weights, or there is only one static weighting"
        )
    return groups


def _fronts(view: StudyView, split: str) -> list[tuple[float, pd.DataFrame]]:
    """Returns the configurations of each mixture that are not dominated on a split."""
    found = []
    for share, rows in mixtures(view).items():
        values = metric_sets.points(rows, view.spaces["loss"], split)
        known = np.isfinite(values).all(1)
        found.append((share, rows[known][non_dominated(values[known])]))
    return found


def draw(view: StudyView) -> Figure:
    """Draws the front of each mixture, on test and on training data (Figure 9)."""
    chosen = {"test": _fronts(view, "validation"), "train": _fronts(view, "train")}
    drawn = figure(10.2, 4.4, view.title)
    axes = drawn.subplots(1, 2)
    for axis, (split, found) in zip(axes, chosen.items(), strict=True):
        for share, rows in found:
            x, y = metric_sets.points(rows, view.spaces["loss"], split).T
            axis.plot(x, y, "o", color=_COLORS(share), ms=7, mec="white", mew=0.6)
        label_axes(axis, view.spaces["loss"])
        axis.set_title(_SAYS[split])
    drawn.colorbar(ScalarMappable(cmap=_COLORS), ax=axes, label=f"static weight of {view.tasks[0]}")
    return drawn


def draw_region(view: StudyView) -> Figure:
    """Draws the learning rate and weight decay of each mixture's front (Figure 18)."""
    every = pd.concat(list(mixtures(view).values()))
    settings = {
        name: hyperparameters.numbers(every, name) for name in (LEARNING_RATE, WEIGHT_DECAY)
    }
    for name, values in settings.items():
        if values.nunique() < 2:
            raise UnavailableError(f"the study does not vary {name}")
    drawn, axis = panel(6.4, 4.6, view.title)
    rates, decays = pd.DataFrame(settings).dropna().to_numpy().T
    hyperparameters.set_scale(axis, "x", rates)
    hyperparameters.set_scale(axis, "y", decays)
    axis.plot(rates, decays, ".", color="#BBBBBB", ms=5)
    generator = np.random.default_rng(0)
    for share, rows in _fronts(view, "validation"):
        # Equal values of several mixtures would hide one another.
        x, y = (settings[name][rows.index].to_numpy() for name in (LEARNING_RATE, WEIGHT_DECAY))
        x = hyperparameters.apart(axis.xaxis, x, rates, generator)
        y = hyperparameters.apart(axis.yaxis, y, decays, generator)
        axis.plot(x, y, "o", color=_COLORS(share), ms=7, mec="white", mew=0.6)
    axis.set_xlim(hyperparameters.limits(axis.xaxis, rates))
    axis.set_ylim(hyperparameters.limits(axis.yaxis, decays))
    axis.set(xlabel="learning rate", ylabel="weight decay (coupled L2)")
    axis.set_title(
        "large: on the front of its weighting (jittered); small: all configurations tried"
    )
    drawn.colorbar(ScalarMappable(cmap=_COLORS), ax=axis, label=f"static weight of {view.tasks[0]}")
    return drawn
