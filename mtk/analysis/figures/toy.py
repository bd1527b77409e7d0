"""Figure 1: what two tasks can reach, on a problem whose front is known exactly."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis.figures import convex
from mtk.analysis.figures.style import COLORS, figure, legend_of

_WEIGHTS = np.linspace(0.1, 0.9, 9)
_TITLES = ("no competition: one optimum", "competition: a front", "less competition: beyond it")
_APART = (0.0, 1.0, 0.7)


def table() -> pd.DataFrame:
    """Returns what is drawn: losses of both tasks, by panel and kind of point."""
    parts = []
    for title, apart in zip(_TITLES, _APART, strict=True):
        problem = convex.example(apart)
        scalarized = np.array([problem.scalarize(weight) for weight in _WEIGHTS])
        kinds = {"random parameters": _random(problem), "scalarization": problem.losses(scalarized)}
        if problem.distance > 0:
            first = problem.floors[0] + problem.distance * np.linspace(0, 1, 200)
            kinds["front"] = np.stack([first, problem.front(first)], axis=1)
        for kind, losses in kinds.items():
            own = pd.DataFrame(losses.round(4), columns=["task 1: loss", "task 2: loss"])
            parts.append(own.assign(panel=title, kind=kind))
    return pd.concat(parts, ignore_index=True).set_index(["panel", "kind"]).reset_index()


def draw() -> Figure:
    """Draws three convex problems: one optimum for both tasks, a front, a front moved forward."""
    points = table().set_index(["panel", "kind"]).sort_index()
    drawn = figure(13.5, 4.4)
    axes = drawn.subplots(1, 3, sharex=True, sharey=True)
    for axis, title in zip(axes, _TITLES, strict=True):
        own = points.loc[title]
        axis.scatter(
            *_of(own, "random parameters"), s=4, color="#BBBBBB", label="random parameters"
        )
        if "front" in own.index:
            axis.plot(*_of(own, "front"), color="black", lw=1.4, label="front (exact)")
        found = _of(own, "scalarization")
        axis.plot(*found, "o", color=COLORS[0], label="scalarization, weights 0.1 to 0.9")
        axis.set(title=title, xlabel="task 1: loss (lower is better)")
    middle = _of(points.loc[_TITLES[1]], "front")
    axes[2].plot(*middle, color="#777777", lw=1.4, label="front of the middle panel")
    axes[0].set(ylabel="task 2: loss (lower is better)", xlim=(0, 3), ylim=(0, 3))
    legend_of(drawn, axes[2])
    return drawn


def _of(points: pd.DataFrame, kind: str) -> np.ndarray:
    """Returns both losses `(2, N)` of a kind of point."""
    return points.loc[kind].to_numpy(float).T


def _random(problem: convex.Quadratics) -> np.ndarray:
    generator = np.random.default_rng(0)
    middle = problem.centers.mean(0)
    return problem.losses(middle + generator.normal(0, 1.1, (600, len(middle))))
