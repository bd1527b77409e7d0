import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from application_runs import read_metrics, start

from mtk import schedules

TASKS = ("left", "right")


def test_run_folder_is_complete(finished):
    """Missing parent folders are created."""
    folder, _ = finished
    assert {path.name for path in folder.iterdir()} == {
        "config.gin",
        "operative_config.gin",
        "manifest.json",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "saved_model",
        "model.keras",
        "result.json",
        "test_examples.npz",
    }
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        "lock",
        "run.json",
        "selected.weights.h5",
        "000002-step-8",
        "000003-step-10",
    }


def test_result_file_equals_the_returned_result(finished, tiny):
    folder, result = finished
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["status"] == "finished"
    assert result["steps"] == 10
    assert result["selected_step"] in (4, 8, 10)
    assert result["parameters"] == tiny().network(0).count_params()
    assert result["train_examples"] == tiny().num_train
    assert result["test_examples"] == sum(len(x) for x, _ in tiny().test(7))
    for split in ("train", "validation", "test"):
        losses = [result[split]["tasks"][task]["loss"] for task in TASKS]
        assert result[split]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
        assert all(0 <= result[split]["tasks"][task]["accuracy"] <= 1 for task in TASKS)


def test_metrics_are_written_at_each_evaluation_and_for_test_once(finished):
    folder, result = finished
    lines = read_metrics(folder)
    steps = {}
    for line in lines:
        steps.setdefault(line["split"], set()).add(line["step"])
    assert steps == {
        "train": {4, 8, 10},
        "validation": {4, 8, 10},
        "train_final": {10},
        "test": {result["selected_step"]},
    }
    weights = [x for x in lines if x["name"] == "weight" and x["task"] == "left"]
    assert [(x["step"], x["split"]) for x in weights] == [(s, "train") for s in (4, 8, 10)]


def test_selected_step_has_the_smallest_validation_loss(finished):
    folder, result = finished
    losses = {
        line["step"]: line["value"]
        for line in read_metrics(folder)
        if (line["split"], line["task"], line["name"]) == ("validation", "", "loss")
    }
    assert result["selected_step"] == min(losses, key=losses.get)
    assert result["validation"]["loss"] == min(losses.values())


def test_saved_model_reproduces_the_test_metrics(finished, tiny):
    folder, result = finished
    serve = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    data = tiny()
    ((name, _),) = serve.structured_input_signature[1].items()
    right = {task: [] for task in TASKS}
    for images, labels, *_ in data.test(100):
        outputs = serve(**{name: images})
        assert set(outputs) == set(TASKS)
        for task in TASKS:
            found = np.argmax(outputs[task], -1) == labels[task].numpy()
            right[task].extend(found)
    for task in TASKS:
        assert np.mean(right[task]) == pytest.approx(result["test"]["tasks"][task]["accuracy"])


def test_selected_weights_are_the_exported_ones(finished, tiny):
    folder, _ = finished
    network = tiny().network(0)
    network.load_weights(folder / "checkpoints" / "selected.weights.h5")
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    images = next(iter(tiny().test(10)))[0]
    ((name, _),) = loaded.signatures["serving_default"].structured_input_signature[1].items()
    exported = loaded.signatures["serving_default"](**{name: images})
    for task, logits in network(images, training=False).items():
        np.testing.assert_allclose(exported[task], logits, rtol=1e-5, atol=1e-6)


def test_manifest_contains_what_repeats_the_run(finished):
    manifest = json.loads((finished[0] / "manifest.json").read_text())
    assert manifest["versions"]["tensorflow"] == tf.__version__
    assert manifest["versions"]["keras"] == keras.__version__
    assert manifest["seed"] == 0
    assert manifest["host"]["cores"] >= 1
    assert manifest["host"]["memory_bytes"] > 1e8
    assert manifest["command"]


