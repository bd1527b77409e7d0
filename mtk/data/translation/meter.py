"""Tells how many pairs are done, and how fast."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_EVERY = 1_000  # items between two looks at the clock


class Meter:
    """Writes a line every few seconds.

    Args:
        label: What is done.
        every: Seconds between two lines.
    """

    def __init__(self, label: str, every: float = 10.0):
        self._label = label
        self._every = every
        self._started = self._shown = time.monotonic()
        self._done = 0

    def add(self, number: int) -> None:
        """Counts what has been done since."""
        self._done += number
        now = time.monotonic()
        if now - self._shown >= self._every:
            self._shown = now
            speed = 60 * self._done / (now - self._started)
            print(f"{self._label}: {self._done:,} pairs, {speed:,.0f} a minute", file=sys.stderr)

    def watch(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yields the items, and counts them."""
        for number, item in enumerate(items, start=1):
            yield item
            if not number % _EVERY:
                self.add(_EVERY)
