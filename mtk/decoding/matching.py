"""Checks that a network and a corpus have the same vocabulary."""

from collections.abc import Mapping
from typing import Any

import keras

from mtk.data.translation.vocabulary import Vocabulary
from mtk.models import Transformer


def check_vocabulary(network: keras.Model, vocabulary: Vocabulary) -> None:
    """Raises an error if a network is known to have another vocabulary.

    A SavedModel of ids or of text records its vocabulary. For other networks only the number of ids
    can be compared.

    Args:
        network: As for `mtk.decoding.translator`, or any other network with logits.
        vocabulary: The vocabulary of the text.

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
            f"The vocabulary of the network differs from that of the corpus: {own}, but the "
            f"corpus has {len(vocabulary):,} pieces, for {', '.join(vocabulary.languages)}. So the "
            "same ids mean different text. Use the configuration and the corpus that the network "
            "was trained with."
        )


def _size(network: keras.Model, signatures: Mapping[str, Any]) -> int | None:
    """Returns the number of ids of a network's logits, if known."""
    if isinstance(network, Transformer):
        return int(network.source_embedding.input_dim)
    if "serving_default" not in signatures:
        return None
    logits = signatures["serving_default"].structured_outputs.get("output")
    return None if logits is None else logits.shape[-1]
