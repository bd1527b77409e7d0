import numpy as np
import pytest

from mtk.data.translation.sequences import Sequences, pack

IDS = [[5, 6, 7], [], [65_535], [8, 9], []]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_pack_round_trip(dtype):
    packed = pack(IDS, dtype)
    assert packed.tokens.dtype == dtype
    assert len(packed) == len(IDS)
    assert [packed[i].tolist() for i in range(len(IDS))] == IDS
    assert packed.lengths.tolist() == [3, 0, 1, 2, 0]


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_padded_equals_padding_one_by_one(length):
    generator = np.random.default_rng(0)
    ids = [generator.integers(4, 60_000, generator.integers(0, 6)).tolist() for _ in range(50)]
    indices = generator.permutation(50)[:20]
    rows = pack(ids, np.uint16).padded(indices, length)
    assert rows.dtype == np.int32
    assert rows.tolist() == [(ids[i] + [0] * length)[:length] for i in indices]


def test_zero_rows():
    assert pack(IDS).padded(np.zeros(0, np.int64), 4).shape == (0, 4)


def test_zero_sequences():
    assert len(pack([])) == 0


def test_memory_mapped(tmp_path):
    np.save(tmp_path / "tokens.npy", pack(IDS, np.uint16).tokens)
    mapped = Sequences(np.load(tmp_path / "tokens.npy", mmap_mode="r"), pack(IDS).starts)
    assert mapped.padded(np.array([0, 2]), 3).tolist() == [[5, 6, 7], [65_535, 0, 0]]


@pytest.mark.parametrize("index", [-1, 5])
def test_index_out_of_range_raises(index):
    with pytest.raises(IndexError, match=r"0 \.\.\. 4"):
        pack(IDS)[index]


@pytest.mark.parametrize("starts", [[0, 3], [1, 4], [0, 5]])
def test_invalid_starts_raise(starts):
    with pytest.raises(ValueError, match="from 0 to 4"):
        Sequences(np.zeros(4, np.int32), np.array(starts))


def test_invalid_shapes_raise():
    with pytest.raises(ValueError, match="Received shapes"):
        Sequences(np.zeros((2, 2), np.int32), np.array([0, 4]))
