"""The reader of the public preprocessed arrays of CityScapes."""

import numpy as np
import pytest

from mtk.data.cityscapes import load_cityscapes

SIZE = (4, 6)


def scene(seed):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (*SIZE, 3)).astype("float64") / 255,
        "label": rng.integers(-1, 7, SIZE).astype("float64"),
        "depth": rng.uniform(0, 0.49, (*SIZE, 1)),
    }


def write(folder, number, split="train", **changed):
    for kind, values in {**scene(number), **changed}.items():
        path = folder / split / kind / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)


@pytest.fixture
def folder(tmp_path):
    for number in (0, 2, 10):
        write(tmp_path, number)
    write(tmp_path, 1, "val")
    return tmp_path


def test_files_are_read_in_numerical_order(folder):
    train, val = load_cityscapes(folder, SIZE)
    assert (len(train.images), len(val.images)) == (3, 1)
    for index, number in enumerate((0, 2, 10)):
        made = scene(number)
        np.testing.assert_array_equal(train.images[index], np.rint(made["image"] * 255))
        np.testing.assert_array_equal(train.categories[index], made["label"])
        np.testing.assert_allclose(train.depths[index], made["depth"][..., 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("image", np.zeros((8, 6, 3)), r"expected an array of shape \(4, 6, 3\)"),
        ("label", np.full(SIZE, 7.0), "labels must be -1 .*Received: 7"),
        ("label", np.full(SIZE, 0.5), "labels must be -1 .*Received: 0.5"),
        ("image", np.full((*SIZE, 3), 200.0), "values must be in 0 ... 1. Received: 200"),
        ("depth", np.full(SIZE, -0.1), "depth must be 0 or more. Received: -0.1"),
        ("depth", np.full(SIZE, np.nan), "depth must be 0 or more. Received: nan"),
    ],
)
def test_error_for_invalid_values_names_the_file(folder, kind, values, message):
    write(folder, 2, **{kind: values})
    with pytest.raises(ValueError, match=rf"train/{kind}/2\.npy: .*{message}"):
        load_cityscapes(folder, SIZE)


def test_missing_and_truncated_files_raise(folder):
    path = folder / "train" / "depth" / "10.npy"
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(ValueError, match=r"depth/10\.npy is damaged or truncated"):
        load_cityscapes(folder, SIZE)
    path.unlink()
    with pytest.raises(ValueError, match=r"depth/10\.npy is missing"):
        load_cityscapes(folder, SIZE)


def test_labels_of_seven_classes_are_preferred(folder):
    expected = load_cityscapes(folder, SIZE).train
    for split in ("train", "val"):
        (folder / split / "label").rename(folder / split / "label_7")
        (folder / split / "label_19").mkdir()
    found = load_cityscapes(folder, SIZE).train
    np.testing.assert_array_equal(found.categories, expected.categories)
    (folder / "train" / "label_7" / "2.npy").unlink()
    with pytest.raises(ValueError, match=r"label_7/2\.npy is missing"):
        load_cityscapes(folder, SIZE)
