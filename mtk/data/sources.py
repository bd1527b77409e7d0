"""Examples that can be read by index."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# A batch, or the arrays that batches are taken from: tensors in nested tuples and dicts, each with
# the examples along its first axis.
Structure = Any


class Source(NamedTuple):
    """A set of examples.

    Attributes:
        num_examples: How many there are.
        read: Maps int64 indices `(B,)` to a batch, in the graph of a `tf.data` pipeline.
        lengths: Integers `(num_examples,)`, where examples differ in length.
    """

    num_examples: int
    read: Callable[[tf.Tensor], Structure]
    lengths: np.ndarray | None = None


def in_memory(arrays: Structure, prepare: Callable[[Structure], Structure] | None = None) -> Source:
    """Makes a source of arrays.

    Args:
        arrays: Arrays in nested tuples and dicts, each with N examples along its first axis; for
            example `(images, {task: labels})`. Images best stay uint8, a quarter of the memory.
        prepare: Maps what was gathered to the batch that the model takes, for example images to
            normalized float32.

    Returns:
        The source.

    Raises:
        ValueError: If the arrays differ in their number of examples.
    """
    # Tensors once, on the host: a pipeline gets them by reference, and no accelerator holds them.
    with tf.device("CPU"):
        tensors = tf.nest.map_structure(tf.convert_to_tensor, arrays)
    lengths = {int(tensor.shape[0]) for tensor in tf.nest.flatten(tensors)}
    if len(lengths) != 1:
        raise ValueError(
            "All arrays must hold the same number of examples along their first axis. "
            f"Received lengths: {sorted(lengths)}"
        )

    def read(indices: tf.Tensor) -> Structure:
        batch = tf.nest.map_structure(lambda tensor: tf.gather(tensor, indices), tensors)
        return batch if prepare is None else prepare(batch)

    return Source(lengths.pop(), read)
