"""Which of many cases run by default."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def some(cases: Iterable[Any], quick: Container[Any]) -> list[Any]:
    """Gives all cases for `parametrize`; those not in `quick` run with the slow tests only."""
    return [case if case in quick else slow(case) for case in cases]


def slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
