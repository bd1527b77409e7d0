import numpy as np
import pytest

from mtk.workloads.captions import _WIDTH, _caption, captioned

TOP = 22  # pixels above the faces
NAMES = ("Bald", "Young", "Big_Nose", "Male")
TRUE = np.array([[True, False, True, False], [False, False, False, False]])
FOUND = np.array([[True, True, False, False], [False, False, False, False]])


def faces(number):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, 64, 64, 3), dtype=np.uint8)


def test_lines_list_hits_misses_and_false_alarms():
    assert _caption(TRUE[0], FOUND[0], NAMES) == [
        ("Bald", "right"),
        ("+ Young", "wrong"),
        ("- Big Nose", "missed"),
    ]
    assert _caption(TRUE[1], FOUND[1], NAMES) == []


def test_layout_of_faces_and_text():
    images = faces(2)
    strip = captioned(images, TRUE, FOUND, NAMES)
    assert strip.dtype == np.uint8
    assert strip.shape[1:] == (2 * _WIDTH, 3)
    # The centre pixels of both faces.
    shown = [strip[TOP + 89, column * _WIDTH + 6 + 89].astype(int) for column in range(2)]
    for face, pixel in zip(images, shown, strict=True):
        near = face[30:34, 30:34].reshape(-1, 3).astype(int)
        assert (near.min(axis=0) - 8 <= pixel).all()
        assert (pixel <= near.max(axis=0) + 8).all()
    text = strip[TOP + 178 : TOP + 178 + 3 * 16]
    assert (text[:, :_WIDTH] < 250).any()
    assert (text[:, _WIDTH:] == 255).all()  # The second face has no true or predicted attribute.


@pytest.mark.parametrize(("line", "colour"), [(0, 1), (1, 0), (2, 2)])
def test_colours_of_lines(line, colour):
    """The ink of green, red and blue lines is strongest in the line's own channel."""
    strip = captioned(faces(1), TRUE[:1], FOUND[:1], NAMES)
    row = strip[TOP + 178 + 16 * line : TOP + 178 + 16 * (line + 1)].reshape(-1, 3).astype(int)
    ink = row[row.sum(axis=1) < 500]
    assert len(ink) > 20
    assert (ink.argmax(axis=1) == colour).all()


def test_image_depends_on_the_predictions_and_has_a_fixed_size():
    images = faces(2)
    one, other = captioned(images, TRUE, FOUND, NAMES), captioned(images, TRUE, TRUE, NAMES)
    assert one.shape == other.shape
    assert not np.array_equal(one, other)
    assert np.array_equal(one, captioned(images, TRUE, FOUND, NAMES))
