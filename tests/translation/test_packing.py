import numpy as np
import pytest
from parallel_text import lines

from mtk.data.translation import chunks, train_vocabulary
from mtk.data.translation.filters import Filters
from mtk.data.translation.packing import Packers

SIZE = 20


@pytest.fixture
def vocabulary(tmp_path):
    texts = {name: [line.decode() for line in lines(name, 200, 0)] for name in ("en", "fr")}
    made = train_vocabulary(texts, 400)
    made.save(tmp_path / "vocabulary.model")
    return made


def test_reading_ahead_is_bounded(vocabulary, tmp_path):
    """Hence memory does not grow with the size of the text."""
    read = 0

    def pairs():
        nonlocal read
        for pair in zip(lines("en", 900, 0), lines("fr", 900, 0), strict=True):
            read += 1
            yield pair

    done = 0
    (tmp_path / "chunks").mkdir()
    with Packers(tmp_path / "vocabulary.model", Filters(), 2) as packers:
        for number in packers.pack(pairs(), tmp_path / "chunks", SIZE, held_out=False):
            assert read - done <= 5 * SIZE
            done += number
    assert done == read == 900
    assert len(list((tmp_path / "chunks").iterdir())) == 900 / SIZE


def test_only_missing_chunks_are_made(vocabulary, tmp_path):
    pairs = list(zip(lines("en", 95, 0), lines("fr", 95, 0), strict=True))
    folder = tmp_path / "chunks"
    folder.mkdir()
    with Packers(tmp_path / "vocabulary.model", Filters(), 1) as packers:
        first = list(packers.pack(iter(pairs), folder, SIZE, held_out=True))
        assert sum(first) == 95
        made = {path.name: path.read_bytes() for path in folder.iterdir()}
        for name in ("00000001.npz", "00000004.npz"):
            (folder / name).unlink()
        again = list(packers.pack(iter(pairs), folder, SIZE, held_out=True))
        assert sorted(again) == [15, 20]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made


def test_chunk_round_trip(vocabulary, tmp_path):
    pairs = [(b"ba ke", b"la ne"), (b"", b"x"), ("mi\u2028nu".encode(), "é".encode())]
    made = chunks.tokenized(pairs, vocabulary, Filters(), held_out=True)
    made.save(tmp_path / "chunk.npz")
    assert chunks.counts(tmp_path / "chunk.npz") == (3, {"empty": 1})
    for side, name in enumerate(chunks.SIDES):
        for part in ("tokens", "starts"):
            found = chunks.array(tmp_path / "chunk.npz", f"{name}.{part}")
            np.testing.assert_array_equal(found, getattr(made.sequences[side], part))
        text = chunks.array(tmp_path / "chunk.npz", f"{name}.text").tobytes().decode()
        assert text == "".join(f"{pair[side].decode()}\n" for pair in (pairs[0], pairs[2]))
