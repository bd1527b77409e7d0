"""SacreBLEU scores of translations."""

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from mtk import extras
from mtk.data.translation.languages import normalized

# SacreBLEU's defaults. Other languages are tokenized by spaces and punctuation, as at WMT.
_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}


class Bleu(NamedTuple):
    """A score, and how it was computed.

    Attributes:
        score: From 0 to 100.
        signature: SacreBLEU's signature, for reproduction.
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
            "BLEU needs SacreBLEU, which is not installed. Install it with: "
            f"{extras.command('translation')}"
        ) from error
    return metrics


def tokenizer(language: str) -> str:
    """Returns the name of SacreBLEU's tokenizer for a language.

    Chinese is tokenized by characters, Japanese and Korean by MeCab, others by spaces and
    punctuation.

    Args:
        language: Its code; see `mtk.data.translation.languages.normalized`.

    Raises:
        ValueError: If there is no such language.
        ImportError: If SacreBLEU, or a dependency of the tokenizer, is not installed.
    """
    code = normalized(language)
    name = _TOKENIZERS.get(code, "13a")
    try:
        sacrebleu_metrics().BLEU(tokenize=name)
    except RuntimeError as error:  # SacreBLEU's error for a missing dictionary.
        raise ImportError(
            f"BLEU of {language!r} needs the tokenizer {name!r}, which is not installed. "
            f"Install it with: pip install 'sacrebleu[{code}]'"
        ) from error
    return name


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> Bleu:
    """Scores translations against one reference each.

    Args:
        hypotheses: The translations, as plain text.
        references: The references, as plain text.
        language: Code of their language; see `tokenizer`.

    Raises:
        ValueError: If there are none, their numbers differ, or the language is unknown.
        ImportError: If SacreBLEU, or a dependency of its tokenizer, is not installed.

    Reference:
        Papineni et al., *BLEU* (2002); Post, *A call for clarity in reporting BLEU scores* (2018).
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            "BLEU needs the same number of translations and references, 1 or more. Received: "
            f"{len(hypotheses)} and {len(references)}"
        )
    metric = sacrebleu_metrics().BLEU(tokenize=tokenizer(language))
    found = metric.corpus_score(list(hypotheses), [list(references)])
    return Bleu(float(found.score), str(metric.get_signature()))
