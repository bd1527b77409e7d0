"""From text to text, by whatever there is to translate with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mtk.data.translation.vocabulary import END, Vocabulary
from mtk.decoding.beam import beam_search
from mtk.decoding.matching import check_vocabulary
from mtk.decoding.served import Decoding
from mtk.models import Transformer

_BATCH = 64


class Translations(NamedTuple):
    """Of some texts, in their order.

    Attributes:
        texts: The translations; an empty one of an empty text.
        cut: Whether a text was longer than the network reads, so that its end is missing.
    """

    texts: list[str]
    cut: list[bool]


# Called with texts and their target language, of which a ValueError says if it is unknown.
Translator = Callable[[Sequence[str], str], Translations]


def translator(
    network: keras.Model, vocabulary: Vocabulary, decoding: Decoding
) -> Translator | None:
    """Returns what translates with a network, or None if it cannot.

    Args:
        network: A built `Transformer`; or a network that was loaded from a SavedModel, whose
            attribute `signatures` holds its functions: of ids, or of text. The latter uses the
            limits that it was exported with.
        vocabulary: Of the network.
        decoding: How a `Transformer` translates.

    Raises:
        ValueError: If the network is known to have another vocabulary; see `check_vocabulary`.
    """
    check_vocabulary(network, vocabulary)
    if isinstance(network, Transformer):
        return ids_translator(_compiled(network, decoding), vocabulary, decoding.max_source)
    signatures: Mapping[str, Any] = getattr(network, "signatures", {})
    if "serving_default" not in signatures:
        return None
    serve = signatures["serving_default"]
    if "translation" in serve.structured_outputs:
        return text_translator(signatures)
    if "ids" in serve.structured_outputs:
        return ids_translator(
            lambda source: serve(source=source)["ids"], vocabulary, decoding.max_source
        )
    return None


def ids_translator(
    search: Callable[[tf.Tensor], tf.Tensor], vocabulary: Vocabulary, max_source: int
) -> Translator:
    """Returns a translator from a function of ids.

    Args:
        search: Maps sources, int32 `(B, S)`, to translations, `(B, L)`.
        vocabulary: Makes ids of text, and text of ids.
        max_source: Most ids of a source; see `Decoding`.
    """
    room = max_source - 2

    def translate(texts: Sequence[str], language: str) -> Translations:
        first, pieces = vocabulary.language_id(language), vocabulary.encode_all(texts)
        lengths = [len(own) for own in pieces]
        translations = [""] * len(texts)
        for batch in _of_similar_length(lengths):
            length = min(lengths[batch[-1]], room) + 2
            sources = np.zeros((len(batch), length), np.int32)
            for row, i in zip(sources, batch, strict=True):
                ids = [first, *pieces[i][:room], END]
                row[: len(ids)] = ids
            for i, found in zip(batch, search(tf.constant(sources)).numpy(), strict=True):
                translations[i] = vocabulary.decode(found)
        return Translations(translations, [length > room for length in lengths])

    return translate


def text_translator(signatures: Mapping[str, Callable[..., Mapping[str, tf.Tensor]]]) -> Translator:
    """Returns a translator from the functions of a SavedModel of text; see `ServedText`."""
    serve = signatures["serving_default"]
    known = [name.decode() for name in signatures["languages"]()["languages"].numpy()]

    def translate(texts: Sequence[str], language: str) -> Translations:
        if language not in known:
            raise ValueError(
                f"Unknown target language {language!r}. The SavedModel translates to: "
                f"{', '.join(known)}"
            )
        found = Translations([""] * len(texts), [False] * len(texts))
        for batch in _of_similar_length([len(text) for text in texts]):
            given = tf.constant([texts[i] for i in batch])
            answer = serve(text=given, language=tf.fill((len(batch),), language))
            for i, text, cut in zip(
                batch, answer["translation"].numpy(), answer["cut"].numpy(), strict=True
            ):
                # Bytes that the network chose one by one need not be characters.
                found.texts[i], found.cut[i] = text.decode("utf-8", "replace"), bool(cut)
        return found

    return translate


def _of_similar_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yields the indices of what is not empty in batches, the short ones first."""
    order = [i for i in np.argsort(lengths, kind="stable").tolist() if lengths[i]]
    for start in range(0, len(order), _BATCH):
        yield order[start : start + _BATCH]


def _compiled(network: Transformer, decoding: Decoding) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)], autograph=False)
    def search(source: tf.Tensor) -> tf.Tensor:
        _, max_length, beam, length_penalty = decoding
        return beam_search(network, source, max_length, beam, length_penalty).ids

    return search
