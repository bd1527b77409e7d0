"""A toy corpus of spelled-out digits, translated word by word."""

import numpy as np

from mtk.data.translation.corpus import HELD_OUT, SPLITS, TRAIN, Corpus, Pairs, Texts
from mtk.data.translation.sequences import Sequences, pack
from mtk.data.translation.vocabulary import train_vocabulary

WORDS = {
    "en": ["one", "two", "three", "four", "five", "six", "seven"],
    "fr": ["un", "deux", "trois", "quatre", "cinq", "six", "sept"],
    "de": ["eins", "zwei", "drei", "vier", "funf", "sechs", "sieben"],
}


def phrases(number: int, words: tuple[int, int], seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 7, rng.integers(*words)).tolist() for _ in range(number)]


def said(phrase: list[int], language: str) -> str:
    words = [WORDS[language][i] for i in phrase]
    return " ".join(reversed(words) if language == "de" else words)


def toy_corpus(
    languages: tuple[str, ...] = ("fr", "de"),
    sizes: tuple[int, int, int] = (200, 30, 20),
    words: tuple[int, int] = (1, 7),
) -> Corpus:
    """Makes a corpus whose languages have different phrases, and different numbers of them."""
    lines = {
        split: {
            language: phrases(size + k, words, seed=10 * s + k)
            for k, language in enumerate(languages)
        }
        for s, (split, size) in enumerate(zip(SPLITS, sizes, strict=True))
    }
    every = [phrase for of_language in lines[TRAIN].values() for phrase in of_language]
    texts = {name: [said(p, name) for p in every] for name in ("en", *languages)}
    vocabulary = train_vocabulary(texts, 330)

    def side(split: str, language: str, spoken: str) -> list[str]:
        return [said(phrase, spoken) for phrase in lines[split][language]]

    def tokens(texts: list[str]) -> Sequences:
        return pack(vocabulary.encode_all(texts), np.uint16)

    return Corpus(
        vocabulary,
        {
            split: {x: Pairs(tokens(side(split, x, "en")), tokens(side(split, x, x))) for x in of}
            for split, of in lines.items()
        },
        {
            split: {x: Texts(side(split, x, "en"), side(split, x, x)) for x in lines[split]}
            for split in HELD_OUT
        },
    )
