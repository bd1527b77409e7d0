"""A task's unreduced loss: one value per label, with its weight."""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mtk.finite import asserted, nan_unless

LossFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Elements(NamedTuple):
    """A task's unreduced loss.

    Attributes:
        values: Tensor `(B, ...)`, float32: the loss of each example, token, pixel or label.
        weights: Tensor of the same shape: zero where the label is missing, elsewhere the sample
            weight, one by default.
        labels: The labels, with zeros in place of the missing ones.
        predictions: The predictions, without a gradient where a label is missing. They carry
            `labelled` for unweighted metrics.
        labelled: One where there is a label, zero where it is missing; None if none is missing.
    """

    values: tf.Tensor
    weights: tf.Tensor
    labels: tf.Tensor
    predictions: tf.Tensor
    labelled: tf.Tensor | None

    def of(self, labelled: tf.Tensor | None) -> "Elements":
        """Returns these elements with a mask of labels.

        Args:
            labelled: Boolean tensor `(B, ...)`; None if all are labelled and only weights differ.
        """
        predictions = tf.identity(self.predictions)
        # Not as `_keras_mask`, which Keras metrics would apply a second time.
        predictions._labelled = labelled
        there = tf.ones_like(self.weights) if labelled is None else tf.cast(labelled, tf.float32)
        return self._replace(predictions=predictions, labelled=there)


def elements(
    loss: LossFunction | keras.losses.Loss,
    y_true: tf.Tensor,
    y_pred: tf.Tensor,
    mask: tf.Tensor | None = None,
    missing: float | None = None,
    mask_zero: bool = True,
    class_weight: Mapping[int, float] | None = None,
) -> Elements:
    """Computes the loss of each label.

    A missing label contributes neither to the loss nor to any gradient: it is replaced, and its
    prediction is detached, since an infinite gradient times zero would be NaN. If an example has
    some of several labels, a loss that is a mean over the last axis is computed for each label
    separately; any other loss needs all labels of an example or none.

    Args:
        loss: A Keras loss, or a function of `(y_true, y_pred)`.
        y_true: Labels, `(B, ...)`.
        y_pred: Predictions, `(B, ...)`.
        mask: Zero where there is no label, the sample weight elsewhere: `(B,)`, or one for each
            element. A Keras mask attached to the predictions applies too.
        missing: Label value that marks a missing label; may be NaN.
        mask_zero: Whether a zero in `mask` marks a missing label. Otherwise only a boolean mask
            does, and a label of weight zero is counted.
        class_weight: Further weights, by the class of a label; one for other classes.

    A loss that is one number for the whole batch (of a replica, a micro-batch) is assigned to each
    of its examples, weighted by their mean weight, as in Keras. It includes padding, and cannot be
    used with missing labels.

    Raises:
        ValueError: If the loss is a single number and labels may be missing, or `class_weight` is
            given for labels that are not classes.
    """
    padding = getattr(y_pred, "_keras_mask", None)
    y_true, y_pred = given = _aligned(tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred))
    if padding is not None and padding.shape.rank >= y_pred.shape.rank:
        padding = None  # The predictions no longer have these positions.
    counts_zero = mask is not None and not mask_zero and mask.dtype != tf.bool
    weights = _weights(y_true, mask, missing, padding)
    there = _weights(y_true, None, missing, padding) if counts_zero else weights
    by_label = weights is not None and is_for_each_label(weights, y_true, y_pred)
    if by_label and not _is_mean_over_labels(loss, y_pred):
        by_label = False
        weights = tf.reduce_mean(weights, -1) if counts_zero else _of_whole_examples(weights)
        if there is not None and is_for_each_label(there, y_true, y_pred):
            there = _of_whole_examples(there)
    if there is not None:
        y_true = tf.where(of_rank(there, y_true) != 0, y_true, tf.zeros_like(y_true))
        y_pred = tf.where(of_rank(there, y_pred) != 0, y_pred, tf.stop_gradient(y_pred))
    if by_label:
        values = loss_values(loss, y_true[..., None], y_pred[..., None])
    else:
        values = loss_values(loss, y_true, y_pred)
    if _is_of_batch(values, y_true, y_pred):
        if _weights(y_true, None if counts_zero else mask, missing, None) is not None:
            raise ValueError(
                f"The loss {_name(loss)} returns one number for the whole batch, so missing "
                "labels cannot be left out. Return one value per example: `tf.reduce_mean(..., "
                "axis=-1)`. If no label is missing, give the sample weights to a model without "
                "`tasks=` as numbers: `mask.astype('float32')`."
            )
        if padding is None:
            is_sum = weights is None and getattr(loss, "reduction", None) == "sum"
            values = _of_each_example(values, tf.shape(y_true)[0], is_sum)
        else:
            values = tf.broadcast_to(loss_values(loss, *given), tf.shape(padding))
    own_mask = getattr(values, "_keras_mask", None)  # Keras' `ignore_class`.
    values = tf.cast(values, tf.float32)
    shape = _shape(values, y_true)
    if own_mask is not None:
        own = tf.cast(of_rank(own_mask, values), tf.float32)
        weights, there = (own if x is None else of_rank(x, values) * own for x in (weights, there))
    if class_weight:
        factor = _of_classes(y_true, class_weight, values.shape.rank)
        weights = factor if weights is None else of_rank(weights, factor) * factor
    if weights is None:
        return Elements(values, tf.ones(shape), y_true, y_pred, None)
    weights = tf.broadcast_to(of_rank(weights, values), shape)
    labelled = None if there is None else tf.broadcast_to(of_rank(there, values), shape) != 0
    return Elements(values, weights, y_true, y_pred, None).of(labelled)


