"""Shows the progress of a sweep."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from mtk.display import Display, format_duration
from mtk.study.folder import State

_EVERY = 0.5  # seconds between two redraws
_SHOWN = (State.PAUSED, State.DIVERGED, State.FAILED, State.DAMAGED)


class Standing(NamedTuple):
    """The progress of a sweep.

    Attributes:
        states: Number of runs in each state.
        running: Runs that this sweep is doing.
        seconds_left: Estimated time left; None if it is unknown.
        best: The table to show; for a sweep, `mtk.study.summary.best`.
    """

    states: Counter[State]
    running: int
    seconds_left: float | None
    best: Sequence[Sequence[str]]

    @property
    def done(self) -> int:
        return sum(self.states[s] for s in (State.FINISHED, State.DIVERGED, State.PAUSED))

    @property
    def text(self) -> str:
        elsewhere = self.states[State.RUNNING]
        others = f", {elsewhere} running elsewhere" * bool(elsewhere)
        others += "".join(f", {self.states[s]} {s.value}" for s in _SHOWN if self.states[s])
        total, left = self.states.total(), time_left(self.seconds_left)
        return f"{self.done}/{total} done, {self.running} running{others} · {left}"


class Progress:
    """A bar and a table that are redrawn on a terminal; otherwise one line per event.

    Args:
        stream: Where to write; the standard error stream by default.
    """

    def __init__(self, stream: TextIO | None = None):
        self.display = Display(stream)
        self._drawn_at = 0.0

    def say(self, text: str, style: str = "") -> None:
        """Writes a line that is not redrawn."""
        self.display.say(text, style)

    def busy(self, text: str) -> None:
        """Shows the current activity, on a terminal."""
        self.display.draw(text)

    def event(self, text: str, standing: Standing, is_best: bool = False) -> None:
        """Reports an event of one run, and the overall progress."""
        if not self.display.on_terminal:
            self.say(f"{standing.text} · {text}")
            return
        self.say(text, "green" if is_best else "")
        self._drawn_at = 0.0
        self.draw(standing)

    def draw(self, standing: Standing) -> None:
        """Redraws the view, on a terminal."""
        now = time.monotonic()
        if self.display.on_terminal and now - self._drawn_at > _EVERY:
            self._drawn_at = now
            done = standing.done / max(standing.states.total(), 1)
            self.display.draw(standing.text, done, standing.best)

    def close(self) -> None:
        """Removes the view."""
        self.display.close()


def time_left(seconds: float | None) -> str:
    """Returns the time left in words."""
    return "time left unknown" if seconds is None else f"{format_duration(seconds)} left"
