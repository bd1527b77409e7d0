"""Weights of which only the ratios matter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratios:
    """Annotates such weights: `[1, 1]` and `[0.5, 0.5]` are the same configuration.

    Attributes:
        none_is_equal: Whether None stands for equal weights.
    """

    none_is_equal: bool = True

    def canonical(self, weights: Any) -> Any:
        """Returns weights with a sum of one, and None for equal weights if `none_is_equal`.

        Invalid weights are returned unchanged; other code reports them.

        Args:
            weights: A dict by name, a sequence, one number for all, or None.
        """
        by_name = isinstance(weights, Mapping)
        values = list(weights.values()) if by_name else weights
        if isinstance(values, int | float) and self.none_is_equal:
            values = [values]
        if not values or not all(isinstance(v, int | float) and v >= 0 for v in values):
            return weights
        if not 0 < sum(values) < float("inf"):
            return weights
        if self.none_is_equal and len({*values}) == 1:
            return None
        shares = tuple(float(f"{value / sum(values):.12g}") for value in values)
        return dict(sorted(zip(weights, shares, strict=True))) if by_name else shares
