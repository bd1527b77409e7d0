"""Rejects text if too many pairs would be skipped."""

import inspect
import itertools
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from mtk.data.translation.filters import (
    EMPTY,
    NOT_UTF8,
    TOO_LONG,
    TOO_MANY,
    UNLIKE,
    WITH_NULS,
    Filters,
)
from mtk.data.translation.readers.base import RawPair, Reader
from mtk.data.translation.vocabulary import Vocabulary

_EXAMPLES = 3
_SHOWN = 60  # bytes of an example
_TOKENIZED = 20_000  # Pairs by which the number of skipped pairs is estimated in advance.
# As a flag of the command, or, without `--gin.`, a line of the config.
_ENCODING = (
    "If all files have the same encoding, set it, such as "
    "--gin.readers.{reader}.encoding='\"{encoding}\"'; otherwise convert them to UTF-8"
)
_NO_ENCODING = "{reader} reads only UTF-8: convert the data to UTF-8"
_FILTER = "--gin.filters.Filters."
_REMEDIES = {
    NOT_UTF8: _ENCODING,
    WITH_NULS: _ENCODING,
    EMPTY: "Check for lines without a counterpart in the other language",
    TOO_LONG: "Check that each sentence is on its own line, or set {filter}max_characters",
    TOO_MANY: "Check these pairs, or set {filter}max_tokens",
    UNLIKE: "Check that the lines correspond, or set {filter}max_ratio",
}


class DroppedError(ValueError):
    """Raised if more pairs were skipped than allowed, after all work was done."""


class Part(NamedTuple):
    """A split of a language.

    Attributes:
        split: Name of the split.
        language: Language of its targets.
        reader: Its reader.
    """

    split: str
    language: str
    reader: Reader


def check(
    part: Part,
    skipped: Counter[str],
    number: int,
    filters: Filters,
    vocabulary: Vocabulary | None = None,
    kind: type[ValueError] = ValueError,
) -> None:
    """Raises an error if more pairs are skipped for one reason than allowed.

    Args:
        part: The part that was read.
        skipped: Number of skipped pairs by reason.
        number: Number of examined pairs.
        filters: The filters, with the largest allowed share.
        vocabulary: Vocabulary by which pairs were found too long, for examples.
        kind: Type of the error.

    Raises:
        ValueError: With the reason, the numbers, examples and the remedy.
    """
    for reason, found in skipped.most_common(1):
        if found <= filters.max_dropped * number:
            continue
        remedy = _remedy(part, reason)
        raise kind(
            f"{found:,} of {number:,} pairs ({found / number:.1%}) of {part.language!r} for "
            f"{part.split} would be left out: {reason}. The limit is {filters.max_dropped:.1%}. "
            f"{remedy}; or allow it: {_FILTER}max_dropped={_above(found / number)}\n"
            + "\n".join(_examples(part, reason, filters, vocabulary))
        )


def _remedy(part: Part, reason: str) -> str:
    kind, remedy, encoding = type(part.reader), _REMEDIES[reason], "latin-1"
    if remedy == _ENCODING and "encoding" not in inspect.signature(kind).parameters:
        remedy = _NO_ENCODING
    elif reason == WITH_NULS:
        pair = next(iter(part.reader.pairs(part.split)))
        encoding = "utf-16-be" if any(x.startswith(b"\0") for x in pair) else "utf-16-le"
    return remedy.format(reader=kind.__name__, filter=_FILTER, encoding=encoding)


def _above(share: float) -> float:
    return min(1.0, round(share + 0.01, 2))


def sample(
    pairs: Iterable[RawPair], filters: Filters, vocabulary: Vocabulary
) -> tuple[Counter[str], int]:
    """Returns how many of some training pairs are skipped for their tokens, and their number."""
    skipped: Counter[str] = Counter()
    drawn = list(itertools.islice(pairs, _TOKENIZED))
    for source, target in filters.texts(drawn, Counter()):
        sizes = [len(ids) for ids in vocabulary.encode_all([source, target])]
        if reason := filters.reason(*sizes):
            skipped[reason] += 1
    return skipped, len(drawn)


def _examples(
    part: Part, reason: str, filters: Filters, vocabulary: Vocabulary | None
) -> list[str]:
    """Returns the first pairs that are skipped for a reason, with their numbers."""
    found = (
        f"  pair {number}: {_shown(source)} | {_shown(target)}"
        for number, (source, target) in enumerate(part.reader.pairs(part.split), start=1)
        if _reason((source, target), filters, vocabulary) == reason
    )
    return list(itertools.islice(found, _EXAMPLES))


def _reason(pair: RawPair, filters: Filters, vocabulary: Vocabulary | None) -> str:
    skipped: Counter[str] = Counter()
    if filters.texts([pair], skipped) and vocabulary is not None:
        skipped, _ = sample([pair], filters, vocabulary)
    return next(iter(skipped), "")


def _shown(text: bytes) -> str:
    return repr(text[:_SHOWN])[1:] + ("..." if len(text) > _SHOWN else "")
