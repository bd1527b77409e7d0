"""Curves of every task for TensorBoard."""

import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk.callbacks import layout
from mtk.callbacks.base import Entry, StepCallback, entries
from mtk.callbacks.summary_writer import SummaryWriter
from mtk.ranges import check_count, check_nonnegative

# Share of the run's time that gradient diagnostics may take.
_SHARE = 0.03
# With more tasks than this, cosines are one image instead of K (K - 1) / 2 curves.
_MOST_CURVES = 8


class TaskBoard(StepCallback):
    """Writes the loss, weight, gradient norm and metrics of each task, and the gradient cosines.

    The runs `train`, `validation` and `test` hold the tags `loss/<task>`, `<metric>/<task>`,
    `weight/<task>`, `gradient_norm/<task>`, `cosine/<task>~<task>` (above 8 tasks: one image),
    `learning_rate`, `steps_per_second` and, if the model may skip steps, `skipped_steps`. The tab
    "Custom scalars" shows all losses in one chart, all weights in another, and a panel of metrics.
    TensorBoard gives each run a colour, so with up to 8 tasks the curves of each task are also
    written to a separate run, `task_<task>`, for these charts. `<metric>/mean` is the mean over
    tasks, if all tasks have the metric. Train values are means over the steps since the last
    evaluation.

    Norms and cosines need the gradient of each task, which costs about (1 + 2K)/3 ordinary steps if
    the model does not compute these gradients anyway. To keep the total cost below 3 % of the run,
    they are measured only at sufficiently large multiples of `every` steps for K tasks. If tasks
    share no variable, nothing is measured.

    Args:
        log_dir: Folder of the event files.
        every: Steps between two points of a curve.
        measure_every: Steps between two measurements of gradients; 0 for none. By default, the
            first multiple of `every` that costs less than 3 % of the run.

    Attributes:
        measured: The step of the last measurement that was written, or -1.

    Raises:
        ValueError: If `every` is not positive or `measure_every` is negative.
    """

    def __init__(self, log_dir: str | Path, every: int = 100, measure_every: int | None = None):
        super().__init__()
        check_count(every=every)
        if measure_every is not None:
            check_nonnegative(measure_every=measure_every)
        self.log_dir = Path(log_dir)
        self.every = every
        self.measure_every = measure_every
        self.measured = -1
        self.curves = SummaryWriter(self.log_dir)

    def begin(self) -> None:
        if self.task_names:
            schedule = self.model.gradient_schedule
            self._before = schedule.diagnostics_every
            schedule.diagnostics_every = self._interval()
        if not self.curves.begun:
            panels = layout.layout(not self._has_many_tasks, self._metrics)
            write = tf.summary.experimental.write_raw_pb
            self.curves.put("train", 0, lambda: write(panels, step=0))

    def get_state(self) -> dict[str, Any]:
        return {"measured": self.measured}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_begin(epoch, logs)
        # The time of validation is not part of any step.
        self._clock, self._clock_step = time.monotonic(), self.step

    def stepped(self, logs: Mapping[str, Any]) -> None:
        if self.passed(self.every):
            self.write("train", logs)
            self._write_optimizer()
            self._write_gradients()

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        self.write("train", logs)
        self.flush()

    def write(self, split: str, logs: Mapping[str, Any], step: int | None = None) -> None:
        """Writes a point for each value.

        Args:
            split: The split of the logs without "val_" in their name.
            logs: Keras' logs.
            step: The step they belong to; by default the last one.
        """
        found = entries(logs, self.task_names, split)
        at = self.step if step is None else step
        for entry in [*found, *_means(found, len(self.task_names))]:
            point = {f"{entry.name}/{entry.task or 'mean'}": entry.value}
            self.curves.points(entry.split, at, point)
            if entry.task:
                start = "" if entry.split == "train" else f"{entry.split}_"
                self._write_by_task(entry.task, at, f"{start}{entry.name}", entry.value)

    def end(self) -> None:
        if self.task_names:
            self.model.gradient_schedule.diagnostics_every = (
                self._before
            )  # Later calls of `fit` without a board cost nothing.
        self.flush()

    def flush(self) -> None:
        """Flushes everything written to disk."""
        self.curves.flush(self.step)

    def _write_by_task(self, task: str, step: int, name: str, value: float) -> None:
        """Writes a point to the task's own run, unless there are too many tasks."""
        if not self._has_many_tasks:
            own = re.sub(r"[^\w.-]", "_", task)
            self.curves.points(f"task_{own}", step, {f"by_task/{name}": value})

    @property
    def _metrics(self) -> list[str]:
        """Unique names of the tasks' metrics."""
        tasks = self.model.tasks if self.task_names else ()
        found = [m.name for task in tasks for m in (*task.metrics, *task.weighted_metrics)]
        return list(dict.fromkeys(found))

    @property
    def _has_many_tasks(self) -> bool:
        """Whether cosines are written as an image, and tasks have no separate runs."""
        return len(self.task_names) > _MOST_CURVES

    def _interval(self) -> int | None:
        """Returns the steps between two measurements, or None for no measurements."""
        chosen = self.measure_every
        if chosen is None:
            chosen = rare_enough(len(self.task_names), self.every)
        # Tasks that share nothing have no gradients to compare.
        return chosen if chosen and self.model.structure.shared else None

    def _write_optimizer(self) -> None:
        seconds = time.monotonic() - self._clock
        speed = (self.step - self._clock_step) / max(seconds, 1e-9)
        self._clock, self._clock_step = time.monotonic(), self.step
        points: dict[str, float | np.ndarray] = {
            "learning_rate": _number(self.model.optimizer.learning_rate),
            "steps_per_second": speed,
        }
        if self.task_names and self.model.skips_steps:
            points["skipped_steps"] = _number(self.model.skipped_steps)
        self.curves.points("train", self.step, points)

    def _write_gradients(self) -> None:
        measured = int(_number(getattr(self.model, "last_measured", -1)))
        if measured <= self.measured or not self.model.structure.shared:
            return
        self.measured = measured
        norms, cosines = norms_and_cosines(_number(self.model.last_gramian))
        names = self.task_names
        points = {f"gradient_norm/{name}": norm for name, norm in zip(names, norms, strict=True)}
        if self._has_many_tasks:
            picture, legend = layout.heat_map(cosines)[None], layout.legend(names)
            draw = tf.summary.image
            self.curves.put("train", measured, lambda: draw("cosines", picture, description=legend))
        else:
            for i, j in zip(*np.triu_indices(len(names), k=1), strict=True):
                points[f"cosine/{names[i]}~{names[j]}"] = cosines[i, j]
        self.curves.points("train", measured, points)
        for name, norm in zip(names, norms, strict=True):
            self._write_by_task(name, measured, "gradient_norm", norm)


