"""Which metrics a model measures, and which way each is better."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras

from mtk.directions import directions, unit
from mtk.monitor import MEAN_LOSS, MIN, Monitor, resolve


def monitor_of(given: Any, model: keras.Model, logs: Iterable[str] = ()) -> Monitor:
    """Returns the monitor that is meant for a model.

    Args:
        given: As `mtk.monitor.resolve` takes it. Losses and metrics have one unit if all are
            cross-entropies, all shares of one, or all of one class or one function.
        model: A `MultiTaskModel`, or another Keras model.
        logs: Names in the logs of an evaluation, for a model whose metrics are not known before.

    Raises:
        ValueError: If it measures no such metric, or nobody knows whether more is better.
    """
    tasks = list(getattr(model, "tasks", []))
    losses = [f"{task.name}_loss" for task in tasks]
    known: dict[str, str | None] = {
        name.removeprefix("val_"): None for name in logs if name.startswith("val_")
    }
    known |= directions(model)
    metrics = {m.name: unit(getattr(m, "metric", m)) for m in model.metrics}
    own = {f"{task.name}_loss": unit(task.loss) for task in tasks}
    return resolve(given, known, losses, metrics | own)


def of_trained(monitor: Monitor, model: keras.Model) -> Monitor:
    """Returns a monitor without the tasks that static weights of zero do not train.

    Their heads drift as the trunk moves, and would say which step of the other tasks is best.

    Args:
        monitor: It is returned as it is where nothing else is left.
        model: A model that was trained.
    """
    combiner: Any = getattr(model, "combiner", None)
    shares = getattr(combiner, "normalized", None)
    if shares is None or all(shares) or not combiner.is_static:
        return monitor
    names = model.task_names
    trained = {name for name, share in zip(names, shares, strict=True) if share}
    is_mean = monitor.name == MEAN_LOSS
    terms = tuple((f"{name}_loss", MIN) for name in names) if is_mean else monitor.terms
    kept = tuple(term for term in terms if _task_of(term[0], names) in trained)
    return dataclasses.replace(monitor, terms=kept or monitor.terms)


def _task_of(metric: str, names: Iterable[str]) -> str:
    own = [name for name in names if metric.startswith(f"{name}_")]
    return max(own, key=len, default="")
