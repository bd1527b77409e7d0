"""Decoding: the most probable sequences of a trained network."""

from mtk.decoding.beam import beam_search
from mtk.decoding.matching import check_vocabulary
from mtk.decoding.search import Hypotheses, Search, Step
from mtk.decoding.served import Decoding, ServedIds, ServedText, served
from mtk.decoding.translators import (
    Translations,
    Translator,
    ids_translator,
    text_translator,
    translator,
)

__all__ = [
    "Decoding",
    "Hypotheses",
    "Search",
    "ServedIds",
    "ServedText",
    "Step",
    "Translations",
    "Translator",
    "beam_search",
    "check_vocabulary",
    "ids_translator",
    "served",
    "text_translator",
    "translator",
]
