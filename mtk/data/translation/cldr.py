"""The embedded corpus: phrases of Unicode's locale data (CLDR), nothing to download."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtk import extras
from mtk.data.splits import split
from mtk.data.translation.corpus import HELD_OUT, SPLITS, TRAIN, Corpus, Pairs, Texts, chosen
from mtk.data.translation.sequences import dtype_for, pack
from mtk.data.translation.vocabulary import Vocabulary, train_vocabulary

if TYPE_CHECKING:
    from mtk.data.translation.phrases import Phrase

SOURCE = "en"
LANGUAGES = ("fr", "zh", "de", "ro")
_PATIENCE = 20  # phrases to draw for each that is wanted; half of them are new at the default size


def cldr_corpus(
    languages: Sequence[str] = LANGUAGES,
    num_train: int = 24_000,
    num_validation: int = 500,
    num_test: int = 500,
    vocabulary_size: int = 4_000,
    seed: int = 0,
) -> Corpus:
    """Makes a corpus of dates, times, numbers, prices, measures, countries and languages.

    Each phrase is said by CLDR in English and in every target language. All languages have the same
    English phrases in the same splits, whichever languages are taken, and no English phrase stands
    in two of them. They are made again each time, in seconds, and are a function of the seed and of
    Babel's version. Spaces of every kind are plain ones.

    Args:
        languages: Target languages, one or more of "fr", "zh", "de" and "ro".
        num_train: Pairs for training, for each language.
        num_validation: Pairs for validation.
        num_test: Pairs for testing.
        vocabulary_size: Pieces of the vocabulary, learned from the training split.
        seed: Of the phrases and of the splits.

    Raises:
        ValueError: If a language is unknown, or there are not so many phrases.
        ImportError: If Babel or SentencePiece is not installed.

    Reference:
        Unicode Consortium, *Unicode Technical Standard 35: locale data markup language*.
    """
    languages = chosen(languages, LANGUAGES)
    sizes = (num_train, num_validation, num_test)
    texts = _texts(languages, sum(sizes), seed)
    parts = dict(zip(SPLITS, split(sum(sizes), sizes, seed), strict=True))
    by_split = {
        name: {language: [lines[i] for i in part] for language, lines in texts.items()}
        for name, part in parts.items()
    }
    vocabulary = train_vocabulary(by_split[TRAIN], vocabulary_size, SOURCE)
    pairs = {name: _pairs(vocabulary, lines, languages) for name, lines in by_split.items()}
    return Corpus(
        vocabulary, pairs, {name: _aligned(by_split[name], languages) for name in HELD_OUT}
    )


def _pairs(
    vocabulary: Vocabulary, texts: dict[str, list[str]], languages: Sequence[str]
) -> dict[str, Pairs]:
    kind = dtype_for(len(vocabulary))
    tokens = {name: pack(vocabulary.encode_all(lines), kind) for name, lines in texts.items()}
    return {language: Pairs(tokens[SOURCE], tokens[language]) for language in languages}


def _aligned(texts: dict[str, list[str]], languages: Sequence[str]) -> dict[str, Texts]:
    return {language: Texts(texts[SOURCE], texts[language]) for language in languages}


def _texts(languages: Sequence[str], number: int, seed: int) -> dict[str, list[str]]:
    """Returns phrases that differ in English, by language."""
    try:
        from babel import Locale

        from mtk.data.translation.phrases import Phrases
    except ImportError as error:
        raise ImportError(
            "The embedded phrases come with Babel, which is not installed. "
            f"Install it by: {extras.command('translation')}"
        ) from error
    # Phrases that all languages can say, so that they don't depend on which are taken.
    english = Locale(SOURCE)
    phrases = Phrases([english, *map(Locale, LANGUAGES)], seed)
    found: dict[str, Phrase] = {}
    for phrase in itertools.islice(phrases, _PATIENCE * number):
        found.setdefault(_plain(phrase(english)), phrase)
        if len(found) == number:
            said = {x: [_plain(phrase(Locale(x))) for phrase in found.values()] for x in languages}
            return {SOURCE: list(found), **said}
    raise ValueError(
        f"CLDR has not so many different phrases: asked for {number}, found {len(found)}. "
        "Ask for fewer."
    )


def _plain(text: str) -> str:
    return " ".join(text.split())
