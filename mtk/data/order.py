"""The order of the data, as a function of the seed and the step only."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

_State = tuple[tf.Tensor, tf.Tensor]  # the epoch, and its permutation
_Span = tuple[tf.Tensor, tf.Tensor]  # the batch's first position, and its end (exclusive)


def derive_seed(seed: int, *path: int) -> int:
    """Derives a separate seed for each purpose.

    Args:
        seed: The run's seed, nonnegative.
        path: Numbers that identify the purpose, for example the index of a task.

    Returns:
        An integer of 63 bits; different for different arguments.

    Raises:
        ValueError: If the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"A seed must be an integer, 0 or more. Received: {seed}")
    sequence = np.random.SeedSequence(seed, spawn_key=path)
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def permutation(num_examples: int, seed: int, epoch: tf.Tensor | int) -> tf.Tensor:
    """Returns the order of one epoch: int64 `(num_examples,)`.

    Does not use `index_shuffle`, which would need no memory but keeps only about 8 bits of a word
    of the seed, so that epochs would repeat.
    """
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.experimental.stateless_shuffle(tf.range(num_examples, dtype=tf.int64), key)


def index_batches(
    num_examples: int,
    starts: Sequence[int] | np.ndarray,
    seed: int,
    first_step: int = 0,
    stream: int = 0,
) -> tf.data.Dataset:
    """Yields the indices of the examples of each step.

    The examples form an endless stream of successive permutations of all of them. Step t takes the
    positions `starts[t]` to `starts[t + 1]`, across the border of two epochs if it is inside a
    batch, so that every example is read exactly once per epoch. A dataset from `first_step` on is
    the tail of the whole one, and starts without delay.

    Args:
        num_examples: Number of examples.
        starts: `(steps + 1,)` positions in the stream, nondecreasing; for batches of one size
            `batch_size * np.arange(steps + 1)`.
        seed: The run's seed.
        first_step: The first step.
        stream: Index of this stream in the run: each task has its own order.

    Returns:
        A dataset of `steps - first_step` int64 tensors `(starts[t + 1] - starts[t],)`.

    Raises:
        ValueError: If there are no examples, `starts` decreases, `first_step` is not a step of the
            run, or the seed is negative.
    """
    starts = np.asarray(starts, np.int64)
    sizes = np.diff(starts)
    _check(num_examples, starts, first_step)
    spans = tf.data.Dataset.from_tensor_slices((starts[first_step:-1], starts[first_step + 1 :]))
    nothing_read = (tf.constant(-1, tf.int64), tf.zeros((num_examples,), tf.int64))
    with _forgotten():
        indices = spans.scan(nothing_read, _reader(num_examples, derive_seed(seed, stream)))
    if sizes.size and (sizes == sizes[0]).all():  # a static shape, for XLA and for the layers
        indices = indices.map(lambda batch: tf.ensure_shape(batch, (int(sizes[0]),)))
    return indices.apply(tf.data.experimental.assert_cardinality(sizes.size - first_step))


@contextlib.contextmanager
def _forgotten() -> Iterator[None]:
    """Adds the function of a scan to a temporary graph: the default one keeps it forever.

    Each run of a process would leak some megabytes.
    """
    if not tf.executing_eagerly():
        yield
        return
    with tf.Graph().as_default(), tf.__internal__.eager_context.eager_mode():
        yield


def _check(num_examples: int, starts: np.ndarray, first_step: int) -> None:
    if num_examples < 1:
        raise ValueError(f"`num_examples` must be 1 or more. Received: {num_examples}")
    if starts.ndim != 1 or not starts.size or starts[0] < 0 or (np.diff(starts) < 0).any():
        raise ValueError("`starts` must be a non-decreasing vector of positions, 0 or more.")
    if not 0 <= first_step < starts.size:
        raise ValueError(
            f"`first_step` must lie in 0 ... {starts.size - 1}, the number of steps. "
            f"Received: {first_step}"
        )


def _reader(num_examples: int, seed: int) -> Callable[[_State, _Span], tuple[_State, tf.Tensor]]:
    """Returns the body of the scan, whose state is the permutation of the current epoch."""

    def read(state: _State, span: _Span) -> tuple[_State, tf.Tensor]:
        epoch, order = state
        position, stop = span
        batch = tf.zeros((0,), tf.int64)
        # Autograph makes a graph loop of this, of one iteration, or two where two epochs meet.
        while position < stop:
            tf.autograph.experimental.set_loop_options(
                shape_invariants=[(batch, tf.TensorShape([None]))]
            )
            if position // num_examples != epoch:
                epoch = position // num_examples
                order = permutation(num_examples, seed, epoch)
            offset = position % num_examples
            part = order[offset : offset + stop - position]
            batch = tf.concat([batch, part], 0)
            position += tf.size(part, tf.int64)
        return (epoch, order), batch

    return read
