"""Sequences of token ids in one array."""

import itertools
from functools import cached_property

import numpy as np


class Sequences:
    """Concatenated sequences of token ids, without special ids.

    Args:
        tokens: uint16 or int32 `(T,)`, in memory or memory-mapped.
        starts: int64 `(N + 1,)`: sequence i is `tokens[starts[i]:starts[i + 1]]`.

    Raises:
        ValueError: If the two do not match.
    """

    def __init__(self, tokens: np.ndarray, starts: np.ndarray):
        if tokens.ndim != 1 or starts.ndim != 1 or not starts.size:
            raise ValueError(
                "Sequences need a vector of tokens and a vector of starts with one more entry "
                f"than there are sequences. Received shapes: {tokens.shape} and {starts.shape}"
            )
        if starts[0] != 0 or starts[-1] != tokens.size:
            raise ValueError(
                f"The starts must go from 0 to {tokens.size}, the number of tokens. "
                f"Received: {starts[0]} to {starts[-1]}"
            )
        self.tokens = tokens
        self.starts = starts

    def __len__(self) -> int:
        return self.starts.size - 1

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns one sequence, as stored."""
        if not 0 <= index < len(self):
            raise IndexError(
                f"There is no sequence {index}; valid positions are 0 ... {len(self) - 1}."
            )
        return self.tokens[self.starts[index] : self.starts[index + 1]]

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each sequence: int32 `(N,)`."""
        return np.diff(self.starts).astype(np.int32)

    def padded(self, indices: np.ndarray, length: int) -> np.ndarray:
        """Returns some sequences, truncated or padded with 0 to one length.

        Args:
            indices: Indices of the sequences, `(B,)`.
            length: Length of each row.

        Returns:
            int32 `(B, length)`.
        """
        first = self.starts[indices][:, np.newaxis]
        behind = self.starts[np.asarray(indices) + 1][:, np.newaxis]
        positions = first + np.arange(length)
        inside = positions < behind
        rows = np.zeros(positions.shape, np.int32)
        rows[inside] = self.tokens[positions[inside]]
        return rows


def pack(sequences: list[list[int]], dtype: type[np.generic] = np.int32) -> Sequences:
    """Packs lists of ids into `Sequences`.

    Args:
        sequences: The lists.
        dtype: Type of the tokens; see `dtype_for`.
    """
    starts = np.zeros(len(sequences) + 1, np.int64)
    np.cumsum([len(sequence) for sequence in sequences], out=starts[1:])
    tokens = np.fromiter(itertools.chain.from_iterable(sequences), dtype, int(starts[-1]))
    return Sequences(tokens, starts)


def dtype_for(vocabulary_size: int) -> type[np.generic]:
    """Returns the smallest of the two token types that holds all ids."""
    return np.uint16 if vocabulary_size <= 1 << 16 else np.int32
