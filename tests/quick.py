"""Which of many cases run by default, and how one test goes through many."""

import contextlib
import itertools
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import pytest


def some(cases: Iterable[Any], quick: Container[Any]) -> list[Any]:
    """Gives all cases for `parametrize`; those not in `quick` run with the slow tests only."""
    return [case if case in quick else slow(case) for case in cases]


def latin(first: Sequence[Any], second: Sequence[Any], third: Sequence[Any]) -> list[Any]:
    """Gives the product of three lists for `parametrize`; by default a Latin square of it runs.

    Each pair of values of two lists is in it, once where the lists are equally long.

    Args:
        first: A list that is as long as the third, or longer.
        second: Another one.
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
    """Says of which case an error is, in a test of many: each test of its own costs some time."""
    try:
        yield
    except Exception as error:
        error.add_note(", ".join(f"{name}={value!r}" for name, value in case.items()))
        raise
