import numpy as np
import pytest
import tensorflow as tf

from mtk.data.mixing import mixed_batches
from mtk.data.translation.batches import Lengths, fitting_pairs, pair_source, sequential_batches
from mtk.data.translation.corpus import Pairs
from mtk.data.translation.sequences import pack
from mtk.distribution.splitting import split

LANGUAGE = 4


def random_lists(number: int, longest: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 50, rng.integers(0, longest + 1)).tolist() for _ in range(number)]


SOURCES, TARGETS = random_lists(40, 12, 0), random_lists(40, 17, 1)
PAIRS = Pairs(pack(SOURCES, np.uint16), pack(TARGETS, np.uint16))


def read(indices, lengths, chosen=None):
    x, y = pair_source(PAIRS, LANGUAGE, lengths, chosen).read(tf.constant(indices, tf.int64))
    return x["source"].numpy(), x["target_in"].numpy(), y.numpy()


def filled(rows: list[list[int]], width: int) -> np.ndarray:
    return np.array([row + [0] * (width - len(row)) for row in rows])


@pytest.mark.parametrize("multiple", [1, 4, 8])
@pytest.mark.parametrize("indices", [[0], [3, 3], range(40), [39, 0, 17]])
def test_rows_of_token_ids(indices, multiple):
    source, target_in, target = read(list(indices), Lengths(multiple=multiple))
    for array, rows in (
        (source, [[LANGUAGE, *SOURCES[i], 2] for i in indices]),
        (target_in, [[1, *TARGETS[i]] for i in indices]),
        (target, [[*TARGETS[i], 2] for i in indices]),
    ):
        assert array.dtype == np.int32
        np.testing.assert_array_equal(array, filled(rows, array.shape[1]))
        longest = max(map(len, rows))
        assert array.shape[1] % multiple == 0
        assert longest <= array.shape[1] < longest + multiple


@pytest.mark.parametrize("longest", [3, 7, 8, 10])
@pytest.mark.parametrize("multiple", [1, 4])
def test_long_sequences_are_truncated_and_keep_the_end_token(longest, multiple):
    rows = read(range(40), Lengths(longest, multiple))
    assert all(array.shape[1] == longest for array in rows)
    for i, (source, target_in, target) in enumerate(zip(*rows, strict=True)):
        assert [*source[source > 0]] == [LANGUAGE, *SOURCES[i][: longest - 2], 2]
        assert [*target_in[target_in > 0]] == [1, *TARGETS[i][: longest - 1]]
        assert [*target[target > 0]] == [*TARGETS[i][: longest - 1], 2]


def test_fixed_length_is_static():
    source = pair_source(PAIRS, LANGUAGE, Lengths(24, fixed=True))
    batches = tf.data.Dataset.range(40).batch(8, drop_remainder=True).map(source.read)
    assert {spec.shape for spec in tf.nest.flatten(batches.element_spec)} == {(8, 24)}
    assert len(list(batches)) == 5


def test_empty_batch():
    for array in read([], Lengths(multiple=4)):
        assert array.shape == (0, 4)


def test_fitting_pairs_selects_pairs_within_the_length():
    kept = fitting_pairs(PAIRS, 10)
    wanted = [i for i in range(40) if len(SOURCES[i]) <= 8 and len(TARGETS[i]) <= 9]
    assert kept.tolist() == wanted
    source = pair_source(PAIRS, LANGUAGE, Lengths(10), kept)
    assert source.num_examples == len(wanted)
    np.testing.assert_array_equal(
        read([0, 5], Lengths(10), kept)[0], read(kept[[0, 5]], Lengths(10))[0]
    )


def test_sort_key_orders_by_both_lengths():
    order = np.argsort(pair_source(PAIRS, LANGUAGE, Lengths()).sort_key, kind="stable")
    longer = [max(len(SOURCES[i]), len(TARGETS[i])) for i in order]
    assert longer == sorted(longer)
    for length in {*longer}:
        gaps = [len(SOURCES[i]) - len(TARGETS[i]) for i in order[np.equal(longer, length)]]
        assert gaps in (sorted(gaps), sorted(gaps, reverse=True))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_evaluation_reads_each_pair_of_each_task_once(batch_size):
    few = np.arange(5)
    sources = {
        "fr": pair_source(PAIRS, 4, Lengths()),
        "de": pair_source(PAIRS, 5, Lengths(), few),
    }
    found = {0: [], 1: []}
    for x, y, ids in sequential_batches(sources, batch_size).as_numpy_iterator():
        assert len(ids) <= batch_size
        assert len({*ids}) == 1
        np.testing.assert_array_equal(x["source"][:, 0], ids + 4)
        found[ids[0]] += [tuple(row[row > 0]) for row in y]
    wanted = [(*target, 2) for target in TARGETS]
    assert sorted(found[0]) == sorted(wanted)
    assert sorted(found[1]) == sorted(wanted[:5])
    assert found[1] == [wanted[i] for i in np.argsort(sources["de"].sort_key, kind="stable")]


def test_mixed_batches_are_padded_together():
    sources = {
        "fr": pair_source(PAIRS, 4, Lengths(multiple=4)),
        "de": pair_source(PAIRS, 5, Lengths(multiple=4)),
    }
    for x, y, ids in mixed_batches(sources, {"fr": 0.4, "de": 0.6}, 5, 12, 0).as_numpy_iterator():
        assert ids.tolist() == [0, 0, 1, 1, 1]
        np.testing.assert_array_equal(x["source"][:, 0], ids + 4)
        assert x["source"].shape[1] == -(-(x["source"] > 0).sum(1).max() // 4) * 4
        assert y.shape == x["target_in"].shape
        np.testing.assert_array_equal((y > 0).sum(1), (x["target_in"] > 0).sum(1))


class TwoReplicas:
    """A fake strategy of two replicas in one process."""

    num_replicas_in_sync = 2

    def distribute_datasets_from_function(self, function):
        return function(tf.distribute.InputContext(1, 0, 2))


@pytest.mark.parametrize("window", [1, 3])
def test_replicas_share_a_mixed_batch(window):
    sources = {"fr": pair_source(PAIRS, 4, Lengths()), "de": pair_source(PAIRS, 5, Lengths())}
    whole = mixed_batches(sources, {"fr": 0.4, "de": 0.6}, 6, 4, 0, window=window)
    parts = split(whole, TwoReplicas())
    assert parts.element_spec[0]["source"].shape.as_list() == [3, None]
    halves = list(parts)
    for step, batch in enumerate(whole):
        joined = tf.nest.map_structure(
            lambda one, two: tf.concat([one, two], 0), halves[2 * step], halves[2 * step + 1]
        )
        tf.nest.map_structure(np.testing.assert_array_equal, joined, batch)


@pytest.mark.parametrize("arguments", [{"longest": 2}, {"multiple": 0}])
def test_invalid_lengths_raise(arguments):
    with pytest.raises(ValueError, match="must be 3 or more tokens"):
        Lengths(**arguments)
