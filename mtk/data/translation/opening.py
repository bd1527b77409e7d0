"""Opens a corpus prepared by `mtk.prepare`."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtk.data import synthetic
from mtk.data.translation.corpus import HELD_OUT, SPLITS, TRAIN, Corpus, Pairs, Texts, chosen
from mtk.data.translation.manifest import VOCABULARY, Manifest
from mtk.data.translation.sequences import Sequences, dtype_for
from mtk.data.translation.token_files import SplitFiles, open_pairs, read_texts
from mtk.data.translation.vocabulary import Vocabulary
from mtk.places import InputPath

# Properties of synthetic data.
_LANGUAGES = ("de", "fr")
_PAIRS, _HELD_OUT_PAIRS = 50_000, 1_000
_SHORTEST, _LONGEST = 5, 45  # tokens of a sentence


def open_corpus(
    folder: InputPath, languages: Sequence[str] | None = None, expected_vocabulary: int = 64_000
) -> Corpus:
    """Opens a prepared corpus, with memory-mapped token ids, which takes little time and memory.

    The vocabulary is checked by its hash, token files by their sizes. Running the preparation again
    checks the hashes of all files.

    Args:
        folder: Folder written by `python -m mtk.prepare translation`.
        languages: Target languages to use, in this order; all by default.
        expected_vocabulary: Size of the vocabulary, for a dry run without the corpus.

    Raises:
        ValueError: If there is no corpus, a language is unknown, the vocabulary is not that of the
            token files, or a file is missing or damaged.
        ImportError: If SentencePiece is not installed.
    """
    path = Path(folder).expanduser()
    if not Manifest.is_in(path):
        make = functools.partial(_synthetic, languages or _LANGUAGES, expected_vocabulary)
        return synthetic.instead(Manifest.missing(path), make)
    manifest = Manifest.load(path)
    taken = chosen(languages, manifest.languages)
    manifest.check_vocabulary(path)
    pairs = {
        split: {
            language: open_pairs(
                SplitFiles(path, split, language), manifest.splits[split][language]
            )
            for language in taken
        }
        for split in SPLITS
    }
    texts = {
        split: {language: read_texts(SplitFiles(path, split, language)) for language in taken}
        for split in HELD_OUT
    }
    return Corpus(Vocabulary.load(path / VOCABULARY), pairs, texts)


def _synthetic(languages: Sequence[str], size: int) -> Corpus:
    draw = np.random.default_rng(0)

    def sentences(number: int) -> Sequences:
        lengths = draw.integers(_SHORTEST, _LONGEST + 1, number)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        first = size // 2  # After the special tokens.
        return Sequences(draw.integers(first, size, starts[-1], dtype_for(size)), starts)

    numbers = {split: _PAIRS if split == TRAIN else _HELD_OUT_PAIRS for split in SPLITS}
    pairs = {
        split: {language: Pairs(sentences(n), sentences(n)) for language in languages}
        for split, n in numbers.items()
    }
    empty = Texts([""] * _HELD_OUT_PAIRS, [""] * _HELD_OUT_PAIRS)
    texts = {split: dict.fromkeys(languages, empty) for split in HELD_OUT}
    return Corpus(_SyntheticVocabulary(languages, size), pairs, texts)


class _SyntheticVocabulary(Vocabulary):
    """A vocabulary with a size and languages, but without text."""

    def __init__(self, languages: Sequence[str], size: int):
        self.languages, self.proto, self.sha256 = tuple(languages), b"", ""
        self._size = size

    def __len__(self) -> int:
        return self._size
