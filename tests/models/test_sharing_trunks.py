"""Each sharing architecture on each trunk: ownership of variables, saving, seeds."""

import functools

import keras
import numpy as np
import pytest

import mtk
from mtk.models import lenet, sharing
from mtk.models.deeplab import Head
from tests.models.sharing_networks import LOSS, TASKS
from tests.quick import some

TRUNKS = {
    "columns": sharing.Columns(3, {"c": 5}, embedding=2),
    "lenet": sharing.LeNet((10, 10, 1), num_classes=1, channels=(2, 3), kernel=3),
    "resnet": sharing.ResNet18((32, 32, 3), num_classes=1, widths=(4, 4, 4, 4)),
    "deeplab": sharing.DeepLab(
        *((16, 24, 3), {"a": 1, "b": 1}),
        blocks=(1, 1, 2, 1),
        widths=(2, 3, 4, 5),
        head=Head(rates=(1, 2)),
        synchronized=False,
    ),
}
# The last two layers of a tower.
TOWERS = {"deeplab": ("output", "hidden_convolution")}
ARCHITECTURES = ["shared_bottom", "mmoe", "dselect_k", "cgc", "ple", "cross_stitch", "mtan"]
CASES = [
    (architecture, trunk)
    for architecture in ARCHITECTURES
    for trunk in TRUNKS
    if (architecture, trunk) != ("mtan", "columns")
]
QUICK = [(architecture, "lenet") for architecture in ARCHITECTURES]
# CGC is left out, as the levels of PLE are CGC layers.
DISTINCT = [case for case in QUICK if case[0] != "cgc"]


def build(architecture, trunk, seed=0, dropout=0.0):
    made = getattr(sharing, architecture)
    return made(TRUNKS[trunk], TASKS, 4, tower=3, dropout=dropout, seed=seed)


def inputs(network, size=4):
    rng = np.random.default_rng(0)
    if isinstance(network.input, dict):
        numbers = rng.normal(size=(size, 3)).astype("float32")
        return {"numbers": numbers, "c": np.arange(size, dtype="int32")}
    return rng.normal(size=(size, *network.input.shape[1:])).astype("float32")


@functools.cache
def inspected(architecture, trunk):
    """Returns the paths of shared and of task-specific variables."""
    network = build(architecture, trunk)
    model = mtk.MultiTaskModel(network, combiner=mtk.combiners.StaticWeights())
    model.compile("sgd", loss=LOSS)
    labels = {task: np.ones((4, *network.output[task].shape[1:]), "float32") for task in TASKS}
    found = model.inspect((inputs(network), labels))
    assert not found.unreached
    assert not found.unowned
    heads = {task: {v.path for v in own} for task, own in found.heads.items()}
    return {v.path for v in found.shared}, heads


def parts_of(paths, layer):
    """Returns the names of the sublayers of a layer in the paths."""
    return {p.split(f"{layer}/", 1)[1].split("/")[0] for p in paths if f"{layer}/" in p}


@pytest.mark.parametrize(("architecture", "trunk"), some(CASES, QUICK))
def test_towers_gates_and_masks_are_task_specific_and_the_rest_is_shared(architecture, trunk):
    shared, heads = inspected(architecture, trunk)
    for task in TASKS:
        own = heads[task]
        last = TOWERS.get(trunk, ("logits", "hidden"))
        assert {f"{task}_{layer}/kernel" for layer in last} <= own
        if architecture == "shared_bottom":
            assert all(path.startswith(f"{task}_") for path in own)
        elif architecture in ("mmoe", "dselect_k"):
            assert parts_of(own, architecture) == {f"{task}_gate"}
            assert parts_of(shared, architecture) == {"experts"}
        elif architecture == "cgc":
            assert parts_of(own, architecture) == {f"{task}_gate", f"{task}_experts"}
            assert parts_of(shared, architecture) == {"shared_experts"}
        elif architecture == "ple":
            assert parts_of(own, "level_1") == {f"{task}_gate"}
            assert parts_of(own, "level_2") == {f"{task}_gate", f"{task}_experts"}
            experts = {*(f"{each}_experts" for each in TASKS), "shared_experts", "shared_gate"}
            assert parts_of(shared, "level_1") == experts
            assert parts_of(shared, "level_2") == {"shared_experts"}
        elif architecture == "cross_stitch":
            assert parts_of(own, "stitch_2") == {f"{task}_row"}
            assert parts_of(shared, "stitch_1") == {f"{each}_row" for each in TASKS}
        else:
            blocks = {path.split("/")[0] for path in own if path.startswith("block_")}
            for block in blocks:
                assert parts_of(own, block) == {f"{task}_inner", f"{task}_outer"}
                assert parts_of(shared, block) == {"further"}
            assert len(blocks) == {"lenet": 2, "resnet": 4, "deeplab": 4}[trunk]
    if first := {"resnet": "stem_", "deeplab": "conv1_"}.get(trunk):
        assert any(path.startswith(first) for path in shared)


@pytest.mark.parametrize(("architecture", "trunk"), some(CASES, DISTINCT))
def test_config_and_file_round_trip(architecture, trunk, tmp_path):
    network = build(architecture, trunk)
    x = inputs(network)
    again = keras.Model.from_config(network.get_config())
    assert [v.shape for v in again.weights] == [v.shape for v in network.weights]
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    for task in TASKS:
        np.testing.assert_allclose(loaded(x)[task], network(x)[task], atol=1e-6)


@pytest.mark.parametrize(("architecture", "trunk"), some(CASES, [*DISTINCT, ("mmoe", "columns")]))
def test_seed_determines_weights_and_dropout(architecture, trunk):
    networks = [build(architecture, trunk, seed, dropout=0.5) for seed in (1, 1, 2)]
    x = inputs(networks[0])
    one, same, other = (network(x, training=True)["a"].numpy() for network in networks)
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_shared_bottom_on_lenet_equals_lenet():
    trunk = TRUNKS["lenet"]
    shared = sharing.shared_bottom(trunk, TASKS, 4, tower=4)
    plain = lenet((10, 10, 1), TASKS, 1, channels=(2, 3), kernel=3, units=4)
    for variable, value in zip(shared.trainable_variables, plain.trainable_variables, strict=True):
        variable.assign(value)
    x = inputs(plain)
    np.testing.assert_allclose(shared(x)["b"], plain(x)["b"], atol=1e-6)


def test_lenet_experts_start_different_and_gates_read_all_pixels():
    layer = build("mmoe", "lenet").get_layer("mmoe")
    kernels = [e.get_layer("convolution_1").kernel.numpy() for e in layer.experts.experts]
    assert len({kernel.tobytes() for kernel in kernels}) == 4
    assert layer.gates["a"].kernel.shape == (10 * 10, 4)


def test_mtan_refuses_tabular_inputs():
    with pytest.raises(ValueError, match=r"sharing\.LeNet"):
        sharing.mtan(TRUNKS["columns"], TASKS)


@pytest.mark.parametrize("tasks", [["a", "c"], ["a"], ["a", "b", "c"]], ids=str)
def test_outputs_must_match_the_tasks(tasks):
    with pytest.raises(ValueError, match=r"`outputs`.*'b': 1.* for the tasks"):
        sharing.shared_bottom(TRUNKS["deeplab"], tasks, 4, tower=3)


def test_lenet_refuses_too_small_images():
    with pytest.raises(ValueError, match="9x9"):
        sharing.LeNet((9, 9, 1), kernel=3)
