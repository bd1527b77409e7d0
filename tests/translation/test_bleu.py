import collections
import math
import sys

import pytest

from mtk.data.translation.bleu import corpus_bleu

HYPOTHESES = ["the cat sat on the mat today", "a dog runs in the small park", "two birds sing"]
REFERENCES = ["the cat sat on a mat today", "a dog runs in the park", "two birds are singing now"]


def by_hand(hypotheses, references):
    """BLEU-4 of sentences without punctuation, by its definition."""
    matches, totals = [0] * 4, [0] * 4
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        for n in range(1, 5):
            mine, theirs = (
                collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
                for words in (hypothesis.split(), reference.split())
            )
            matches[n - 1] += sum((mine & theirs).values())
            totals[n - 1] += sum(mine.values())
    lengths = [sum(len(line.split()) for line in lines) for lines in (hypotheses, references)]
    brevity = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    logs = [math.log(m / t) for m, t in zip(matches, totals, strict=True)]
    return 100 * brevity * math.exp(sum(logs) / 4)


def test_equals_the_definition():
    found = corpus_bleu(HYPOTHESES, REFERENCES, "fr").score
    assert found == pytest.approx(by_hand(HYPOTHESES, REFERENCES), rel=1e-9)
    assert 20 < found < 80


def test_perfect_and_hopeless():
    assert corpus_bleu(REFERENCES, REFERENCES, "de").score == pytest.approx(100)
    assert corpus_bleu(["x y z w"] * 3, REFERENCES, "de").score < 5


def test_chinese_is_divided_into_characters():
    reference = ["今天天气很好我们去公园"]
    assert corpus_bleu(["今天天气很好我们去学校"], reference, "zh").score > 50
    assert corpus_bleu(["今天天气很好我们去学校"], reference, "fr").score == pytest.approx(0)
    assert "tok:zh" in corpus_bleu(reference, reference, "zh").signature


def test_signature_tells_how():
    signature = corpus_bleu(HYPOTHESES, REFERENCES, "fr").signature
    assert "tok:13a" in signature
    assert "smooth:exp" in signature
    assert "version:" in signature


@pytest.mark.parametrize(("hypotheses", "references"), [([], []), (["a"], ["a", "b"])])
def test_unequal_numbers(hypotheses, references):
    with pytest.raises(ValueError, match="as many translations as references"):
        corpus_bleu(hypotheses, references, "fr")


def test_without_sacrebleu(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=r"mtk\[translation\]"):
        corpus_bleu(["a"], ["a"], "fr")
