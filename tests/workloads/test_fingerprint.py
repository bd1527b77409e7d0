"""Fingerprints of workloads are equal for equal data, and differ otherwise."""

import numpy as np
import pytest
import tensorflow as tf

from mtk.data.overlay import Pairs
from mtk.data.street_labels import CATEGORIES
from mtk.data.streets import Streets
from mtk.workloads import Workload
from mtk.workloads.digit_pairs import DigitPairs
from mtk.workloads.street_scenes import StreetScenes

SPLITS = ("train", "validation", "test")


class Own(Workload):
    """A user's workload that does not define `fingerprint`."""

    name = "own"

    def __init__(self, **arrays):
        self.arrays = arrays
        self.num_train = len(arrays["train"])

    def network(self, seed=None):
        raise AssertionError("a fingerprint needs no network")

    def train(self, batch_size, steps, seed, first_step=0):
        raise AssertionError("a fingerprint needs no order")

    def _split(self, name, batch_size):
        x = self.arrays[name]
        texts = [b"text %d" % value for value in x]
        return tf.data.Dataset.from_tensor_slices((x, {"a": texts})).batch(batch_size)

    def train_evaluation(self, batch_size):
        return self._split("train", batch_size)

    def validation(self, batch_size):
        return self._split("validation", batch_size)

    def test(self, batch_size):
        return self._split("test", batch_size)


def own(sizes=(1500, 20, 20), changed=None, place=0):
    arrays = {name: np.arange(size) for name, size in zip(SPLITS, sizes, strict=True)}
    if changed:
        arrays[changed][place] = -1
    return Own(**arrays)


def pairs(number, value=0):
    images = np.zeros((number, 8, 8), np.uint8)
    labels = np.arange(number, dtype=np.int32) % 10
    images[-1, -1, -1] = value
    return Pairs(images, labels, labels)


class Digits(DigitPairs):
    name = "digits"

    def network(self, seed=None):
        raise AssertionError


class Scenes(StreetScenes):
    name = "scenes"

    def network(self, seed=None):
        raise AssertionError


def streets(number, value=0.5):
    images = np.zeros((number, 4, 4, 3), np.uint8)
    categories = np.arange(number * 16).reshape(number, 4, 4) % len(CATEGORIES)
    depths = np.full((number, 4, 4), 0.5, np.float32)
    depths[-1, -1, -1] = value
    return Streets(images, categories.astype(np.int8), depths)


def digits(changed=None):
    return Digits(*(pairs(9, int(name == changed)) for name in SPLITS), mean=0.0, deviation=1.0)


def scenes(changed=None):
    return Scenes(*(streets(3, 0.25 if name == changed else 0.5) for name in SPLITS))


def differing(one, other):
    one, other = one.fingerprint(), other.fingerprint()
    assert one.keys() == other.keys()
    return [name for name in one if one[name] != other[name]]


@pytest.mark.parametrize("make", [own, digits, scenes])
def test_fingerprint_differs_only_in_the_changed_split(make):
    assert differing(make(), make()) == []
    for name in SPLITS:
        assert differing(make(), make(changed=name)) == [name]


def test_fingerprint_of_a_user_workload_covers_a_sample_and_the_length():
    assert differing(own(), own(changed="train", place=1023)) == ["train"]
    # As documented: only a sample of the rows is hashed.
    assert differing(own(), own(changed="train", place=1024)) == []
    assert differing(own(), own(sizes=(1800, 20, 20))) == ["train"]
    assert differing(own(), own(sizes=(1500, 20, 21))) == ["test"]
