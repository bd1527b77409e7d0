from itertools import islice

from mtk.models.seeds import layer_seeds


def test_seeds_are_reproducible_and_unique():
    first = list(islice(layer_seeds(3), 50))
    assert first == list(islice(layer_seeds(3), 50))
    assert len(set(first)) == 50
    assert not set(first) & set(islice(layer_seeds(4), 50))
    assert all(0 <= seed < 2**31 for seed in first)


def test_no_network_seed_gives_no_layer_seeds():
    assert list(islice(layer_seeds(None), 3)) == [None] * 3
