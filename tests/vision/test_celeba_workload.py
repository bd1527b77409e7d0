import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from celeba_files import NAMES, PARTITION, colours, has, write

from mtk import config, experiment, prepare
from mtk.data.celeba import preparation
from mtk.models import resnet18, sharing
from mtk.workloads import CelebA

CONFIGS = Path(__file__).parents[2] / "configs"
OVERLAYS = sorted((CONFIGS / "combiners").glob("*.gin"))
TRAIN = [n for n, part in enumerate(PARTITION) if part == 0]
SMALL = [
    "celeba.CelebA.widths = (4, 4, 4, 4)",
    "experiment.Optimization.batch_size = 4",
    "experiment.Training.epochs = 1",
    "evaluate_every = 3",
]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("celeba")
    preparation.prepare(str(folder / "faces"), str(write(folder / "official", 40)))
    return str(folder / "faces")


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


@pytest.mark.parametrize("in_memory", [True, False])
def test_batches_contain_the_faces_and_their_labels(faces, in_memory):
    data = CelebA(faces, in_memory)
    assert [task.name for task in data.tasks] == NAMES
    assert data.num_train == 24
    numbers = [n for n in range(40) if PARTITION[n % 10] == 0]
    images, labels = next(iter(data.train_evaluation(24)))
    assert images.shape == (24, 64, 64, 3)
    assert images.dtype == tf.float32
    for row, number in enumerate(numbers):
        for column, name in enumerate(NAMES):
            assert labels[name][row] == has(number, column)
    left, _ = colours(numbers[3])
    np.testing.assert_allclose(images[3, 5, 5], np.array(left) / 127.5 - 1, atol=0.03)
    assert set(labels) == set(NAMES)
    assert labels["Bald"].dtype == tf.int32
    sizes = [len(next(iter(d))[0]) for d in (data.validation(99), data.test(99))]
    assert sizes == [8, 8]


def test_reading_from_disk_and_from_memory_gives_the_same_batches(faces):
    one, other = (CelebA(faces, way).train(8, 5, seed=3) for way in (True, False))
    assert one.element_spec == other.element_spec
    for here, there in zip(one, other, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, here, there)


def test_fingerprint_differs_in_the_changed_array(faces, tmp_path):
    found = CelebA(faces).fingerprint()
    copy = Path(shutil.copytree(faces, tmp_path / "copy"))
    assert CelebA(str(copy)).fingerprint() == found
    for name in ("images.npy", "attributes.npy"):
        content = bytearray((copy / name).read_bytes())
        content[-1] ^= 1
        (copy / name).write_bytes(content)
        changed = CelebA(str(copy)).fingerprint()
        assert [part for part in found if found[part] != changed[part]] == [name]
        shutil.copy(Path(faces) / name, copy / name)


def test_network_is_resnet18_with_two_logits_per_attribute(faces):
    network = CelebA(faces).network(0)
    assert network.get_layer("representation").output.shape == (None, 2048)
    assert {name: out.shape for name, out in network.output.items()} == dict.fromkeys(
        NAMES, (None, 2)
    )
    same = resnet18((64, 64, 3), NAMES)
    assert network.count_params() == same.count_params()


def test_other_architecture(faces):
    network = CelebA(faces, widths=(16, 16, 16, 16), network=sharing.mmoe).network(0)
    assert network.name == "mmoe"
    assert network.get_layer("representation").output.shape == (None, 64)
    assert {name: out.shape for name, out in network.output.items()} == dict.fromkeys(
        NAMES, (None, 2)
    )


def test_error_is_a_percentage(faces):
    metric = CelebA(faces).tasks[0].metrics[0]
    metric.update_state([0, 1, 1, 1], [[2.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 3.0]])
    assert metric.name == "error"
    assert float(metric.result()) == pytest.approx(25.0)


def test_images_show_the_predictions_of_the_network(faces):
    data = CelebA(faces, widths=(4, 4, 4, 4))
    network = data.network(0)
    shown = data.draw_images(network)["faces"]
    assert shown.dtype == np.uint8
    assert shown.shape[1] == 8 * 190
    assert np.array_equal(shown, data.draw_images(network)["faces"])
    for layer in network.layers:
        if layer.name.endswith("_logits"):
            layer.bias.assign([100.0, -100.0])  # Predicts that every attribute is absent.
    assert not np.array_equal(shown, data.draw_images(network)["faces"])


def test_empty_split_raises(tmp_path):
    source = write(tmp_path / "official", 3)
    preparation.prepare(str(tmp_path / "faces"), str(source))
    with pytest.raises(ValueError, match="no images for: validation"):
        CelebA(str(tmp_path / "faces"))


@pytest.fixture
def out(faces, tmp_path, capsys):
    """A folder written by `mtk.prepare celeba`."""
    official, out = Path(faces).parent / "official", tmp_path / "faces"
    flags = [f"--gin_file={CONFIGS / 'prepare_celeba.gin'}", f"--gin.data_dir='{official}'"]
    assert prepare.main(["celeba", *flags, f"--out={out}"]) == 0
    assert "24 train, 8 validation, 8 test" in capsys.readouterr().out
    return out


def test_config_prepares_and_every_task_has_a_gradient(out):
    config.parse([CONFIGS / "celeba.gin"], [f"data_dir = {str(out)!r}", *SMALL])
    workload = config.values(experiment.run)["workload"]()
    network = workload.network(0)
    x, y = next(iter(workload.train(4, 1, seed=0)))
    with tf.GradientTape() as tape:
        outputs = network(x, training=True)
        losses = {
            task.name: tf.reduce_mean(task.loss(y[task.name], outputs[task.name]))
            for task in workload.tasks
        }
        total = tf.add_n(list(losses.values()))
    assert losses.keys() == set(NAMES)
    assert np.isfinite([loss.numpy() for loss in losses.values()]).all()
    found = tape.gradient(total, [v.value for v in network.trainable_variables])
    assert all(np.abs(gradient.numpy()).max() > 0 for gradient in found)


@pytest.mark.slow
def test_config_trains(out, tmp_path, read_events):
    config.parse([CONFIGS / "celeba.gin"], [f"data_dir = {str(out)!r}", *SMALL])
    result = config.bound(experiment.run, ["run_dir"])(run_dir=str(tmp_path / "run"))
    assert result["status"] == "finished"
    assert set(result["test"]["tasks"]) == set(NAMES)
    assert all(0 <= metrics["error"] <= 100 for metrics in result["test"]["tasks"].values())
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    events = read_events(tmp_path / "run" / "tensorboard" / "validation")
    assert [step for step, _ in events["faces"]] == [3, 6]


def test_config_has_the_papers_settings():
    text = config.parse([CONFIGS / "celeba.gin"], ["data_dir = 'nowhere'"])
    for setting in (
        "    batch_size = 256\n",
        "experiment.Training.epochs = 100\n",
        "keras.optimizers.SGD.momentum = 0.8\n",
        "schedules.StepDecay:\n    factor = 0.85\n    every = 30\n",
        "    widths = (64, 128, 256, 512)\n",
    ):
        assert setting in text


@pytest.mark.slow
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_every_combiner_steps_with_forty_tasks(overlay, faces):
    # Some methods compare thirds and halves of a batch.
    size = "experiment.Optimization.batch_size = 6"
    config.parse([CONFIGS / "celeba.gin", overlay], [f"data_dir = {faces!r}", *SMALL, size])
    text = config.bound(experiment.run, ["run_dir"], experiment.describe)()
    assert "one step" in text
    keras.backend.clear_session()
