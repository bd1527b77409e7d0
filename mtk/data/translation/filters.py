"""Which sentence pairs are kept."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mtk.data.translation.readers.base import RawPair

TextPair = tuple[str, str]
# Why a pair is left out.
NOT_UTF8, WITH_NULS = "not UTF-8", "zero bytes, as of UTF-16"
EMPTY, TOO_LONG = "empty", "too many characters"
TOO_MANY, UNLIKE = "too many tokens", "lengths too different"


@dataclass(frozen=True)
class Filters:
    """Limits of what is learned from.

    Attributes:
        max_characters: Of a source or target. What is longer is no sentence, and is left out of
            every split, before it is tokenized.
        max_tokens: Of a source or target in training, without special tokens: with these, 126 make
            the paper's 128.
        max_ratio: By how much the longer side may exceed the shorter one in training, in tokens.
        max_dropped: The largest share of a split's pairs that may be left out for one reason: more
            is an error.
    """

    max_characters: int = 2_000
    max_tokens: int = 126
    max_ratio: float = 4.0
    max_dropped: float = 0.01

    def __post_init__(self) -> None:
        """Checks the limits.

        Raises:
            ValueError: If nothing can pass.
        """
        if self.max_characters < 1 or self.max_tokens < 1 or self.max_ratio < 1:
            raise ValueError(f"No pair passes these limits, which must be 1 or more: {self}")
        if not 0 <= self.max_dropped <= 1:
            raise ValueError(
                f"`max_dropped` is a share, from 0 to 1. Received: max_dropped={self.max_dropped}"
            )

    def texts(self, pairs: Iterable[RawPair], skipped: Counter[str]) -> list[TextPair]:
        """Returns the pairs that are text: on both sides, in UTF-8, not too long.

        A zero byte is valid UTF-8, but what has one is UTF-16 or no text.

        Args:
            pairs: As read.
            skipped: Gets the number of the others, by reason.
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
        """Returns why a pair is left out of training, empty if it is not.

        Args:
            source: Tokens of the source.
            target: Tokens of the target.
        """
        longer, shorter = max(source, target), min(source, target)
        if longer > self.max_tokens:
            return TOO_MANY
        return UNLIKE if longer > self.max_ratio * shorter else ""


def _one_line(text: bytes) -> str:
    """Decodes a sentence; one that a table or a data set breaks into lines becomes one line."""
    return text.decode("utf-8").replace("\r", " ").replace("\n", " ").strip()
