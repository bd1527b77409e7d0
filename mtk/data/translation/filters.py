"""Filters of sentence pairs."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mtk.data.translation.readers.base import RawPair

TextPair = tuple[str, str]
# Reasons to skip a pair.
NOT_UTF8, WITH_NULS = "not UTF-8", "zero bytes, as of UTF-16"
EMPTY, TOO_LONG = "empty", "too many characters"
TOO_MANY, UNLIKE = "too many tokens", "lengths too different"


@dataclass(frozen=True)
class Filters:
    """Limits of sentence pairs.

    Attributes:
        max_characters: Largest number of characters of a source or target. Longer text is not a
            sentence, and is skipped in every split, before tokenization.
        max_tokens: Largest number of tokens of a source or target in training, without special
            tokens: with these, 126 make the paper's 128.
        max_ratio: Largest ratio of the lengths of the longer and the shorter side in training, in
            tokens.
        max_dropped: Largest share of a split's pairs that may be skipped for one reason; more is an
            error.
    """

    max_characters: int = 2_000
    max_tokens: int = 126
    max_ratio: float = 4.0
    max_dropped: float = 0.01

    def __post_init__(self) -> None:
        """Checks the limits.

        Raises:
            ValueError: If no pair can pass.
        """
        if self.max_characters < 1 or self.max_tokens < 1 or self.max_ratio < 1:
            raise ValueError(f"All limits must be 1 or more, or no pair passes them: {self}")
        if not 0 <= self.max_dropped <= 1:
            raise ValueError(
                "`max_dropped` must be a share from 0 to 1. Received: "
                f"max_dropped={self.max_dropped}"
            )

    def texts(self, pairs: Iterable[RawPair], skipped: Counter[str]) -> list[TextPair]:
        """Returns the pairs that are valid texts: nonempty, in UTF-8, not too long.

        A zero byte is valid UTF-8, but occurs only in UTF-16 or in data that are not text.

        Args:
            pairs: The raw pairs.
            skipped: Counter of the other pairs by reason, which is updated.
        """
        kept = []
        for source, target in pairs:
            if b"\0" in source or b"\0" in target:
                skipped[WITH_NULS] += 1
                continue
            try:
                texts = _one_line(source), _one_line(target)
            except UnicodeDecodeError:
                skipped[NOT_UTF8] += 1
                continue
            if not all(texts):
                skipped[EMPTY] += 1
            elif max(map(len, texts)) > self.max_characters:
                skipped[TOO_LONG] += 1
            else:
                kept.append(texts)
        return kept

    def reason(self, source: int, target: int) -> str:
        """Returns why a pair is skipped in training; empty if it is not.

        Args:
            source: Number of tokens of the source.
            target: Number of tokens of the target.
        """
        longer, shorter = max(source, target), min(source, target)
        if longer > self.max_tokens:
            return TOO_MANY
        return UNLIKE if longer > self.max_ratio * shorter else ""


def _one_line(text: bytes) -> str:
    """Decodes a sentence; line breaks, as in some tables and datasets, become spaces."""
    return text.decode("utf-8").replace("\r", " ").replace("\n", " ").strip()
