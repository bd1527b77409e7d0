"""Draws what two tasks can reach on convex problems with known fronts: the paper's Figure 1.

    python tools/convex_front.py --out=docs/concepts/figures/convex_fronts.png

`docs/concepts/fronts.md` shows the figure.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import optimize

from mtk.analysis.figures.style import COLORS, figure, legend_of, styled

_WEIGHTS = np.linspace(0.1, 0.9, 9)
# How much the tasks compete in each panel.
_APART = {
    "no competition: one optimum": 0.0,
    "competition: a front": 1.0,
    "less competition: beyond it": 0.7,
}


@dataclass(frozen=True)
class Quadratics:
    """Two tasks with the losses `L_i(x) = (x - c_i)^T A (x - c_i) / 2 + b_i`, A positive definite.

    With one matrix for both, the minimizer of `w L_1 + (1 - w) L_2` is `w c_1 + (1 - w) c_2`, so
    with `d = (c_1 - c_2)^T A (c_1 - c_2) / 2` the front is
    `sqrt((L_1 - b_1) / d) + sqrt((L_2 - b_2) / d) = 1`.

    Attributes:
        matrix: A, `(P, P)`.
        centers: `(2, P)`. Equal ones make a problem with one optimum for both tasks.
        floors: `(2,)`, the smallest losses.
    """

    matrix: np.ndarray
    centers: np.ndarray
    floors: np.ndarray

    def losses(self, points: np.ndarray) -> np.ndarray:
        """Returns the losses `(N, 2)` at points `(N, P)`."""
        away = points[:, None, :] - self.centers
        return 0.5 * np.einsum("nkp,pq,nkq->nk", away, self.matrix, away) + self.floors

    @property
    def distance(self) -> float:
        """The loss of one task at the optimum of the other, above its floor."""
        apart = self.centers[0] - self.centers[1]
        return float(0.5 * apart @ self.matrix @ apart)

    def front(self, first: np.ndarray) -> np.ndarray:
        """Returns the second task's loss on the front for losses of the first one."""
        share = np.sqrt(np.clip((first - self.floors[0]) / self.distance, 0, 1))
        return self.distance * (1 - share) ** 2 + self.floors[1]

    def scalarize(self, weight: float) -> np.ndarray:
        """Returns the minimizer `(P,)` of `weight L_1 + (1 - weight) L_2`, found by descent."""
        weights = np.array([weight, 1 - weight])
        found = optimize.minimize(
            lambda point: float(self.losses(point[None])[0] @ weights),
            np.zeros(len(self.matrix)),
            jac=lambda point: weights @ ((point - self.centers) @ self.matrix),
            options={"gtol": 1e-9},
        )
        return np.asarray(found.x)


def example(apart: float = 1.0) -> Quadratics:
    """Returns a problem in three dimensions.

    Args:
        apart: How much the tasks compete: 0 gives one optimum for both.
    """
    factor = np.array([[1.0, 0.0, 0.0], [0.5, 1.2, 0.0], [-0.3, 0.4, 0.8]])
    centers = 0.5 + apart * np.array([[1.0, -0.5, 0.3], [-1.0, 0.6, 0.2]])
    return Quadratics(factor @ factor.T, centers, np.array([0.2, 0.3]))


def draw() -> Figure:
    """Draws three problems: one optimum for both tasks, a front, a front moved forward."""
    drawn = figure(13.5, 4.4)
    axes = drawn.subplots(1, 3, sharex=True, sharey=True)
    fronts = {}
    for axis, (title, apart) in zip(axes, _APART.items(), strict=True):
        problem = example(apart)
        near = problem.centers.mean(0) + np.random.default_rng(0).normal(0, 1.1, (600, 3))
        axis.scatter(*problem.losses(near).T, s=4, color="#BBBBBB", label="random parameters")
        if problem.distance > 0:
            first = problem.floors[0] + problem.distance * np.linspace(0, 1, 200)
            fronts[title] = first, problem.front(first)
            axis.plot(*fronts[title], color="black", lw=1.4, label="front (exact)")
        found = problem.losses(np.array([problem.scalarize(weight) for weight in _WEIGHTS]))
        axis.plot(*found.T, "o", color=COLORS[0], label="scalarization, weights 0.1 to 0.9")
        axis.set(title=title, xlabel="task 1: loss (lower is better)")
    middle = fronts[[*_APART][1]]
    axes[2].plot(*middle, color="#777777", lw=1.4, label="front of the middle panel")
    axes[0].set(ylabel="task 2: loss (lower is better)", xlim=(0, 3), ylim=(0, 3))
    legend_of(drawn, axes[2])
    return drawn


def main() -> None:
    """Writes the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    path = parser.parse_args().out
    path.parent.mkdir(parents=True, exist_ok=True)
    with styled():
        draw().savefig(path, dpi=100)


if __name__ == "__main__":
    main()
