import functools
import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy import WORDS, said, toy_corpus

import mtk
from mtk import experiment
from mtk.data.mixing import task_counts
from mtk.data.translation.batches import Lengths
from mtk.workloads import Translation
from tests.quick import slow

SMALL = {"num_layers": 1, "width": 16, "feed_forward_width": 16, "num_heads": 2}


@pytest.fixture(scope="module")
def corpus():
    return toy_corpus()


@pytest.fixture(scope="module")
def make(corpus):
    """Returns a factory of workloads on one corpus."""
    return functools.partial(Translation, lambda: corpus, **SMALL)


def read(batches: tf.data.Dataset) -> list:
    return list(batches.as_numpy_iterator())


def test_tasks_are_the_languages(make, corpus):
    workload = make()
    assert [task.name for task in workload.tasks] == ["fr", "de"]
    assert all(task.missing == 0 for task in workload.tasks)
    assert workload.num_train == 200 + 201
    network = workload.network(0)
    assert network.hyperparameters["vocabulary_size"] == len(corpus.vocabulary)


def test_equal_shares_by_default(make, corpus):
    for batch in read(make().train(8, 5, seed=0)):
        assert list(batch) == ["fr", "de"]
        for language, (x, y) in batch.items():
            assert x["source"].shape[0] == y.shape[0] == 4
            assert {*x["source"][:, 0]} == {corpus.vocabulary.language_id(language)}


@pytest.mark.parametrize("rates", [(0.3, 0.7), {"de": 0.7, "fr": 0.3}])
def test_sampling_rates_mix_languages_in_a_batch(make, rates):
    batches = read(make(sampling_rates=rates).train(8, 20, seed=3))
    shares = [np.bincount(ids, minlength=2).tolist() for _, _, ids in batches]
    assert shares == task_counts([0.3, 0.7], 8, 20, 3).tolist()


def test_batches_contain_pairs_of_the_corpus(make, corpus):
    """A row's target is the translation of its source into the row's language."""
    decode = corpus.vocabulary.decode
    names = {corpus.vocabulary.language_id(name): name for name in corpus.languages}
    for x, y, _ in read(make(sampling_rates=(0.5, 0.5), window=5).train(10, 10, seed=0)):
        for source, target_in, target in zip(x["source"], x["target_in"], y, strict=True):
            phrase = [WORDS["en"].index(word) for word in decode(source).split()]
            assert decode(target) == said(phrase, names[source[0]])
            assert decode(target_in) == decode(target)


@pytest.mark.parametrize(
    ("rates", "window", "first_step"), [slow((None, 1, 6)), slow((None, 3, 1)), ((0.5, 0.5), 3, 4)]
)
def test_training_resumes_at_first_step(make, rates, window, first_step):
    workload = make(sampling_rates=rates, window=window)
    whole, tail = (read(workload.train(6, 8, 2, first)) for first in (0, first_step))
    tf.nest.map_structure(np.testing.assert_array_equal, tail, whole[first_step:])


def test_long_pairs_are_dropped_in_training_and_truncated_in_evaluation(corpus):
    short = Translation(lambda: corpus, lengths=Lengths(7, 1), **SMALL)
    assert 0 < short.num_train < 401
    counts = [
        int(((p.source.lengths <= 5) & (p.target.lengths <= 6)).sum())
        for p in (corpus.pairs("train", language) for language in ("fr", "de"))
    ]
    assert short.num_train == sum(counts)
    examples = sum(len(ids) for _, _, ids in read(short.validation(16)))
    assert examples == 30 + 31
    assert max(y.shape[1] for _, y, _ in read(short.validation(16))) == 7
    assert sum(len(ids) for _, _, ids in read(short.train_evaluation(16))) == sum(counts)


def test_fixed_length_of_mixed_and_per_task_batches(make):
    lengths = Lengths(16, fixed=True)
    for rates in (None, (0.5, 0.5)):
        batches = make(sampling_rates=rates, lengths=lengths).train(8, 2, 0)
        shapes = [spec.shape.as_list() for spec in tf.nest.flatten(batches.element_spec)]
        assert {tuple(shape[1:]) for shape in shapes} - {()} == {(16,)}


@pytest.mark.parametrize("rates", [(0.5,), (0.2, 0.3, 0.5), {"fr": 1.0}, {"fr": 0.5, "zh": 0.5}])
def test_rates_for_other_languages_raise(make, rates):
    with pytest.raises(ValueError, match=r"one number for each language, \['fr', 'de'\]"):
        make(sampling_rates=rates)


def test_too_short_limit_raises():
    with pytest.raises(ValueError, match="No training pair of 'fr' has at most 4 tokens"):
        Translation(lambda: toy_corpus(words=(4, 7)), lengths=Lengths(4), **SMALL)


