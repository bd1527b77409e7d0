"""Which metrics a model measures, and which way each is better."""

from collections.abc import Iterable
from typing import Any

import keras

from mtk.directions import directions
from mtk.losses import SmoothedCrossentropy
from mtk.monitor import Monitor, resolve

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
    return resolve(given, known, losses, one_unit=len({_unit(task.loss) for task in tasks}) <= 1)


def _unit(loss: Any) -> Any:
    function = getattr(loss, "fn", loss)
    if isinstance(loss, _NATS) or any(function is each for each in _NATS_FUNCTIONS):
        return "nats"
    if isinstance(loss, keras.losses.Loss) and not hasattr(loss, "fn"):
        return type(loss)
    return function if callable(function) else type(loss)
