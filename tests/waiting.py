"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 600.0) -> T:
    """Waits until a condition holds, and returns what it gave.

    Whatever does not come at all fails the test late: a machine may be slow.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.005)
    return found
