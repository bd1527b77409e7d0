import numpy as np
import pytest

from mtk.data.splits import split


@pytest.mark.parametrize(
    ("number", "sizes"), [(10, (6, 4)), (10, (3, 2, 1)), (1797, (1079, 359, 359))]
)
def test_subsets_are_disjoint_and_have_the_sizes(number, sizes):
    subsets = split(number, sizes, seed=0)
    assert [len(subset) for subset in subsets] == list(sizes)
    together = np.concatenate(subsets)
    assert len(set(together.tolist())) == sum(sizes)
    assert set(together.tolist()) <= set(range(number))


def test_subsets_depend_on_the_seed():
    one, same, other = (split(1000, (500, 500), seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert 200 < len(set(one.tolist()) & set(other.tolist())) < 300
    assert 450 < one.mean() < 550


@pytest.mark.parametrize("sizes", [(6, 5), (10, 0), (11,), (-1, 5)])
def test_invalid_sizes_raise(sizes):
    with pytest.raises(ValueError, match="Cannot split 10 examples"):
        split(10, sizes, seed=0)
