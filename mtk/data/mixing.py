"""Tasks with their own inputs: batches that mix them in given proportions or equal shares."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from mtk.data.bucketing import bucketed_batches
from mtk.data.order import derive_seed
from mtk.data.sources import Source

# Numbers below are integer multiples of 2^-32, so that sums and shares are exact.
_ONE = 1 << 32
# The golden ratio's fractional part. Its multiples, modulo one, are spread as evenly as possible at
# any length of the sequence; being odd, it visits every multiple of 2^-32 once in 2^32 steps.
_GOLDEN = 2_654_435_769
_OFFSET = 2  # separates the seed of the offsets from those of order and augmentation


def temperature_shares(
    sizes: Mapping[str, int], temperature: float | tuple[float, float], steps: int = 1
) -> dict[str, np.ndarray]:
    """Returns each task's share of a batch at each step: `n ** (1 / T)`, normalized.

    A temperature of one samples tasks in proportion to their sizes, an infinite one samples all
    equally. Between two temperatures it changes linearly over the steps.

    Args:
        sizes: Number of examples of each task.
        temperature: T, or those of the first and of the last step.
        steps: Number of steps of the whole run; with a single temperature, 1 gives the share of all
            steps.

    Returns:
        Shares `(steps,)` by task, for `mixed_batches`.

    Raises:
        ValueError: If a size or a temperature is not positive.

    Reference:
        Arivazhagan et al., *Massively Multilingual Neural Machine Translation in the Wild* (2019),
        section 4.2.
    """
    first, last = temperature if isinstance(temperature, tuple) else (temperature, temperature)
    if not (first > 0 and last > 0 and sizes and min(sizes.values()) > 0):
        raise ValueError(
            "`temperature` and all `sizes` must be positive. Received: "
            f"temperature={temperature}, sizes={dict(sizes)}"
        )
    at = np.full(steps, first) if first == last else np.linspace(first, last, steps)
    logarithms = np.log(np.array([*sizes.values()], np.float64))
    powers = np.exp((logarithms - logarithms.max())[:, np.newaxis] / at)
    return dict(zip(sizes, powers / powers.sum(0), strict=True))


def task_counts(
    weights: Sequence[float] | np.ndarray, batch_size: int, steps: int, seed: int
) -> np.ndarray:
    """Returns the number of examples of each task in the batch of each step.

    Systematic sampling: the interval `[0, batch_size]` is divided into pieces of length
    `batch_size * weights[k]`; a task gets as many examples as there are integers, shifted by an
    offset, in its piece. Thus a count differs from its share by less than one. The offset rotates
    by the golden ratio at each step, so that the mean count is the share.

    Args:
        weights: The K shares, nonnegative, which are normalized to a sum of one; or `(steps, K)`,
            those of each step.
        batch_size: Examples per batch.
        steps: Number of steps of the whole run.
        seed: Seed of the first offset.

    Returns:
        int64 `(steps, K)`; each row sums to `batch_size`.

    Raises:
        ValueError: If a share is negative or not finite, all are zero, or the batch is empty.

    Reference:
        Madow, *On the theory of systematic sampling, II* (1949), for sampling with unequal shares.
    """
    shares = np.asarray(weights, np.float64)
    fits = shares.ndim == 1 or (shares.ndim == 2 and len(shares) == steps)
    if (
        not fits
        or not np.isfinite(shares).all()
        or (shares < 0).any()
        or (shares.sum(-1) <= 0).any()
    ):
        raise ValueError(
            "Shares must be finite, non-negative and not all zero, one for each task, or for "
            f"each task at each of {steps} steps. Received: {list(weights)}"
        )
    if not 0 < batch_size < 1 << 30:
        raise ValueError(f"`batch_size` must be 1 or more. Received: {batch_size}")
    shares = np.atleast_2d(shares)
    cuts = np.cumsum(shares / shares.sum(-1, keepdims=True), axis=1) * batch_size
    # After the last task with a share, the cut is at the end, whatever the rounding.
    behind = np.cumsum(shares[:, ::-1], axis=1)[:, ::-1]
    cuts[:, :-1][behind[:, 1:] <= 0] = batch_size
    cuts[:, -1] = batch_size
    ends = np.round(cuts * _ONE).astype(np.int64)
    first = derive_seed(seed, 0, _OFFSET) % _ONE
    # Modulo 2^64 implies modulo 2^32: the product may overflow.
    turns = np.arange(steps, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(first)
    offsets = (turns % np.uint64(_ONE)).astype(np.int64)
    below = (ends + offsets[:, np.newaxis]) // _ONE
    return np.diff(below, axis=1, prepend=0)


def mixed_batches(
    sources: Mapping[str, Source],
    weights: Mapping[str, float | np.ndarray],
    batch_size: int,
    steps: int,
    seed: int,
    first_step: int = 0,
    window: int = 1,
) -> tf.data.Dataset:
    """Yields batches that hold the tasks in proportion to their weights: proportional sampling.

    Args:
        sources: Sources by task: batches `(x, y)` or `(x, y, mask)` of the same structure, and of
            the same shape except for the number of examples and axes of unknown size, which are
            padded with zeros.
        weights: Weights by task: a number, or an array of one or of one per step; see `task_counts`
            and `temperature_shares`.
        batch_size: Examples per step, of all tasks together.
        steps: Number of steps of the whole run.
        seed: Seed of the order and of the shares.
        first_step: The first step.
        window: Number of steps among which examples are sorted by length; see `bucketed_batches`.

    Returns:
        A dataset of `(x, y, task_ids)` or `(x, y, task_ids, mask)`, task by task; `task_ids` is
        int32 `(batch_size,)`, in the order of `sources`.

    Raises:
        ValueError: If the weights do not match the tasks, or are not shares; see `task_counts`.
    """
    if set(weights) != set(sources):
        raise ValueError(
            f"Weights are given for {sorted(weights)}, but the tasks are {sorted(sources)}. "
            "Give one weight for each task."
        )
    shares = np.stack(np.broadcast_arrays(*(weights[task] for task in sources)), axis=-1)
    shares = shares[0] if len(shares) == 1 and shares.ndim == 2 else shares
    counts = task_counts(shares, batch_size, steps, seed)
    starts = np.concatenate([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])
    streams = tuple(
        bucketed_batches(source, starts[:, stream], seed, first_step, stream, window)
        for stream, source in enumerate(sources.values())
    )

    def read(*indices: tf.Tensor) -> tuple[tf.Tensor, ...]:
        parts = [
            source.read(batch) for source, batch in zip(sources.values(), indices, strict=True)
        ]
        x, y, *mask = tf.nest.map_structure(_join, *parts)
        ids = tf.repeat(tf.range(len(indices)), [tf.size(batch) for batch in indices])
        return tf.nest.map_structure(fix_size, (x, y, ids, *mask))

    def fix_size(tensor: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tensor, (batch_size, *tensor.shape[1:]))

    batches = tf.data.Dataset.zip(streams).map(read, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def per_task_batches(
    sources: Mapping[str, Source],
    batch_size: int,
    steps: int,
    seed: int,
    first_step: int = 0,
    window: int = 1,
) -> tf.data.Dataset:
    """Yields batches with an equal, separate share for each task.

    Args:
        sources: Sources by task: batches `(x, y)` or `(x, y, mask)`.
        batch_size: Examples per step, of all tasks together: a multiple of their number.
        steps: Number of steps of the whole run.
        seed: Seed of the order.
        first_step: The first step.
        window: Number of steps among which examples are sorted by length; see `bucketed_batches`.

    Returns:
        A dataset of `{task: (x, y)}` or `{task: (x, y, mask)}`.

    Raises:
        ValueError: If the batch cannot be shared equally.
    """
    share, rest = divmod(batch_size, len(sources))
    if rest or not share:
        raise ValueError(
            "Equal shares need a batch size that is a multiple of the number of tasks, "
            f"{len(sources)}. Received: {batch_size}"
        )
    starts = share * np.arange(steps + 1, dtype=np.int64)
    streams = {
        task: bucketed_batches(source, starts, seed, first_step, stream, window)
        for stream, (task, source) in enumerate(sources.items())
    }

    def read(indices: dict[str, tf.Tensor]) -> dict[str, tuple[tf.Tensor, ...]]:
        return {task: sources[task].read(batch) for task, batch in indices.items()}

    batches = tf.data.Dataset.zip(streams).map(read, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def _join(*pieces: tf.Tensor) -> tf.Tensor:
    """Concatenates pieces, padded with zeros along axes of unknown size."""
    if not pieces[0].shape[1:].is_fully_defined():
        longest = tf.reduce_max([tf.shape(piece)[1:] for piece in pieces], axis=0)
        pieces = tuple(_fill(piece, longest) for piece in pieces)
    return tf.concat(pieces, 0)


def _fill(piece: tf.Tensor, longest: tf.Tensor) -> tf.Tensor:
    missing = tf.concat([[0], longest - tf.shape(piece)[1:]], 0)
    return tf.pad(piece, tf.stack([tf.zeros_like(missing), missing], axis=1))
