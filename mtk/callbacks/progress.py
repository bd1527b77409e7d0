"""Tells how far the training is."""

import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from mtk import duration
from mtk.callbacks.base import StepCallback, entries
from mtk.status_line import StatusLine


class Progress(StepCallback):
    """Shows steps, losses and the time left, and a line for each validation.

    On a terminal a bar that is drawn again and again; elsewhere a line every few seconds.

    Args:
        steps: Steps of the whole training.
        every: Seconds between two lines where there is no terminal.
        stream: Where to write; the standard error stream by default.
    """

    def __init__(self, steps: int, every: float = 10.0, stream: TextIO | None = None):
        super().__init__()
        self.steps = steps
        self.status = StatusLine(stream or sys.stderr)
        self.every = 0.2 if self.status.on_terminal else every
        self._shown_at = 0.0

    def begin(self) -> None:
        self._traced = False
        self._first = self.step
        self._started = self._shown_at = time.monotonic()
        if self.status.on_terminal:
            self.status.show("tracing the first step …", stays=False)

    def stepped(self, logs: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if not self._traced:
            # The first step is traced; its time says nothing about the others.
            self._traced, self._first, self._started = True, self.step, now
        if now - self._shown_at >= self.every:
            self._shown_at = now
            self.status.show(self._line(now, logs), stays=not self.status.on_terminal)

    def on_test_begin(self, logs: Any = None) -> None:
        del logs
        if self.status.on_terminal:
            self.status.show(f"step {self.step}: validating …", stays=False)

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        validation = {key: value for key, value in logs.items() if key.startswith("val_")}
        shown = self._numbers(validation, names=None) or self._numbers(logs, names=("loss",))
        self.status.show(f"step {self.step}/{self.steps} · {shown}", stays=True)

    def _line(self, now: float, logs: Mapping[str, Any]) -> str:
        done = self.step / self.steps
        speed = (self.step - self._first) / max(now - self._started, 1e-9)
        left = duration.in_words((self.steps - self.step) / speed) if speed else "?"
        bar = self.status.bar(done)
        losses = self._numbers(logs, names=("loss",))
        return f"{bar}step {self.step}/{self.steps} · {speed:.1f}/s · {left} left · {losses}"

    def _numbers(self, logs: Mapping[str, Any], names: tuple[str, ...] | None) -> str:
        """Returns the metrics of each task as `split: task loss 0.1234 accuracy …`."""
        # Keras sorts its logs; tasks come in their own order, what concerns all tasks last.
        by_task: dict[str, list[str]] = {name: [] for name in [*self.task_names, ""]}
        split = ""
        for entry in entries(logs, self.task_names, "train"):
            if (entry.task or not self.task_names) and (names is None or entry.name in names):
                split = entry.split
                by_task[entry.task].append(f"{entry.name} {entry.value:.4g}")
        parts = [" ".join([name, *numbers]).strip() for name, numbers in by_task.items() if numbers]
        return f"{split}: {', '.join(parts)}" if parts else ""
