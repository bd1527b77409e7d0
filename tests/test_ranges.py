import math
from typing import Literal

import numpy as np
import pytest

from mtk import ranges

INSIDE = {
    "nonnegative": (0, 0.0, 1e-30, 7, 1e30, np.float32(2.0), np.int64(3)),
    "positive": (1e-30, 7, 1e30, np.float32(2.0)),
    "share": (0, 0.5, 1, 1.0, np.float64(0.25)),
    "rate": (0, 0.5, 1 - 1e-12),
    "count": (1, 2**63 - 1, np.int64(3), (1, 2), [5]),
}
OUTSIDE = {
    "nonnegative": (-1e-30, -1, math.inf, -math.inf),
    "positive": (0, 0.0, -1, math.inf),
    "share": (-1e-12, 1 + 1e-12, math.inf),
    "rate": (-1e-12, 1, 1.0, 2),
    "count": (0, -1, 1.0, 0.5, (1, 0), [2.0], 2**63),
}
NOT_NUMBERS = (math.nan, None, "1", True, [], {}, 1j)


@pytest.mark.parametrize("kind", INSIDE)
def test_values_in_range_pass(kind):
    check = getattr(ranges, f"check_{kind}")
    for value in INSIDE[kind]:
        check(size=value)
    check(**{f"size_{place}": value for place, value in enumerate(INSIDE[kind])})


@pytest.mark.parametrize("kind", INSIDE)
def test_values_out_of_range_raise(kind):
    check, good = getattr(ranges, f"check_{kind}"), INSIDE[kind][0]
    for value in (*OUTSIDE[kind], *NOT_NUMBERS):
        if kind == "count" and value == []:
            continue  # An empty list contains no invalid number.
        with pytest.raises(ValueError, match="`size` must be .*Received: size="):
            check(other=good, size=value)


def test_invalid_choice_raises():
    ranges.check_choice(Literal["a", "b"], kind="b")
    with pytest.raises(ValueError, match="`kind` must be one of .*'a', 'b'.*Received: 'c'"):
        ranges.check_choice(Literal["a", "b"], kind="c")
