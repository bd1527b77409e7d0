from itertools import islice

from mtk.models.seeds import layer_seeds


def test_seeds_repeat_with_the_network_seed_and_differ_from_layer_to_layer():
    first = list(islice(layer_seeds(3), 50))
    assert first == list(islice(layer_seeds(3), 50))
    assert len(set(first)) == 50
    assert not set(first) & set(islice(layer_seeds(4), 50))
    assert all(0 <= seed < 2**31 for seed in first)


def test_without_a_seed_keras_draws_them():
    assert list(islice(layer_seeds(None), 3)) == [None] * 3
