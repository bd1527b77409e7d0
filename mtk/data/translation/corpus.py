"""A parallel corpus: one source language, several target languages, three splits."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from mtk.data import fingerprints
from mtk.data.translation.sequences import Sequences
from mtk.data.translation.vocabulary import Vocabulary

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
HELD_OUT = (VALIDATION, TEST)
_Part = TypeVar("_Part")


class Pairs(NamedTuple):
    """Sources and targets as token ids, pair by pair."""

    source: Sequences
    target: Sequences


class Texts(NamedTuple):
    """Sources and references as text, pair by pair."""

    sources: list[str]
    references: list[str]


class Corpus:
    """The data of a translation model.

    Args:
        vocabulary: The vocabulary of the ids.
        pairs: Token ids by split and language.
        texts: The text of validation and test, for evaluating translations.

    Attributes:
        vocabulary: The vocabulary.
        languages: The target languages.

    Raises:
        ValueError: If a language is unknown to the vocabulary, or sizes do not match.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        pairs: Mapping[str, Mapping[str, Pairs]],
        texts: Mapping[str, Mapping[str, Texts]],
    ):
        self.vocabulary = vocabulary
        self.languages = tuple(pairs[TRAIN])
        self._pairs = pairs
        self._texts = texts
        for language in self.languages:
            vocabulary.language_id(language)
            for split in SPLITS:
                self._check(split, language)

    def pairs(self, split: str, language: str) -> Pairs:
        """Returns the token ids of a split.

        Args:
            split: "train", "validation" or "test".
            language: The target language.

        Raises:
            ValueError: If there is no such split or language.
        """
        return _found(self._pairs, split, language)

    def texts(self, split: str, language: str) -> Texts:
        """Returns the text of a split, in the order of its `pairs`.

        Args:
            split: "validation" or "test".
            language: The target language.

        Raises:
            ValueError: If there is no such split or language.
        """
        return _found(self._texts, split, language)

    def fingerprint(self) -> dict[str, str]:
        """Returns texts with the vocabulary's hash, and size and hash of each part, by name."""
        parts = {
            f"{split}.{language}": self._described(split, language)
            for split in SPLITS
            for language in self.languages
        }
        return {"vocabulary": self.vocabulary.sha256, **parts}

    def _described(self, split: str, language: str) -> str:
        source, target = self.pairs(split, language)
        arrays = (source.tokens, source.starts, target.tokens, target.starts)
        said = f"{len(source):,} pairs of {source.tokens.size:,} and {target.tokens.size:,} tokens"
        said += f", sha256 {fingerprints.of_arrays(*arrays)}"
        if split == TRAIN:
            return said
        return f"{said}, text {fingerprints.of_texts(*self.texts(split, language))}"

    def _check(self, split: str, language: str) -> None:
        source, target = self.pairs(split, language)
        sizes = {len(source), len(target)}
        if split != TRAIN:
            sizes |= {len(side) for side in self.texts(split, language)}
        if len(sizes) > 1:
            raise ValueError(
                f"The {split} split of {language!r} must have as many sources as targets. "
                f"Received: {sorted(sizes)}"
            )


def chosen(languages: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """Returns the target languages to use, by default all known ones.

    Raises:
        ValueError: If there is none, one is unknown, or one is named twice.
    """
    taken = tuple(known if languages is None else languages)
    unknown = [language for language in taken if language not in known]
    if unknown:
        raise ValueError(f"Unknown target language {unknown[0]!r}. Available: {', '.join(known)}")
    if not taken or len({*taken}) < len(taken):
        raise ValueError(f"Give at least one target language, each only once. Received: {taken}")
    return taken


def _found(parts: Mapping[str, Mapping[str, _Part]], split: str, language: str) -> _Part:
    for name, known in ((split, parts), (language, parts.get(split, {}))):
        if name not in known:
            raise ValueError(f"There is no {name!r} here. Available: {', '.join(known)}")
    return parts[split][language]
