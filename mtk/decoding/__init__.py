"""From a trained network to the sequences that it finds most probable."""

from mtk.decoding.beam import beam_search
from mtk.decoding.search import Hypotheses, Search, Step

__all__ = ["Hypotheses", "Search", "Step", "beam_search"]
