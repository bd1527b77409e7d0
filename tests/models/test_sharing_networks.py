"""Sharing architectures: ownership of variables, saving, precision, XLA, replicas and gates."""

import functools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from mtk.models import sharing
from tests.distribution.starting import environment
from tests.models import sharing_networks
from tests.models.sharing_networks import NETWORKS, TASKS, data, model
from tests.quick import slow, some


@functools.cache
def _inspected(name):
    """Returns the paths of shared and of task-specific variables, and the structure itself."""
    compiled = model(NETWORKS[name](), mtk.combiners.StaticWeights())
    found = compiled.inspect(data(compiled.network))
    heads = {task: {v.path for v in own} for task, own in found.heads.items()}
    return {v.path for v in found.shared}, heads, found


def _of_layer(paths, layer):
    """Returns the names of the sublayers of a layer in the paths."""
    return {path.split("/")[1] for path in paths if path.startswith(f"{layer}/")}


@pytest.mark.parametrize("name", some(NETWORKS, ["mtan", "cgc", "mmoe"]))
def test_towers_are_task_specific_and_all_variables_are_trained(name):
    shared, heads, found = _inspected(name)
    assert not found.unreached
    assert not found.unowned
    for task in TASKS:
        assert {f"{task}_logits/kernel", f"{task}_logits/bias"} <= heads[task]
        others = [path for path in shared | heads[task] if f"{'ab'[task == 'a']}_logits" in path]
        assert not others


@pytest.mark.parametrize(
    ("name", "experts"),
    [("mmoe", "experts"), ("dselect_k", "experts"), ("cgc", "shared_experts")],
)
def test_representation_is_the_last_shared_layers(name, experts):
    _, _, found = _inspected(name)
    assert {layer.name for layer, _ in found.representation} == {experts, "features"}


def test_rows_of_the_last_cross_stitch_are_task_specific():
    shared, heads, _ = _inspected("cross_stitch")
    assert _of_layer(shared, "lower") == {"a_row", "b_row"}
    assert not _of_layer(shared, "upper")
    for task in TASKS:
        assert _of_layer(heads[task], "upper") == {f"{task}_row"}
        assert f"{task}_above/kernel" in shared


@pytest.mark.parametrize("name", some(NETWORKS, ["mtan", "dselect_k", "cgc"]))
def test_save_and_load(name, tmp_path):
    network = NETWORKS[name]()
    x, _ = data(network)
    for variable in network.variables:
        variable.assign(variable + 0.01)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    if name != "shared_bottom":  # A nested Sequential, which Keras builds before its model.
        assert [v.path for v in loaded.variables] == [v.path for v in network.variables]
    for task in TASKS:
        np.testing.assert_allclose(loaded(x)[task], network(x)[task], atol=1e-6)


@pytest.mark.parametrize("name", some(NETWORKS, ["mtan", "mmoe"]))
def test_mixed_precision(name):
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        network = NETWORKS[name]()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    x, _ = data(network)
    assert {v.dtype for v in network.trainable_variables} == {"float32"}
    gates = [x for x in network._flatten_layers() if x.name.endswith("_gate")]
    assert all(gate.compute_dtype == "float32" for gate in gates)
    with tf.GradientTape() as tape:
        outputs = network(x, training=True)
        total = sum(tf.reduce_sum(output) for output in outputs.values())
    assert {output.dtype for output in outputs.values()} == {tf.bfloat16}
    for gradient in tape.gradient(total, network.trainable_variables):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_training_with_xla_equals_training_without(name):
    found = []
    for jit_compile in (False, True):
        compiled = model(NETWORKS[name](), mtk.combiners.StaticWeights(), jit_compile=jit_compile)
        x, y = data(compiled.network)
        compiled.fit(x, y, epochs=2, shuffle=False, verbose=0)
        found.append([v.numpy() for v in compiled.network.trainable_variables])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", ["dselect_k", "cgc"])
def test_xla_gives_the_same_outputs(name):
    network = NETWORKS[name]()
    x, _ = data(network)
    compiled = tf.function(network, jit_compile=True)(x)
    for task, output in network(x).items():
        np.testing.assert_allclose(compiled[task], output, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "at"),
    [
        slow(("mmoe", "representation")),
        slow(("mmoe", "parameters")),
        slow(("cgc", "representation")),
        ("cgc", "parameters"),
    ],
)
def test_mgda_lowers_the_loss_of_expert_networks(name, at):
    compiled = model(NETWORKS[name](), mtk.combiners.MGDA(at=at))
    x, y = data(compiled.network)
    history = compiled.fit(x, y, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]


