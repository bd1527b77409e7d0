"""Batches of sentence pairs for a Transformer."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mtk.data.sources import Source
from mtk.data.translation.corpus import Pairs
from mtk.data.translation.sequences import Sequences
from mtk.data.translation.vocabulary import END, START

_Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Lengths:
    """Lengths of the rows of a batch.

    Attributes:
        longest: Largest number of tokens of a sentence, including special ones.
        multiple: Rows have the length of the batch's longest sentence, rounded up to a multiple of
            this, so that XLA compiles few shapes.
        fixed: Whether all rows have the length `longest` instead, as TPUs require.

    Raises:
        ValueError: If a number is out of range.
    """

    longest: int = 128
    multiple: int = 8
    fixed: bool = False

    def __post_init__(self) -> None:
        if self.longest < 3 or self.multiple < 1:
            raise ValueError(
                "`longest` must be 3 or more tokens, and `multiple` 1 or more. Received: "
                f"longest={self.longest}, multiple={self.multiple}"
            )

    def row(self, tokens: int) -> int:
        """Returns the length of rows for sentences of at most `tokens` tokens."""
        rounded = -(-max(tokens, 1) // self.multiple) * self.multiple
        return self.longest if self.fixed else min(rounded, self.longest)


def fitting_pairs(pairs: Pairs, longest: int) -> np.ndarray:
    """Returns the indices of the pairs that need no truncation, int64, in order.

    Args:
        pairs: The pairs.
        longest: Largest number of tokens, including those added to the source (target language,
            end) and to the target (end).
    """
    fits = (pairs.source.lengths <= longest - 2) & (pairs.target.lengths <= longest - 1)
    return np.flatnonzero(fits)


def pair_source(
    pairs: Pairs, language_id: int, lengths: Lengths, chosen: np.ndarray | None = None
) -> Source:
    """Makes a source of one task's pairs.

    A batch is `({"source": [<2xx>] + pieces + [END], "target_in": [START] + pieces}, pieces +
    [END])`, int32, padded with 0. Too long sentences are truncated.

    Args:
        pairs: Token ids of sources and targets.
        language_id: The token that requests the target language.
        lengths: Lengths of the rows.
        chosen: Indices of the pairs to use; all by default.
    """
    assemble = functools.partial(_assemble, pairs, language_id, lengths, chosen)
    width = lengths.longest if lengths.fixed else None

    def read(indices: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        # Not TensorFlow's gather, which would copy all tokens into memory.
        rows = tf.numpy_function(assemble, [indices], [tf.int32] * 3, stateful=False)
        source, target_in, target = (
            tf.ensure_shape(tensor, (indices.shape[0], width)) for tensor in rows
        )
        return {"source": source, "target_in": target_in}, target

    sort_key = _sort_key(pairs) if chosen is None else _sort_key(pairs)[chosen]
    return Source(len(sort_key), read, sort_key)


def sequential_batches(sources: Mapping[str, Source], batch_size: int) -> tf.data.Dataset:
    """Yields every example once for evaluation, task by task, shortest first.

    Args:
        sources: Sources by task.
        batch_size: Number of examples of one task; its last batch may be smaller.

    Returns:
        A dataset of `(x, y, task_ids)`, as from `mixed_batches`.
    """

    def of_task(number: int, source: Source) -> tf.data.Dataset:
        assert source.sort_key is not None
        order = np.argsort(source.sort_key, kind="stable")

        def read(indices: tf.Tensor) -> tuple:
            return *source.read(indices), tf.fill(tf.shape(indices), number)

        batches = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        return batches.map(read, num_parallel_calls=tf.data.AUTOTUNE)

    parts = [of_task(number, source) for number, source in enumerate(sources.values())]
    return functools.reduce(tf.data.Dataset.concatenate, parts).prefetch(tf.data.AUTOTUNE)


def _sort_key(pairs: Pairs) -> np.ndarray:
    """Returns a sort key for each pair, such that pairs with close keys have similar lengths.

    The order is by the longer side, then by the difference of both, alternately up and down.
    """
    source, target = pairs.source.lengths.astype(np.int64), pairs.target.lengths
    longer, gap = np.maximum(source, target), source - target
    turning = np.where(longer % 2, gap, -gap)
    span = 2 * int(longer.max(initial=0)) + 1
    return longer * span + turning


def _assemble(
    pairs: Pairs,
    language_id: int,
    lengths: Lengths,
    chosen: np.ndarray | None,
    indices: np.ndarray,
) -> _Arrays:
    indices = indices if chosen is None else chosen[indices]
    source, ends = _pieces(pairs.source, indices, lengths, extra=2)
    sources = np.zeros((len(indices), source.shape[1] + 2), np.int32)
    sources[:, 0] = language_id
    sources[:, 1:-1] = source
    np.put_along_axis(sources, ends + 1, END, axis=1)
    target, ends = _pieces(pairs.target, indices, lengths, extra=1)
    targets_in, targets = np.zeros((2, len(indices), target.shape[1] + 1), np.int32)
    targets_in[:, 0] = START
    targets_in[:, 1:] = target
    targets[:, :-1] = target
    np.put_along_axis(targets, ends, END, axis=1)
    return sources, targets_in, targets


def _pieces(
    sequences: Sequences, indices: np.ndarray, lengths: Lengths, extra: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns pieces, truncated to leave room for `extra` tokens, and their counts `(B, 1)`."""
    ends = np.minimum(sequences.lengths[indices], lengths.longest - extra)
    row = lengths.row(int(ends.max(initial=0)) + extra)
    return sequences.padded(indices, row - extra), ends[:, np.newaxis].astype(np.int64)
