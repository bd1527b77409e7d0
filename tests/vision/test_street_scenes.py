"""Workloads of street scenes: batches, losses over labelled pixels, images and runs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import experiment
from mtk.data.street_labels import COLOURS
from mtk.data.streets import Streets
from mtk.data.synthetic_streets.files import write_world
from mtk.models import sharing
from mtk.workloads import CityScapes, StreetWorld
from mtk.workloads.street_images import draw_streets
from mtk.workloads.street_scenes import StreetScenes
from tests.quick import slow, some

SIZE = (16, 32)
SMALL = {
    "num_train": 4,
    "num_validation": 3,
    "num_test": 2,
    "size": SIZE,
    "widths": (4, 4, 4, 4),
    "rates": (2,),
    "head_width": 4,
}


class RandomScenes(StreetScenes):
    """Scenes of random pixels with two labelled pixels each."""

    name = "given"

    def __init__(self):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
        categories = np.full((3, *SIZE), -1, np.int8)
        categories[:, 0, 0], categories[:, 3, 5] = 2, 6
        depths = np.zeros((3, *SIZE), np.float32)
        depths[:, 1, 2], depths[:, 4, 4] = 0.25, 0.5
        self.streets = Streets(images, categories, depths)
        super().__init__(self.streets, self.streets, self.streets)

    def network(self, seed=None):
        image = keras.Input((*SIZE, 3))
        outputs = {
            task: keras.layers.Conv2D(channels, 1, name=task)(image * 0.01)
            for task, channels in self.outputs.items()
        }
        return keras.Model(image, outputs)


@pytest.fixture(scope="module")
def world():
    return StreetWorld(**SMALL)


@pytest.mark.parametrize("way", some(["mtan", "mmoe", "cross_stitch"], ["mtan"]))
def test_other_architectures(way):
    workload = StreetWorld(**SMALL, dropout=0.3, network=getattr(sharing, way))
    network = workload.network(0)
    assert network.name == way
    assert network.get_layer("depth_dropout").rate == 0.3
    assert network.get_layer("segmentation_point_convolution").filters == SMALL["head_width"]
    shapes = {task: output.shape for task, output in network.output.items()}
    assert shapes == {"segmentation": (None, *SIZE, 7), "depth": (None, *SIZE, 1)}
    model = mtk.MultiTaskModel(network, workload.tasks)
    model.compile("sgd", run_eagerly=True)
    assert np.isfinite(model.fit(workload.train(2, 2, seed=0), verbose=0).history["loss"]).all()


def test_images_are_normalized_for_imagenet_weights():
    data = RandomScenes()
    images, labels = next(iter(data.validation(3)))
    red, green, blue = np.moveaxis(data.streets.images.astype(float), -1, 0)
    wanted = np.stack([blue - 103.939, green - 116.779, red - 123.68], axis=-1)
    np.testing.assert_allclose(images, wanted, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(labels["segmentation"], data.streets.categories)
    np.testing.assert_array_equal(labels["depth"][..., 0], data.streets.depths)


def test_losses_and_metrics_are_means_over_labelled_pixels():
    data = RandomScenes()
    network = data.network()
    model = mtk.MultiTaskModel(network, data.tasks)
    model.compile()
    logs = model.evaluate(data.validation(2), verbose=0, return_dict=True)
    images, _ = next(iter(data.validation(3)))
    found = {name: values.numpy().astype(float) for name, values in network(images).items()}
    scores = found["segmentation"][:, (0, 3), (0, 5)]
    log_sums = np.log(np.exp(scores).sum(-1))
    losses = log_sums - np.stack([scores[:, 0, 2], scores[:, 1, 6]], axis=1)
    assert logs["segmentation_loss"] == pytest.approx(losses.mean(), rel=1e-5)
    right = (scores.argmax(-1) == [2, 6]).mean()
    assert logs["segmentation_pixel_accuracy"] == pytest.approx(right)
    errors = np.abs(found["depth"][:, (1, 4), (2, 4), 0] - [0.25, 0.5])
    assert logs["depth_loss"] == pytest.approx(errors.mean(), rel=1e-5)
    assert logs["depth_absolute_error"] == pytest.approx(errors.mean(), rel=1e-5)
    assert logs["depth_relative_error"] == pytest.approx((errors / [0.25, 0.5]).mean(), rel=1e-5)


def test_images_show_labels_and_predictions():
    streets = RandomScenes().streets
    categories = np.full(streets.categories.shape, 4)
    picture = draw_streets(streets, categories, np.full(streets.depths.shape, 0.5))
    scale = 256 // SIZE[1]
    column, top = SIZE[1] * scale + 4, 18

    def pixel(number, row, x):
        return tuple(picture[top + row * scale, number * column + x * scale])

    assert pixel(0, 2, 7) == tuple(streets.images[0, 2, 7])
    assert pixel(1, 3, 5) == tuple(COLOURS[6])
    assert pixel(1, 3, 6) == (0, 0, 0)
    assert pixel(2, 3, 6) == tuple(COLOURS[4])
    assert pixel(3, 1, 2) == (127, 127, 127)
    assert pixel(4, 1, 2) == (255, 255, 255)
    assert len(set(pixel(3, 9, 9))) > 1  # Not measured: drawn in a colour that is not grey.
    key = picture[top + len(streets.images) * (SIZE[0] * scale + 4) :]
    shown = {tuple(colour) for colour in key.reshape(-1, 3)}
    assert {tuple(colour) for colour in COLOURS} | {(0, 0, 0), (60, 0, 60)} <= shown
    diverged = draw_streets(streets, categories, np.full(streets.depths.shape, np.nan))
    assert not diverged[top + 1 : top + SIZE[0] * scale, 4 * column : 5 * column - 4].any()


@pytest.mark.parametrize("made", [RandomScenes, slow(lambda: StreetWorld(**SMALL))])
def test_run_reports_both_tasks(made, tmp_path):
    result = experiment.run(
        made,
        tmp_path / "run",
        experiment.Training(steps=2),
        optimization=experiment.Optimization(keras.optimizers.Adam, 1e-3, batch_size=2),
        logging=experiment.Logging(measure_every=0),
    )
    assert result["status"] == "finished"
    assert set(result["test"]["tasks"]["segmentation"]) == {"loss", "miou", "pixel_accuracy"}
    assert set(result["test"]["tasks"]["depth"]) == {"loss", "absolute_error", "relative_error"}
    events = b"".join(path.read_bytes() for path in tmp_path.rglob("events.out*"))
    assert b"streets" in events


def test_splits_are_disjoint(world):
    seen = [
        np.concatenate([images for images, _ in split(4).as_numpy_iterator()])
        for split in (world.train_evaluation, world.validation, world.test)
    ]
    assert [len(images) for images in seen] == [4, 3, 2]
    assert len({image.tobytes() for images in seen for image in images}) == 9


def test_cityscapes_holds_out_validation_scenes(tmp_path):
    write_world(tmp_path, 5, 2, SIZE, seed=0)
    data = CityScapes(str(tmp_path), SIZE, num_validation=2)
    sizes = [sum(len(x) for x, _ in s(9)) for s in (data.train_evaluation, data.validation)]
    assert (data.num_train, sizes, sum(len(x) for x, _ in data.test(9))) == (3, [3, 2], 2)
    again = CityScapes(str(tmp_path), SIZE, num_validation=2)
    for one, two in zip(data.validation(2), again.validation(2), strict=True):
        tf.debugging.assert_equal(one[0], two[0])
    for number in (0, 5):
        with pytest.raises(ValueError, match="5 training scenes"):
            CityScapes(str(tmp_path), SIZE, num_validation=number)
