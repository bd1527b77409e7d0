"""Results of a run, by split, task and metric, as records and in words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtk.callbacks.base import entries
from mtk.workloads.base import Scores

_MOST_ALONE = 8  # Tasks that can be read at a glance.


def by_task(logs: Mapping[str, Any], names: Sequence[str], split: str) -> dict[str, Any]:
    """Returns the metrics of one split as `{"loss": mean, "tasks": {task: {metric: value}}}`.

    Infinite and NaN values become None, since JSON cannot represent them.

    Args:
        logs: Keras' logs.
        names: Names of the tasks.
        split: "validation" reads the keys with "val_", other splits those without.
    """
    start = "val_" if split == "validation" else ""
    own = {key.removeprefix(start): v for key, v in logs.items() if key.startswith(start)}
    tasks: dict[str, dict[str, float | None]] = {name: {} for name in names}
    found: dict[str, Any] = {}
    for entry in entries(own, names, split):
        value = entry.value if math.isfinite(entry.value) else None
        (tasks[entry.task] if entry.task else found)[entry.name] = value
    return {**found, "tasks": tasks}


def as_logs(scores: Scores) -> dict[str, float]:
    """Returns scores by the names of tasks' metrics in Keras' logs."""
    return {
        f"{task}_{name}": value for task, found in scores.items() for name, value in found.items()
    }


def table(figures: Mapping[str, Any]) -> list[str]:
    """Returns the lines of a table with a row for each task and a column for each metric.

    If there are many tasks, a last row has the means of the metrics that all of them have.

    Args:
        figures: The results as returned by `by_task`.
    """
    rows: dict[str, Mapping[str, float | None]] = dict(figures["tasks"])
    columns = sorted({m for metrics in rows.values() for m in metrics}, key=_loss_first)
    width = max(12, *(len(name) for name in rows))
    lines = [f"  {'':{width}}" + "".join(f"{name:>{_wide(name)}}" for name in columns)]
    for task, metrics in rows.items():
        cells = (f"{_number(metrics, name):>{_wide(name)}}" for name in columns)
        lines.append(f"  {task:{width}}" + "".join(cells))
    if len(rows) > _MOST_ALONE:
        shared = [name for name in columns if all(name in metrics for metrics in rows.values())]
        means = {name: _mean(rows.values(), name) for name in shared}
        cells = (f"{_number(means, name):>{_wide(name)}}" for name in columns)
        lines.append(f"  {'mean':{width}}" + "".join(cells))
    return [line.rstrip() for line in lines]


def _mean(rows: Iterable[Mapping[str, float | None]], name: str) -> float | None:
    values = [metrics.get(name) for metrics in rows]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _loss_first(metric: str) -> tuple[bool, str]:
    return metric != "loss", metric


def _wide(name: str) -> int:
    return max(10, len(name) + 2)


def _number(metrics: Mapping[str, float | None], name: str) -> str:
    if name not in metrics:
        return "-"
    value = metrics[name]
    return "NaN" if value is None else f"{value:.4f}"


def summary(result: Mapping[str, Any], run_dir: str) -> str:
    """Returns the results of a run in words."""
    if "worker" in result:
        return f"Worker {result['worker']}: {result['status']}. See worker 0 for the results."
    if result["status"] == "interrupted":
        return (
            f"Interrupted at step {result['steps']}. Run the same command again to continue: "
            f"{run_dir}"
        )
    if result["status"] == "paused":
        return (
            f"Paused at step {result['steps']}, as requested. The run can be continued: {run_dir}"
        )
    if result["status"] == "diverged":
        what = (
            f"the loss, gradient or weight of task {result['task']!r}"
            if result["task"]
            else "the gradient"
        )
        return (
            f"Diverged: {what} is infinite or NaN at step {result['steps']}. Record: "
            f"{run_dir}\n"
            "Lower the learning rate, or clip the gradient (clip_norm)."
        )
    split = "Test" if "test" in result else "Validation (the test split is sealed)"
    at = f"step {result['selected_step']} of {result['steps']}"
    chosen = f"{split} at {at} (selected on validation):"
    curves = f"Curves: tensorboard --logdir {run_dir}"
    return "\n".join([chosen, *table(result.get("test") or result["validation"]), curves])
