import collections
import importlib.util
import math
import sys

import pytest

from mtk.data.translation.bleu import corpus_bleu, tokenizer

HYPOTHESES = ["the cat sat on the mat today", "a dog runs in the small park", "two birds sing"]
REFERENCES = ["the cat sat on a mat today", "a dog runs in the park", "two birds are singing now"]


def by_hand(hypotheses, references):
    """Returns BLEU-4 of sentences without punctuation, computed from its definition."""
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


def test_identical_and_disjoint_texts():
    assert corpus_bleu(REFERENCES, REFERENCES, "de").score == pytest.approx(100)
    assert corpus_bleu(["x y z w"] * 3, REFERENCES, "de").score < 5


def test_chinese_is_split_into_characters():
    reference = ["今天天气很好我们去公园"]
    assert corpus_bleu(["今天天气很好我们去学校"], reference, "zh").score > 50
    assert corpus_bleu(["今天天气很好我们去学校"], reference, "fr").score == pytest.approx(0)
    assert "tok:zh" in corpus_bleu(reference, reference, "zh").signature


def test_signature_names_the_settings():
    signature = corpus_bleu(HYPOTHESES, REFERENCES, "fr").signature
    assert "tok:13a" in signature
    assert "smooth:exp" in signature
    assert "version:" in signature


@pytest.mark.parametrize(("hypotheses", "references"), [([], []), (["a"], ["a", "b"])])
def test_unequal_numbers_raise(hypotheses, references):
    with pytest.raises(ValueError, match="same number of translations and references"):
        corpus_bleu(hypotheses, references, "fr")


def test_missing_sacrebleu_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=r"\[translation\]"):
        corpus_bleu(["a"], ["a"], "fr")


SPELLINGS = {
    "zh": ["zh", "ZH", "zh-cn", "zh-CN", "zh_CN", "zh-Hans", "zh_Hant", "zh-Hant-TW", "zho", "chi",
           "zho_Hans", "cmn", "cmn-Hans-CN", "yue", "zh-yue", "zh-min-nan"],
    "ja-mecab": ["ja", "ja-JP", "ja_JP", "jpn", "jpn_Jpan"],
    "ko-mecab": ["ko", "ko-KR", "kor", "kor_Hang"],
    "13a": ["fr", "fra", "fre", "fr-CA", "fra_Latn", "de", "ger", "de-CH-1996", "ro", "ron",
            "pt-BR", "es-419", "ceb", "ceb_Latn", "sr-Cyrl-RS", "en", "EN", "he", "iw"],
}  # fmt: skip


@pytest.fixture
def every_tokenizer(monkeypatch):
    """Fakes sacrebleu's `BLEU`, as if MeCab were installed."""
    from sacrebleu import metrics

    class Bleu:
        def __init__(self, tokenize):
            self.tokenize = tokenize

    monkeypatch.setattr(metrics, "BLEU", Bleu)


@pytest.mark.parametrize(
    ("language", "expected"), [(code, name) for name, codes in SPELLINGS.items() for code in codes]
)
def test_tokenizer_of_language_codes(every_tokenizer, language, expected):
    assert tokenizer(language) == expected


@pytest.mark.parametrize("language", ["zh-cn", "zho", "zh_Hant", "zho_Hans", "ZH"])
def test_all_codes_of_chinese_give_the_same_score(language):
    hypotheses, references = ["今天天气很好我们去学校"], ["今天天气很好我们去公园"]
    found = corpus_bleu(hypotheses, references, language)
    assert found == corpus_bleu(hypotheses, references, "zh")
    assert found.score > 50


@pytest.mark.parametrize(("language", "extra"), [("ja", "ja"), ("jpn_Jpan", "ja"), ("ko-KR", "ko")])
def test_missing_mecab_raises(language, extra):
    module = {"ja": "MeCab", "ko": "mecab_ko"}[extra]
    if importlib.util.find_spec(module):
        pytest.skip("MeCab is installed")
    with pytest.raises(ImportError, match=rf"pip install 'sacrebleu\[{extra}\]'"):
        corpus_bleu(["a"], ["a"], language)


@pytest.mark.parametrize(
    ("language", "hint"),
    [
        ("cn", "'zh'"),
        ("jp", "'ja'"),
        ("zz", "Use one of: aa, ab"),
        ("", "Use one of"),
        ("french", "Use one of"),
        ("zhh", "'zh'|'zho'"),
        ("zh-", "Use one of|Did you mean"),
        ("fr-toolongvariant", "Did you mean 'fr'"),
        ("fr de", "Use one of"),
    ],
)
def test_unknown_language_raises_with_suggestions(language, hint):
    with pytest.raises(ValueError, match=hint):
        corpus_bleu(["a"], ["a"], language)
