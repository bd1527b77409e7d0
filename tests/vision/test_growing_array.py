"""An array that grows on disk goes on only from what is really there."""

import numpy as np
import pytest

from mtk.data.celeba.growing_array import PROGRESS, GrowingArray
from mtk.data.celeba.listing import read_partition

SHAPE = (5, 2, 3)
ROWS = np.arange(30, dtype=np.uint8).reshape(SHAPE)


def begin(folder, rows=3):
    with GrowingArray(folder, "a.npy", SHAPE, "digest") as array:
        array.append(ROWS[:rows])


def complete(folder):
    with GrowingArray(folder, "a.npy", SHAPE, "digest") as array:
        done = array.done
        array.append(ROWS[done:])
    np.testing.assert_array_equal(np.load(folder / "a.npy"), ROWS)
    return done


def test_it_goes_on_where_it_was_left(tmp_path):
    begin(tmp_path)
    assert complete(tmp_path) == 3


@pytest.mark.parametrize("note", ["{}", "[]", "null", "{", '{"digest": "digest", "done": null}'])
def test_a_damaged_note_begins_anew(tmp_path, note):
    begin(tmp_path)
    (tmp_path / PROGRESS).write_text(note)
    assert complete(tmp_path) == 0


def test_a_file_that_lost_rows_begins_anew(tmp_path):
    begin(tmp_path)
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:10])
    assert complete(tmp_path) == 0


def test_an_image_in_two_splits_is_named(tmp_path):
    path = tmp_path / "list_eval_partition.txt"
    path.write_text("000001.jpg 0\n000002.jpg 1\n000001.jpg 2\n")
    with pytest.raises(ValueError, match=r"partition\.txt, line 3: 000001\.jpg stands in an earl"):
        read_partition(path)
