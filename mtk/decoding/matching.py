"""Whether a network and text have the same vocabulary."""

from collections.abc import Mapping
from typing import Any

import keras

from mtk.data.translation.vocabulary import Vocabulary
from mtk.models import Transformer


def check_vocabulary(network: keras.Model, vocabulary: Vocabulary) -> None:
    """Raises an error where a network's ids are known to be another vocabulary's.

    A SavedModel of ids or of text knows its vocabulary. Of other networks only the number of
    their ids is compared: they know no more.

    Args:
        network: As `mtk.decoding.translator` takes it, or any other network with logits.
        vocabulary: That the text is read with.

    Raises:
        ValueError: If they differ.
    """
    signatures: Mapping[str, Any] = getattr(network, "signatures", {})
    if "vocabulary" in signatures:
        made = {name: value.numpy() for name, value in signatures["vocabulary"]().items()}
        same = made["sha256"].decode() == vocabulary.sha256
        languages = [name.decode() for name in made["languages"]]
        own = f"{made['size']:,} pieces, for {', '.join(languages)}"
    else:
        size = _size(network, signatures)
        same = size in (None, len(vocabulary))
        own = f"{size} pieces"
    if not same:
        raise ValueError(
            f"The network has another vocabulary than the corpus: {own}, where the corpus has "
            f"{len(vocabulary):,} pieces, for {', '.join(vocabulary.languages)}. The same ids mean "
            "other text. Give the configuration that the network was trained with, and the corpus "
            "as it was then."
        )


def _size(network: keras.Model, signatures: Mapping[str, Any]) -> int | None:
    """Returns how many ids a network has logits of, where that can be told."""
    if isinstance(network, Transformer):
        return int(network.source_embedding.input_dim)
    if "serving_default" not in signatures:
        return None
    logits = signatures["serving_default"].structured_outputs.get("output")
    return None if logits is None else logits.shape[-1]
