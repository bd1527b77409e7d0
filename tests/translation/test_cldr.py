import re
import subprocess
import sys

import pytest
from babel import Locale

from mtk.data.translation.cldr import LANGUAGES, cldr_corpus
from mtk.data.translation.corpus import HELD_OUT, SPLITS

SIZES = {"num_train": 1500, "num_validation": 100, "num_test": 100, "vocabulary_size": 1500}


@pytest.fixture(scope="module")
def corpus():
    return cldr_corpus(**SIZES)


def sources(corpus, split, language):
    pairs = corpus.pairs(split, language)
    return [corpus.vocabulary.decode(pairs.source[i]) for i in range(len(pairs.source))]


def targets(corpus, split, language):
    pairs = corpus.pairs(split, language)
    return [corpus.vocabulary.decode(pairs.target[i]) for i in range(len(pairs.target))]


def test_sizes(corpus):
    assert corpus.languages == corpus.vocabulary.languages == LANGUAGES
    assert len(corpus.vocabulary) <= SIZES["vocabulary_size"]
    for language in LANGUAGES:
        for split, number in zip(SPLITS, (1500, 100, 100), strict=True):
            pairs = corpus.pairs(split, language)
            assert len(pairs.source) == len(pairs.target) == number


def test_english_phrases_are_unique(corpus):
    for language in LANGUAGES:
        english = [text for split in SPLITS for text in sources(corpus, split, language)]
        assert len({*english}) == len(english) == 1700


def test_all_languages_have_the_same_english_phrases(corpus):
    for split in SPLITS:
        (english,) = {tuple(sources(corpus, split, language)) for language in LANGUAGES}
        assert all(english)


def test_tokens_decode_to_the_texts(corpus):
    for split in HELD_OUT:
        for language in LANGUAGES:
            texts = corpus.texts(split, language)
            assert sources(corpus, split, language) == texts.sources
            assert targets(corpus, split, language) == texts.references


def table(corpus):
    return {
        language: dict(
            zip(sources(corpus, "train", language), targets(corpus, "train", language), strict=True)
        )
        for language in LANGUAGES
    }


# Words of the five languages from a dictionary.
WORDS = {
    "March": ("mars", "3月", "März", "martie"),
    "Tuesday": ("mardi", "星期二", "Dienstag", "marți"),
    "weeks ago": ("il y a", "周前", "vor", "acum"),
    "Germany": ("Allemagne", "德国", "Deutschland", "Germania"),
    "kilograms": ("kilogrammes", "千克", "Kilogramm", "kilograme"),
    "Japanese yen": ("yens japonais", "日元", "Japanische", "yeni japonezi"),
}


@pytest.mark.parametrize("word", WORDS)
def test_phrases_are_translations(corpus, word):
    found = 0
    for language, expected in zip(LANGUAGES, WORDS[word], strict=True):
        for english, said in table(corpus)[language].items():
            # Short date formats give the month as a number.
            if re.search(rf"\b{word}\b", english) and not re.search(r" – ", english):
                assert expected in said, (english, said)
                found += 1
    assert found


def test_phrases_contain_no_internal_names(corpus):
    """Babel lacks some units in some languages, and would return their codes."""
    codes = {code for code in Locale("en").unit_display_names if "-" in code}
    assert "length-kilometer" in codes
    for said in table(corpus).values():
        for text in said.values():
            assert not [code for code in codes if code in text]
            assert text == " ".join(text.split()) != ""


def test_phrases_and_splits_do_not_depend_on_the_other_languages(corpus):
    two = cldr_corpus(("de", "fr"), **SIZES)
    assert two.languages == ("de", "fr")
    for split in HELD_OUT:
        for language in two.languages:
            assert two.texts(split, language) == corpus.texts(split, language)


def test_corpus_depends_on_the_seed():
    small = {"num_train": 300, "num_validation": 20, "num_test": 20, "vocabulary_size": 600}
    first, again, other = (cldr_corpus(("ro",), **small, seed=seed) for seed in (1, 1, 2))
    assert first.vocabulary.proto == again.vocabulary.proto
    assert first.texts("test", "ro") == again.texts("test", "ro")
    assert not {*first.texts("test", "ro").sources} & {*other.texts("test", "ro").sources}


def test_corpus_does_not_depend_on_the_hash_seed():
    """The iteration order of sets differs between processes."""
    code = (
        "from mtk.data.translation.cldr import cldr_corpus as make\n"
        "print(make(('de',), 200, 20, 20, 600).texts('test', 'de'))"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "PATH": ""},
        ).stdout
        for seed in "12"
    ]
    assert said[0] == said[1] != ""


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (("fr", "es"), "Unknown target language 'es'. Available: fr, zh, de, ro"),
        (("fr", "fr"), "once"),
        ((), "at least one"),
    ],
)
def test_invalid_languages_raise(languages, message):
    with pytest.raises(ValueError, match=message):
        cldr_corpus(languages)


def test_unknown_split_or_language_raises(corpus):
    with pytest.raises(ValueError, match="no 'dev' here. Available: train, validation, test"):
        corpus.pairs("dev", "fr")
    with pytest.raises(ValueError, match="no 'train' here. Available: validation, test"):
        corpus.texts("train", "fr")
    with pytest.raises(ValueError, match="no 'es' here. Available: fr, zh, de, ro"):
        corpus.pairs("train", "es")


def test_missing_babel_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(ImportError, match=r"pip install -e '.*\[translation\]'"):
        cldr_corpus()


def test_requesting_too_many_phrases_raises(monkeypatch):
    monkeypatch.setattr("mtk.data.translation.cldr._PATIENCE", 1)
    with pytest.raises(
        ValueError, match=r"only 1\d\d\d different phrases, but 2000 were requested. Request fewer"
    ):
        cldr_corpus(num_train=1800, num_validation=100, num_test=100)
