"""The metrics that a model measures, and their directions of improvement."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from mtk.directions import directions, losses, measured, unit
from mtk.monitor import DIRECTIONS, MEAN_LOSS, MIN, Monitor, resolve, task_of

_SHORT = {
    "root_mean_squared_error": "rmse",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
}


def monitor_of(given: Any, model: keras.Model, logs: Iterable[str] = ()) -> Monitor:
    """Returns the monitor for a model from a user's description.

    Args:
        given: `{task: metric}`, or a form of `mtk.monitor.resolve`. Losses and metrics have the
            same unit if all are cross-entropies, all fractions, or all of one class or function.
        model: A `MultiTaskModel`, or another Keras model.
        logs: Names in the logs of an evaluation, for models whose metrics are unknown before it.

    Raises:
        ValueError: If the model does not measure the metric, or its direction is unknown.
    """
    known: dict[str, str | None] = {
        name.removeprefix("val_"): None for name in logs if name.startswith("val_")
    }
    known |= directions(model)
    own = losses(model)
    if given is None and not hasattr(model, "tasks"):
        given = MEAN_LOSS  # The loss that Keras minimizes.
    given = by_names(given, [name.removesuffix("_loss") for name in own], known)
    units = {name: unit(each) for name, each in measured(model).items()}
    return resolve(given, known, [*own], units)


def by_names(given: Any, tasks: Sequence[str], known: Iterable[str]) -> Any:
    """Returns `{task: metric}` as names of metrics in the logs, and anything else unchanged.

    Args:
        given: The description of a monitor; case is ignored, and short names such as "rmse" match.
        tasks: Names of the tasks.
        known: Names of the metrics in the logs.

    Raises:
        ValueError: If a task is unknown.
    """
    if not isinstance(given, Mapping) or any(each in DIRECTIONS for each in given.values()):
        return given
    if not given or {*given} & ({*known} - {*tasks}):
        return given
    unknown = sorted({*given} - {*tasks}, key=str)
    if unknown:
        raise ValueError(
            f"`monitor` must be {{task: metric}}, but there are no tasks {unknown}. Tasks: "
            f"{list(tasks)}"
        )
    plain = {_plain(name): name for name in known}
    names = [f"{task}_{metric}" for task, metric in given.items()]
    return [plain.get(_plain(name), name) for name in names]


def _plain(name: str) -> str:
    name = name.lower()
    for long, short in _SHORT.items():
        name = name.removesuffix(long) + short if name.endswith(f"_{long}") else name
    return name


def of_trained(monitor: Monitor, model: keras.Model) -> Monitor:
    """Returns a monitor without the tasks that static weights of zero do not train.

    The losses of their untrained heads drift with the trunk and would decide the selection.

    Args:
        monitor: The monitor. If no term remains, the mean loss of the trained tasks is returned.
        model: A trained model.
    """
    combiner: Any = getattr(model, "combiner", None)
    shares = getattr(combiner, "normalized", None)
    if shares is None or all(shares) or not combiner.is_static:
        return monitor
    names = model.task_names
    trained = {name for name, share in zip(names, shares, strict=True) if share}
    kept = tuple(term for term in monitor.terms if task_of(term[0], names) in trained)
    if monitor.name == MEAN_LOSS or not kept:
        losses = tuple((f"{name}_loss", MIN) for name in names if name in trained)
        return Monitor(MEAN_LOSS, MIN, losses)
    return dataclasses.replace(monitor, terms=kept)
