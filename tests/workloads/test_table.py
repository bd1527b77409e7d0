"""Tables: what is read, and what is refused."""

import codecs
import gzip
import tracemalloc

import numpy as np
import pytest

from mtk.models import sharing
from mtk.workloads import Table
from mtk.workloads.table import _read

GIVEN = {
    "numbers": ["age"],
    "categories": ["job"],
    "targets": {"rich": "yes", "height": None},
    "width": 4,
}


def lines(number=50):
    generator = np.random.default_rng(0)
    rows = [
        f"{generator.integers(18, 80)}, {'ab'[generator.integers(2)]}, "
        f"{'yes' if generator.random() < 0.3 else 'no'}, {150 + 40 * generator.random():.1f}"
        for _ in range(number)
    ]
    return "\n".join(["age, job, rich, height", *rows, ""])


@pytest.fixture
def path(tmp_path):
    (tmp_path / "table.csv").write_text(lines())
    return tmp_path / "table.csv"


def test_rows_are_split_and_scaled(path):
    table = Table(str(path), **GIVEN)
    assert table.num_train == 30
    (x, y), *rest = list(table.train_evaluation(100))
    assert not rest
    assert x["numbers"].shape == (30, 1)
    for values in (x["numbers"], y["height"]):
        assert float(np.mean(values)) == pytest.approx(0, abs=1e-5)
        assert float(np.std(values)) == pytest.approx(1, abs=1e-5)
    assert {*np.unique(x["job"])} == {0, 1}
    assert {*np.unique(y["rich"])} == {0.0, 1.0}
    outputs = table.network(0)(x)
    assert {name: output.shape for name, output in outputs.items()} == {
        "rich": (30, 1),
        "height": (30, 1),
    }


def test_columns_that_are_not_read_take_no_memory(tmp_path):
    """A small file may unpack to very many rows."""
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(("age,text\n" + f"1,{'x' * 1000}\n" * 20_000).encode()))
    tracemalloc.start()
    assert _read(path, ["age"]) == {"age": ["1"] * 20_000}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_network_that_shares_in_another_way(path):
    table = Table(str(path), **GIVEN, dropout=0.3, network=sharing.cgc)
    network = table.network(0)
    assert network.name == "cgc"
    assert set(network(next(iter(table.test(5)))[0])) == {"rich", "height"}
    expert = network.get_layer("cgc").experts["rich"].experts[0]
    assert [getattr(x, "units", getattr(x, "rate", None)) for x in expert.layers] == [4, 0.3] * 2


def test_a_compressed_table_is_the_same(path, tmp_path):
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    whole, packed = Table(str(path), **GIVEN), Table(str(tmp_path / "table.csv.gz"), **GIVEN)
    assert dict(whole.fingerprint()) == dict(packed.fingerprint())
    assert dict(Table(str(path), **GIVEN, data_seed=1).fingerprint()) != dict(whole.fingerprint())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"numbers": ["weight"]}, r"lacks the columns \['weight'\]. There are: age, job"),
        ({"numbers": ["job"]}, "'job' is not of numbers alone"),
        ({"targets": {"rich": "maybe"}}, "'maybe' in every row, or in none"),
        ({"targets": {"job": None}}, "'job' is not of numbers alone"),
        ({"width": 0}, "width"),
        ({"dropout": 1.5}, "dropout"),
    ],
)
def test_bad_tables(path, change, named):
    with pytest.raises(ValueError, match=named):
        Table(str(path), **{**GIVEN, **change})


PACKED = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
UNREADABLE = {
    "long line.csv": b"a,b\n" + b"1" * 2_000_000,
    "long line.csv.gz": gzip.compress(b"a,b\n" + b"1" * 2_000_000),
    "long field.csv": b"a,b\n" + b"1" * 200_000,
    "cut.csv.gz": PACKED[: len(PACKED) // 2],
    "spoiled.csv.gz": PACKED[:14] + bytes(4) + PACKED[18:],
    "text.csv.gz": b"a,b\n1,2\n",
    "latin.csv": "a,b\n\xe9,2\n".encode("latin-1"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_files_that_are_no_tables_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(UNREADABLE[name])
    with pytest.raises(ValueError, match=name):
        Table(str(tmp_path / name), **GIVEN)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: text.replace("\n", ",more\n", 1), "line 2: there are . cells"),
        (lambda text: text.replace("\n", ",7\n").replace(",7", ",age", 1), "more than one.*'age'"),
        (lambda text: text + "1,2\n", "line 52: there are 2 cells"),
        (lambda text: text + "1,2,3,4,5,6,7\n", "line 52: there are 7 cells"),
    ],
)
def test_cells_that_no_name_belongs_to_are_not_dropped(path, change, named):
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=named):
        Table(str(path), **GIVEN)


def test_a_mark_of_the_byte_order_is_no_part_of_a_name(path):
    before = dict(Table(str(path), **GIVEN).fingerprint())
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert dict(Table(str(path), **GIVEN).fingerprint()) == before


def test_no_table(tmp_path):
    with pytest.raises(ValueError, match="There is no table"):
        Table(str(tmp_path / "none.csv"), **GIVEN)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="lacks the columns"):
        Table(str(tmp_path / "empty.csv"), **GIVEN)
