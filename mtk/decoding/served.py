"""Modules exported as SavedModels of a translation network."""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from mtk import extras, tf_logging
from mtk.data.translation.vocabulary import END, Vocabulary
from mtk.decoding.beam import beam_search
from mtk.models import Transformer

_IDS = tf.TensorSpec((None, None), tf.int32)
_STRINGS = tf.TensorSpec((None,), tf.string)


class Decoding(NamedTuple):
    """Decoding settings of a trained network.

    Attributes:
        max_source: Largest number of ids of a source, including those of language and end.
        max_length: Largest number of ids of a translation, including the end.
        beam: Beam size.
        length_penalty: Alpha of the length penalty.
    """

    max_source: int = 128
    max_length: int = 128
    beam: int = 4
    length_penalty: float = 0.6


class ServedIds(tf.Module):
    """Maps ids to ids in the signature `serving_default`; gives logits of targets in `logits`.

    The signature `vocabulary` identifies the vocabulary of the ids.

    Args:
        network: A built network.
        decoding: Length limits and beam search options.
        vocabulary: The vocabulary of the network.
    """

    def __init__(self, network: Transformer, decoding: Decoding, vocabulary: Vocabulary):
        super().__init__(name="ids")
        self.decoding = decoding
        self._network = network
        self._vocabulary = vocabulary
        self.variables_of_network = [variable.value for variable in network.variables]

    def signatures(self) -> dict[str, Callable[..., Any]]:
        """Returns the functions of the SavedModel by name."""
        return {
            "serving_default": self.translate,
            "logits": self.logits,
            "vocabulary": self.vocabulary,
        }

    @tf.function(input_signature=[_IDS], autograph=False)
    def translate(self, source: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps sources, with language and end tokens and padded with 0, to translations."""
        ids, scores = self.search(source)
        return {"ids": ids, "scores": scores}

    @tf.function(input_signature=[_IDS, _IDS], autograph=False)
    def logits(self, source: tf.Tensor, target_in: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps the network's training inputs to its output, for all tasks."""
        return {"output": self._network({"source": source, "target_in": target_in})}

    @tf.function(input_signature=[], autograph=False)
    def vocabulary(self) -> dict[str, tf.Tensor]:
        """Returns the number of ids, the target languages, and the hash of the vocabulary."""
        known = self._vocabulary
        return {
            "size": tf.constant(len(known)),
            "languages": tf.constant(list(known.languages), tf.string),
            "sha256": tf.constant(known.sha256),
        }

    def search(self, source: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs beam search in the graph."""
        _, max_length, beam, length_penalty = self.decoding
        return beam_search(self._network, source, max_length, beam, length_penalty)


class ServedText(ServedIds):
    """Maps strings to strings, with the tokenizer in the graph.

    Args:
        network: A built network.
        decoding: Length limits and beam search options.
        vocabulary: The vocabulary of the network.

    Raises:
        ImportError: If tensorflow-text is not installed.
    """

    def __init__(self, network: Transformer, decoding: Decoding, vocabulary: Vocabulary):
        import tensorflow_text

        super().__init__(network, decoding, vocabulary)
        with tf_logging.no_error_stream():  # It reports that text is not normalized, as intended.
            self.tokenizer = tensorflow_text.SentencepieceTokenizer(vocabulary.proto, tf.int32)
        self._languages = list(vocabulary.languages)
        self._tokens = [vocabulary.language_id(language) for language in self._languages]
        self._first_piece = 1 + max(self._tokens)  # Special ids come before all pieces.

    def signatures(self) -> dict[str, Callable[..., Any]]:
        functions = {"serving_default": self.translate_text, "languages": self.languages}
        return {**super().signatures(), **functions}

    @tf.function(input_signature=[], autograph=False)
    def languages(self) -> dict[str, tf.Tensor]:
        """Returns the target languages."""
        return {"languages": tf.constant(self._languages)}

    @tf.function(input_signature=[_STRINGS, _STRINGS], autograph=False)
    def translate_text(self, text: tf.Tensor, language: tf.Tensor) -> dict[str, tf.Tensor]:
        """Translates each text into its language; an empty text into an empty one.

        A text with more pieces than the network reads is truncated, which `cut` marks.
        """
        pieces = self.tokenizer.tokenize(text)
        room = self.decoding.max_source - 2
        ends = tf.fill((tf.size(text), 1), END)
        source = tf.concat([self._token(language)[:, None], pieces[:, :room], ends], axis=1)
        ids, scores = self.search(source.to_tensor())
        translation = tf.where(pieces.row_lengths() > 0, self._text(ids), "")
        return {"translation": translation, "score": scores, "cut": pieces.row_lengths() > room}

    def _token(self, language: tf.Tensor) -> tf.Tensor:
        same = language[:, None] == tf.constant(self._languages)
        known = tf.debugging.Assert(
            tf.reduce_all(tf.reduce_any(same, axis=1)),
            [f"Unknown target language. Known: {', '.join(self._languages)}. Received:", language],
        )
        with tf.control_dependencies([known] if known is not None else []):
            return tf.gather(self._tokens, tf.argmax(tf.cast(same, tf.int32), axis=1))

    def _text(self, ids: tf.Tensor) -> tf.Tensor:
        before_end = tf.cumsum(tf.cast(ids == END, tf.int32), axis=1) == 0
        kept = tf.ragged.boolean_mask(ids, before_end & (ids >= self._first_piece))
        return self.tokenizer.detokenize(kept)


def served(
    network: Transformer, decoding: Decoding, vocabulary: Vocabulary
) -> dict[str, ServedIds]:
    """Returns the modules to export: `ids`, and `text` if tensorflow-text is installed.

    Args:
        network: A built network.
        decoding: Length limits and beam search options.
        vocabulary: The vocabulary of the network.
    """
    modules = {"ids": ServedIds(network, decoding, vocabulary)}
    if importlib.util.find_spec("tensorflow_text") is None:
        warnings.warn(
            "Only the SavedModel for token ids is exported, not the one that reads and writes "
            "text, because tensorflow-text is not installed. Install it with: "
            f"{extras.command('text')}",
            stacklevel=2,
        )
    else:
        modules["text"] = ServedText(network, decoding, vocabulary)
    return modules
