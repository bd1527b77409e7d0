"""The reader of CityScapes' official files, on files of known values."""

import numpy as np
import official_streets
import pytest

from mtk.data.cityscapes import load_cityscapes
from mtk.data.street_labels import CATEGORIES

SIZE = (4, 8)
# The table of labels in the data set's documentation, copied by hand: id and category. Ids without
# an entry are of the category void.
TABLE = {
    **dict.fromkeys((7, 8, 9, 10), "flat"),  # road, sidewalk, parking, rail track
    **dict.fromkeys((11, 12, 13, 14, 15, 16), "construction"),  # building ... tunnel
    **dict.fromkeys((17, 18, 19, 20), "object"),  # pole, polegroup, traffic light, traffic sign
    **dict.fromkeys((21, 22), "nature"),  # vegetation, terrain
    23: "sky",
    **dict.fromkeys((24, 25), "human"),  # person, rider
    **dict.fromkeys(range(26, 34), "vehicle"),  # car ... bicycle
}


def scene(seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        "label": rng.integers(0, 34, size, dtype=np.uint8),
        "disparity": rng.integers(0, 2**15, size, dtype=np.uint16),
    }


def world(folder, **changed):
    """Writes a training scene with the given changes, and a validation scene."""
    official_streets.write(folder, "train", "ulm_000001_000019", **{**scene(), **changed})
    official_streets.write(folder, "val", "lindau_000000_000019", **scene(1))


def test_values_equal_those_of_the_files(tmp_path):
    world(tmp_path)
    official_streets.write(tmp_path, "train", "aachen_000000_000019", **scene(2))
    train, val = load_cityscapes(tmp_path, SIZE)
    assert (len(train.images), len(val.images)) == (2, 1)
    for images, made in ((train.images[0], scene(2)), (train.images[1], scene(0))):
        np.testing.assert_array_equal(images, made["image"])  # In the order of file names.
    np.testing.assert_array_equal(val.images[0], scene(1)["image"])


def test_label_ids_become_the_documented_categories(tmp_path):
    ids = np.arange(34, dtype=np.uint8).reshape(2, 17)
    sizes = {"image": scene(0, (2, 17))["image"], "disparity": scene(0, (2, 17))["disparity"]}
    world(tmp_path, label=ids, **sizes)
    found = load_cityscapes(tmp_path, (2, 17)).train.categories[0].ravel()
    names = [CATEGORIES[c] if c >= 0 else None for c in found]
    assert names == [TABLE.get(i) for i in range(34)]
    assert set(CATEGORIES) == set(TABLE.values())


def test_disparity_becomes_depth(tmp_path):
    stored = np.zeros(SIZE, np.uint16)
    # 0: not measured; (p - 1) / 256 pixels, and 126 pixels are 0.4922 of 256.
    stored[0, :4] = [0, 1 + 256, 1 + 126 * 256, 1 + 128]
    world(tmp_path, disparity=stored)
    depth = load_cityscapes(tmp_path, SIZE).train.depths[0]
    np.testing.assert_allclose(depth[0, :4], [0, 1 / 256, 0.4921875, 0.5 / 256])
    assert not depth[1:].any()


def test_images_are_averaged_and_labels_subsampled(tmp_path):
    big = (2 * SIZE[0], 2 * SIZE[1])
    made = scene(3, big)
    world(tmp_path, **made)
    official_streets.write(tmp_path, "val", "lindau_000000_000019", **scene(1, big))
    train = load_cityscapes(tmp_path, SIZE).train
    means = made["image"].reshape(SIZE[0], 2, SIZE[1], 2, 3).mean((1, 3))
    np.testing.assert_allclose(train.images[0], means, atol=0.5)
    corners = [made["disparity"][i::2, j::2].astype(float) for i in (0, 1) for j in (0, 1)]
    wanted = [(np.maximum(c, 1) - 1) / 65536 for c in corners]
    # Each value is that of one pixel; none is averaged.
    assert any(np.allclose(train.depths[0], w) for w in wanted)


@pytest.mark.parametrize("kind", ["image", "label", "disparity"])
def test_missing_file_raises(tmp_path, kind):
    world(tmp_path)
    path = official_streets.paths(tmp_path, "train", "ulm_000001_000019")[kind]
    path.unlink()
    with pytest.raises(ValueError, match=f"{path.name} is missing"):
        load_cityscapes(tmp_path, SIZE)


@pytest.mark.parametrize("kind", ["image", "label", "disparity"])
@pytest.mark.parametrize("kept", [10, 60])
def test_truncated_file_raises(tmp_path, kind, kept):
    world(tmp_path)
    path = official_streets.paths(tmp_path, "train", "ulm_000001_000019")[kind]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"{path.name} is .*truncated"):
        load_cityscapes(tmp_path, SIZE)


def test_eight_bit_disparity_raises(tmp_path):
    world(tmp_path, disparity=np.ones(SIZE, np.uint8))
    with pytest.raises(
        ValueError, match=r"_disparity\.png.*Received: 8 bits.*does not fit into 8 bits"
    ):
        load_cityscapes(tmp_path, SIZE)


def test_labels_in_colour_raise(tmp_path):
    world(tmp_path, label=scene()["image"])
    with pytest.raises(ValueError, match=r"labelIds\.png.*grey.*Received: 8 bits, RGB"):
        load_cityscapes(tmp_path, SIZE)


@pytest.mark.parametrize("wrong", [34, 255])
def test_label_id_out_of_range_raises(tmp_path, wrong):
    label = scene()["label"]
    label[2, 3] = wrong
    world(tmp_path, label=label)
    with pytest.raises(ValueError, match=rf"ulm_000001_000019_gtFine_labelIds\.png.*{wrong}"):
        load_cityscapes(tmp_path, SIZE)


def test_files_of_different_sizes_raise(tmp_path):
    world(tmp_path, disparity=np.ones((3, 3), np.uint16))
    with pytest.raises(ValueError, match=r"disparity\.png has 3x3 pixels, but .*4x8"):
        load_cityscapes(tmp_path, SIZE)


def test_folder_without_known_layout_raises(tmp_path):
    with pytest.raises(ValueError, match=r"No CityScapes at .*leftImg8bit"):
        load_cityscapes(tmp_path, SIZE)
