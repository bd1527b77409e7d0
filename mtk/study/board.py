"""Shows how far a sweep is."""

import sys
import time
from collections import Counter
from typing import TextIO

from mtk import duration
from mtk.status_line import StatusLine
from mtk.study.expansion import Run
from mtk.study.folder import State

_SHOWN = (State.DIVERGED, State.FAILED, State.DAMAGED, State.ELSEWHERE)


class Board:
    """A line that is drawn again and again on a terminal; elsewhere a line for each event.

    Args:
        stream: Where to write; the standard error stream by default.
    """

    def __init__(self, stream: TextIO | None = None):
        self._line = StatusLine(stream or sys.stderr)
        self._drawn_at = 0.0

    def event(self, run: Run, what: str, counts: Counter[State], running: int, left: str) -> None:
        """Tells of one run, and how far all are."""
        seed = f" seed {run.seed}" if run.seed else ""
        about = f"{run.method}{seed} {run.hash[:8]}: {what}"
        if self._line.on_terminal:
            self.say(about)
            self._drawn_at = 0.0
            self.draw(counts, running, left)
        else:
            self.say(f"{_line(counts, running, left)} · {about}")

    def draw(self, counts: Counter[State], running: int, left: str) -> None:
        """Draws the line anew, on a terminal."""
        now = time.monotonic()
        if self._line.on_terminal and now - self._drawn_at > 0.5:
            self._drawn_at = now
            done = (counts[State.FINISHED] + counts[State.DIVERGED]) / max(counts.total(), 1)
            self._line.show(self._line.bar(done) + _line(counts, running, left), stays=False)

    def busy(self, what: str) -> None:
        """Tells what is being done just now, on a terminal."""
        if self._line.on_terminal:
            self._line.show(what, stays=False)

    def say(self, text: str) -> None:
        """Writes a line that stays."""
        self._line.show(text, stays=True)


def _line(counts: Counter[State], running: int, left: str) -> str:
    done = counts[State.FINISHED] + counts[State.DIVERGED]
    others = "".join(f", {counts[s]} {s.value}" for s in _SHOWN if counts[s])
    return f"{done}/{counts.total()} done, {running} running{others} · {left}"


def left_in_words(seconds: float | None) -> str:
    """Returns the time left in words."""
    return "time left unknown" if seconds is None else f"{duration.in_words(seconds)} left"
