"""One SentencePiece vocabulary for all languages."""

import hashlib
import io
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from mtk import atomic, extras

PAD, START, END, UNKNOWN = range(4)
_SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
_LANGUAGE = re.compile(r"<2(.+)>")
# Sums over sentences depend on their distribution over threads: a fixed number of threads gives the
# same vocabulary on every machine.
_THREADS = 16


class Vocabulary:
    """Maps text to token ids and back.

    Ids 0 to 3 are padding, start, end and unknown. A token for each target language follows, with
    which a source starts, then the pieces. Text never encodes to a special id: a `<2fr>` in it is
    five ordinary characters.

    Args:
        proto: The bytes of a SentencePiece model with these ids, as from `train_vocabulary`.

    Attributes:
        proto: The same bytes.
        languages: The target languages, in the order of their tokens.
        sha256: Hash of the bytes; vocabularies with equal hashes give the same ids.

    Raises:
        ValueError: If this is not such a model.
        ImportError: If SentencePiece is not installed.
    """

    def __init__(self, proto: bytes):
        self.proto = proto
        self.sha256 = hashlib.sha256(proto).hexdigest()
        try:
            self._pieces = _sentencepiece().SentencePieceProcessor(model_proto=proto)
        except RuntimeError as error:
            raise ValueError(
                "This is not a SentencePiece model, or it is damaged. Give a "
                "`vocabulary.model` written by mtk.prepare."
            ) from error
        first = [self._pieces.id_to_piece(i) for i in range(min(len(self), len(_SPECIAL)))]
        if tuple(first) != _SPECIAL:
            raise ValueError(
                f"The vocabulary must start with {', '.join(_SPECIAL)}; train it with "
                f"mtk.prepare. Received one that starts with {', '.join(first)}"
            )
        self.languages = tuple(self._languages())

    def _languages(self) -> Iterable[str]:
        for token in itertools.count(len(_SPECIAL)):
            if token >= len(self) or not self._pieces.is_control(token):
                return
            name = _LANGUAGE.fullmatch(self._pieces.id_to_piece(token))
            if name:
                yield name[1]

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Reads a vocabulary from a file.

        Raises:
            ValueError: If it holds no vocabulary. OSError: If it cannot be read.
        """
        try:
            return cls(Path(path).read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Writes the vocabulary to a file atomically."""
        with atomic.replacing(path) as unfinished:
            unfinished.write_bytes(self.proto)

    def __len__(self) -> int:
        return int(self._pieces.get_piece_size())

    def language_id(self, language: str) -> int:
        """Returns the token that requests a target language.

        Raises:
            ValueError: If the vocabulary has no such language.
        """
        if language not in self.languages:
            raise ValueError(
                f"Unknown target language {language!r}. The vocabulary has: "
                f"{', '.join(self.languages) or 'none'}"
            )
        return len(_SPECIAL) + self.languages.index(language)

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text's pieces, without special ids."""
        return list(self._pieces.encode(text))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of many texts' pieces."""
        return list(self._pieces.encode(list(texts), num_threads=1))

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids, up to the first END, without special ids."""
        text = itertools.takewhile(lambda token: token != END, map(int, ids))
        first = len(_SPECIAL) + len(self.languages)
        return str(self._pieces.decode([token for token in text if token >= first]))


def train_vocabulary(
    texts_by_language: Mapping[str, Iterable[str]], size: int, source: str = "en"
) -> Vocabulary:
    """Learns one vocabulary for all languages.

    Languages are weighted by the given texts: give about the same number of each. The pieces come
    from a unigram language model. Departures from SentencePiece's defaults:

    * Text is not normalized, except for repeated spaces: NFKC would replace the full-width
      punctuation of Chinese, which references keep.
    * 0.9995 of the characters are covered, the others are encoded as bytes: all text can be
      encoded, and rare Chinese characters do not displace words.
    * Each digit is a piece, so that a number has a unique tokenization.

    Args:
        texts_by_language: Lines of each language, including that of the sources; the others become
            target languages.
        size: Number of pieces, including special ones. Small texts give fewer; see `len`.
        source: Language of the sources.

    Raises:
        ValueError: If there is no text, or `size` is less than its characters need.
        ImportError: If SentencePiece is not installed.

    Reference:
        Kudo, *Subword regularization* (2018), section 3.2; Kudo & Richardson, *SentencePiece*
        (2018).
    """
    targets = [language for language in texts_by_language if language != source]
    model = io.BytesIO()
    try:
        _sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=itertools.chain.from_iterable(texts_by_language.values()),
            model_writer=model,
            vocab_size=size,
            hard_vocab_limit=False,
            control_symbols=[f"<2{language}>" for language in targets],
            normalization_rule_name="identity",
            character_coverage=0.9995,
            byte_fallback=True,
            split_digits=True,
            train_extremely_large_corpus=True,
            num_threads=_THREADS,
            minloglevel=2,
            pad_id=PAD,
            bos_id=START,
            eos_id=END,
            unk_id=UNKNOWN,
            pad_piece=_SPECIAL[PAD],
            bos_piece=_SPECIAL[START],
            eos_piece=_SPECIAL[END],
            unk_piece=_SPECIAL[UNKNOWN],
        )
    except RuntimeError as error:
        raise ValueError(_explained(str(error), size)) from error
    return Vocabulary(model.getvalue())


def _explained(message: str, size: int) -> str:
    needed = re.search(r"required_chars\. \d+ vs (\d+)", message)
    if needed:
        return (
            f"A vocabulary of {size} is too small: the special tokens, 256 bytes and the "
            f"characters of the text already need {needed[1]}. Increase `vocabulary_size`."
        )
    if "sentences_.empty()" in message:
        return "There is no text to learn a vocabulary from."
    return f"SentencePiece cannot learn a vocabulary of {size}: {message}"


def _sentencepiece() -> ModuleType:
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError(
            "Translation needs SentencePiece, which is not installed. Install it with: "
            f"{extras.command('translation')}"
        ) from error
    return sentencepiece
