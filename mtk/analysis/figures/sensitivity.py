"""Figure 17: each task's result over learning rate and over regularization."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtk.analysis.figures.style import UnavailableError, figure, legend_below, look
from mtk.analysis.objectives import Objective
from mtk.analysis.view import STATIC, View

_RATE, _DECAY = "experiment.run.learning_rate", "experiment.run.weight_decay"
_MOST_TASKS = 4


def draw(view: View) -> Figure:
    """Draws a panel for each task and knob: every configuration, in test."""
    knobs = [
        name
        for name in (_RATE, _DECAY, *sorted(c for c in view.found if c.endswith(".dropout")))
        if name in view.found and view.found[name].nunique() > 1
    ]
    if not knobs:
        raise UnavailableError("neither learning rate nor weight decay nor dropout varies")
    if "loss" not in view.spaces or len(view.tasks) > _MOST_TASKS:
        raise UnavailableError(f"drawn for up to {_MOST_TASKS} tasks with a loss each")
    tasks = view.spaces["loss"]
    if not view.found["comparable"].any():
        raise UnavailableError("no method has comparable runs")
    drawn = figure(4.6 * len(tasks), 3.4 * len(knobs) + 0.8)
    axes = drawn.subplots(len(knobs), len(tasks), squeeze=False, sharey="col")
    for row, knob in zip(axes, knobs, strict=True):
        for axis, objective in zip(row, tasks, strict=True):
            _panel(axis, view, knob, objective)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    legend_below(drawn, handles, labels)
    drawn.suptitle(f"{view.title}: test at the step that validation chose, every configuration")
    return drawn


def _panel(axis: Axes, view: View, knob: str, objective: Objective) -> None:
    generator = np.random.default_rng(0)
    for name in [STATIC, *view.methods]:
        own = view.of(name)[lambda t: t["comparable"]]
        if not len(own):
            continue
        style = look(name, view.methods)
        values = own[knob].to_numpy(float)
        spread = generator.uniform(-0.03, 0.03, len(values))
        x = values * 10**spread if _logarithmic(view, knob) else values + spread * 0.2
        axis.plot(x, own[objective.column("test")], ls="none", ms=4, alpha=0.7, label=name, **style)
    if _logarithmic(view, knob):
        known = view.found[knob].to_numpy(float)
        smallest = known[known > 0].min()
        if (known == 0).any():
            axis.set_xscale("symlog", linthresh=smallest)
        else:
            axis.set_xscale("log")
    axis.set_xlabel(knob.rpartition(".")[2].replace("_", " "))
    axis.set_ylabel(f"{objective.task}: {objective.metric} ({objective.direction})")
    reached = view.found[objective.column("test")].dropna()
    if 0 < 5 * reached.min() < reached.max():
        axis.set_yscale("log")


def _logarithmic(view: View, knob: str) -> bool:
    known = view.found[knob].dropna()
    return bool(known.max() > 8 * known[known > 0].min())