def _means(found: Sequence[Entry], num_tasks: int) -> list[Entry]:
    """Returns means over tasks of the metrics that all have; the logs have that of the loss."""
    values: dict[tuple[str, str], list[float]] = {}
    for entry in found:
        if entry.task and entry.name not in ("loss", "weight"):
            values.setdefault((entry.split, entry.name), []).append(entry.value)
    return [
        Entry(split, "", name, sum(own) / num_tasks)
        for (split, name), own in values.items()
        if len(own) == num_tasks
    ]


def rare_enough(num_tasks: int, every: int) -> int:
    """Returns the multiple of `every` steps at which measurements stay below 3 % of the run.

    A measured step costs as much as (1 + 2K)/3 ordinary steps, so (2K - 2)/3 steps are added.
    """
    extra = (2 * num_tasks - 2) / 3
    return every * max(1, math.ceil(extra / _SHARE / every))


def norms_and_cosines(gramian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the norms `(K,)` and the cosines `(K, K)`, NaN where a norm is zero or infinite."""
    gramian = gramian.astype(np.float64)
    norms = np.sqrt(np.diag(gramian))
    products = np.outer(norms, norms)
    undefined = np.full_like(products, np.nan)
    return norms, np.divide(
        gramian, products, out=undefined, where=(products > 0) & np.isfinite(products)
    )


def _number(variable: Any) -> np.ndarray:
    # With several replicas, a variable has several components; this takes the first.
    return keras.ops.convert_to_numpy(variable)
