"""The methods: one file each. Start with `base.py`."""

from mtk.combiners.base import Combined, Combiner, GramianCombiner, LossCombiner
from mtk.combiners.static import StaticWeights

__all__ = ["Combined", "Combiner", "GramianCombiner", "LossCombiner", "StaticWeights"]
