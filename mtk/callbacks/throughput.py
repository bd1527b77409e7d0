"""Measures the speed of training and how its time is spent."""

import time
from collections.abc import Mapping
from typing import Any

from mtk.callbacks.base import StepCallback


class Throughput(StepCallback):
    """Measures steps per second, without the time of tracing, evaluations and checkpoints.

    A step in which the training function was traced (made into a graph) counts as tracing: the
    first one, and the first with measured gradients. The rest of the time, including other
    callbacks, counts as training. Time spent waiting for data is not separated; for that, use the
    profiler (see `Profile`).

    Times are summed over several calls of `fit`.

    Args:
        batch_size: Examples per step, over all replicas.
    """

    def __init__(self, batch_size: int):
        super().__init__()
        self.batch_size = batch_size
        self._steps = self._traced_steps = self._tracings = 0
        self._total = self._tracing = self._evaluation = 0.0
        self._fit_started: float | None = None

    def begin(self) -> None:
        self._fit_started = time.monotonic()
        self._tracings = self._count_tracings()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self._step_started = time.monotonic()

    def stepped(self, logs: Mapping[str, Any]) -> None:
        del logs
        made, tracings = self.step - self.previous_step, self._count_tracings()
        self._steps += made
        if tracings > self._tracings:
            self._tracings = tracings
            self._traced_steps += made
            self._tracing += time.monotonic() - self._step_started

    def on_test_begin(self, logs: Any = None) -> None:
        del logs
        self._test_started = time.monotonic()

    def on_test_end(self, logs: Any = None) -> None:
        del logs
        self._evaluation += time.monotonic() - self._test_started

    def end(self) -> None:
        self._total, self._fit_started = self._elapsed(), None

    def report(self, checkpoints: float = 0.0) -> dict[str, Any]:
        """Returns the measurements, during `fit` or at its end.

        Args:
            checkpoints: Seconds by which checkpoints delayed steps and evaluations.

        Returns:
            The number of steps, steps and examples per second (None if every step was traced), and
            the seconds of each kind.
        """
        total = self._elapsed()
        training = max(total - self._tracing - self._evaluation - checkpoints, 0.0)
        steps = self._steps - self._traced_steps
        speed = steps / training if steps and training else None
        seconds = {
            "total": total,
            "training": training,
            "tracing": self._tracing,
            "evaluation": self._evaluation,
            "checkpoints": checkpoints,
        }
        return {
            "steps": self._steps,
            "steps_per_second": None if speed is None else round(speed, 3),
            "examples_per_second": None if speed is None else round(speed * self.batch_size, 1),
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
        }

    def _elapsed(self) -> float:
        running = 0.0 if self._fit_started is None else time.monotonic() - self._fit_started
        return self._total + running

    def _count_tracings(self) -> int:
        # Plain Keras models do not count tracings; only their first step counts as traced.
        return int(getattr(self.model, "tracings", min(self._steps, 1)))


def in_words(report: Mapping[str, Any]) -> str:
    """Returns a report as one line of text."""
    speed, seconds = report["steps_per_second"], report["seconds"]
    kinds = ("tracing", "evaluation", "checkpoints")
    others = ", ".join(f"{kind} {seconds[kind]:.1f} s" for kind in kinds if seconds[kind] > 0)
    if speed is None:
        return f"Speed: too few steps to measure (other time: {others or 'none'})"
    examples = report["examples_per_second"]
    return f"Speed: {speed:.1f} steps/s, {examples:.0f} examples/s; other time: {others or 'none'}"
