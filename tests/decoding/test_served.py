"""Translation by the SavedModels, by the network, and by a Python loop."""

import numpy as np
import pytest
import tensorflow as tf

from mtk import export
from mtk.data.translation.vocabulary import END, Vocabulary, train_vocabulary
from mtk.decoding import beam_search, check_vocabulary, served, translator
from mtk.decoding.translators import text_translator
from tests.decoding.conftest import DECODING
from tests.quick import some


@pytest.fixture(scope="session")
def search(network):
    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)], autograph=False)
    def search(source):
        return beam_search(network, source, 12, beam=3, length_penalty=1.0)

    return search


@pytest.fixture(scope="session")
def translate_by_loop(search, corpus):
    """Returns a function that tokenizes in Python and translates one sentence at a time."""

    def translate(text, language):
        ids = corpus.vocabulary.encode(text)[: DECODING.max_source - 2]
        source = [corpus.vocabulary.language_id(language), *ids, END]
        found = search(np.array([source], "int32")).ids[0].numpy()
        return corpus.vocabulary.decode(found) if ids else ""

    return translate


@pytest.fixture(scope="session")
def every_translator(network, corpus, exported):
    models = (network, exported["ids"], exported["text"])
    return [translator(model, corpus.vocabulary, DECODING) for model in models]


@pytest.mark.parametrize("language", some(["fr", "zh"], ["fr"]))
def test_all_translators_agree(every_translator, translate_by_loop, corpus, texts, language):
    found = [translate(texts, language) for translate in every_translator]
    assert found[0].texts == [translate_by_loop(text, language) for text in texts]
    assert found[0] == found[1] == found[2]
    room = DECODING.max_source - 2
    assert found[0].cut == [len(corpus.vocabulary.encode(text)) > room for text in texts]
    assert found[0].cut[-1]
    assert len({*found[0].texts}) > 5  # Otherwise the network would be too uniform for the test.


def test_translation_depends_on_the_language(exported, texts):
    translate = text_translator(exported["text"].signatures)
    assert translate(texts, "fr").texts != translate(texts, "zh").texts


def test_batch_may_contain_several_languages(exported, texts):
    serve = exported["text"].signatures["serving_default"]
    mixed = serve(text=tf.constant(texts[:2]), language=tf.constant(["fr", "zh"]))
    for row, language in enumerate(("fr", "zh")):
        alone = serve(text=tf.constant(texts[row : row + 1]), language=tf.constant([language]))
        assert mixed["translation"][row] == alone["translation"][0]
        assert mixed["score"][row].numpy() == pytest.approx(alone["score"][0].numpy(), abs=1e-5)


def test_empty_batch(every_translator, exported):
    assert [translate([], "fr") for translate in every_translator] == [([], [])] * 3
    nothing = tf.constant([], tf.string)
    found = exported["text"].signatures["serving_default"](text=nothing, language=nothing)
    assert {name: value.shape[0] for name, value in found.items()} == {
        "translation": 0,
        "score": 0,
        "cut": 0,
    }


def test_ids_and_scores(search, exported, corpus):
    source = np.array([[corpus.vocabulary.language_id("fr"), 40, 50, END, 0]], "int32")
    found = exported["ids"].signatures["serving_default"](source=tf.constant(source))
    expected = search(source)
    np.testing.assert_array_equal(found["ids"], expected.ids)
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-5)


@pytest.mark.parametrize("kind", ["ids", "text"])
def test_logits_equal_those_of_the_network(network, exported, kind):
    tokens = np.random.default_rng(0).integers(1, 90, (3, 7)).astype("int32")
    inputs = {"source": tokens, "target_in": tokens[:, :4]}
    np.testing.assert_allclose(exported[kind](inputs), network(inputs), atol=1e-5)


def test_languages_signature(exported):
    found = exported["text"].signatures["languages"]()["languages"]
    assert found.numpy().tolist() == [b"fr", b"zh"]


@pytest.mark.parametrize("way", [0, 1, 2])
def test_unknown_language_raises(every_translator, way):
    with pytest.raises(ValueError, match=r"Unknown target language 'xx'.*fr, zh"):
        every_translator[way](["a"], "xx")


OTHERS = {
    "another order": {"fr": "un deux trois", "zh": "一二三"},
    "other pieces": {"zh": "五六七", "fr": "cinq six sept"},
}


@pytest.mark.parametrize("other", [*OTHERS])
def test_other_vocabulary_raises(network, corpus, exported, monkeypatch, other):
    """Also one of the same size, whose ids would silently mean other text."""
    texts = {"en": ["one two three"] * 3, **{name: [t] * 3 for name, t in OTHERS[other].items()}}
    vocabulary = train_vocabulary(texts, 300)
    monkeypatch.setattr(Vocabulary, "__len__", lambda self: 900)
    languages = ", ".join(OTHERS[other])
    for kind in ("ids", "text"):
        check_vocabulary(exported[kind], corpus.vocabulary)
        with pytest.raises(ValueError, match=rf"for fr, zh, but .* for {languages}\."):
            translator(exported[kind], vocabulary, DECODING)


@pytest.fixture(scope="module")
def plain(network, tmp_path_factory):
    """The exported network, without translation signatures."""
    folder = tmp_path_factory.mktemp("plain") / "plain"
    inputs = {name: tf.TensorSpec((None, None), tf.int32) for name in ("source", "target_in")}
    export.export(network, folder, inputs)
    return export.load(folder)


def test_vocabulary_of_another_size_raises(network, corpus, exported, plain):
    models = (network, plain, *exported.values())
    vocabulary = train_vocabulary({"en": ["one two"] * 3, "fr": ["un deux"] * 3}, 300)
    for model in models:
        check_vocabulary(model, corpus.vocabulary)
        with pytest.raises(ValueError, match=f"corpus has {len(vocabulary)} pieces, for fr"):
            check_vocabulary(model, vocabulary)


def test_unknown_language_raises_in_the_graph(exported):
    serve = exported["text"].signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)Known: fr, zh.*\[fr xx\]"):
        serve(text=tf.constant(["a", "b"]), language=tf.constant(["fr", "xx"]))


def test_without_tensorflow_text_only_ids_are_served(network, corpus, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=r"pip install -e '.*\[text\]'"):
        assert set(served(network, DECODING, corpus.vocabulary)) == {"ids"}


def test_other_networks_have_no_translator(corpus, plain):
    assert translator(plain, corpus.vocabulary, DECODING) is None
