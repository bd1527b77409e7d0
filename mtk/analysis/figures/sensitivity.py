"""Figure 17: each task's result over learning rate and over regularization."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtk.analysis.figures import knobs
from mtk.analysis.figures.style import figure, label, legend_below, look, plain_ticks
from mtk.analysis.metric_sets import Objective, UnavailableError
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView

_RATE, _DECAY = "experiment.run.learning_rate", "experiment.run.weight_decay"
_MOST_TASKS = 4


def draw(view: StudyView) -> Figure:
    """Draws a panel for each task and knob: every configuration, in test."""
    names = [
        name
        for name in (_RATE, _DECAY, *sorted(c for c in view.found if c.endswith(".dropout")))
        if knobs.numbers(view.found, name).nunique() > 1
    ]
    if not names:
        raise UnavailableError("neither learning rate nor weight decay nor dropout varies")
    if "loss" not in view.spaces or len(view.tasks) > _MOST_TASKS:
        raise UnavailableError(f"drawn for up to {_MOST_TASKS} tasks with a loss each")
    tasks = view.spaces["loss"]
    if not view.found["comparable"].any():
        raise UnavailableError("no method has comparable runs")
    drawn = figure(4.6 * len(tasks), 3.4 * len(names) + 0.8)
    axes = drawn.subplots(len(names), len(tasks), squeeze=False, sharey="col")
    for row, knob in zip(axes, names, strict=True):
        for axis, objective in zip(row, tasks, strict=True):
            _panel(axis, view, knob, objective)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    legend_below(drawn, handles, labels)
    drawn.suptitle(
        f"{view.title}: test at the step that validation chose, every configuration\n"
        "(equal settings drawn beside one another)"
    )
    return drawn


def _panel(axis: Axes, view: StudyView, knob: str, objective: Objective) -> None:
    generator = np.random.default_rng(0)
    settings = knobs.numbers(view.found, knob)
    known = settings.dropna().to_numpy()
    name, options = knobs.scale(known)
    axis.set_xscale(name, **options)
    for method in [STATIC, *view.methods]:
        own = view.of(method)[lambda t: t["comparable"]]
        if not len(own):
            continue
        x = knobs.apart(axis.xaxis, settings[own.index].to_numpy(), known, generator)
        style = look(method, view.methods)
        y = own[objective.column("test")]
        axis.plot(x, y, ls="none", ms=4, alpha=0.7, label=label(method), **style)
    axis.set_xlim(knobs.limits(axis.xaxis, known))
    if name == "linear":
        axis.locator_params(axis="x", nbins=5)
    others = int((settings.isna() & view.found[knob].notna()).sum())
    remark = f"\n({others} configurations without a number are left out)" if others else ""
    axis.set_xlabel(knob.rpartition(".")[2].replace("_", " ") + remark)
    axis.set_ylabel(f"{objective.task}: {objective.metric} ({objective.direction})")
    reached = view.found[objective.column("test")].dropna()
    if 0 < 5 * reached.min() < reached.max():
        axis.set_yscale("log")
    plain_ticks(axis.xaxis)
    plain_ticks(axis.yaxis)
