"""Figure 1: what two tasks can reach, on a problem whose front is known exactly."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtk.analysis import convex
from mtk.analysis.figures.style import COLORS, figure, legend_below

_WEIGHTS = np.linspace(0.1, 0.9, 9)


def draw() -> Figure:
    """Draws three convex problems: one optimum for both tasks, a front, a front moved forward."""
    drawn = figure(13.5, 4.4)
    axes = drawn.subplots(1, 3, sharex=True, sharey=True)
    titles = ["no competition: one optimum", "competition: a front", "less competition: beyond it"]
    problems = [convex.example(0.0), convex.example(1.0), convex.example(0.7)]
    for axis, problem, title in zip(axes, problems, titles, strict=True):
        axis.scatter(*_random(problem).T, s=4, color="#BBBBBB", label="random parameters")
        if problem.distance > 0:
            _front(axis, problem, "black", "front (exact)")
        found = problem.losses(np.array([problem.scalarize(weight) for weight in _WEIGHTS]))
        axis.plot(*found.T, "o", color=COLORS[0], label="scalarization, weights 0.1 to 0.9")
        axis.set(title=title, xlabel="task 1: loss (lower is better)")
    _front(axes[2], problems[1], "#777777", "front of the middle panel")
    axes[0].set(ylabel="task 2: loss (lower is better)", xlim=(0, 3), ylim=(0, 3))
    handles, labels = axes[2].get_legend_handles_labels()
    legend_below(drawn, handles, labels)
    return drawn


def _front(axis: Axes, problem: convex.Quadratics, color: str, label: str) -> None:
    first = problem.floors[0] + problem.distance * np.linspace(0, 1, 200)
    axis.plot(first, problem.front(first), color=color, lw=1.4, label=label)


def _random(problem: convex.Quadratics) -> np.ndarray:
    generator = np.random.default_rng(0)
    middle = problem.centers.mean(0)
    return problem.losses(middle + generator.normal(0, 1.1, (1500, len(middle))))
