"""Tokenized pieces of a split, the unit of work of a process, preserved if it is killed."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtk import atomic
from mtk.data.translation.filters import Filters, TextPair
from mtk.data.translation.readers.base import RawPair
from mtk.data.translation.sequences import Sequences, dtype_for, pack
from mtk.data.translation.vocabulary import Vocabulary

SIDES = ("source", "target")


@dataclass(frozen=True)
class Chunk:
    """Consecutive pairs of a split.

    Attributes:
        sequences: The kept sources and their targets.
        texts: The same as text if the split is held out, otherwise empty.
        read: Number of pairs read.
        skipped: Number of skipped pairs by reason.
    """

    sequences: tuple[Sequences, Sequences]
    texts: list[TextPair]
    read: int
    skipped: Counter[str]

    def save(self, path: Path) -> None:
        """Writes the chunk to an `.npz` file atomically."""
        arrays: dict[str, Any] = {}
        for side, name in enumerate(SIDES):
            text = "".join(f"{pair[side]}\n" for pair in self.texts)
            arrays[f"{name}.tokens"] = self.sequences[side].tokens
            arrays[f"{name}.starts"] = self.sequences[side].starts
            arrays[f"{name}.text"] = np.frombuffer(text.encode(), np.uint8)
        arrays["counts"] = np.array(json.dumps({"read": self.read, "skipped": self.skipped}))
        with atomic.replacing(path) as unfinished:
            np.savez(unfinished, **arrays)


def array(path: Path, name: str) -> np.ndarray:
    """Reads one array of a chunk's file."""
    with np.load(path) as arrays:
        return arrays[name]


def counts(path: Path) -> tuple[int, Counter[str]]:
    """Reads the numbers of read pairs, and of skipped pairs by reason, from a chunk's file."""
    found = json.loads(str(array(path, "counts")))
    return int(found["read"]), Counter(found["skipped"])


def tokenized(
    pairs: Sequence[RawPair], vocabulary: Vocabulary, filters: Filters, held_out: bool
) -> Chunk:
    """Filters and tokenizes pairs.

    Args:
        pairs: The raw pairs.
        vocabulary: The vocabulary.
        filters: The filters of pairs.
        held_out: Whether they are for evaluation: then all valid texts are kept, whatever the
            numbers of tokens, as text too.
    """
    skipped: Counter[str] = Counter()
    texts = filters.texts(pairs, skipped)
    sources = vocabulary.encode_all([source for source, _ in texts])
    targets = vocabulary.encode_all([target for _, target in texts])
    if not held_out:
        reasons = [filters.reason(len(s), len(t)) for s, t in zip(sources, targets, strict=True)]
        skipped.update(reason for reason in reasons if reason)
        sources = [ids for ids, reason in zip(sources, reasons, strict=True) if not reason]
        targets = [ids for ids, reason in zip(targets, reasons, strict=True) if not reason]
    kind = dtype_for(len(vocabulary))
    packed = (pack(sources, kind), pack(targets, kind))
    return Chunk(packed, texts if held_out else [], len(pairs), skipped)
