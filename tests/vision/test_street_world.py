"""Generated street scenes: categories, exact depth and occlusion."""

import numpy as np
import pytest

from mtk.data.cityscapes import load_cityscapes
from mtk.data.street_labels import categories
from mtk.data.synthetic_streets.files import make_scene, write_world
from mtk.data.synthetic_streets.scene import Block, Canvas, ground, put

SIZE = (64, 128)
# CityScapes' camera: focal length in pixels for an image width of 2048, baseline and height in m.
FOCAL, BASELINE, HEIGHT = 2262.0, 0.209, 1.22


def canvas(horizon=20.0):
    return Canvas(*SIZE, horizon, np.random.default_rng(0))


def test_depth_of_the_road_is_that_of_a_plane():
    street = canvas()
    ground(street)
    focal = FOCAL * SIZE[1] / 2048
    for row in (30, 45, 63):
        distance = HEIGHT * focal / (row + 0.5 - 20)
        np.testing.assert_allclose(street.disparity[row], FOCAL * BASELINE / distance)
    assert not street.disparity[:19].any()


def test_position_and_occlusion_of_blocks():
    street = canvas()
    ground(street)
    colour = np.array([200.0, 0, 0])
    put(street, Block(26, -1, 1, 0, 1.5, False, colour), 20.0)
    put(street, Block(24, -0.25, 0.25, 0, 1.8, False, colour), 10.0)
    focal = FOCAL * SIZE[1] / 2048
    wide = np.count_nonzero(street.label_ids == 26, axis=1).max()
    seen = np.count_nonzero(np.isin(street.label_ids, (24, 26)), axis=1).max()
    assert abs(seen - 2 * focal / 20) <= 1
    assert wide < seen  # The person occludes the car.
    assert set(np.round(street.disparity[street.label_ids == 26], 6)) == {
        round(FOCAL * BASELINE / 20, 6)
    }
    assert np.allclose(street.disparity[street.label_ids == 24], FOCAL * BASELINE / 10)


def test_scenes_are_deterministic_per_seed_and_number():
    one, again, other = make_scene(SIZE, 0, 5), make_scene(SIZE, 0, 5), make_scene(SIZE, 0, 6)
    for part, same in zip(one, again, strict=True):
        np.testing.assert_array_equal(part, same)
    assert (one.image != other.image).any()
    assert (one.image != make_scene(SIZE, 1, 5).image).any()


def test_every_category_and_void_are_frequent():
    shown = [set(np.unique(categories(make_scene(SIZE, 0, n).label_ids))) for n in range(30)]
    for category in range(-1, 7):
        assert sum(category in found for found in shown) > 15


def test_written_scenes_are_read_back(tmp_path):
    write_world(tmp_path, 3, 2, SIZE, seed=4)
    train, val = load_cityscapes(tmp_path, SIZE)
    assert (len(train.images), len(val.images)) == (3, 2)
    for index in range(3):
        made = make_scene(SIZE, 8, index)
        np.testing.assert_array_equal(train.images[index], made.image)
        np.testing.assert_array_equal(train.categories[index], categories(made.label_ids))
        depth = np.maximum(made.disparity.astype(float) - 1, 0) / 65536
        np.testing.assert_allclose(train.depths[index], depth, rtol=1e-6)
    assert train.depths.max() < 0.5
    assert (train.depths == 0).mean() == pytest.approx(0.15, abs=0.1)


def test_disparities_that_would_overflow_raise():
    with pytest.raises(ValueError, match=r"disparities of up to 256 pixels.*size=\(512, 64\)"):
        make_scene((512, 64), 0, 0)
