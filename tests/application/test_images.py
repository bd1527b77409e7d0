import numpy as np
import pytest
import tensorflow as tf
from application_runs import fit, start

from mtk import callbacks
from mtk.callbacks.summary_writer import SummaryWriter
from tests.quick import some


class Gray:
    """Draws an image whose brightness depends on the weights, and counts its calls."""

    def __init__(self, dtype="uint8", shape=(4, 6, 3)):
        self.drawn, self.dtype, self.shape = [], dtype, shape

    def __call__(self, network):
        self.drawn.append(network.weights[0].numpy().copy())
        return {"gray": np.full(self.shape, 10 * len(self.drawn), self.dtype)}


def shown(events, tag):
    """Returns the steps and pixels of images in an event file."""
    found = []
    for step, content in events[tag]:
        width, height, png = content[:3]
        pixels = tf.io.decode_png(png).numpy()
        assert (int(height), int(width)) == pixels.shape[:2]
        found.append((step, pixels))
    return found


def test_images_are_written_at_every_evaluation(model, batches, tmp_path, read_events):
    draw = Gray()
    fit(model, batches, callbacks.Images(SummaryWriter(tmp_path), draw))
    (first, one), (second, two) = shown(read_events(tmp_path / "validation"), "gray")
    assert (first, second) == (10, 20)
    assert np.array_equal(one, np.full((4, 6, 3), 10))
    assert np.array_equal(two, np.full((4, 6, 3), 20))
    assert not np.array_equal(*draw.drawn)
    np.testing.assert_array_equal(draw.drawn[1], model.network.weights[0].numpy())


FORMS = [("float32", (4, 6, 3)), ("uint8", (4, 6)), ("uint8", (4, 6, 4))]


@pytest.mark.parametrize(("dtype", "shape"), some(FORMS, FORMS[:1]))
def test_invalid_images_raise(model, batches, tmp_path, dtype, shape):
    model.run_eagerly = True
    with pytest.raises(ValueError, match=r"Received for 'gray': (float32|uint8) \(4, 6"):
        fit(model, batches, callbacks.Images(SummaryWriter(tmp_path), Gray(dtype, shape)))


@pytest.mark.slow
def test_images_of_a_run_are_in_its_event_files(tiny, tmp_path, read_events, monkeypatch):
    data = tiny()
    monkeypatch.setattr(data, "draw_images", Gray())
    start(lambda: data, tmp_path / "run")
    folder = tmp_path / "run" / "tensorboard" / "validation"
    assert len(list(folder.glob("events.*"))) == 1
    assert [step for step, _ in shown(read_events(folder), "gray")] == [4, 8, 10]


def test_workload_without_images(tiny):
    assert tiny().draw_images(None) == {}
