from collections import Counter

import numpy as np
import pytest

from mtk.data.translation.filters import Filters
from mtk.data.translation.sampling import reservoir


def test_each_kind_of_bad_text_is_counted():
    good = [(b"a", "é".encode()), (b"  b\r", b"c")]
    bad = {
        "empty": [(b"", b"a"), (b"a", b""), (b" \t", b"a"), (b"a", "\u3000".encode())],
        "not UTF-8": [(b"a\xff", b"a"), (b"a", "é".encode()[:1])],
        "zero bytes, as of UTF-16": [(b"a\0", b"a"), (b"a", "ba".encode("utf-16-le"))],
        "too many characters": [(b"x" * 100_000, b"a"), (b"a", ("é" * 2_001).encode())],
    }
    skipped = Counter()
    pairs = [*good, *(pair for kind in bad.values() for pair in kind)]
    kept = Filters().texts(pairs, skipped)
    assert kept == [("a", "é"), ("b", "c")]
    assert skipped == {reason: len(kind) for reason, kind in bad.items()}


def test_line_breaks_become_spaces():
    kept = Filters().texts([(b"a\nb\r\nc", "x\u2028y\u00a0z".encode())], Counter())
    assert kept == [("a b  c", "x\u2028y\u00a0z")]


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (126, 126, ""),
        (127, 126, "too many tokens"),
        (1, 127, "too many tokens"),
        (10, 40, ""),
        (40, 10, ""),
        (10, 41, "lengths too different"),
        (41, 10, "lengths too different"),
    ],
)
def test_limits_of_lengths(source, target, reason):
    assert Filters().reason(source, target) == reason


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_invalid_max_dropped_raises(share):
    with pytest.raises(ValueError, match="max_dropped"):
        Filters(max_dropped=share)


@pytest.mark.parametrize("limit", ["max_characters", "max_tokens", "max_ratio"])
def test_limit_of_zero_raises(limit):
    with pytest.raises(ValueError, match=f"must be 1 or more, .*{limit}=0"):
        Filters(**{limit: 0})


@pytest.mark.parametrize(("number", "size"), [(0, 3), (2, 3), (3, 3), (4, 3), (500, 7)])
def test_reservoir_draws_without_replacement(number, size):
    for seed in range(20):
        drawn, counted = reservoir(iter(range(number)), size, seed)
        assert counted == number
        assert len({*drawn}) == len(drawn) == min(number, size)
        assert {*drawn} <= {*range(number)}


def test_reservoir_is_uniform():
    """Over 3,000 draws of 10 from 30, counts are within five standard deviations."""
    times, number, size = 3_000, 30, 10
    counts = np.zeros(number)
    pairs = np.zeros((number, number))
    for seed in range(times):
        drawn, _ = reservoir(range(number), size, seed)
        counts[drawn] += 1
        pairs[np.ix_(drawn, drawn)] += 1
    share = size / number
    assert np.abs(counts - times * share).max() < 5 * (times * share * (1 - share)) ** 0.5
    # Probability that two given elements are drawn together.
    both = share * (size - 1) / (number - 1)
    apart = pairs[~np.eye(number, dtype=bool)]
    assert np.abs(apart - times * both).max() < 5 * (times * both * (1 - both)) ** 0.5


def test_reservoir_is_a_function_of_the_seed():
    assert reservoir(range(999), 5, 1) == reservoir(range(999), 5, 1) != reservoir(range(999), 5, 2)