class TaskPass(NamedTuple):
    """Result of a forward pass for one task, summed over its labels on this replica.

    Attributes:
        total: The sum of the weighted losses.
        count: The number of labels.
        weight: The sum of their weights.
        elements: The unreduced loss, with labels and predictions; None without labels.
        trained: The sum trained in place of `total`, if a combiner weighs examples.
    """

    total: tf.Tensor
    count: tf.Tensor
    weight: tf.Tensor
    elements: Elements | None
    trained: tf.Tensor | None = None


def summed(elements: Elements, importance: tf.Tensor | None = None) -> TaskPass:
    """Returns the sums of a task's elements.

    Args:
        elements: The elements.
        importance: `(B,)`: weight of each example's losses in training, one by default.
    """
    if importance is not None:
        values = elements.values * tf.reshape(
            importance, [-1] + [1] * (elements.values.shape.rank - 1)
        )
        trained = summed(elements._replace(values=values)).total
        return summed(elements)._replace(trained=trained)
    weights, values, labelled = elements.weights, elements.values, elements.labelled
    counted = weights if labelled is None else labelled
    count = tf.math.count_nonzero(counted, dtype=tf.float32)
    if labelled is None:
        return TaskPass(tf.reduce_sum(values), count, count, elements)
    total = tf.reduce_sum(tf.where(weights != 0, values * weights, 0.0))
    return TaskPass(total, count, tf.reduce_sum(weights), elements)


def _is_of_batch(values: tf.Tensor, y_true: tf.Tensor, y_pred: tf.Tensor) -> bool:
    """Whether a loss is one number for the whole batch."""
    if values.shape.rank == 0:
        return True
    return values.shape[0] == 1 and 1 not in (y_true.shape[0], y_pred.shape[0])


def _of_each_example(values: tf.Tensor, size: tf.Tensor, is_sum: bool) -> tf.Tensor:
    """Assigns the loss of a batch to each of its examples; a sum in equal parts."""
    if is_sum:
        values /= tf.cast(size, values.dtype)
    return tf.broadcast_to(values, tf.concat([[size], tf.shape(values)[1:]], 0))


