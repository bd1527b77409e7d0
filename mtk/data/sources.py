"""Sources of examples that can be read by index."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from mtk.data import synthetic

# A batch, or the arrays that batches are taken from: nested tuples and dicts of tensors with the
# examples along the first axis.
Structure = Any


class Source(NamedTuple):
    """A set of examples.

    Attributes:
        num_examples: Number of examples.
        read: Maps int64 indices `(B,)` to a batch, in the graph of a `tf.data` pipeline.
        sort_key: Integers `(num_examples,)`, if examples differ in length: examples with close keys
            have similar lengths.
    """

    num_examples: int
    read: Callable[[tf.Tensor], Structure]
    sort_key: np.ndarray | None = None


def check_room(what: str, size: int) -> None:
    """Raises a ValueError for data that do not fit into memory.

    Args:
        what: Name of the data.
        size: Their size in bytes.
    """
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > room:
        raise ValueError(
            f"{what} takes {size / 1e9:,.1f} GB, but this machine has {room / 1e9:,.1f} GB of "
            "memory. Use `mtk.workloads.Datasets` with data sets that read files, or "
            "`mtk.workloads.Arrays` with arrays from `np.load(path, mmap_mode='r')`."
        )


def in_memory(arrays: Structure, prepare: Callable[[Structure], Structure] | None = None) -> Source:
    """Makes a source from arrays in memory.

    Args:
        arrays: Arrays in nested tuples and dicts, each with N examples along its first axis; for
            example `(images, {task: labels})`. Keep images as uint8, which take a quarter of the
            memory.
        prepare: Maps the gathered batch to that of the model, for example images to normalized
            float32.

    Returns:
        The source.

    Raises:
        ValueError: If the arrays differ in their number of examples.
    """
    if any(map(synthetic.is_repeated, tf.nest.flatten(arrays))):
        return memory_mapped(arrays, prepare)  # Only its shape is large.
    # Converted once, on the host: a pipeline gets them by reference, and no accelerator holds them.
    with tf.device("CPU"):
        tensors = tf.nest.map_structure(tf.convert_to_tensor, arrays)
    number = _length(tensors)

    def read(indices: tf.Tensor) -> Structure:
        batch = tf.nest.map_structure(lambda tensor: tf.gather(tensor, indices), tensors)
        return batch if prepare is None else prepare(batch)

    return Source(number, read)


def memory_mapped(
    arrays: Structure, prepare: Callable[[Structure], Structure] | None = None
) -> Source:
    """Makes a source of arrays on disk, such as those of `np.load(mmap_mode="r")`.

    The operating system caches as much of them as fits into memory. Reading goes through Python,
    one batch at a time; `in_memory` is faster for data that fit.

    Args:
        arrays: As in `in_memory`.
        prepare: As in `in_memory`.

    Returns:
        The source.

    Raises:
        ValueError: If the arrays differ in their number of examples.
    """
    number, flat = _length(arrays), tf.nest.flatten(arrays)

    def gather(indices: np.ndarray) -> list[np.ndarray]:
        return [array[indices] for array in flat]

    def read(indices: tf.Tensor) -> Structure:
        types = [tf.as_dtype(array.dtype) for array in flat]
        rows = tf.numpy_function(gather, [indices], types, stateful=False)
        for row, array in zip(rows, flat, strict=True):
            row.set_shape((indices.shape[0], *array.shape[1:]))
        batch = tf.nest.pack_sequence_as(arrays, rows)
        return batch if prepare is None else prepare(batch)

    return Source(number, read)


def _length(arrays: Structure) -> int:
    lengths = {int(array.shape[0]) for array in tf.nest.flatten(arrays)}
    if len(lengths) != 1:
        raise ValueError(
            "All arrays must have the same number of examples along their first axis. Received "
            f"lengths: {sorted(lengths)}"
        )
    return lengths.pop()
