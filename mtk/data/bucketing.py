"""Bucketing: batches of examples of similar length."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mtk.data.order import derive_seed, index_batches
from mtk.data.sources import Source

_DEAL = 3  # separates the seed of the dealing from those of order, augmentation and offsets


def bucketed_batches(
    source: Source,
    starts: Sequence[int] | np.ndarray,
    seed: int,
    first_step: int = 0,
    stream: int = 0,
    window: int = 1,
) -> tf.data.Dataset:
    """Yields the indices of the examples of each step, similar in length.

    The order is that of `index_batches`, but within each `window` of successive steps the examples
    are sorted and redistributed: each step gets as many as before, in consecutive groups whose
    order of steps is random. Thus every step keeps its number of examples, each example is still
    read once per epoch, and batches of different streams (tasks) at the same step hold the same
    quantiles.

    Args:
        source: The examples, with a `sort_key`.
        starts: As for `index_batches`.
        seed: The run's seed.
        first_step: The first step.
        stream: Index of this stream in the run.
        window: Number of steps among which the examples are sorted; 1 keeps the order.

    Returns:
        A dataset of `steps - first_step` int64 tensors `(starts[t + 1] - starts[t],)`.

    Raises:
        ValueError: If the window is not positive or the source has no `sort_key`; see also
            `index_batches`.
    """
    if window == 1:
        return index_batches(source.num_examples, starts, seed, first_step, stream)
    if window < 1 or source.sort_key is None:
        raise ValueError(
            "Bucketing needs a window of 1 or more steps and a source with a `sort_key`. "
            f"Received: window={window}, sort_key={source.sort_key}"
        )
    starts = np.asarray(starts, np.int64)
    steps, first_window = len(starts) - 1, first_step // window
    borders = np.append(np.arange(0, steps, window), steps)
    windows = index_batches(source.num_examples, starts[borders], seed, first_window, stream)
    sizes, keys = tf.constant(np.diff(starts)), tf.constant(source.sort_key)
    word = derive_seed(seed, 0, _DEAL)

    def deal(number: tf.Tensor, indices: tf.Tensor) -> tf.data.Dataset:
        hands = sizes[number * window : (number + 1) * window]
        # The same for all streams; `order[r]` is the step that gets the r-th lot of examples.
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.size(hands)), [word, number])
        ends = tf.cumsum(tf.gather(hands, order))
        ranks = tf.argsort(order)
        ranked = tf.gather(indices, tf.argsort(tf.gather(keys, indices), stable=True))

        def hand(step: tf.Tensor) -> tf.Tensor:
            end = ends[ranks[step]]
            return ranked[end - hands[step] : end]

        return tf.data.Dataset.range(tf.size(hands, tf.int64)).map(hand)

    batches = windows.enumerate(first_window).flat_map(deal).skip(first_step % window)
    found = np.diff(starts)
    if found.size and (found == found[0]).all():
        batches = batches.map(lambda batch: tf.ensure_shape(batch, (int(found[0]),)))
    return batches.apply(tf.data.experimental.assert_cardinality(steps - first_step))
