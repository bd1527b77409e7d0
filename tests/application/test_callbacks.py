import io
import itertools
import json
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk import callbacks, combiners
from mtk.callbacks import drawing
from mtk.callbacks.base import StepCallback, entries
from mtk.callbacks.task_board import norms_and_cosines, rare_enough


def fit(model, batches, *used, epochs=2, **arguments):
    return model.fit(
        batches,
        validation_data=batches,
        epochs=epochs,
        callbacks=list(used),
        verbose=0,
        **arguments,
    )


def test_logs_are_told_apart_by_task():
    logs = {"loss": 1, "a_loss": 2, "a_b_loss": 3, "val_a_accuracy": 4, "val_loss": 5}
    assert entries(logs, ["a", "a_b"], "train") == [
        ("train", "", "loss", 1),
        ("train", "a", "loss", 2),
        ("train", "a_b", "loss", 3),
        ("validation", "a", "accuracy", 4),
        ("validation", "", "loss", 5),
    ]


@pytest.mark.parametrize("per_execution", [1, 5])
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
    history = fit(model, batches, callbacks.StepLimit(13), epochs=5)
    assert int(model.optimizer.iterations) == 13
    assert len(history.history["val_loss"]) == 2


def test_divergence_names_step_and_task(model, batches):
    broken = batches.enumerate().map(
        lambda i, data: (data[0] * tf.where(i == 6, math.nan, 1.0), data[1])
    )
    divergence = callbacks.Divergence()
    fit(model, broken, divergence, epochs=3)
    assert (divergence.found_at, divergence.task) == (7, "odd")
    assert int(model.optimizer.iterations) == 7


def test_divergence_of_the_second_task(model, batches):
    model.tasks[1].loss = lambda y_true, y_pred: tf.reduce_sum(y_pred, -1) * math.inf
    divergence = callbacks.Divergence()
    fit(model, batches, divergence)
    assert (divergence.found_at, divergence.task) == (1, "large")


def test_divergence_seen_by_validation_only(model, batches):
    divergence = callbacks.Divergence()
    broken = batches.map(lambda x, y: (x * math.inf, y))
    model.fit(batches, validation_data=broken, epochs=3, callbacks=[divergence], verbose=0)
    assert divergence.found_at == 10


def test_no_divergence_in_a_sound_run(model, batches):
    divergence = callbacks.Divergence()
    fit(model, batches, divergence)
    assert divergence.found_at is None


def test_metrics_log_holds_what_history_holds(model, batches, tmp_path):
    path = tmp_path / "metrics.jsonl"
    history = fit(model, batches, callbacks.MetricsLog(path)).history
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(set(line) == {"step", "split", "task", "name", "value"} for line in lines)
    found = {(x["step"], x["split"], x["task"], x["name"]): x["value"] for x in lines}
    assert len(found) == len(lines) == sum(len(values) for values in history.values())
    assert found[20, "validation", "odd", "accuracy"] == history["val_odd_accuracy"][1]
    assert found[10, "train", "", "loss"] == history["loss"][0]
    assert found[10, "train", "large", "weight"] == 0.5


def test_metrics_log_writes_json_only(model, batches, tmp_path):
    log = callbacks.MetricsLog(tmp_path / "metrics.jsonl")
    log.set_model(model)
    log.write("test", {"loss": math.inf, "odd_loss": math.nan}, step=3)
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [(line["step"], line["value"]) for line in lines] == [(3, None), (3, None)]


def test_selection_keeps_the_best_weights(model, batches, tmp_path):
    selection = callbacks.Selection(tmp_path / "best.weights.h5")
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


@pytest.mark.parametrize("patience", [1, 2])
def test_early_stopping_waits_that_many_evaluations(model, batches, tmp_path, patience):
    selection = callbacks.Selection(tmp_path / "best.weights.h5", patience)
    model.compile(keras.optimizers.SGD(0.0))  # Nothing is ever better than the first.
    history = fit(model, batches, selection, epochs=9)
    assert len(history.epoch) == 1 + patience
    assert selection.selected_step == 10


