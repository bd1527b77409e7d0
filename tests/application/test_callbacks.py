import io
import itertools
import json
import math
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from application_runs import fit

from mtk import callbacks
from mtk.callbacks.base import StepCallback, entries
from mtk.experiment import results
from tests.quick import some


def test_logs_are_split_by_task():
    logs = {"loss": 1, "a_loss": 2, "a_b_loss": 3, "val_a_accuracy": 4, "val_loss": 5}
    assert entries(logs, ["a", "a_b"], "train") == [
        ("train", "", "loss", 1),
        ("train", "a", "loss", 2),
        ("train", "a_b", "loss", 3),
        ("validation", "a", "accuracy", 4),
        ("validation", "", "loss", 5),
    ]


@pytest.mark.parametrize("per_execution", some([1, 5], [5]))
def test_steps_are_counted_over_epochs_and_fits(model, batches, per_execution):
    class Steps(StepCallback):
        def begin(self):
            self.seen = []

        def stepped(self, logs):
            self.seen.append((self.previous_step, self.step))

    steps = Steps()
    model.compile(keras.optimizers.SGD(0.1), steps_per_execution=per_execution)
    for first in (0, 20):
        fit(model, batches, steps)
        ends = list(range(first, first + 21, per_execution))
        assert steps.seen == list(itertools.pairwise(ends))
    assert steps.step == int(model.optimizer.iterations) == 40


def test_step_limit_ends_inside_an_epoch_after_a_validation(model, batches):
    history = fit(model, batches, callbacks.MaxSteps(13), epochs=5)
    assert int(model.optimizer.iterations) == 13
    assert len(history.history["val_loss"]) == 2


def test_divergence_names_step_and_task(model, batches):
    broken = batches.enumerate().map(
        lambda i, data: (data[0] * tf.where(i == 6, math.nan, 1.0), data[1])
    )
    divergence = callbacks.TerminateOnNonFinite()
    fit(model, broken, divergence, epochs=3)
    assert (divergence.found_at, divergence.task) == (7, "odd")
    assert int(model.optimizer.iterations) == 7


@pytest.mark.slow
def test_divergence_of_the_second_task(model, batches):
    model.tasks[1].loss = lambda y_true, y_pred: tf.reduce_sum(y_pred, -1) * math.inf
    divergence = callbacks.TerminateOnNonFinite()
    fit(model, batches, divergence)
    assert (divergence.found_at, divergence.task) == (1, "large")


def test_divergence_seen_by_validation_only(model, batches):
    divergence = callbacks.TerminateOnNonFinite()
    broken = batches.map(lambda x, y: (x * math.inf, y))
    model.fit(batches, validation_data=broken, epochs=3, callbacks=[divergence], verbose=0)
    assert divergence.found_at == 10


@pytest.mark.slow
def test_no_divergence_in_a_finite_run(model, batches):
    divergence = callbacks.TerminateOnNonFinite()
    fit(model, batches, divergence)
    assert divergence.found_at is None


def test_metrics_log_equals_history(model, batches, tmp_path):
    path = tmp_path / "metrics.jsonl"
    history = fit(model, batches, callbacks.MetricsLog(path)).history
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(set(line) == {"step", "split", "task", "name", "value"} for line in lines)
    found = {(x["step"], x["split"], x["task"], x["name"]): x["value"] for x in lines}
    assert len(found) == len(lines) == sum(len(values) for values in history.values())
    assert found[20, "validation", "odd", "accuracy"] == history["val_odd_accuracy"][1]
    assert found[10, "train", "", "loss"] == history["loss"][0]
    assert found[10, "train", "large", "weight"] == 0.5


def test_metrics_log_is_valid_json(model, batches, tmp_path):
    log = callbacks.MetricsLog(tmp_path / "metrics.jsonl")
    log.set_model(model)
    log.write("test", {"loss": math.inf, "odd_loss": math.nan}, step=3)
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [(line["step"], line["value"]) for line in lines] == [(3, None), (3, None)]


