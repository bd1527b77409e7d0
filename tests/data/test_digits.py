import sys

import numpy as np
import pytest

from mtk.data.digits import load_digits


def test_shapes_values_and_class_counts():
    digits = load_digits()
    assert digits.images.shape == (1797, 8, 8)
    assert (digits.images.dtype, digits.labels.dtype) == (np.uint8, np.int32)
    assert (digits.images.min(), digits.images.max()) == (0, 16)
    # Counts per class from the data set's description.
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_take_keeps_image_and_label_together():
    digits = load_digits()
    taken = digits.take(np.array([5, 3]))
    np.testing.assert_array_equal(taken.images, digits.images[[5, 3]])
    assert taken.labels.tolist() == digits.labels[[5, 3]].tolist()


def test_missing_scikit_learn_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install -e '.*\[demo\]'"):
        load_digits()
