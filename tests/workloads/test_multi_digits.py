import keras
import numpy as np
import pytest

from mtk.data.digits import Digits
from mtk.workloads import MultiDigits


@pytest.fixture(scope="module")
def workload() -> MultiDigits:
    return MultiDigits()


def whole(batches):
    (batch,) = batches.as_numpy_iterator()
    return batch


def test_sizes_and_values(workload):
    assert workload.num_train == (1797 - 2 * 359) * 10
    for batches, number in (
        (workload.train_evaluation(20_000), 10_790),
        (workload.validation(20_000), 3590),
        (workload.test(20_000), 3590),
    ):
        images, labels = whole(batches)
        assert images.shape == (number, 10, 10, 1)
        assert (images.min(), images.max()) == (-1, 1)
        for task in ("left", "right"):
            assert set(labels[task].tolist()) == set(range(10))


def test_splits_share_no_digit(monkeypatch):
    """Digits are labelled by their index, so that each can be found in either position."""
    numbers = np.arange(1797)
    numbered = Digits(np.zeros((1797, 8, 8), np.uint8), numbers.astype(np.int32))
    monkeypatch.setattr("mtk.workloads.multi_digits.load_digits", lambda: numbered)
    workload = MultiDigits(partners=2)
    found = []
    for batches in (workload.train_evaluation, workload.validation, workload.test):
        labels = whole(batches(10_000))[1]
        assert set(labels["left"].tolist()) == set(labels["right"].tolist())
        found.append(set(labels["left"].tolist()))
    assert [len(split) for split in found] == [1079, 359, 359]
    assert set.union(*found) == set(numbers.tolist())


def test_data_depends_on_the_data_seed():
    one, same, other = (
        whole(MultiDigits(partners=1, data_seed=seed).test(500))[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("offset", [2, 4, 6])
def test_network_accepts_the_images(offset):
    workload = MultiDigits(offset=offset, partners=1, channels=(4, 4), units=8, dropout=0.3)
    network = workload.network(seed=0)
    assert network.input_shape == (None, 8 + offset, 8 + offset, 1)
    assert list(network.output) == ["left", "right"]
    dropouts = [x for x in network.layers if "dropout" in x.name]
    assert {layer.rate for layer in dropouts} == {0.3}
    assert network.get_layer("left_hidden").units == 8


def test_too_large_offset_raises():
    with pytest.raises(ValueError, match=r"9x9 pixels is too small.*10x10"):
        MultiDigits(offset=1, partners=1).network()


def test_networks_are_built_anew_from_the_seed(workload):
    one, same, other = (workload.network(seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_network_learns(workload):
    network = workload.network(seed=0)
    network.compile(
        keras.optimizers.SGD(0.1, momentum=0.8),
        loss={task.name: task.loss for task in workload.tasks},
        metrics={task.name: task.metrics for task in workload.tasks},
    )
    network.fit(workload.train(64, 500, seed=0), verbose=0)
    found = network.evaluate(workload.test(512), return_dict=True, verbose=0)
    assert found["left_accuracy"] > 0.8
    assert found["right_accuracy"] > 0.8
