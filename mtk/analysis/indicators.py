"""Numbers that compare a front with another one, or with an ideal point."""

import moocore
import numpy as np
from scipy.stats import qmc

from mtk.analysis.fronts import checked


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Returns the volume between the points and a reference point, exactly.

    Args:
        points: `(N, K)`; less is better. Points beyond the reference add nothing.
        reference: `(K,)`, the worst point that counts.

    Raises:
        ValueError: If the points are none, or the reference is no finite point like them.

    Example:
    >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
    3.0
    """
    points = checked(points)
    reference = np.asarray(reference, float)
    if reference.shape != points.shape[1:] or not np.isfinite(reference).all():
        raise ValueError(
            f"The reference point has a finite value for each of {points.shape[1]} objectives. "
            f"Received: {reference}"
        )
    inside = points[(points < reference).all(1)]
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


def additive_epsilon(points: np.ndarray, reference: np.ndarray) -> float:
    """Returns how much must be taken off all values of `points` to reach the reference set.

    Args:
        points: `(N, K)`; less is better.
        reference: `(M, K)`, another set.

    Returns:
        The smallest e such that each reference point is weakly dominated by a point minus e: zero
        or less if `points` cover the reference set already.

    Reference:
        Zitzler et al., *Performance assessment of multiobjective optimizers* (2003), equation 11.
    """
    points, reference = _two_sets(points, reference)
    return float(moocore.epsilon_additive(points, ref=reference))


def multiplicative_epsilon(points: np.ndarray, reference: np.ndarray) -> float:
    """Returns by what factor all values of `points` must be divided to reach the reference set.

    Args:
        points: `(N, K)`, all positive; less is better.
        reference: `(M, K)`, another set, all positive.

    Returns:
        One or less if `points` cover the reference set already.

    Raises:
        ValueError: If a value is not positive: a factor then says nothing.

    Reference:
        Zitzler et al., *Performance assessment of multiobjective optimizers* (2003), equation 10.
    """
    points, reference = _two_sets(points, reference)
    if (points <= 0).any() or (reference <= 0).any():
        raise ValueError("The multiplicative epsilon needs positive values. Use the additive one.")
    return float(moocore.epsilon_mult(points, ref=reference))


def r2(points: np.ndarray, ideal: np.ndarray) -> float:
    """Returns the mean, over weights, of the best weighted Chebyshev distance to an ideal point.

    Args:
        points: `(N, K)`; less is better.
        ideal: `(K,)`, not worse than any point.

    Raises:
        ValueError: If there is no point, or one is better than the ideal point somewhere.

    Reference:
        Hansen & Jaszkiewicz, *Evaluating the quality of approximations to the non-dominated set*
        (1998). The mean is over 2,048 quasi-random weights: within 1 % of the integral.
    """
    points, ideal = _two_sets(points, np.asarray(ideal, float)[None])
    distance = points - ideal
    if not np.isfinite(distance).all() or (distance < 0).any():
        raise ValueError(
            "The ideal point must be finite, as the points are, and in no objective worse than any "
            f"of them. Received: {ideal[0]}, while the points reach {points.min(0)}"
        )
    weights = simplex(points.shape[1])
    return float((weights[:, None, :] * distance[None, :, :]).max(2).min(1).mean())


def simplex(num_tasks: int) -> np.ndarray:
    """Returns weights `(2048, K)` spread evenly over the simplex, always the same ones."""
    if num_tasks == 1:
        return np.ones((2048, 1))
    # The gaps between sorted uniform numbers are uniform on the simplex.
    cuts = np.sort(qmc.Sobol(num_tasks - 1, rng=0).random_base2(11), axis=1)
    return np.diff(np.pad(cuts, ((0, 0), (1, 1)), constant_values=(0, 1)), axis=1)


def _two_sets(points: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points, reference = checked(points), checked(reference)
    if not len(points) or not len(reference) or points.shape[1] != reference.shape[1]:
        raise ValueError(
            "Two sets of at least one point each, with as many objectives, were expected. "
            f"Received shapes: {points.shape} and {reference.shape}"
        )
    return points, reference
