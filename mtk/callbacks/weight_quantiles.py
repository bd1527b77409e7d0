"""Variation of the task weights of single steps, which their means over many steps hide."""

from collections.abc import Sequence

import numpy as np

_BINS = 200
_QUANTILES = {"weight_low": 0.05, "weight_high": 0.95}
# Reading weights waits for the step, so only every seventh is read; 7 is coprime to most cycles.
EVERY = 7


class WeightQuantiles:
    """Histograms of each task's share of the weights.

    Args:
        counts: `(K, 200)`, initial counts.
    """

    def __init__(self, counts: Sequence[Sequence[int]] = ()):
        self.counts = np.array(counts, int)

    def add(self, weights: np.ndarray) -> None:
        """Adds the weights `(K,)` of a step, unless their shares are undefined."""
        total = weights.sum()
        if not (np.isfinite(total) and total > 0):
            return
        if not self.counts.size:
            self.counts = np.zeros((len(weights), _BINS), int)
        bins = np.clip(np.floor(weights / total * _BINS), 0, _BINS - 1).astype(int)
        self.counts[np.arange(len(weights)), bins] += 1

    def named(self, task_names: Sequence[str]) -> dict[str, float]:
        """Returns the 5th and the 95th percentile of each task's share, to half a percent.

        Args:
            task_names: Names of the tasks.

        Returns:
            `{"<task>_weight_low": share, "<task>_weight_high": share}`; empty at first.
        """
        if not self.counts.size:
            return {}
        cumulative = self.counts.cumsum(1) / self.counts.sum(1, keepdims=True)
        return {
            f"{task}_{name}": (int(np.searchsorted(own, quantile)) + 0.5) / _BINS
            for task, own in zip(task_names, cumulative, strict=True)
            for name, quantile in _QUANTILES.items()
        }
