"""CelebA: faces with forty attributes each, prepared once and then read at once."""

from mtk.data.celeba.faces import Faces, fingerprint, open_faces
from mtk.data.celeba.listing import ATTRIBUTES, SPLITS

__all__ = ["ATTRIBUTES", "SPLITS", "Faces", "fingerprint", "open_faces"]
