"""Displays the progress of training."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from mtk.callbacks.base import StepCallback, entries
from mtk.callbacks.best_checkpoint import BestCheckpoint
from mtk.display import BEST, Display, format_duration
from mtk.monitor import short

_MOST_TASKS = 8  # largest number of tasks shown individually
_WORST = 3  # with more tasks, the number of worst ones that are shown

Rows = list[list[str]]


class Progress(StepCallback):
    """Shows steps, speed, losses and the time left, and the metrics of each validation.

    On a terminal, it redraws a bar and a table; otherwise it prints a line every few seconds. With
    more than eight tasks, it shows the mean over the tasks and the three with the largest losses.

    Args:
        steps: Total number of steps.
        every: Seconds between two lines if there is no terminal.
        stream: Output stream; by default the standard error stream.
        selection: The callback that tracks the best validation so far, which is marked by a star;
            it must come before this callback in `fit`.
    """

    def __init__(
        self,
        steps: int,
        every: float = 10.0,
        stream: TextIO | None = None,
        selection: BestCheckpoint | None = None,
    ):
        super().__init__()
        self.steps = steps
        self.display = Display(stream)
        self.every = 0.2 if self.display.on_terminal else every
        self.selection = selection
        self._shown_at = 0.0
        self._last: Rows = []
        self._is_traced = False

    def begin(self) -> None:
        self._first = self.step
        self._started = self._shown_at = time.monotonic()
        if not self._is_traced:
            what = f"Resuming after step {self.step}: " if self.step else ""
            self.display.say(f"{what}tracing the first step …")

    def stepped(self, logs: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if not self._is_traced:
            # The first step is traced; its time says nothing about the others.
            self.display.say(f"first step, with tracing: {now - self._started:.1f} s")
            self._is_traced, self._first, self._started = True, self.step, now
        if now - self._shown_at >= self.every:
            self._shown_at = now
            rows = self._rows(logs, "train", ("loss",))
            speed = (self.step - self._first) / max(now - self._started, 1e-9)
            left = format_duration((self.steps - self.step) / speed) if speed else "?"
            self._show(f"{self._position} · {speed:.1f} steps/s · {left} left", rows)

    def on_test_begin(self, logs: Any = None) -> None:
        del logs
        self.display.draw(f"{self._position} · validating", self.step / self.steps, self._last)

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        self._last = self._rows(logs, "validation") or self._rows(logs, "train", ("loss",))
        head = [" · ".join([self._position, *self._selected(logs)])]
        tasks = _each(self._last) if self.display.on_terminal else _inline(self._last)
        best = self.selection is not None and self.selection.selected_step == self.step
        self.display.say(self.display.fitted(head + tasks), "green" if best else "")

    def end(self) -> None:
        self.display.close()

    @property
    def _position(self) -> str:
        return f"step {self.step:>{len(str(self.steps))}}/{self.steps}"

    def _selected(self, logs: Mapping[str, Any]) -> list[str]:
        """Returns lines with the monitor and the best validation so far."""
        if self.selection is None or self.selection.selected_step is None:
            return []
        monitor, step = self.selection.compared, self.selection.selected_step
        value = _number(monitor.value(logs, self.selection.first))
        is_best = step == self.step
        return [f"{BEST if is_best else ' '} {short(monitor.name)} {value} (best at step {step})"]

    def _show(self, text: str, rows: Rows) -> None:
        if self.display.on_terminal:
            self.display.draw(text, self.step / self.steps, self._last or rows)
        else:
            self.display.say(" · ".join([text, *_inline(rows)]))

    def _rows(
        self, logs: Mapping[str, Any], split: str, names: Sequence[str] | None = None
    ) -> Rows:
        """Returns a table of metrics: a header, and a row for each task that is shown."""
        # Keras sorts its logs; tasks are shown in their own order.
        found: dict[str, dict[str, float]] = {name: {} for name in self.task_names or [""]}
        for entry in entries(logs, self.task_names, "train"):
            if entry.split == split and entry.task in found and entry.name != "weight":
                found[entry.task][entry.name] = entry.value
        columns = sorted({n for own in found.values() for n in own}, key=lambda n: (n != "loss", n))
        columns = [n for n in columns if names is None or n in names]
        if not columns:
            return []
        cells = [[task, *(_number(own.get(n)) for n in columns)] for task, own in _worst(found)]
        return [[split, *columns], *cells]


def _worst(found: Mapping[str, Mapping[str, float]]) -> list[tuple[str, Mapping[str, float]]]:
    """Returns the tasks to show: all, or, if many, their mean and those with the largest losses."""
    if len(found) <= _MOST_TASKS:
        return list(found.items())
    names = dict.fromkeys(name for own in found.values() for name in own)
    shared = [name for name in names if all(name in own for own in found.values())]
    means = {name: sum(own[name] for own in found.values()) / len(found) for name in shared}
    loss = {task: own.get("loss", math.nan) for task, own in found.items()}
    worst = sorted(found, key=lambda t: -math.inf if math.isnan(loss[t]) else -loss[t])[:_WORST]
    return [(f"mean of {len(found)}", means), *((task, found[task]) for task in worst)]


def _inline(rows: Rows) -> list[str]:
    """Returns a table as `validation: left loss 0.1234 accuracy 0.9, right loss …`."""
    return [", ".join(_each(rows))] if rows else []


def _each(rows: Rows) -> list[str]:
    """Returns one string per row of a table; the first begins with the split."""
    if not rows:
        return []
    (split, *names), *tasks = rows
    each = [
        " ".join([task, *(f"{n} {v}" for n, v in zip(names, own, strict=True) if v.strip())])
        for task, *own in tasks
    ]
    return [f"{split}: {each[0].strip()}", *(text.strip() for text in each[1:])]


def _number(value: float | None) -> str:
    """Formats a number in eight characters, so that columns are aligned."""
    if value is None:
        return " " * 8
    is_plain = value == 0 or 1e-3 <= abs(value) < 1e3
    return f"{value:8.4f}" if is_plain else f"{value:8.2g}"
