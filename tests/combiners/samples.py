"""Gradients of every kind, as Jacobians `(K, P)`: one row per task."""

from collections.abc import Callable

import numpy as np

KINDS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "aligned": lambda rng, k, p: np.abs(rng.normal(size=(k, p))),
    "conflicting": lambda rng, k, p: rng.normal(size=(k, p)) - 0.3 * rng.normal(size=p),
    "opposed": lambda rng, k, p: _opposed(rng, k, p),
    "orthogonal": lambda rng, k, p: np.linalg.qr(rng.normal(size=(p, k)))[0].T,
    "rank one": lambda rng, k, p: rng.uniform(0.5, 2, (k, 1)) * rng.normal(size=p),
    "zero row": lambda rng, k, p: rng.normal(size=(k, p)) * (np.arange(k) > 0)[:, None],
    "spread": lambda rng, k, p: np.logspace(-2, 2, k)[:, None] * rng.normal(size=(k, p)),
}


def _opposed(rng: np.random.Generator, num_tasks: int, size: int) -> np.ndarray:
    """Gradients whose inner products are all negative."""
    rows = np.linalg.qr(rng.normal(size=(size, num_tasks)))[0].T
    return rows - rows.sum(0) * 1.5 / num_tasks + 0.1 * rng.normal(size=(num_tasks, size))


def jacobian(kind: str, num_tasks: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Returns a Jacobian `(K, 12)`, or wider for many tasks, in float32."""
    rng = np.random.default_rng([seed, num_tasks])
    rows = KINDS[kind](rng, num_tasks, max(12, 3 * num_tasks // 2))
    return (rows * scale).astype(np.float32)


def losses(num_tasks: int, seed: int = 0) -> np.ndarray:
    """Returns positive task losses `(K,)`."""
    return np.random.default_rng([seed, 7]).uniform(0.5, 2.0, num_tasks).astype(np.float32)