def test_curves_for_every_split(finished, read_events):
    folder, result = finished
    boards = {path.name: read_events(path) for path in (folder / "tensorboard").iterdir()}
    own = {f"task_{task}" for task in TASKS}
    assert set(boards) == {"train", "validation", "test", "hparams", *own}
    for name in own:
        del boards[name]
    shown = boards.pop("hparams")
    for task in TASKS:
        assert {f"loss/{task}", f"accuracy/{task}"} <= set.intersection(*map(set, boards.values()))
        assert {f"weight/{task}", f"gradient_norm/{task}"} <= set(boards["train"])
        expected = (result["selected_step"], result["test"]["tasks"][task]["loss"])
        assert boards["test"][f"loss/{task}"] == [pytest.approx(expected)]
        assert shown[f"test/{task}/loss"] == [pytest.approx(expected)]
    assert "cosine/left~right" in boards["train"]
    # PCGrad computes per-task gradients anyway, so every point of the curve has norms.
    assert [step for step, _ in boards["train"]["gradient_norm/left"]] == [2, 4, 6, 8, 10]


@pytest.mark.slow
def test_records_depend_on_the_seed_only(finished, tiny, tmp_path):
    expected = (finished[0] / "metrics.jsonl").read_bytes()
    start(tiny, tmp_path / "again")
    assert (tmp_path / "again" / "metrics.jsonl").read_bytes() == expected
    start(tiny, tmp_path / "other", seed=1)
    assert (tmp_path / "other" / "metrics.jsonl").read_bytes() != expected


@pytest.mark.slow
def test_diverged_run_writes_its_result(tiny, tmp_path):
    result = start(tiny, tmp_path / "run", learning_rate=1e30)
    assert result["status"] == "diverged"
    assert result["task"] in TASKS
    assert 2 <= result["steps"] <= 10
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    assert {"manifest.json", "metrics.jsonl"} <= {p.name for p in (tmp_path / "run").iterdir()}
    assert not (tmp_path / "run" / "saved_model").exists()
    assert any(line["value"] is None for line in read_metrics(tmp_path / "run"))


@pytest.mark.slow
def test_divergence_keeps_the_earlier_selection(tiny, tmp_path):
    def late_jump(learning_rate, steps_per_epoch):
        return keras.optimizers.schedules.PiecewiseConstantDecay([5], [learning_rate, 1e30])

    result = start(tiny, tmp_path / "run", schedule=late_jump)
    assert result["status"] == "diverged"
    assert result["steps"] > 6
    assert result["selected_step"] == 4
    assert result["validation"]["tasks"]["left"]["loss"] > 0


@pytest.mark.slow
def test_early_stopping(tiny, tmp_path):
    result = start(tiny, tmp_path / "run", learning_rate=1e-30, patience=2, steps=40)
    assert (result["steps"], result["selected_step"]) == (12, 4)


def test_epochs_set_the_length_and_a_schedule_the_learning_rate(tiny, tmp_path, read_events):
    def halved(learning_rate, steps_per_epoch):
        assert steps_per_epoch == 1079 // 512
        return schedules.StepDecay(learning_rate, 1, factor=0.5, every=2)

    length = {"steps": None, "epochs": 3, "batch_size": 512, "evaluate_every": None}
    result = start(tiny, tmp_path / "run", schedule=halved, log_every=1, **length)
    assert result["steps"] == 6
    assert {x["step"] for x in read_metrics(tmp_path / "run")} == {2, 4, 6}
    rates = read_events(tmp_path / "run" / "tensorboard" / "train")["learning_rate"]
    # The value logged at a step is that of the next step.
    expected = [(1, 0.1), (2, 0.05), (3, 0.05), (4, 0.025), (5, 0.025), (6, 0.0125)]
    assert rates == [(step, pytest.approx(rate)) for step, rate in expected]


class RecordingCallback(keras.callbacks.Callback):
    """A user's callback, such as that of an experiment tracker."""

    seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(("epoch", epoch, sorted(logs)))

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(("step", batch))


@pytest.mark.slow
def test_user_callbacks_are_called_and_do_not_change_the_run(tiny, finished, tmp_path):
    RecordingCallback.seen.clear()
    csv = functools.partial(keras.callbacks.CSVLogger, str(tmp_path / "log.csv"))
    start(tiny, tmp_path / "run", callbacks=(RecordingCallback, csv))
    kinds = [entry[0] for entry in RecordingCallback.seen]
    assert (kinds.count("step"), kinds.count("epoch")) == (10, 3)
    assert "val_left_loss" in RecordingCallback.seen[-1][2]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert read_metrics(tmp_path / "run") == read_metrics(finished[0])
