"""SacreBLEU: how close translations come to references."""

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

# Others are told apart by spaces and punctuation, as the conference on machine translation does.
_TOKENIZERS = {"zh": "zh"}


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
            "Install it by: pip install 'mtk[translation]'"
        ) from error
    return metrics


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> Bleu:
    """Scores translations, one reference each.

    Args:
        hypotheses: The translations, as plain text.
        references: What they should be, as plain text.
        language: Of both; Chinese, "zh", is divided into characters.

    Raises:
        ValueError: If there are none, or not as many of one as of the other.
        ImportError: If SacreBLEU is not installed.

    Reference:
        Papineni et al., *BLEU* (2002); Post, *A call for clarity in reporting BLEU scores* (2018).
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            "BLEU compares as many translations as references, one or more. "
            f"Received: {len(hypotheses)} and {len(references)}"
        )
    metric = sacrebleu_metrics().BLEU(tokenize=_TOKENIZERS.get(language, "13a"))
    found = metric.corpus_score(list(hypotheses), [list(references)])
    return Bleu(float(found.score), str(metric.get_signature()))
