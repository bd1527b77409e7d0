"""Which way a metric is better, and in which unit it is."""

from typing import Any

import keras

from mtk.losses import SmoothedCrossentropy
from mtk.monitor import DIRECTIONS, MAX, MIN, SHARE

_metrics = keras.metrics
# By class, with what is derived from it. Means and sums of anything are in neither list.
_SHARES = (
    _metrics.Accuracy,
    _metrics.BinaryAccuracy,
    _metrics.CategoricalAccuracy,
    _metrics.SparseCategoricalAccuracy,
    _metrics.TopKCategoricalAccuracy,
    _metrics.SparseTopKCategoricalAccuracy,
    _metrics.AUC,
    _metrics.Precision,
    _metrics.Recall,
    _metrics.PrecisionAtRecall,
    _metrics.RecallAtPrecision,
    _metrics.SensitivityAtSpecificity,
    _metrics.SpecificityAtSensitivity,
    _metrics.FBetaScore,
    _metrics.IoU,
    _metrics.MeanIoU,
    _metrics.CosineSimilarity,
    _metrics.PearsonCorrelation,
    _metrics.ConcordanceCorrelation,
    _metrics.R2Score,
)
_HIGHER = (*_SHARES, _metrics.TruePositives, _metrics.TrueNegatives)
_LOWER = (
    _metrics.BinaryCrossentropy,
    _metrics.CategoricalCrossentropy,
    _metrics.SparseCategoricalCrossentropy,
    _metrics.KLDivergence,
    _metrics.Poisson,
    _metrics.MeanSquaredError,
    _metrics.RootMeanSquaredError,
    _metrics.MeanAbsoluteError,
    _metrics.MeanAbsolutePercentageError,
    _metrics.MeanSquaredLogarithmicError,
    _metrics.LogCoshError,
    _metrics.Hinge,
    _metrics.SquaredHinge,
    _metrics.CategoricalHinge,
    _metrics.FalsePositives,
    _metrics.FalseNegatives,
    keras.losses.Loss,
)
# Losses that are measured in nats, of which a mean over tasks has a meaning.
_NATS_CLASSES = (
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
# As functions: they are means of them by themselves.
_ACCURACIES = (
    _metrics.binary_accuracy,
    _metrics.categorical_accuracy,
    _metrics.sparse_categorical_accuracy,
    _metrics.top_k_categorical_accuracy,
    _metrics.sparse_top_k_categorical_accuracy,
)


def direction(metric: Any) -> str | None:
    """Returns "min" or "max", whichever is better of a metric; None where that is not known.

    Its own attribute `direction` tells ("min" or "max"), or `_direction`, where Keras' metrics have
    "up" or "down"; or that of the function that it takes the mean of, or its class. Never its name.

    Args:
        metric: A metric or a loss, as an object or a function.

    Raises:
        ValueError: If `direction` is another text.
    """
    function, own = _told(metric, "direction")
    if own is None:
        own = {"up": MAX, "down": MIN}.get(_told(metric, "_direction")[1] or "")
    if own in DIRECTIONS:
        return own
    if own:
        raise ValueError(
            f"The attribute `direction` of a metric must be 'min' or 'max'. Received: {own!r} "
            f"for {metric!r}"
        )
    if isinstance(metric, _HIGHER) or any(function is each for each in _ACCURACIES):
        return MAX
    return MIN if isinstance(metric, _LOWER) or _is_loss(function) else None


def unit(metric: Any) -> Any:
    """Returns what metrics have in common whose mean has a meaning.

    Its own attribute `unit` tells; else it is a share of one, in nats, or what its class or the
    function that it takes the mean of measures, whatever that is.

    Args:
        metric: A metric or a loss, as an object or a function.
    """
    function, own = _told(metric, "unit")
    if own:
        return own
    if isinstance(metric, _SHARES) or any(function is each for each in _ACCURACIES):
        return SHARE
    if isinstance(metric, _NATS_CLASSES) or any(function is each for each in _NATS_FUNCTIONS):
        return "nats"
    is_object = isinstance(function, (keras.losses.Loss, keras.metrics.Metric))
    return type(function) if is_object else function


def _told(metric: Any, name: str) -> tuple[Any, str | None]:
    """Returns the function that a metric or a loss takes the mean of, or itself, and an attribute.

    Args:
        metric: The metric.
        name: Of the attribute, which is a text of the metric or else of the function.
    """
    function = getattr(metric, "fn", getattr(metric, "_fn", metric))
    own = (getattr(each, name, None) for each in (metric, function))
    return function, next((text for text in own if isinstance(text, str)), None)


def directions(model: keras.Model) -> dict[str, str | None]:
    """Returns "min" or "max" by the name of each metric that a model measures; None if unknown.

    Args:
        model: A `MultiTaskModel`, or another Keras model.
    """
    weights = {f"{task.name}_weight" for task in getattr(model, "tasks", [])}
    found = {name: direction(each) for name, each in measured(model).items() if name not in weights}
    return found | dict.fromkeys(("loss", *losses(model)), MIN)


def measured(model: keras.Model) -> dict[str, Any]:
    """Returns what a model measures, a metric or a loss, by its name in the logs.

    Args:
        model: A `MultiTaskModel`, or another Keras model, whose own are known once it has run.
    """
    compiled = getattr(model, "_compile_metrics", None)
    own = {
        f"{each.output_name}_{metric.name}" if each.output_name else metric.name: metric
        for each in getattr(compiled, "_flat_metrics", None) or []
        if each is not None
        for metric in each.metrics
    }
    # A metric of a task holds the one that knows.
    others = {m.name: getattr(m, "metric", m) for m in model.metrics if m is not compiled}
    return own | others | losses(model)


def losses(model: keras.Model) -> dict[str, Any]:
    """Returns the losses of a model's tasks or outputs, by their names in the logs."""
    if hasattr(model, "tasks"):
        return {f"{task.name}_loss": task.loss for task in model.tasks}
    compiled = getattr(getattr(model, "_compile_loss", None), "_flat_losses", None) or []
    return {f"{each.name}_loss": each.loss for each in compiled if len(compiled) > 1}


def set_modes(callbacks: Any, model: keras.Model) -> None:
    """Tells callbacks with `mode="auto"` which way the metric that they monitor is better.

    Args:
        callbacks: A callback, a list of them, or None.
        model: A `MultiTaskModel`, or another Keras model.
    """
    known = directions(model)
    for callback in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
        found = known.get(str(getattr(callback, "monitor", "")).removeprefix("val_"))
        if found and getattr(callback, "mode", None) == "auto":
            callback.mode = found


def _is_loss(function: Any) -> bool:
    """Whether a function is one of Keras' losses, of which less is better."""
    name = getattr(function, "__name__", "")
    return callable(function) and getattr(keras.losses, name, None) is function
