"""The exports and results of a finished translation run."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from replicated_translation import workload
from toy import toy_corpus

from mtk import config, evaluate, export
from mtk.data.translation.batches import Lengths
from mtk.experiment import Logging, Optimization, Training, evaluation, run
from mtk.export.loading import load_translator
from mtk.workloads import Translation
from tests.quick import slow

# By default, `decoding/test_served.py` covers exports and translation, and
# `serving/test_evaluate_command.py` the evaluation of a run.
pytestmark = pytest.mark.slow

SIZE = {"num_layers": 1, "width": 32, "feed_forward_width": 64, "num_heads": 2, "dropout": 0.0}

CONFIG = """
from __gin__ import dynamic_registration
import toy
from mtk import experiment
from mtk.data.translation import batches
from mtk.workloads import translation

experiment.run.workload = @translation.Translation
translation.Translation.corpus = @toy.toy_corpus
translation.Translation.lengths = @batches.Lengths()
batches.Lengths.longest = 16
"""


@pytest.fixture(scope="module")
def make():
    corpus = toy_corpus()
    return functools.partial(Translation, lambda: corpus, lengths=Lengths(16), **SIZE)


@pytest.fixture(scope="module")
def finished(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "toy"
    training = Training(steps=120, evaluate_every=60)
    adam = Optimization(keras.optimizers.Adam, 3e-3, batch_size=32)
    never = Logging(measure_every=0)
    return folder, run(make, folder, training, optimization=adam, logging=never)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("saved_model_ids", "test"),
        slow(("saved_model_text", "validation")),
        slow(("model.keras", "test")),
    ],
)
def test_every_export_reproduces_the_metrics_of_the_run(make, finished, name, split):
    folder, result = finished
    figures = evaluation.evaluate(make, folder / name, split)
    for language, recorded in result[split]["tasks"].items():
        assert recorded["bleu"] > 0
        assert figures["tasks"][language] == pytest.approx(recorded, abs=1e-4)
    assert figures["loss"] == pytest.approx(result[split]["loss"], abs=1e-5)
    assert figures["signatures"] == result["signatures"]
    assert result["signatures"]["fr/bleu"] in evaluation.described(figures)


def test_run_folder_is_evaluated_by_its_ids_export(finished, tmp_path, capsys):
    folder, result = finished
    (tmp_path / "toy.gin").write_text(CONFIG)
    assert evaluate.main([f"--saved_model={folder}", f"--gin_file={tmp_path / 'toy.gin'}"]) == 0
    shown = capsys.readouterr().out
    config.parse()
    assert shown.startswith(f"{folder / 'saved_model_ids'} on the test split")
    assert f"{result['test']['tasks']['fr']['bleu']:.4f}" in shown
    assert f"  fr/bleu: {result['signatures']['fr/bleu']}" in shown.splitlines()


def test_network_export_gives_losses_only(make, finished):
    folder, result = finished
    figures = evaluation.evaluate(make, folder / "saved_model", "test")
    assert figures["loss"] == pytest.approx(result["test"]["loss"], abs=1e-5)
    assert "bleu" not in figures["tasks"]["fr"]
    assert "signatures" not in figures


@pytest.mark.parametrize(
    ("what", "languages"),
    [("", "('de', 'fr')"), ("saved_model", "('fr',)"), ("model.keras", "('fr',)")],
)
def test_corpus_with_another_vocabulary_is_refused(finished, tmp_path, capsys, what, languages):
    folder, _ = finished
    (tmp_path / "toy.gin").write_text(f"{CONFIG}\ntoy.toy_corpus.languages = {languages}\n")
    flags = [f"--saved_model={folder / what}", f"--gin_file={tmp_path / 'toy.gin'}"]
    assert evaluate.main(flags) == 2
    config.parse()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: The vocabulary of the network differs from that of the corpus" in shown.err


def test_training_split_has_no_bleu(make, finished):
    folder, _ = finished
    figures = evaluation.evaluate(make, folder / "saved_model_ids", "train")
    assert figures["tasks"]["de"].keys() == {"loss", "cross_entropy", "error"}


def test_ids_and_text_exports_agree(make, finished):
    """Decoded ids of the `ids` export equal the translation of the `text` export."""
    folder, _ = finished
    vocabulary = make().corpus.vocabulary
    source = [[vocabulary.language_id("de"), *vocabulary.encode("three one four"), 2]]
    serve = export.load(folder / "saved_model_ids").signatures["serving_default"]
    ids = serve(source=tf.constant(source))["ids"].numpy()[0]
    translate = load_translator(folder / "saved_model_text", "de")
    assert translate(["three one four"], "de").texts == [vocabulary.decode(ids)]


@pytest.mark.slow
def test_exports_of_two_replicas_reproduce_the_metrics(tmp_path):
    command = [
        sys.executable,
        Path(__file__).parent / "replicated_translation.py",
        tmp_path / "run",
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    recorded = json.loads((tmp_path / "run" / "result.json").read_text())["test"]["tasks"]
    for name in ("saved_model_ids", "saved_model_text"):
        figures = evaluation.evaluate(workload, tmp_path / "run" / name, "test")
        for language, own in recorded.items():
            assert figures["tasks"][language] == pytest.approx(own, abs=1e-4)
