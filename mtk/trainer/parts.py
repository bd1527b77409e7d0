"""A batch in parts that a combiner compares: each is a sub-batch of its own in the step."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mtk.elements import Elements, TaskPass
from mtk.trainer import batch
from mtk.trainer.batch import SubBatch


def divided(sub_batches: Sequence[SubBatch], number: int) -> list[SubBatch]:
    """Divides a batch into parts of one size.

    Part p has each `number`-th example from the p-th on: as many of each task where tasks follow
    one another in the batch, and the same ones however many replicas there are.

    Args:
        sub_batches: The replica's part of the batch.
        number: How many parts.

    Returns:
        The sub-batches of the first part, then those of the second, and so on.

    Raises:
        ValueError: If a sub-batch does not divide.
    """
    if number == 1:
        return list(sub_batches)
    sizes = [_checked(batch.size(each), number) for each in sub_batches]
    return [
        _part_of(each, size, p, number)
        for p in range(number)
        for each, size in zip(sub_batches, sizes, strict=True)
    ]


def check_parts(size: int | None, number: int) -> None:
    """Checks that a number of examples divides into the parts that a combiner compares.

    Args:
        size: Examples of a batch, or of the share of one task, on a replica; None if unknown.
        number: How many parts.

    Raises:
        ValueError: If it does not.
    """
    if size is not None and size % number:
        raise ValueError(
            f"The combiner compares {number} parts of each batch, of one size, and a replica has "
            f"{size} examples. Choose a batch size that is a multiple of {number} for each "
            "replica, and drop a smaller last batch."
        )


def inputs_of_whole(sub_batches: Sequence[SubBatch]) -> list[Any]:
    """Returns what the network read of each sub-batch before the batch was divided."""
    number = 1 + max(each.part for each in sub_batches)
    size = len(sub_batches) // number
    by_sub_batch = [sub_batches[at::size] for at in range(size)]
    return [
        tf.nest.map_structure(lambda *parts: _interleaved(parts), *[each.inputs for each in parts])
        for parts in by_sub_batch
    ]


def passes_of_whole(found: Sequence[TaskPass], num_tasks: int) -> list[TaskPass]:
    """Returns what a forward pass gave of each task, over all parts of the batch.

    Args:
        found: What it gave of the tasks of the first part, then of the second, and so on.
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


def _checked(size: int | tf.Tensor, number: int) -> int | tf.Tensor:
    if isinstance(size, int):
        check_parts(size, number)
        return size
    message = (
        f"A batch does not divide into the {number} parts that the combiner compares. Give batches "
        f"of a multiple of {number} examples, the last one too: `batch(n, drop_remainder=True)`."
    )
    check = tf.debugging.assert_equal(size % number, 0, message=message)
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(size)


def _part_of(sub_batch: SubBatch, size: int | tf.Tensor, index: int, number: int) -> SubBatch:
    own = tf.nest.map_structure(lambda part: _every(part, size, index, number), sub_batch)
    return own._replace(part=index)


def _every(part: Any, size: int | tf.Tensor, first: int, number: int) -> Any:
    """Returns each `number`-th example from `first` on."""
    if isinstance(part, tf.SparseTensor):
        rows, others = part.indices[:, 0], part.indices[:, 1:]
        mine = tf.equal(rows % number, first)
        indices = tf.concat([rows[:, None] // number, others], 1)
        shape = tf.concat([part.dense_shape[:1] // number, part.dense_shape[1:]], 0)
        indices, values = tf.boolean_mask(indices, mine), tf.boolean_mask(part.values, mine)
        return tf.SparseTensor(indices, values, shape)
    if isinstance(part, tf.RaggedTensor):
        return tf.gather(part, tf.range(first, size, number))
    # The size, as the check of it comes before.
    return part[first:size:number] if tf.is_tensor(part) else part


def _interleaved(parts: Sequence[Any]) -> Any:
    """Puts the examples of parts where they were in the batch."""
    if parts[0] is None:
        return None
    if isinstance(parts[0], tf.SparseTensor):
        whole = tf.sparse.concat(0, list(parts))
        size = parts[0].dense_shape[0]
        rows, others = whole.indices[:, :1], whole.indices[:, 1:]
        rows = rows % size * len(parts) + rows // size
        indices = tf.concat([rows, others], 1)
        return tf.sparse.reorder(tf.SparseTensor(indices, whole.values, whole.dense_shape))
    number, whole = len(parts), tf.concat(parts, 0)
    size = parts[0].nrows() if isinstance(whole, tf.RaggedTensor) else tf.shape(parts[0])[0]
    order = tf.reshape(tf.transpose(tf.reshape(tf.range(number * size), (number, size))), [-1])
    return tf.gather(whole, order)


def _joined(found: Sequence[TaskPass]) -> TaskPass:
    """Adds up what a pass gave of one task in each part."""
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