@pytest.mark.slow
def test_two_replicas_train_like_one_device(tmp_path):
    path = tmp_path / "found.json"
    command = [sys.executable, "-m", sharing_networks.__name__, str(path)]
    done = subprocess.run(command, env=environment(None, ()), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(path.read_text())
    assert set(found) == set(NETWORKS)
    for name, (one, two) in found.items():
        np.testing.assert_allclose(one, two, atol=2e-5, err_msg=name)


def _gates(network, x, layer, task):
    """Computes the gates of a task without the callback."""
    gate = network.get_layer(layer).gates[task]
    features = keras.Model(network.input, network.get_layer("features").output)(x)
    return gate(features).numpy()


@pytest.mark.parametrize("name", ["mmoe", "dselect_k", "cgc"])
def test_utilization_is_the_mean_gate(name):
    network = NETWORKS[name]()
    x, _ = data(network)
    # Batches of 5, so that the last one is smaller.
    watch = sharing.ExpertUtilization(x, batch_size=5)
    watch.set_model(network)
    watch.on_train_begin()
    logs = {}
    watch.on_epoch_end(0, logs)
    for task in TASKS:
        for expert, mean in enumerate(_gates(network, x, name, task).mean(axis=0)):
            assert logs.pop(f"{task}_gate_{expert}") == pytest.approx(mean, abs=1e-5)
    assert not logs


def test_utilization_is_written_to_tensorboard(tmp_path, read_events):
    compiled = model(NETWORKS["mmoe"](), mtk.combiners.StaticWeights())
    x, y = data(compiled.network)
    callbacks = [sharing.ExpertUtilization(x), mtk.callbacks.TaskBoard(tmp_path)]
    history = compiled.fit(x, y, verbose=0, callbacks=callbacks).history
    [(_, value)] = read_events(tmp_path / "train")["gate_1/a"]
    assert value == pytest.approx(history["a_gate_1"][0], abs=1e-6)


def test_gates_of_ple_levels_have_distinct_names():
    network = NETWORKS["ple"]()
    watch = sharing.ExpertUtilization(data(network)[0])
    watch.set_model(network)
    watch.on_train_begin()
    values = watch.values()
    assert {"a_level_1_gate_0", "shared_level_1_gate_3", "b_level_2_gate_2"} <= set(values)
    sums = sum(value for name, value in values.items() if name.startswith("shared_level_1"))
    assert sums == pytest.approx(1, abs=1e-5)


def test_network_without_gates_is_refused():
    network = NETWORKS["shared_bottom"]()
    watch = sharing.ExpertUtilization(data(network)[0])
    watch.set_model(network)
    with pytest.raises(ValueError, match="shared_bottom"):
        watch.on_train_begin()


def test_utilization_needs_examples():
    with pytest.raises(ValueError, match="examples"):
        sharing.ExpertUtilization(np.zeros((0, 3)))


def _one_layer(width):
    return keras.Sequential([keras.Input((4,)), layers.Dense(width)])


@pytest.mark.parametrize(
    ("wanted", "width"), [(5, 1), (6, 1), (8, 2), (25, 5), (27, 5), (28, 6), (40, 8)]
)
def test_width_for_gives_the_closest_number_of_parameters(wanted, width):
    assert sharing.width_for(wanted, _one_layer) == width


def test_too_few_parameters_are_refused():
    with pytest.raises(ValueError, match="width 1"):
        sharing.width_for(4, _one_layer)


@pytest.mark.parametrize(
    ("numbers", "categories", "embedding"), [(0, {}, 8), (-1, {"c": 2}, 8), (1, {"c": 0}, 8)]
)
def test_invalid_columns_are_refused(numbers, categories, embedding):
    with pytest.raises(ValueError, match=f"numbers={numbers}"):
        sharing.Columns(numbers, categories, embedding)


def test_columns_of_categories_only():
    network = sharing.shared_bottom(sharing.Columns(0, {"c": 3}), TASKS, 4)
    assert network({"c": np.array([0, 2])})["a"].shape == (2, 1)
    assert isinstance(network.get_layer("c_embedding"), layers.Embedding)
