"""Splits batches over replicas, so that the global batch does not depend on their number."""

from typing import Any

import numpy as np
import tensorflow as tf


def split(batches: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Any:
    """Splits each batch over the replicas of all workers, as evenly as possible.

    Replica r of n takes the r-th of n successive parts of every tensor of the batch; a part may be
    empty. Each worker builds the whole pipeline and keeps its own parts.

    TensorFlow's own splitting is not used: over several processes, if a batch does not divide
    evenly, it yields some examples twice and others never.

    Args:
        batches: Global batches.
        strategy: The strategy.

    Returns:
        A distributed dataset. With one replica, or if already split, `batches` itself.

    Raises:
        ValueError: If there are several workers, but no global seed for equal shuffling.
    """
    if strategy.num_replicas_in_sync == 1 or not isinstance(batches, tf.data.Dataset):
        return batches

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        if context.num_input_pipelines > 1:
            _check_seed()
        number = context.num_replicas_in_sync
        here = number // context.num_input_pipelines
        first = context.input_pipeline_id * here

        def parts(*batch: Any) -> tf.data.Dataset:
            structure = batch if len(batch) > 1 else batch[0]
            replicas = tf.data.Dataset.range(first, first + here)
            return replicas.map(lambda replica: _part(structure, replica, number))

        return batches.flat_map(parts).prefetch(2 * here)

    return strategy.distribute_datasets_from_function(of_worker)


def _check_seed() -> None:
    """Raises a ValueError if workers would shuffle differently."""
    from tensorflow.python.eager import context

    if context.global_seed() is None:
        raise ValueError(
            "Each worker shuffles all data and keeps its part, so all workers must shuffle in "
            "the same way. Call `keras.utils.set_random_seed(seed)` in each of them, with the same "
            "seed, before anything else."
        )


def split_batch(batch: Any, strategy: tf.distribute.Strategy) -> Any:
    """Splits one batch over the replicas, as `split` does.

    Args:
        batch: A global batch, of tensors or arrays.
        strategy: The strategy.

    Returns:
        The batch with distributed values. With one replica, or if already split, `batch` itself.
    """
    number = strategy.num_replicas_in_sync

    def distributed(tensor: Any) -> Any:
        if tensor is None or isinstance(tensor, tf.distribute.DistributedValues):
            return tensor
        whole = tf.convert_to_tensor(tensor) if isinstance(tensor, np.ndarray) else tensor
        return strategy.experimental_distribute_values_from_function(
            lambda context: _part(whole, context.replica_id_in_sync_group, number)
        )

    return batch if number == 1 else tf.nest.map_structure(distributed, batch)


def split_iterator(iterator: Any, strategy: tf.distribute.Strategy) -> None:
    """Makes Keras' iterator over an epoch read the result of `split`.

    Args:
        iterator: Keras' `TFEpochIterator`, before its first batch.
        strategy: The strategy.
    """
    if strategy.num_replicas_in_sync > 1 and not hasattr(iterator, "split_batches"):
        iterator.split_batches = split(iterator.data_adapter.get_tf_dataset(), strategy)
        iterator._distributed_dataset = iterator.split_batches


def _part(batch: Any, replica: tf.Tensor, number: int) -> Any:
    def part_of(tensor: Any) -> Any:
        if tensor is None:
            return None
        if isinstance(tensor, tf.SparseTensor):
            size = tensor.dense_shape[0]
        elif isinstance(tensor, tf.RaggedTensor):
            size = tensor.nrows(tf.int64)
        else:
            size = tf.shape(tensor, tf.int64)[0]
        part = rows(tensor, size * replica // number, size * (replica + 1) // number)
        if not isinstance(tensor, tf.Tensor):
            return part
        known = tensor.shape[0]
        even = known is not None and known % number == 0
        return tf.ensure_shape(part, (known // number if even else None, *tensor.shape[1:]))

    return tf.nest.map_structure(part_of, batch)


def never_empty(inputs: Any, size: tf.Tensor) -> Any:
    """Returns inputs unchanged, or one example of zeros if there is none.

    Args:
        inputs: Inputs of a network: tensors `(B, ...)`, dense, sparse or ragged.
        size: B.
    """
    missing = tf.cast(tf.equal(size, 0), tf.int64)

    def padded(part: Any) -> Any:
        if part is None:
            return None
        if isinstance(part, tf.SparseTensor):
            shape = tf.concat([part.dense_shape[:1] + missing, part.dense_shape[1:]], 0)
            return tf.SparseTensor(part.indices, part.values, shape)
        if isinstance(part, tf.RaggedTensor):
            lengths = tf.fill([missing], tf.zeros((), part.row_splits.dtype))
            return tf.concat([part, tf.RaggedTensor.from_row_lengths(part.values[:0], lengths)], 0)
        shape = tf.concat([[missing], tf.shape(part, tf.int64)[1:]], 0)
        return tf.concat([part, tf.zeros(shape, part.dtype)], 0)

    return tf.nest.map_structure(padded, inputs)


def rows(part: Any, first: tf.Tensor, last: tf.Tensor) -> Any:
    """Returns the examples from `first` to before `last`.

    Args:
        part: A tensor `(B, ...)`, dense, sparse or ragged; anything else is returned unchanged.
        first: Integer scalar.
        last: Integer scalar.
    """
    if isinstance(part, tf.SparseTensor):
        start = tf.concat([[tf.cast(first, tf.int64)], tf.zeros_like(part.dense_shape[1:])], 0)
        number = tf.concat([[tf.cast(last - first, tf.int64)], part.dense_shape[1:]], 0)
        return tf.sparse.slice(part, start, number)
    return part[first:last] if tf.is_tensor(part) else part


def check_even(spec: Any, replicas: int) -> None:
    """Checks that the sizes of training batches are multiples of the number of replicas.

    Args:
        spec: Spec of the global batches.
        replicas: Number of replicas.

    Raises:
        ValueError: If they are not.
    """
    if replicas == 1:
        return
    sizes = {part.shape[0] for part in tf.nest.flatten(spec) if part is not None}
    uneven = sorted(size for size in sizes if size is not None and size % replicas)
    if uneven:
        raise ValueError(
            f"A batch, and each task's sub-batch, must be divisible by the {replicas} replicas, "
            f"but there are parts of {', '.join(map(str, uneven))} examples. Choose a batch size "
            f"whose parts are multiples of {replicas}, or fewer replicas."
        )