def test_selection_without_validation_says_so(model, batches, tmp_path):
    selection = callbacks.Selection(tmp_path / "best.weights.h5")
    with pytest.raises(ValueError, match="validation_data"):
        model.fit(batches, callbacks=[selection], verbose=0)


@pytest.mark.parametrize(("path", "patience"), [("best.h5", None), ("best.weights.h5", 0)])
def test_selection_checks_its_arguments(path, patience):
    with pytest.raises(ValueError, match="Received"):
        callbacks.Selection(path, patience)


def test_progress_writes_lines_where_there_is_no_terminal(model, batches):
    stream = io.StringIO()
    fit(model, batches, callbacks.Progress(20, every=0.0, stream=stream))
    lines = stream.getvalue().splitlines()
    assert "step 3/20" in lines[2]
    assert "left" in lines[2]
    assert "odd loss" in lines[2]
    assert "? left" in lines[0]
    speeds = [float(re.search(r"([\d.]+)/s", line)[1]) for line in lines if "/s" in line]
    assert all(speed > 1 for speed in speeds[1:])
    assert lines[-1].startswith("step 20/20 · validation: odd accuracy")
    assert "\r" not in stream.getvalue()


def test_progress_estimates_the_time_left(model, batches, monkeypatch):
    """With a clock that takes 60 s for the first step and 2 s for each other."""
    progress = callbacks.Progress(1000, every=0.0, stream=io.StringIO())
    progress.set_model(model)
    clock = iter([0.0, 60.0, 62.0, 64.0])
    monkeypatch.setattr("mtk.callbacks.progress.time.monotonic", lambda: next(clock))
    progress.begin()
    for step in (1, 2, 3):
        progress.previous_step, progress.step = step - 1, step
        progress.stepped({})
    last = progress.stream.getvalue().splitlines()[-1]
    assert "step 3/1000 · 0.5/s · 33:14 left" in last


def test_progress_draws_a_bar_on_a_terminal(model, batches):
    stream = io.StringIO()
    stream.isatty = lambda: True
    progress = callbacks.Progress(20, stream=stream)
    progress.every = 0.0
    fit(model, batches, progress)
    bars = [part for part in stream.getvalue().split("\r") if "█" in part]
    assert "[████████████            ] step 10/20" in stream.getvalue()
    assert len(bars) >= 19
    assert stream.getvalue().count("\n") == 2  # One for each validation.


def test_board_writes_every_tag(model, batches, tmp_path, read_events):
    model.combiner = combiners.PCGrad()
    model.combiner.bind(model.task_names, [])
    model.combiner.build(2)
    history = fit(model, batches, callbacks.TaskBoard(tmp_path, every=5)).history
    train, validation = read_events(tmp_path / "train"), read_events(tmp_path / "validation")
    both = {f"{name}/{task}" for name in ("loss", "accuracy") for task in ("odd", "large")}
    assert set(validation) == both | {"loss/mean"}
    own = {f"{name}/{task}" for name in ("weight", "gradient_norm") for task in ("odd", "large")}
    others = {"cosine/odd~large", "learning_rate", "steps_per_second"}
    assert set(train) == both | own | others | {"loss/mean", "custom_scalars__config__"}
    assert [step for step, _ in train["gradient_norm/odd"]] == [5, 10, 15, 20]
    assert validation["loss/odd"][1] == (20, pytest.approx(history["val_odd_loss"][1]))
    assert train["learning_rate"][0][1] == pytest.approx(0.1)


def test_board_writes_the_norms_and_cosine_of_the_jacobian(model, batches, tmp_path, read_events):
    x, labels = next(iter(batches))
    start = [v.numpy() for v in model.network.weights]
    shared = [v.value for v in model.network.layers[1].trainable_variables]
    with tf.GradientTape() as tape:
        outputs = model.network(x, training=True)
        losses = tf.stack([t.loss(labels[t.name], outputs[t.name]) for t in model.tasks])
    rows = [tf.reshape(j, (2, -1)).numpy() for j in tape.jacobian(losses, shared)]
    gradients = np.concatenate(rows, axis=1)
    norms = np.linalg.norm(gradients, axis=1)
    fit(model, batches.take(1), callbacks.TaskBoard(tmp_path, 1, measure_every=1), epochs=1)
    events = read_events(tmp_path / "train")
    assert not np.array_equal(start[0], model.network.weights[0].numpy())
    assert events["gradient_norm/odd"] == [(1, pytest.approx(norms[0], rel=1e-5))]
    assert events["gradient_norm/large"] == [(1, pytest.approx(norms[1], rel=1e-5))]
    cosine = gradients[0] @ gradients[1] / norms.prod()
    assert events["cosine/odd~large"] == [(1, pytest.approx(cosine, rel=1e-4))]


