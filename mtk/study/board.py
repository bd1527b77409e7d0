"""Shows how far a sweep is."""

import shutil
import sys
import time
from collections import Counter
from typing import TextIO

from mtk import duration
from mtk.study.expansion import Run
from mtk.study.folder import State

_BAR = 24
_SHOWN = (State.DIVERGED, State.FAILED, State.DAMAGED, State.ELSEWHERE)


class Board:
    """A line that is drawn again and again on a terminal; elsewhere a line for each event.

    Args:
        stream: Where to write; the standard error stream by default.
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.on_terminal = self.stream.isatty()
        self._drawn_at = 0.0

    def event(self, run: Run, what: str, counts: Counter[State], running: int, left: str) -> None:
        """Tells of one run, and how far all are."""
        seed = f" seed {run.seed}" if run.seed else ""
        about = f"{run.method}{seed} {run.hash[:8]}: {what}"
        if self.on_terminal:
            self._write(about, stays=True)
            self._drawn_at = 0.0
            self.draw(counts, running, left)
        else:
            self._write(f"{_line(counts, running, left)} · {about}", stays=True)

    def draw(self, counts: Counter[State], running: int, left: str) -> None:
        """Draws the line anew, on a terminal."""
        now = time.monotonic()
        if self.on_terminal and now - self._drawn_at > 0.5:
            self._drawn_at = now
            done = (counts[State.FINISHED] + counts[State.DIVERGED]) / max(counts.total(), 1)
            self._write(f"[{'█' * int(done * _BAR):<{_BAR}}] {_line(counts, running, left)}")

    def say(self, text: str) -> None:
        """Writes a line that stays."""
        self._write(text, stays=True)

    def _write(self, text: str, stays: bool = False) -> None:
        start, end = ("\r", "\x1b[K") if self.on_terminal else ("", "")
        if not stays:
            text = text[: shutil.get_terminal_size().columns - 1]  # A second line would remain.
        self.stream.write(f"{start}{text}{end}" + "\n" * stays)
        self.stream.flush()


def _line(counts: Counter[State], running: int, left: str) -> str:
    done = counts[State.FINISHED] + counts[State.DIVERGED]
    others = "".join(f", {counts[s]} {s.value}" for s in _SHOWN if counts[s])
    return f"{done}/{counts.total()} done, {running} running{others} · {left}"


def left_in_words(seconds: float | None) -> str:
    """Returns the time left in words."""
    return "time left unknown" if seconds is None else f"{duration.in_words(seconds)} left"
