"""SacreBLEU: how close translations come to references."""

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from mtk import extras
from mtk.data.translation.languages import normalized

# SacreBLEU's own choice. The words of others are told apart by spaces and punctuation, as the
# conference on machine translation does.
_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}


class Bleu(NamedTuple):
    """A score and how it was computed.

    Attributes:
        score: From 0 to 100.
        signature: SacreBLEU's, with which others can compute the same.
    """

    score: float
    signature: str


def sacrebleu_metrics() -> ModuleType:
    """Returns SacreBLEU's metrics.

    Raises:
        ImportError: If SacreBLEU is not installed.
    """
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise ImportError(
            "BLEU needs SacreBLEU, which is not installed. "
            f"Install it by: {extras.command('translation')}"
        ) from error
    return metrics


def tokenizer(language: str) -> str:
    """Returns the name of the tokenizer by which SacreBLEU divides a language.

    Chinese is divided into characters, Japanese and Korean by MeCab, others by spaces and
    punctuation.

    Args:
        language: Its code, as `mtk.data.translation.languages.normalized` reads it.

    Raises:
        ValueError: If there is no such language.
        ImportError: If SacreBLEU, or what the tokenizer needs, is not installed.
    """
    code = normalized(language)
    name = _TOKENIZERS.get(code, "13a")
    try:
        sacrebleu_metrics().BLEU(tokenize=name)
    except RuntimeError as error:  # SacreBLEU's own for a missing dictionary.
        raise ImportError(
            f"BLEU of {language!r} needs the tokenizer {name!r}, which is not installed. "
            f"Install it by: pip install 'sacrebleu[{code}]'"
        ) from error
    return name


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> Bleu:
    """Scores translations, one reference each.

    Args:
        hypotheses: The translations, as plain text.
        references: What they should be, as plain text.
        language: Code of their language; see `tokenizer`.

    Raises:
        ValueError: If there are none, not as many of one as of the other, or no such language.
        ImportError: If SacreBLEU, or what its tokenizer needs, is not installed.

    Reference:
        Papineni et al., *BLEU* (2002); Post, *A call for clarity in reporting BLEU scores* (2018).
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            "BLEU compares as many translations as references, one or more. "
            f"Received: {len(hypotheses)} and {len(references)}"
        )
    metric = sacrebleu_metrics().BLEU(tokenize=tokenizer(language))
    found = metric.corpus_score(list(hypotheses), [list(references)])
    return Bleu(float(found.score), str(metric.get_signature()))
