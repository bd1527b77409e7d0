"""Which metrics a model measures, and which way each is better."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras

from mtk.directions import directions
from mtk.losses import SmoothedCrossentropy
from mtk.monitor import MEAN_LOSS, MIN, Monitor, resolve

# Losses that are measured in nats, of which a mean over tasks has a meaning.
_NATS = (
    keras.losses.BinaryCrossentropy,
    keras.losses.CategoricalCrossentropy,
    keras.losses.SparseCategoricalCrossentropy,
    SmoothedCrossentropy,
)
_NATS_FUNCTIONS = (
    keras.losses.binary_crossentropy,
    keras.losses.categorical_crossentropy,
    keras.losses.sparse_categorical_crossentropy,
)


def monitor_of(given: Any, model: keras.Model, logs: Iterable[str] = ()) -> Monitor:
    """Returns the monitor that is meant for a model.

    Args:
        given: As `mtk.monitor.resolve` takes it. The losses of a `MultiTaskModel` have one unit if
            all are cross-entropies, or all of one class, or one function.
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
    one_unit = len({_unit(task.loss) for task in tasks}) <= 1
    return resolve(given, known, losses, one_unit)


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


def _unit(loss: Any) -> Any:
    function = getattr(loss, "fn", loss)
    if isinstance(loss, _NATS) or any(function is each for each in _NATS_FUNCTIONS):
        return "nats"
    if isinstance(loss, keras.losses.Loss) and not hasattr(loss, "fn"):
        return type(loss)
    return function if callable(function) else type(loss)
