"""The record of a run's method, for comparisons between runs."""

from typing import Any

from mtk.callbacks.base import entries
from mtk.callbacks.monitored import monitor_of
from mtk.directions import directions
from mtk.experiment.results import as_logs
from mtk.monitor import MEAN_LOSS
from mtk.trainer import MultiTaskModel
from mtk.workloads import Workload


def describe(model: MultiTaskModel, data: Workload) -> dict[str, Any]:
    """Returns the facts by which runs are compared, so that they are not guessed from names.

    Args:
        model: A compiled model that has seen a batch.
        data: The workload.

    Returns:
        `combiner` (its class), `static` (whether the weights are the same at every step),
        `task_weights` (`{task: share}` if they are, with a sum of one, else None), `directions`
        (`{task: {metric: "min", "max" or None}}`), `one_unit` (whether a mean of the losses is
        meaningful), and `parameters` (of the network).
    """
    combiner = model.combiner
    return {
        "combiner": type(combiner).__name__,
        "static": combiner.is_static,
        "task_weights": _weights(model, data) if combiner.is_static else None,
        "directions": _directions(model, data),
        "one_unit": monitor_of(None, model).name == MEAN_LOSS,
        "parameters": model.network.count_params(),
    }


def _weights(model: MultiTaskModel, data: Workload) -> dict[str, float] | None:
    given = getattr(model.combiner, "normalized", None)
    if given is None:
        return None if data.shares is None else dict(data.shares)
    return dict(zip(model.task_names, map(float, given), strict=True))


def _directions(model: MultiTaskModel, data: Workload) -> dict[str, dict[str, str | None]]:
    known = directions(model)
    scored = {task: dict(data.score_directions) for task in model.task_names}
    known |= as_logs(scored)  # type: ignore[arg-type]
    found: dict[str, dict[str, str | None]] = {name: {} for name in model.task_names}
    named = entries(dict.fromkeys(known, 0.0), model.task_names, "train")
    for entry, direction in zip(named, known.values(), strict=True):
        if entry.task:
            found[entry.task][entry.name] = direction
    return found
