"""Which sentence pairs are kept."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mtk.data.translation.readers.base import RawPair

TextPair = tuple[str, str]


@dataclass(frozen=True)
class Filters:
    """Limits of what is learned from.

    Attributes:
        max_characters: Of a source or target. What is longer is no sentence, and is left out of
            every split, before it is tokenized.
        max_tokens: Of a source or target in training, without special tokens: with these, 126 make
            the paper's 128.
        max_ratio: By how much the longer side may exceed the shorter one in training, in tokens.
    """

    max_characters: int = 2_000
    max_tokens: int = 126
    max_ratio: float = 4.0

    def __post_init__(self) -> None:
        """Checks the limits.

        Raises:
            ValueError: If nothing can pass.
        """
        if self.max_characters < 1 or self.max_tokens < 1 or self.max_ratio < 1:
            raise ValueError(f"No pair passes these limits, which must be 1 or more: {self}")

    def texts(self, pairs: Iterable[RawPair], skipped: Counter[str]) -> list[TextPair]:
        """Returns the pairs that are text: on both sides, in UTF-8, not too long.

        Args:
            pairs: As read.
            skipped: Gets the number of the others, by reason.
        """
        kept = []
        for source, target in pairs:
            try:
                texts = _one_line(source), _one_line(target)
            except UnicodeDecodeError:
                skipped["not UTF-8"] += 1
                continue
            if not all(texts):
                skipped["empty"] += 1
            elif max(map(len, texts)) > self.max_characters:
                skipped["too many characters"] += 1
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
            return "too many tokens"
        return "lengths too different" if longer > self.max_ratio * shorter else ""


def _one_line(text: bytes) -> str:
    """Decodes a sentence; one that a table or a data set breaks into lines becomes one line."""
    return text.decode("utf-8").replace("\r", " ").replace("\n", " ").strip()