def test_selection_keeps_the_best_weights(model, batches, tmp_path):
    selection = callbacks.BestCheckpoint(tmp_path / "best.weights.h5")
    weights, losses = {}, {}

    class Watch(StepCallback):
        def evaluated(self, logs):
            weights[self.step] = [v.numpy() for v in self.model.network.weights]
            losses[self.step] = logs["val_loss"]
            if self.step == 30:  # From here on it can only get worse.
                self.model.optimizer.learning_rate = 30.0

    fit(model, batches, Watch(), selection, epochs=5)
    best = min(losses, key=losses.get)
    assert best < 50
    assert selection.selected_step == best
    assert selection.best == losses[best] == selection.selected_logs["val_loss"]
    for variable, expected in zip(model.network.weights, weights[best], strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["best.weights.h5"]


@pytest.mark.parametrize("patience", some([1, 2], [2]))
def test_early_stopping_waits_for_patience_evaluations(model, batches, tmp_path, patience):
    selection = callbacks.BestCheckpoint(tmp_path / "best.weights.h5", patience)
    model.compile(keras.optimizers.SGD(0.0))  # No evaluation is better than the first.
    history = fit(model, batches, selection, epochs=9)
    assert len(history.epoch) == 1 + patience
    assert selection.selected_step == 10


def test_selection_without_validation_warns(model, batches, tmp_path):
    selection = callbacks.BestCheckpoint(tmp_path / "best.weights.h5")
    with pytest.raises(ValueError, match="validation_data"):
        model.fit(batches, callbacks=[selection], verbose=0)


@pytest.mark.parametrize(("path", "patience"), [("best.h5", None), ("best.weights.h5", 0)])
def test_selection_checks_its_arguments(path, patience):
    with pytest.raises(ValueError, match="Received"):
        callbacks.BestCheckpoint(path, patience)


def test_progress_writes_lines_without_a_terminal(model, batches, tmp_path):
    stream, selection = io.StringIO(), callbacks.BestCheckpoint(tmp_path / "best.weights.h5")
    progress = callbacks.Progress(20, every=0.0, stream=stream, selection=selection)
    fit(model, batches, selection, progress)
    text = stream.getvalue()
    first, traced, *lines = text.splitlines()
    assert (first, traced[:6]) == ("tracing the first step …", "first ")
    assert "step  3/20" in lines[2]
    assert "steps/s" in lines[2]
    assert "odd loss" in lines[2]
    assert "? left" in lines[0]
    *_, last = lines
    assert last.startswith("step 20/20 · ")
    assert "validation: odd loss" in last
    assert not re.search("[\r\x1b]", text)
    # Numbers are aligned in columns.
    told = [line for line in lines if "validation" in line]
    assert len({line.index("large") for line in told}) == 1


@pytest.mark.parametrize("better", some([True, False], [True]))
def test_progress_marks_the_best_validation_so_far(model, batches, tmp_path, better):
    stream, selection = io.StringIO(), callbacks.BestCheckpoint(tmp_path / "best.weights.h5")
    progress = callbacks.Progress(20, stream=stream, selection=selection)
    model.compile(keras.optimizers.SGD(0.1 if better else 0.0))
    fit(model, batches, selection, progress)
    first, second = [line for line in stream.getvalue().splitlines() if "validation" in line]
    assert (
        f"★ mean_loss   {selection.selected_logs['val_loss']:.4f}"[:20] in (first, second)[better]
    )
    assert ("★" in first, "★" in second) == (True, better)
    assert f"(best at step {20 if better else 10})" in second


def test_many_tasks_are_summarized_by_mean_and_worst():
    stream = io.StringIO()
    progress = callbacks.Progress(9, stream=stream)
    names = [f"t{n}" for n in range(12)]
    progress.set_model(SimpleNamespace(task_names=names))
    progress.step = 9
    progress.evaluated({f"val_t{n}_{m}": n * u for n in range(12) for m, u in UNITS.items()})
    (line,) = stream.getvalue().splitlines()
    assert "mean of 12 loss   5.5000 accuracy   0.5500" in line
    assert re.findall(r"\bt\d+", line) == ["t11", "t10", "t9"]


def test_metric_of_only_some_tasks_has_no_mean():
    """NaN would look as if the run had diverged."""
    stream = io.StringIO()
    progress = callbacks.Progress(9, stream=stream)
    progress.set_model(SimpleNamespace(task_names=[f"t{n}" for n in range(12)]))
    progress.step = 9
    progress.evaluated({**{f"val_t{n}_loss": 1.0 for n in range(12)}, "val_t11_auc": 0.5})
    assert "nan" not in stream.getvalue()
    tasks = {f"t{n}": {"loss": 1.0} for n in range(12)}
    table = results.table({"tasks": {**tasks, "t11": {"loss": 1.0, "auc": 0.5}}})
    assert table[-1].split() == ["mean", "1.0000", "-"]
    tasks["t3"] = {"loss": None}
    assert results.table({"tasks": tasks})[-1].split() == ["mean", "NaN"]


UNITS = {"loss": 1.0, "accuracy": 0.1}


def test_progress_estimates_the_time_left(model, batches, monkeypatch):
    """With a fake clock: the first step takes 60 s, every other 2 s."""
    stream = io.StringIO()
    progress = callbacks.Progress(1000, every=0.0, stream=stream)
    progress.set_model(model)
    clock = iter([0.0, 60.0, 62.0, 64.0])
    monkeypatch.setattr("mtk.callbacks.progress.time.monotonic", lambda: next(clock))
    progress.begin()
    for step in (1, 2, 3):
        progress.previous_step, progress.step = step - 1, step
        progress.stepped({})
    last = stream.getvalue().splitlines()[-1]
    assert "step    3/1000 · 0.5 steps/s · 33:14 left" in last


def test_resume_reports_its_step(model):
    stream = io.StringIO()
    progress = callbacks.Progress(1000, stream=stream)
    progress.set_model(model)
    progress.start = 40
    progress.on_train_begin()
    assert stream.getvalue().startswith("Resuming after step 40")


@pytest.mark.parametrize("colours", some([True, False], [True]))
def test_progress_draws_a_bar_and_a_table_on_a_terminal(
    model, batches, tmp_path, monkeypatch, colours
):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "" if colours else "1")
    stream, selection = io.StringIO(), callbacks.BestCheckpoint(tmp_path / "best.weights.h5")
    stream.isatty = lambda: True
    progress = callbacks.Progress(20, stream=stream, selection=selection)
    progress.every = 0.0
    fit(model, batches, selection, progress)
    text = stream.getvalue()
    assert len(set(re.findall(r"step +(\d+)/20", text))) == 20
    assert "━" in text
    assert "step 10/20" in text
    assert ("\x1b[32m" in text) == colours
    assert text.endswith("\x1b[2K")  # The live view is erased.
