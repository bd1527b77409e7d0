"""Sums over the replicas of a distribution strategy, from within a replica."""

from typing import Any, TypeVar

import tensorflow as tf

Tensors = TypeVar("Tensors")


def number_of_replicas() -> int:
    """Returns the number of replicas of a step, from within a replica."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def all_reduce(values: Tensors) -> Tensors:
    """Sums a structure of tensors over the replicas, from within a replica."""
    flat = tf.nest.flatten(values)
    if number_of_replicas() == 1 or not flat:
        return values
    # If a process has one replica, TensorFlow takes the device of the sum from the tensor. A value
    # read from a variable has none, but a copy that is made here does.
    flat = [value if value.device else tf.identity(value) for value in flat]
    # TensorFlow packs tensors that are summed at once into one tensor, regardless of their types,
    # except int32, which it sums one at a time.
    by_type: dict[Any, list[int]] = {}
    for index, value in enumerate(flat):
        alone = index if value.dtype == tf.int32 else None
        by_type.setdefault((value.dtype, alone), []).append(index)
    context = tf.distribute.get_replica_context()
    for places in by_type.values():
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [flat[i] for i in places])
        for index, value in zip(places, sums, strict=True):
            flat[index] = value
    return tf.nest.pack_sequence_as(values, flat)
