"""Parallel text: embedded phrases or prepared token files, with their vocabulary."""

from mtk.data.translation.cldr import cldr_corpus
from mtk.data.translation.corpus import Corpus, Pairs, Texts
from mtk.data.translation.opening import open_corpus
from mtk.data.translation.sequences import Sequences
from mtk.data.translation.vocabulary import Vocabulary, train_vocabulary

__all__ = [
    "Corpus",
    "Pairs",
    "Sequences",
    "Texts",
    "Vocabulary",
    "cldr_corpus",
    "open_corpus",
    "train_vocabulary",
]
