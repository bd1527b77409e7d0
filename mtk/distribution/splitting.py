"""Splits batches over replicas, so that the global batch does not depend on their number.

TensorFlow's own splitting is not used: over several processes, where a batch does not divide
evenly, it hands out some examples twice and others never.
"""

from typing import Any

import tensorflow as tf


def split_training(batches: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Any:
    """Splits each batch evenly over the replicas of all workers.

    Replica r of n takes the r-th of n successive parts of each tensor of the batch. Every worker
    builds the same pipeline and keeps its own parts.

    Args:
        batches: Global batches of one size. They may end, but are to be read no further than that.
        strategy: The strategy.

    Returns:
        A data set for `fit(..., steps_per_epoch=...)`. With one replica, `batches` itself.

    Raises:
        ValueError: If the number of examples is not a multiple of the number of replicas.
    """
    number = strategy.num_replicas_in_sync
    if number == 1:
        return batches
    for size in sorted({spec.shape[0] for spec in tf.nest.flatten(batches.element_spec)}, key=str):
        if size is None or size % number:
            raise ValueError(
                f"A batch is split evenly over {number} replicas, but there are tensors of "
                f"{size or 'an unknown number of'} examples in it. Choose a batch size so that "
                f"the batch (with inputs per task: each task's share) is a multiple of {number}, "
                "or fewer replicas."
            )
    # Without an end, replicas need not agree in each step whether there is another batch.
    return _split(batches.repeat(), strategy, endless=True)


def split_evaluation(batches: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Any:
    """Splits each batch over the replicas as evenly as it goes; parts may even be empty.

    Args:
        batches: Global batches, of any size.
        strategy: The strategy.

    Returns:
        A data set for `evaluate(..., steps=...)`. With one replica, `batches` itself.
    """
    if strategy.num_replicas_in_sync == 1:
        return batches
    return _split(batches, strategy, endless=False)


def _split(batches: tf.data.Dataset, strategy: tf.distribute.Strategy, endless: bool) -> Any:
    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        number = context.num_replicas_in_sync
        here = number // context.num_input_pipelines
        first = context.input_pipeline_id * here

        def parts(*batch: Any) -> tf.data.Dataset:
            structure = batch if len(batch) > 1 else batch[0]
            replicas = tf.data.Dataset.range(first, first + here)
            return replicas.map(lambda replica: _part(structure, replica, number))

        split = batches.flat_map(parts).prefetch(2 * here)
        infinite = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return split.apply(infinite) if endless else split

    return strategy.distribute_datasets_from_function(of_worker)


def _part(batch: Any, replica: tf.Tensor, number: int) -> Any:
    def rows(tensor: tf.Tensor) -> tf.Tensor:
        size = tf.shape(tensor, tf.int64)[0]
        part = tensor[size * replica // number : size * (replica + 1) // number]
        known = tensor.shape[0]
        even = known is not None and known % number == 0
        return tf.ensure_shape(part, (known // number if even else None, *tensor.shape[1:]))

    return tf.nest.map_structure(rows, batch)
