"""CelebA: faces with forty attributes each, prepared once for instant loading."""

from mtk.data.celeba.annotations import ATTRIBUTES, SPLITS
from mtk.data.celeba.arrays import FaceArrays, fingerprint, open_arrays

__all__ = ["ATTRIBUTES", "SPLITS", "FaceArrays", "fingerprint", "open_arrays"]
