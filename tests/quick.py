"""Selects the parametrized cases that run by default, and loops over many cases in one test."""

import contextlib
import itertools
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import pytest


def some(cases: Iterable[Any], quick: Container[Any]) -> list[Any]:
    """Returns all cases for `parametrize`; those not in `quick` are marked slow."""
    return [case if case in quick else slow(case) for case in cases]


def latin(first: Sequence[Any], second: Sequence[Any], third: Sequence[Any]) -> list[Any]:
    """Returns the product of three lists for `parametrize`, marked slow outside a Latin square.

    Each pair of values of two lists occurs in it, exactly once if the lists are equally long.

    Args:
        first: A list at least as long as `third`.
        second: A list at least as long as `third`.
        third: The shortest list.
    """
    cases = []
    for (i, one), (j, two), (k, three) in itertools.product(
        *map(enumerate, (first, second, third))
    ):
        case = (one, two, three)
        cases.append(case if (i + j) % len(third) == k else slow(case))
    return cases


def slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)


@contextlib.contextmanager
def noted(**case: Any) -> Iterator[None]:
    """Adds a note with the current case to an error, for tests that loop over many cases."""
    try:
        yield
    except Exception as error:
        error.add_note(", ".join(f"{name}={value!r}" for name, value in case.items()))
        raise
