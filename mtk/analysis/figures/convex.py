"""A convex two-task problem whose front is known exactly."""

from dataclasses import dataclass

import numpy as np
from scipy import optimize


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
