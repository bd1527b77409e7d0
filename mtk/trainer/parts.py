"""Batches in parts that a combiner compares, each a separate sub-batch in the step."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtk.elements import Elements, TaskPass
from mtk.trainer import batch
from mtk.trainer.batch import SubBatch


def divided(sub_batches: Sequence[SubBatch], number: int) -> list[SubBatch]:
    """Divides a batch into equal parts.

    Part p has every `number`-th example, starting with the p-th: an equal number of each task if
    tasks are in sequence in the batch, and the same examples for any number of replicas.

    Args:
        sub_batches: The replica's part of the batch.
        number: Number of parts.

    Returns:
        The sub-batches of the first part, then those of the second, and so on.

    Raises:
        ValueError: If a sub-batch is not divisible.
    """
    if number == 1:
        return list(sub_batches)
    sizes = [number * batch.size_of_part(each, number) for each in sub_batches]
    return [
        _part_of(each, size, p, number)
        for p in range(number)
        for each, size in zip(sub_batches, sizes, strict=True)
    ]


def passes_of_whole(found: Sequence[TaskPass], num_tasks: int) -> list[TaskPass]:
    """Returns the result of a forward pass for each task, over all parts of the batch.

    Args:
        found: Results for the tasks of the first part, then of the second, and so on.
        num_tasks: K.
    """
    if len(found) == num_tasks:
        return list(found)
    return [_joined(found[k::num_tasks]) for k in range(num_tasks)]


def by_part(flat: tf.Tensor, number: int) -> tf.Tensor:
    """Returns a vector `(P * K,)` as `(P, K)`."""
    return tf.reshape(flat, (number, flat.shape[0] // number))


def mean_gramian(gramian: tf.Tensor, number: int) -> tf.Tensor:
    """Returns the inner products of the tasks' mean gradients over the parts.

    Args:
        gramian: Tensor `(P * K, P * K)`.
        number: P.
    """
    size = gramian.shape[0] // number
    return tf.reduce_mean(tf.reshape(gramian, (number, size, number, size)), (0, 2))


def _part_of(sub_batch: SubBatch, size: int | tf.Tensor, index: int, number: int) -> SubBatch:
    own = tf.nest.map_structure(lambda part: _every(part, size, index, number), sub_batch)
    return own._replace(part=index)


def _every(part: Any, size: int | tf.Tensor, first: int, number: int) -> Any:
    """Returns every `number`-th example, starting with `first`."""
    if isinstance(part, tf.SparseTensor):
        rows, others = part.indices[:, 0], part.indices[:, 1:]
        mine = tf.equal(rows % number, first)
        indices = tf.concat([rows[:, None] // number, others], 1)
        shape = tf.concat([part.dense_shape[:1] // number, part.dense_shape[1:]], 0)
        indices, values = tf.boolean_mask(indices, mine), tf.boolean_mask(part.values, mine)
        return tf.SparseTensor(indices, values, shape)
    # Up to `size`, so that the check of divisibility comes first.
    return tf.gather(part, tf.range(first, size, number)) if tf.is_tensor(part) else part


def _interleaved(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Restores the order of the examples of parts in the batch."""
    whole = tf.stack(parts, 1)
    return tf.reshape(whole, tf.concat([[-1], tf.shape(whole)[2:]], 0))


def _joined(found: Sequence[TaskPass]) -> TaskPass:
    """Joins the results of a pass for one task in each part."""
    total, count, weight = (tf.add_n([each[i] for each in found]) for i in range(3))
    each = [part.elements for part in found if part.elements is not None]
    if not each:
        return TaskPass(total, count, weight, None)
    values, weights, labels, predictions = (
        _interleaved([elements[i] for elements in each]) for i in range(4)
    )
    joined = Elements(values, weights, labels, predictions, None)
    if all(elements.labelled is None for elements in each):
        return TaskPass(total, count, weight, joined)
    there = [tf.ones_like(e.weights) if e.labelled is None else e.labelled for e in each]
    return TaskPass(total, count, weight, joined.of(_interleaved(there) != 0))