def _aligned(y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds a last axis to predictions `(B,)`: Keras losses take the mean over the last axis."""
    if y_pred.shape.rank != 1:
        return y_true, y_pred
    return (y_true[:, None] if y_true.shape.rank == 1 else y_true), y_pred[:, None]


def _weights(
    y_true: tf.Tensor, mask: tf.Tensor | None, missing: float | None, padding: tf.Tensor | None
) -> tf.Tensor | None:
    """Returns label weights, of a shape that is a prefix of the labels'; None if all are one."""
    found = [] if mask is None else [tf.cast(mask, tf.float32)]
    if padding is not None:
        found.append(tf.cast(padding, tf.float32))
    if missing is not None and math.isnan(missing):
        if y_true.dtype.is_floating:
            found.append(tf.cast(~tf.math.is_nan(y_true), tf.float32))
    elif missing is not None:
        found.append(tf.cast(tf.not_equal(y_true, tf.cast(missing, y_true.dtype)), tf.float32))
    if not found:
        return None
    widest = max(found, key=lambda part: part.shape.rank)
    total = widest
    for part in found:
        if part is not widest:
            total = total * of_rank(part, widest)
    return total


def _of_classes(y_true: tf.Tensor, class_weight: Mapping[int, float], rank: int) -> tf.Tensor:
    """Returns the weight of each label's class, in a shape of this rank, as Keras does."""
    if y_true.shape.rank == rank + 1:
        one = y_true.shape[-1] == 1
        y_true = tf.squeeze(y_true, -1) if one else tf.argmax(y_true, axis=-1)
    if y_true.shape.rank != rank:
        raise ValueError(
            "`class_weight` needs labels that are classes or one-hot vectors, with one loss "
            f"value each. Received labels of shape {y_true.shape} and losses of rank {rank}."
        )
    numbers = tf.cast(tf.round(tf.cast(y_true, tf.float32)), tf.int32)
    table = [class_weight.get(number, 1.0) for number in range(max(class_weight) + 1)]
    is_known = (numbers >= 0) & (numbers < len(table))
    found = tf.gather(tf.constant(table, tf.float32), tf.where(is_known, numbers, 0))
    return tf.where(is_known, found, 1.0)


def is_for_each_label(weights: tf.Tensor, y_true: tf.Tensor, y_pred: tf.Tensor) -> bool:
    """Whether examples have several labels, each with its own weight."""
    rank = y_true.shape.rank
    several = y_true.shape[-1] != 1 and rank == y_pred.shape.rank and rank >= 2
    return several and weights.shape.rank == rank and weights.shape[-1] != 1


def _is_mean_over_labels(loss: LossFunction | keras.losses.Loss, y_pred: tf.Tensor) -> bool:
    """Whether a loss is the mean of the losses of each label in the last axis.

    Tested on random numbers, since losses do not declare it.
    """
    shape = (*[2] * (y_pred.shape.rank - 1), y_pred.shape[-1])
    if shape[-1] is None:
        return False
    rng = np.random.default_rng(0)
    # Zeros and ones for classification losses, numbers between for logarithms of labels.
    labels = (rng.integers(0, 2, shape), rng.uniform(0.1, 0.9, shape))
    return any(_adds_up(loss, y, rng.uniform(0.1, 0.9, shape)) for y in labels)


def _adds_up(loss: LossFunction | keras.losses.Loss, y: np.ndarray, p: np.ndarray) -> bool:
    with tf.init_scope(), warnings.catch_warnings(action="ignore"):
        y_true, y_pred = tf.constant(y, tf.float32), tf.constant(p, tf.float32)
        try:
            with keras.StatelessScope():  # Each starts from the loss's current state.
                whole = loss_values(loss, y_true, y_pred)
            with keras.StatelessScope():
                each = loss_values(loss, y_true[..., None], y_pred[..., None])
        except (ValueError, TypeError, tf.errors.InvalidArgumentError):
            return False
        if each.shape != y_true.shape or whole.shape != y_true.shape[:-1]:
            return False
        return bool(np.allclose(tf.reduce_mean(each, -1), whole, rtol=1e-4, atol=1e-6))


def _of_whole_examples(weights: tf.Tensor) -> tf.Tensor:
    """Returns the weights of examples, whose labels must be all present or all missing."""
    there = tf.cast(weights != 0, tf.float32)
    some, every = tf.reduce_max(there, -1), tf.reduce_min(there, -1)
    message = (
        "Some labels of an example are missing, but the loss is not a mean over the labels in "
        "the last axis. Use a loss that is, or mask such examples out."
    )
    fine = tf.equal(some, every)
    found = asserted(tf.reduce_all(fine), message, tf.reduce_mean(weights, -1) * every)
    return nan_unless(fine, found)  # With XLA, such an example makes the loss NaN.


def loss_values(
    loss: LossFunction | keras.losses.Loss, y_true: tf.Tensor, y_pred: tf.Tensor
) -> tf.Tensor:
    """Calls a loss as Keras does: in the loss's dtype, and functions with tensors of equal rank.

    Args:
        loss: A Keras loss, or a function of `(y_true, y_pred)`.
        y_true: Labels, `(B, ...)`.
        y_pred: Predictions, `(B, ...)`.

    Returns:
        The unreduced losses.
    """
    dtype = loss.dtype if isinstance(loss, keras.losses.Loss) else keras.config.floatx()
    y_true, y_pred = tf.cast(y_true, dtype), tf.cast(y_pred, dtype)
    if isinstance(loss, keras.losses.Loss):
        return tf.convert_to_tensor(loss.call(y_true, y_pred))
    return tf.convert_to_tensor(loss(*_same_rank(y_true, y_pred)))


def _shape(values: tf.Tensor, y_true: tf.Tensor) -> list[int | tf.Tensor]:
    """Returns the shape of the loss, taken from the labels where possible.

    Thus the labels of a batch can be counted before the network has run.
    """
    of_labels, of_values = tf.shape(y_true), tf.shape(values)
    unknown = [size is None for size in y_true.shape.as_list()]
    return [
        size
        if size is not None
        else of_labels[d]
        if d < len(unknown) and unknown[d]
        else of_values[d]
        for d, size in enumerate(values.shape.as_list())
    ]


def of_rank(mask: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Brings `mask` to the rank of `target` by adding or dropping last axes."""
    while mask.shape.rank > target.shape.rank:
        if mask.shape[-1] != 1:
            mask = tf.reduce_min(tf.cast(mask, tf.float32), axis=-1, keepdims=True)
        mask = tf.squeeze(mask, axis=-1)
    while mask.shape.rank < target.shape.rank:
        mask = mask[..., None]
    return mask


def _same_rank(y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds or drops a last axis of size one, so that `(B,)` and `(B, 1)` do not broadcast."""
    if y_true.shape.rank == y_pred.shape.rank - 1 and y_pred.shape[-1] == 1:
        return y_true[..., None], y_pred
    if y_pred.shape.rank == y_true.shape.rank - 1 and y_true.shape[-1] == 1:
        return y_true, y_pred[..., None]
    return y_true, y_pred


def _name(loss: Any) -> str:
    return repr(getattr(loss, "__name__", getattr(loss, "name", type(loss).__name__)))
