import numpy as np
import pytest

from mtk.data.digits import Digits
from mtk.data.mnist import Mnist
from mtk.models import sharing
from mtk.workloads import MultiMNIST

MEAN, DEVIATION = 0.1307, 0.3081


def whole(batches):
    (batch,) = batches.as_numpy_iterator()
    return batch


@pytest.fixture
def npz(tmp_path) -> str:
    generator = np.random.default_rng(0)
    arrays = {}
    for split, number in (("train", 50), ("test", 12)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (number, 28, 28)).astype(np.uint8)
        arrays[f"y_{split}"] = generator.integers(0, 10, number).astype(np.uint8)
    np.savez(tmp_path / "mnist.npz", **arrays)
    return str(tmp_path / "mnist.npz")


def test_sizes_and_values(npz):
    workload = MultiMNIST(npz, num_validation=10)
    assert workload.num_train == 40
    for batches, number in (
        (workload.train_evaluation(99), 40),
        (workload.validation(99), 10),
        (workload.test(99), 12),
    ):
        images, labels = whole(batches)
        assert images.shape == (number, 28, 28, 1)
        assert images.dtype == np.float32
        assert labels["left"].shape == labels["right"].shape == (number,)
        # The canvas is two pixels larger than the digits: its last row is 0.
        assert images.min() == pytest.approx(-MEAN / DEVIATION, abs=1e-5)
        assert images.max() <= (1 - MEAN) / DEVIATION + 1e-5


def test_splits_share_no_digit(monkeypatch):
    """Digits are labelled by their index, so that each can be found in either position."""

    def numbered(first, number):
        labels = np.arange(first, first + number, dtype=np.int32)
        return Digits(np.zeros((number, 28, 28), np.uint8), labels)

    mnist = Mnist(numbered(0, 100), numbered(100, 30))
    monkeypatch.setattr("mtk.workloads.multi_mnist.load_mnist", lambda data_dir: mnist)
    workload = MultiMNIST(num_validation=20)
    found = []
    for batches in (workload.train_evaluation, workload.validation, workload.test):
        labels = whole(batches(999))[1]
        assert set(labels["left"].tolist()) == set(labels["right"].tolist())
        found.append(set(labels["left"].tolist()))
    assert [len(split) for split in found] == [80, 20, 30]
    assert found[2] == set(range(100, 130))
    assert found[0] | found[1] == set(range(100))


def test_positions_of_the_two_digits(monkeypatch):
    """Digits with bars in rows 14 and 15, in a column that identifies the digit.

    Computed by hand: row r of the result shows row (2r + 1) * 36

    56 of the canvas, so rows 11, 12, 15 and 16 show 14, 16, 19 and 21. The left bar is in rows 14
    and 15, of which row 11 shows the first; the right bar is in rows 20 and 21, of which row 16
    shows the second. Columns 4 and 10 are shown by columns 3 and 8; 6 further to the right, at 10
    and 16, by columns 8 and 12.
    """
    images = np.zeros((2, 28, 28), np.uint8)
    images[0, 14:16, 4] = 255
    images[1, 14:16, 10] = 255
    digits = Digits(images, np.array([0, 1], np.int32))
    mnist = Mnist(Digits(np.tile(images, (10, 1, 1)), np.tile(digits.labels, 10)), digits)
    monkeypatch.setattr("mtk.workloads.multi_mnist.load_mnist", lambda data_dir: mnist)
    workload = MultiMNIST(num_validation=4)
    images, labels = whole(workload.train_evaluation(99))
    for image, left, right in zip(images, labels["left"], labels["right"], strict=True):
        bright = {tuple(cell) for cell in np.argwhere(image[..., 0] > 0).tolist()}
        assert bright == {(11, (3, 8)[left]), (16, (8, 12)[right])}


def test_network_outputs(npz):
    workload = MultiMNIST(npz, dropout=0.2, num_validation=10)
    network = workload.network(seed=0)
    assert network.count_params() == 27_450
    assert {x.rate for x in network.layers if "dropout" in x.name} == {0.2}
    images, labels = whole(workload.test(99))
    outputs = network(images)
    assert set(outputs) == set(labels)
    assert np.isfinite(outputs["left"]).all()


def test_other_architecture(npz):
    workload = MultiMNIST(npz, dropout=0.2, network=sharing.cross_stitch, num_validation=10)
    network = workload.network(seed=0)
    assert network.name == "cross_stitch"
    assert set(network(whole(workload.test(99))[0])) == {"left", "right"}
    assert network.get_layer("left_hidden").units == 50
    assert network.get_layer("left_dropout").rate == 0.2


def test_data_depends_on_the_data_seed(npz):
    one, same, other = (
        whole(MultiMNIST(npz, num_validation=10, data_seed=seed).validation(99))[0]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("num_validation", [0, 50, 51])
def test_invalid_size_of_the_validation_split_raises(npz, num_validation):
    with pytest.raises(ValueError, match="`num_validation` must be above 0 .* 50"):
        MultiMNIST(npz, num_validation=num_validation)


def test_missing_folder_raises():
    with pytest.raises(ValueError, match="No MNIST at /nowhere"):
        MultiMNIST("/nowhere")
