"""Waits for other processes or threads."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 600.0) -> T:
    """Waits until a condition is truthy, and returns its value.

    The timeout is long because a machine may be slow.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.005)
    return found
