import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from application_runs import fit

import mtk
from mtk import callbacks, combiners
from mtk.callbacks import layout
from mtk.callbacks.task_board import norms_and_cosines, rare_enough
from tests.quick import some


def test_board_writes_every_tag(model, batches, tmp_path, read_events):
    model.combiner = combiners.PCGrad()
    model.combiner.bind(model.task_names, [])
    model.combiner.build(2)
    history = fit(model, batches, callbacks.TaskBoard(tmp_path, every=5)).history
    train, validation = read_events(tmp_path / "train"), read_events(tmp_path / "validation")
    both = {f"{name}/{task}" for name in ("loss", "accuracy") for task in ("odd", "large")}
    means = {"loss/mean", "accuracy/mean"}
    assert set(validation) == both | means
    own = {f"{name}/{task}" for name in ("weight", "gradient_norm") for task in ("odd", "large")}
    others = {"cosine/odd~large", "learning_rate", "steps_per_second"}
    assert set(train) == both | own | others | means | {"custom_scalars__config__"}
    pairs = zip(validation["accuracy/odd"], validation["accuracy/large"], strict=True)
    averages = [(step, pytest.approx((one + two) / 2)) for (step, one), (_, two) in pairs]
    assert validation["accuracy/mean"] == averages
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


class Interval(keras.callbacks.Callback):
    """Records during training the interval of diagnostics that a board has set."""

    def on_train_batch_end(self, batch, logs=None):
        self.found = self.model.gradient_schedule.diagnostics_every


def test_board_without_measurements(model, batches, tmp_path, read_events):
    interval = Interval()
    fit(model, batches, callbacks.TaskBoard(tmp_path, 5, measure_every=0), interval)
    assert interval.found is None
    assert not [tag for tag in read_events(tmp_path / "train") if "gradient" in tag]


def test_board_does_not_change_the_training(model, batches, tmp_path):
    start = model.network.get_weights()
    fit(model, batches, callbacks.TaskBoard(tmp_path, 5, measure_every=5))
    first = [v.numpy() for v in model.network.weights]
    model.network.set_weights(start)
    model.compile(keras.optimizers.SGD(0.1))
    model.gradient_schedule.diagnostics_every = None
    fit(model, batches)
    for one, other in zip(first, model.network.weights, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("before", some([None, 7], [7]))
def test_board_measures_only_in_its_own_fit(model, batches, tmp_path, before):
    model.gradient_schedule.diagnostics_every = before
    interval = Interval()
    fit(model, batches, callbacks.TaskBoard(tmp_path, 5), interval)
    assert interval.found == 25
    assert model.gradient_schedule.diagnostics_every == before
    measured = int(model.last_measured)
    fit(model, batches, interval, epochs=3)
    assert interval.found == before
    assert (int(model.last_measured) == measured) == (before is None)


def test_board_measures_nothing_without_shared_parameters(batches, tmp_path, read_events):
    inputs = keras.Input((64,))
    outputs = {name: keras.layers.Dense(2, name=name)(inputs) for name in ("odd", "large")}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    tasks = [mtk.Task(name, loss) for name in outputs]
    model = mtk.MultiTaskModel(keras.Model(inputs, outputs), tasks)
    model.compile("sgd")
    interval = Interval()
    fit(model, batches, callbacks.TaskBoard(tmp_path, 5, measure_every=5), interval)
    assert interval.found is None
    tags = set(read_events(tmp_path / "train"))
    assert "weight/odd" in tags
    assert not [tag for tag in tags if tag.startswith(("gradient_norm", "cosine"))]


def test_board_of_a_plain_keras_model(batches, tmp_path, read_events):
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(
        batches.map(lambda x, y: (x, y["odd"])),
        callbacks=[callbacks.TaskBoard(tmp_path, every=5)],
        verbose=0,
    )
    assert [step for step, _ in read_events(tmp_path / "train")["loss/mean"]] == [5, 10, 10]


def test_each_task_has_its_own_tensorboard_run(model, batches, tmp_path, read_events):
    fit(model, batches, callbacks.TaskBoard(tmp_path, every=5, measure_every=5))
    train, validation = read_events(tmp_path / "train"), read_events(tmp_path / "validation")
    for task in ("odd", "large"):
        own = read_events(tmp_path / f"task_{task}")
        for name in ("loss", "accuracy", "weight", "gradient_norm"):
            assert own[f"by_task/{name}"] == train[f"{name}/{task}"]
        assert own["by_task/validation_loss"] == validation[f"loss/{task}"]


@pytest.mark.parametrize("few", [True, False])
def test_layout_has_one_chart_for_weights_and_one_for_losses(few):
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.custom_scalar import layout_pb2

    value = Summary.FromString(layout.layout(few, ["accuracy", "a+b"])).value[0]
    panels = layout_pb2.Layout.FromString(tf.make_ndarray(value.tensor).item())
    charts = {c.title: list(c.multiline.tag) for c in panels.category[0].chart}
    (panel,) = panels.category[1:]
    assert [chart.title for chart in panel.chart] == ["accuracy", "a+b"]
    tags = {"weight": charts["Weights"], "loss": charts["Losses"]}
    tags["a+b"] = list(panel.chart[1].multiline.tag)
    for name, (pattern,) in tags.items():
        shown = [f"by_task/{name}", f"by_task/validation_{name}"] if few else [f"{name}/left"]
        assert all(re.search(pattern, tag) for tag in shown)
        assert not re.search(pattern, f"other{name}/left")
    assert ("Cosines" in charts) == few
    assert value.metadata.plugin_data.plugin_name == "custom_scalars"


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 8, 40, 100])
@pytest.mark.parametrize("every", [1, 10, 100])
def test_default_interval_costs_just_below_three_percent(num_tasks, every):
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


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_cosines_of_non_finite_gradients(bad):
    with np.errstate(all="raise"):
        norms, cosines = norms_and_cosines(np.array([[bad, bad], [bad, 4.0]]))
    np.testing.assert_array_equal(norms, [bad, 2])
    np.testing.assert_array_equal(cosines, [[np.nan, np.nan], [np.nan, 1]])