def test_missing_sacrebleu_raises(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=r"\[translation\]"):
        make()


def test_fingerprint_covers_vocabulary_sizes_and_contents(make):
    found = make().fingerprint()
    assert found == make().fingerprint()
    assert toy_corpus().fingerprint() == found  # Also equal for a corpus that was made again.
    assert found["train.fr"].startswith("200 pairs of ")
    fewer = toy_corpus(sizes=(200, 30, 19)).fingerprint()
    assert [name for name in found if found[name] != fewer[name]] == ["test.fr", "test.de"]
    other = toy_corpus(("de", "fr")).fingerprint()
    assert other["vocabulary"] != found["vocabulary"]

    corpus = toy_corpus()
    corpus.pairs("train", "fr").target.tokens[-1] += 1
    corpus.texts("test", "de").references[-1] += "."
    changed = corpus.fingerprint()
    assert [name for name in found if found[name] != changed[name]] == ["train.fr", "test.de"]


def start(make, run_dir, steps=250, evaluate_every=125, learning_rate=3e-3, **arguments):
    adam = experiment.Optimization(keras.optimizers.Adam, learning_rate, batch_size=32)
    return experiment.run(
        make,
        run_dir,
        experiment.Training(steps=steps, evaluate_every=evaluate_every),
        optimization=adam,
        logging=experiment.Logging(measure_every=0),
        **arguments,
    )


@pytest.fixture(scope="module")
def finished(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "toy"
    workload = functools.partial(make, width=32, feed_forward_width=64, dropout=0.0)
    return folder, start(workload, folder)


@pytest.mark.slow
def test_result_has_every_metric_by_language(finished):
    folder, result = finished
    assert json.loads((folder / "result.json").read_text()) == result
    for split in ("validation", "test"):
        for language in ("fr", "de"):
            figures = result[split]["tasks"][language]
            assert figures.keys() == {"loss", "cross_entropy", "error", "bleu"}
            # Label smoothing increases the loss.
            assert 0 < figures["cross_entropy"] < figures["loss"]
            assert 0 <= figures["error"] < 60
            assert 0 <= figures["bleu"] <= 100 + 1e-9
    assert result["signatures"].keys() == {"fr/bleu", "de/bleu"}
    assert "beam:4" in result["signatures"]["fr/bleu"]


@pytest.mark.slow
def test_loss_is_the_mean_over_languages(finished):
    _, result = finished
    for split in ("validation", "test"):
        losses = [result[split]["tasks"][language]["loss"] for language in ("fr", "de")]
        assert result[split]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.slow
def test_network_learns_to_translate(finished):
    """Translated word by word in one language, in reverse order in the other."""
    _, result = finished
    for language in ("fr", "de"):
        assert result["test"]["tasks"][language]["bleu"] > 30, language


def test_metrics_equal_their_definition(make):
    """Cross-entropy and error over all tokens of a language, against NumPy."""
    workload = make(dropout=0.0)
    model = mtk.MultiTaskModel(workload.network(0), workload.tasks)
    model.compile()
    logs = model.evaluate(workload.test(7), verbose=0, return_dict=True)
    found = {0: [], 1: []}
    wrong = {0: [], 1: []}
    for x, y, ids in workload.test(64):
        z = np.asarray(model.network(x), np.float64)
        log_probs = z - np.log(np.exp(z).sum(-1, keepdims=True))
        of_label = np.take_along_axis(log_probs, y.numpy()[..., None], -1)[..., 0]
        task = int(ids[0])
        found[task] += [-of_label[y > 0], 0.1 * (of_label - log_probs.mean(-1))[y > 0]]
        wrong[task].append((z.argmax(-1) != y.numpy())[y > 0])
    for task, language in enumerate(("fr", "de")):
        entropy = np.mean(np.concatenate(found[task][::2]))
        smoothing = np.mean(np.concatenate(found[task][1::2]))
        assert logs[f"{language}_cross_entropy"] == pytest.approx(entropy, rel=1e-4)
        assert logs[f"{language}_loss"] == pytest.approx(entropy + smoothing, rel=1e-4)
        assert logs[f"{language}_error"] == pytest.approx(
            100 * np.mean(np.concatenate(wrong[task])), rel=1e-4
        )


@pytest.mark.slow
def test_mixed_and_per_task_batches_give_the_same_losses(make):
    """With equal rates, mixed and per-task batches contain the same pairs, hence equal losses."""
    network = make(dropout=0.0).network(0)
    losses = []
    for rates in (None, (0.5, 0.5)):
        data = make(sampling_rates=rates)
        model = mtk.MultiTaskModel(network, data.tasks)
        model.compile()
        batches = data.train(8, 1, seed=0)
        losses.append(model.evaluate(batches, verbose=0, return_dict=True))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
