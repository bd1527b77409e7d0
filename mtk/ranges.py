"""Checks of arguments' ranges, for use when an object is created."""

import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, get_args

SEEDS = 2**32  # Limit of NumPy.
_COUNTS = 2**63  # Limit of TensorFlow.


def check_nonnegative(**values: Any) -> None:
    """Raises a ValueError for a value that is not a finite number of at least 0."""
    _check(values, "a finite number, 0 or more", lambda value: 0 <= value < math.inf)


def check_positive(**values: Any) -> None:
    """Raises a ValueError for a value that is not a finite number above 0."""
    _check(values, "a finite number above 0", lambda value: 0 < value < math.inf)


def check_share(**values: Any) -> None:
    """Raises a ValueError for a value that is not a number from 0 to 1."""
    _check(values, "a share from 0 to 1", lambda value: 0 <= value <= 1)


def check_rate(**values: Any) -> None:
    """Raises a ValueError for a value that is not a number from 0 to below 1."""
    _check(values, "a share from 0 to below 1", lambda value: 0 <= value < 1)


def check_count(**values: Any) -> None:
    """Raises a ValueError for a value, or one of several, that is not a positive integer."""
    for name, value in values.items():
        every = value if isinstance(value, (list, tuple)) else [value]
        if not all(_is_number(each, Integral) and 1 <= each < _COUNTS for each in every):
            raise ValueError(
                f"`{name}` must be an integer, 1 or more and below 2**63. Received: "
                f"{name}={value!r}"
            )


def are_weights(numbers: Iterable[float]) -> bool:
    """Whether none of the numbers is negative or NaN, and their sum is finite and above zero."""
    every = [float(number) for number in numbers]
    return all(number >= 0 for number in every) and 0 < sum(every) < math.inf


def check_constant(what: str, values: Any) -> None:
    """Raises a ValueError for weights that are variables, whose later values would be ignored.

    Args:
        what: Name of the argument, for messages.
        values: A number, a sequence of numbers, or a dict.
    """
    parts = values.values() if isinstance(values, Mapping) else values
    each = list(parts) if isinstance(values, (Mapping, list, tuple)) else [values]
    if any(hasattr(part, "assign") for part in each):
        raise ValueError(
            f"`{what}` contains variables, of which only the current values would be used. Give "
            "numbers. For weights of tasks that change, leave them out of `compile` and use "
            "`MultiTaskModel(network, combiner=mtk.combiners.StaticWeights(weights, "
            "schedule={}))`, to whose `assign` a callback passes new weights; a loss that is a "
            f"function may read variables. Received: {values!r}"
        )


def check_choice(choices: Any, **values: Any) -> None:
    """Raises a ValueError for a value that a `Literal` does not name."""
    for name, value in values.items():
        if value not in get_args(choices):
            raise ValueError(f"`{name}` must be one of {get_args(choices)}. Received: {value!r}")


def _check(values: Mapping[str, Any], expected: str, fits: Callable[[Any], bool]) -> None:
    for name, value in values.items():
        if not (_is_number(value, Real) and fits(value)):
            raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
