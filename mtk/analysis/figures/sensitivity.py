"""Figure 17: each task's result as a function of learning rate and of regularization."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtk.analysis.figures import hyperparameters
from mtk.analysis.figures.limits import near, outside
from mtk.analysis.figures.style import axis_label, figure, label, legend_of, style_of
from mtk.analysis.metric_sets import Objective, UnavailableError
from mtk.analysis.run_table import LEARNING_RATE, WEIGHT_DECAY
from mtk.analysis.study_view import StudyView
from mtk.display import counted

_MOST_TASKS = 4


def draw(view: StudyView) -> Figure:
    """Draws a panel for each task and hyperparameter: every configuration, on test."""
    view = view.first_stage
    dropouts = sorted(c for c in view.found if c.endswith(".dropout"))
    names = [
        name
        for name in (LEARNING_RATE, WEIGHT_DECAY, *dropouts)
        if hyperparameters.numbers(view.found, name).nunique() > 1
    ]
    if not names:
        raise UnavailableError(
            "neither the learning rate, the weight decay nor the dropout rate varies"
        )
    if "loss" not in view.spaces or len(view.tasks) > _MOST_TASKS:
        raise UnavailableError(f"only for up to {_MOST_TASKS} tasks that all have a loss")
    tasks = view.spaces["loss"]
    if not view.found["comparable"].any():
        raise UnavailableError("no method has comparable runs")
    title = "test at the step selected on validation, all configurations"
    title = f"{view.title}: {title}\n(equal values are drawn side by side)"
    drawn = figure(4.6 * len(tasks), 3.4 * len(names) + 0.8, title)
    axes = drawn.subplots(len(names), len(tasks), squeeze=False, sharey="col")
    for row, name in zip(axes, names, strict=True):
        for axis, objective in zip(row, tasks, strict=True):
            _panel(axis, view, name, objective)
    legend_of(drawn, axes[0, 0])
    return drawn


def _panel(axis: Axes, view: StudyView, parameter: str, objective: Objective) -> None:
    generator = np.random.default_rng(0)
    settings = hyperparameters.numbers(view.found, parameter)
    known = settings.dropna().to_numpy()
    scale = hyperparameters.set_scale(axis, "x", known)
    for method in view.labels:
        own = view.of(method)[lambda t: t["comparable"]]
        if len(own):
            x = hyperparameters.apart(axis.xaxis, settings[own.index].to_numpy(), known, generator)
            style = style_of(method, view.methods) | {"ls": "none", "ms": 4, "alpha": 0.7}
            axis.plot(x, own[objective.column("test")], label=label(method), **style)
    axis.set_xlim(hyperparameters.limits(axis.xaxis, known))
    if scale == "linear":
        axis.locator_params(axis="x", nbins=5)
    others = int((settings.isna() & view.found[parameter].notna()).sum())
    remark = (
        (f"\n(left out: {counted(others, 'configuration')} without a numeric value)")
        if others
        else ""
    )
    axis.set_xlabel(parameter.rpartition(".")[2].replace("_", " ") + remark)
    axis.set_ylabel(axis_label(objective))
    reached = view.found.loc[view.found["comparable"], objective.column("test")].to_numpy(float)
    axis.set_ylim(limits := near(reached, objective.sign))
    axis.set_title(outside(reached, limits).strip())