def test_heat_map_colours():
    picture = layout.heat_map(np.array([[1.0, -1.0], [0.0, np.nan]]))
    half = picture.shape[1] // 2
    key = picture[2 * half :]
    assert key[0, [0, -1]].tolist() == [[255, 0, 0], [0, 0, 255]]
    corners = picture[[0, 0, half, half], [0, half, 0, half]]
    assert corners.tolist() == [[0, 0, 255], [255, 0, 0], [255, 255, 255], [128, 128, 128]]


def measured_model(num_tasks, shared):
    return SimpleNamespace(
        task_names=[f"t{k}" for k in range(num_tasks)],
        tasks=[],
        last_measured=4,
        last_gramian=np.eye(num_tasks),
        structure=SimpleNamespace(shared=shared),
        gradient_schedule=SimpleNamespace(diagnostics_every=None),
        skipped_steps=0,
        skips_steps=False,
        optimizer=SimpleNamespace(iterations=0),
    )


def test_board_writes_no_norms_of_parameters_that_are_no_longer_shared(tmp_path, read_events):
    """A trunk that was frozen after a fit: the last Gramian is still that of this fit."""
    board = callbacks.TaskBoard(tmp_path)
    board.set_model(measured_model(2, shared=[]))
    board.on_train_begin()
    board._write_gradients()
    board.on_train_end()
    assert set(read_events(tmp_path / "train")) == {"custom_scalars__config__"}


def test_many_tasks_get_one_heat_map(tmp_path, read_events):
    board = callbacks.TaskBoard(tmp_path, every=100)
    board.set_model(measured_model(9, shared=["kernel"]))
    board.begin()
    assert board.model.gradient_schedule.diagnostics_every == 200
    board._write_gradients()
    board.end()
    tags = read_events(tmp_path / "train")
    assert "cosines" in tags
    assert not [tag for tag in tags if tag.startswith("cosine/")]
    assert tags["gradient_norm/t8"] == [(4, 1.0)]
    ((_, layout),) = tags["custom_scalars__config__"]
    assert b"Cosines" not in layout[0]  # A chart without curves would be empty.


def test_legend_lists_the_tasks_in_order():
    assert "`a`, `b`. Red: -1" in layout.legend(["a", "b"])


@pytest.mark.parametrize("arguments", [{"every": 0}, {"measure_every": -1}])
def test_board_checks_its_arguments(arguments):
    with pytest.raises(ValueError, match="Received"):
        callbacks.TaskBoard("logs", **arguments)