def test_board_without_measurements(model, batches, tmp_path, read_events):
    fit(model, batches, callbacks.TaskBoard(tmp_path, 5, measure_every=0))
    assert model.measure_every is None
    assert not [tag for tag in read_events(tmp_path / "train") if "gradient" in tag]


def test_board_does_not_change_the_training(model, batches, tmp_path):
    start = model.network.get_weights()
    fit(model, batches, callbacks.TaskBoard(tmp_path, 5, measure_every=5))
    first = [v.numpy() for v in model.network.weights]
    model.network.set_weights(start)
    model.compile(keras.optimizers.SGD(0.1))
    model.measure_every = None
    fit(model, batches)
    for one, other in zip(first, model.network.weights, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-6)


def test_board_serves_a_model_of_plain_keras(batches, tmp_path, read_events):
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(
        batches.map(lambda x, y: (x, y["odd"])),
        callbacks=[callbacks.TaskBoard(tmp_path, every=5)],
        verbose=0,
    )
    assert [step for step, _ in read_events(tmp_path / "train")["loss/mean"]] == [5, 10, 10]


def test_layout_has_one_chart_for_weights_and_one_for_losses():
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.custom_scalar import layout_pb2

    value = Summary.FromString(drawing.layout()).value[0]
    layout = layout_pb2.Layout.FromString(tf.make_ndarray(value.tensor).item())
    charts = {c.title: list(c.multiline.tag) for c in layout.category[0].chart}
    assert charts["Weights"] == ["^weight/"]
    assert charts["Losses"] == ["^loss/"]
    assert value.metadata.plugin_data.plugin_name == "custom_scalars"


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 8, 40, 100])
@pytest.mark.parametrize("every", [1, 10, 100])
def test_measurements_cost_less_than_three_percent_but_not_much_less(num_tasks, every):
    steps = rare_enough(num_tasks, every)
    extra = (1 + 2 * num_tasks) / 3 - 1
    assert steps % every == 0
    assert extra / steps <= 0.03
    assert steps == every or extra / (steps - every) > 0.03


def test_norms_and_cosines_of_known_gradients():
    gradients = np.array([[3.0, 4.0], [0.0, 0.0], [-4.0, 3.0], [-6.0, -8.0]])
    norms, cosines = norms_and_cosines(gradients @ gradients.T)
    np.testing.assert_allclose(norms, [5, 0, 5, 10])
    np.testing.assert_allclose(cosines[0], [1, np.nan, 0, -1])


def test_heat_map_colours():
    picture = drawing.heat_map(np.array([[1.0, -1.0], [0.0, np.nan]]))
    half = len(picture) // 2
    corners = picture[[0, 0, half, half], [0, half, 0, half]]
    assert corners.tolist() == [[0, 0, 255], [255, 0, 0], [255, 255, 255], [128, 128, 128]]


def test_many_tasks_share_one_picture(tmp_path, read_events):
    class Many:
        task_names = [f"t{k}" for k in range(9)]
        last_measured, last_gramian = 4, np.eye(9)

    board = callbacks.TaskBoard(tmp_path, every=100)
    board.set_model(Many())
    assert board.model.measure_every == 200
    board._measured = -1
    board._write_gradients()
    board.end()
    tags = read_events(tmp_path / "train")
    assert "cosines" in tags
    assert not [tag for tag in tags if tag.startswith("cosine/")]
    assert tags["gradient_norm/t8"] == [(4, 1.0)]


@pytest.mark.parametrize("arguments", [{"every": 0}, {"measure_every": -1}])
def test_board_checks_its_arguments(arguments):
    with pytest.raises(ValueError, match="Received"):
        callbacks.TaskBoard("logs", **arguments)
