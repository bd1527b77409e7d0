"""Pipelines over one source: shuffled and endless for training, ordered for evaluation."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from mtk.data.order import derive_seed, index_batches
from mtk.data.sources import Source, Structure

# Maps a batch and a key, int64 `(2,)`, different at each step, to an augmented batch.
Augment = Callable[[Structure, tf.Tensor], Structure]

_AUGMENTATION = 1  # separates the seed of the augmentation from that of the order


def train_batches(
    source: Source,
    batch_size: int,
    steps: int,
    seed: int,
    first_step: int = 0,
    augment: Augment | None = None,
) -> tf.data.Dataset:
    """Yields the batches of a training run; see `mtk.data.order`.

    Args:
        source: The examples.
        batch_size: Examples per step.
        steps: Number of steps of the whole run.
        seed: Seed of the order and of the augmentation.
        first_step: The first step: a run resumed there reads the same data as an uninterrupted one.
        augment: Augments a batch randomly, by stateless operations with the key that it receives.

    Returns:
        A dataset of `steps - first_step` batches.
    """
    starts = batch_size * np.arange(steps + 1, dtype=np.int64)
    indices = index_batches(source.num_examples, starts, seed, first_step)
    batches = indices.map(source.read, num_parallel_calls=tf.data.AUTOTUNE)
    if augment is not None:
        word = derive_seed(seed, 0, _AUGMENTATION)
        keys = tf.data.Dataset.range(first_step, steps).map(lambda step: tf.stack([word, step]))
        batches = tf.data.Dataset.zip(batches, keys)
        batches = batches.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def ordered_batches(source: Source, batch_size: int) -> tf.data.Dataset:
    """Yields every example once, in order; the last batch may be smaller."""
    indices = tf.data.Dataset.range(source.num_examples).batch(batch_size)
    return indices.map(source.read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
