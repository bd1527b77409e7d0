"""Workloads of tables (CSV): reading, scaling, serving and errors."""

import codecs
import csv
import functools
import gzip
import math
import re
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from mtk import experiment
from mtk.data.splits import split
from mtk.data.tables import read
from mtk.models import sharing
from mtk.workloads import Table

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


def test_unused_columns_use_no_memory(tmp_path):
    """A small compressed file may contain very many rows."""
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(("age,text\n" + f"1,{'x' * 1000}\n" * 20_000).encode()))
    tracemalloc.start()
    assert read(path, ["age"]) == {"age": ["1"] * 20_000}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_other_architecture(path):
    table = Table(str(path), **GIVEN, dropout=0.3, network=sharing.cgc)
    network = table.network(0)
    assert network.name == "cgc"
    assert set(network(next(iter(table.test(5)))[0])) == {"rich", "height"}
    expert = network.get_layer("cgc").experts["rich"].experts[0]
    assert [getattr(x, "units", getattr(x, "rate", None)) for x in expert.layers] == [4, 0.3] * 2


def test_compressed_table_gives_the_same_data(path, tmp_path):
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    whole, packed = Table(str(path), **GIVEN), Table(str(tmp_path / "table.csv.gz"), **GIVEN)
    assert dict(whole.fingerprint()) == dict(packed.fingerprint())
    assert dict(Table(str(path), **GIVEN, data_seed=1).fingerprint()) != dict(whole.fingerprint())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"numbers": ["weight"]}, r"lacks the columns \['weight'\]. Its columns are: age, job"),
        ({"numbers": ["job"], "categories": ["age"]}, "'job' has values that are not numbers"),
        ({"targets": {"rich": "maybe"}}, "'maybe' in every row, or in none"),
        ({"targets": {"job": None}, "categories": []}, "'job' has values that are not numbers"),
        ({"numbers": "age"}, "`numbers` must name several columns, as a list. Received: 'age'"),
        ({"categories": ["job", "rich"]}, r"\['rich'\] are given more than once"),
        ({"numbers": [], "categories": []}, "Give one or more input columns"),
        ({"targets": {}}, "and targets"),
        ({"targets": {"rich": ["yes"]}}, "two or more, each once. Received: \\['yes'\\]"),
        ({"targets": {"rich": ["yes", "maybe"]}}, r"also has the values \['no'\]"),
        ({"targets": {"rich": ["yes", "no", "maybe"]}}, r"has the value \['maybe'\] in no row"),
        (
            {"targets": {"rich": 1}},
            "'rich' must be a string, such as '1', a list of strings, or None.*: 1",
        ),
        ({"targets": {"rich": {"yes", "no"}}}, "a list of strings"),
        ({"targets": {"rich": ["yes", True]}}, "a list of strings"),
        (
            {"targets": ["rich"]},
            r"`targets` must name several columns, as a dict. Received: \['rich'\]",
        ),
        ({"numbers": None}, "`numbers` must name several columns, as a list. Received: None"),
        ({"numbers": {"age"}}, "`numbers` must name several columns, as a list"),
        ({"delimiter": "::"}, "one character"),
        ({"delimiter": ";"}, "If cells are separated by ','"),
        ({"width": 0}, "width"),
        ({"dropout": 1.5}, "dropout"),
    ],
)
def test_invalid_arguments_raise(path, change, named):
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
def test_unreadable_files_raise(tmp_path, name):
    (tmp_path / name).write_bytes(UNREADABLE[name])
    with pytest.raises(ValueError, match=name):
        Table(str(tmp_path / name), **GIVEN)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: text.replace("\n", ",more\n", 1), "line 2 has . cells"),
        (lambda text: text.replace("\n", ",7\n").replace(",7", ",age", 1), "more than one.*'age'"),
        (lambda text: text + "1,2\n", "line 52 has 2 cells"),
        (lambda text: text + '1,a,yes,"2\n' + "1,a,yes,2\n" * 5, "unexpected end of data"),
        (lambda text: text + '1,"a"b,yes,2\n', "cannot be read as a table"),
        (lambda text: text + "1,2,3,4,5,6,7\n", "line 52 has 7 cells"),
    ],
)
def test_malformed_rows_raise(path, change, named):
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=named):
        Table(str(path), **GIVEN)


def test_byte_order_mark_is_ignored(path):
    before = dict(Table(str(path), **GIVEN).fingerprint())
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert dict(Table(str(path), **GIVEN).fingerprint()) == before


def test_missing_or_empty_table_raises(tmp_path):
    with pytest.raises(ValueError, match="There is no table"):
        Table(str(tmp_path / "none.csv"), **GIVEN)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="lacks the columns"):
        Table(str(tmp_path / "empty.csv"), **GIVEN)


NAMES = ["floor area (m²)", "age", "price, 1000 $", "kind/type", "heated?", "kind_type", "42"]
KINDS = ["a", "b", "ü", "x y"]
MISSING = ["", "NA", "nan", "?", " null "]


def messy(folder, seed):
    """Returns arguments for a table of odd names and missing cells, and its cells."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(60):
        area, age, price = generator.normal((1e4, 40, -3), (3e3, 9, 2))
        numbers = [f"{each:.3f}" for each in (area, age, price)]
        for place in (0, 2):
            if generator.random() < 0.2:
                numbers[place] = str(generator.choice(MISSING))
        heated = generator.choice(["yes", "no", ""], p=[0.4, 0.4, 0.2])
        rows.append([*numbers, *generator.choice(KINDS, 2), heated, generator.choice(["", "1"])])
        rows[-1].insert(4, rows[-1].pop(5))
    path = folder / "messy.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([NAMES, *rows])
    arguments = {
        "path": str(path),
        "numbers": NAMES[:2],
        "categories": [NAMES[3], NAMES[6]],
        "targets": {"price, 1000 $": None, "heated?": "yes", "kind_type": KINDS},
        "width": 4,
        "delimiter": ";",
    }
    return arguments, {name: [row[k] for row in rows] for k, name in enumerate(NAMES)}


def number(cell):
    return math.nan if cell in MISSING else float(cell)


@pytest.mark.parametrize("seed", range(5))
def test_missing_cells_are_imputed_and_missing_labels_masked(tmp_path, seed):
    arguments, cells = messy(tmp_path, seed)
    table = Table(**arguments)
    rows = split(60, (36, 12, 12), 0)[0]
    (x, y), *_ = list(table.train_evaluation(60))
    area, age = (np.array([number(cells[name][k]) for k in rows]) for name in NAMES[:2])
    there = ~np.isnan(area)
    scaled = (area - area[there].mean()) / area[there].std()
    np.testing.assert_allclose(x["numbers"][:, 0], np.where(there, scaled, 0), atol=1e-5)
    np.testing.assert_allclose(x["numbers"][:, 1], (age - age.mean()) / age.std(), atol=1e-5)
    np.testing.assert_array_equal(x["numbers"][:, 2], ~there)
    assert x["numbers"].shape[1] == 3
    price = np.array([number(cells["price, 1000 $"][k]) for k in rows])
    np.testing.assert_array_equal(np.isnan(y["price, 1000 $"]), np.isnan(price))
    places = {"yes": 1, "no": 0, "": -1}
    np.testing.assert_array_equal(y["heated?"], [places[cells["heated?"][k]] for k in rows])
    np.testing.assert_array_equal(
        y["kind_type"], [KINDS.index(cells["kind_type"][k]) for k in rows]
    )
    missing = {task.name: task.missing for task in table.tasks}
    assert math.isnan(missing.pop("price, 1000 $"))
    assert missing == {"heated?": -1, "kind_type": None}


OTHERS = [
    pytest.param(seed, share, marks=pytest.mark.slow, id=share.__name__)
    for seed, share in enumerate((sharing.mmoe, sharing.cross_stitch, sharing.ple), start=1)
]


@pytest.mark.parametrize(("seed", "share"), [(0, None), *OTHERS])
def test_served_model_takes_raw_cells(seed, share, tmp_path):
    arguments, cells = messy(tmp_path, seed)
    make = functools.partial(Table, **arguments, network=share)
    lengths = experiment.Training(epochs=1)
    speed = experiment.Optimization(batch_size=12, learning_rate=0.1)
    result = experiment.run(make, tmp_path / "run", lengths, optimization=speed)
    assert set(result["test"]["tasks"]) == set(arguments["targets"])
    load = tf.saved_model.load(str(tmp_path / "run" / "saved_model_cells"))
    rows = split(60, (36, 12, 12), 0)[2]
    given = {
        "floor_area__m__": tf.constant([number(cells[NAMES[0]][k]) for k in rows], tf.float64),
        "age": tf.constant([number(cells["age"][k]) for k in rows], tf.float64),
        "kind_type": tf.constant([cells["kind/type"][k] for k in rows]),
        "42": tf.constant([cells["42"][k] for k in rows]),
    }
    told = load.signatures["serving_default"](**given)
    # Equal to the metrics of the run on the same rows.
    labels = [cells["kind_type"][k] for k in rows]
    right = np.mean(np.array(KINDS)[np.argmax(told["kind_type"], 1)] == labels)
    assert right == pytest.approx(result["test"]["tasks"]["kind_type"]["accuracy"])
    np.testing.assert_allclose(np.sum(told["kind_type"], 1), 1, rtol=1e-5)
    heated = np.array([cells["heated?"][k] for k in rows])
    likely = np.where(heated == "yes", told["heated?"], 1 - told["heated?"])
    loss = -np.log(likely[heated != ""]).mean()
    assert loss == pytest.approx(result["test"]["tasks"]["heated?"]["loss"], rel=1e-4)
    train = [number(cells["price, 1000 $"][k]) for k in split(60, (36, 12, 12), 0)[0]]
    errors = told["price, 1000 $"] - [number(cells["price, 1000 $"][k]) for k in rows]
    error = np.nanmean(np.abs(errors)) / np.nanstd(train)
    absolute = result["test"]["tasks"]["price, 1000 $"]["absolute_error"]
    assert error == pytest.approx(absolute, rel=1e-4)


def test_unknown_category_is_served(tmp_path):
    table = Table(**messy(tmp_path, 0)[0])
    served = table.serving(table.network(0))["cells"]
    given = {name: tf.constant([math.nan], tf.float64) for name in ("floor_area__m__", "age")}
    texts = {name: tf.constant(["never there"]) for name in ("kind_type", "42")}
    for values in served.predict({**given, **texts}).values():
        assert np.isfinite(values).all()


def test_column_without_numbers_raises(path):
    path.write_text("age,rich\n" + ",yes\nNA,no\n" * 10)
    given = {"numbers": ["age"], "categories": [], "targets": {"rich": "yes"}}
    with pytest.raises(ValueError, match="'age' has no number in the training rows"):
        Table(str(path), **given)


def one_column(path, column):
    rows = [f"{cell},{'ab'[row % 2]}" for row, cell in enumerate(column)]
    path.write_text("\n".join(["it,other", *rows, ""]))
    return path


@pytest.mark.parametrize("cell", ["1_000", "1,5", "1.234,5", "12%", "$5", "2020-01-01", "1 000"])
def test_cell_that_is_not_a_number_raises(path, cell):
    one_column(path, ["1", "2"] * 10 + [f'"{cell}"'])
    with pytest.raises(ValueError, match=re.escape(repr(cell))):
        Table(str(path), ["it"], targets={"other": "a"})


@pytest.mark.parametrize("cell", ["1e39", "-1e200", "inf", "-Infinity", "1e400"])
def test_too_large_number_raises(path, cell):
    one_column(path, ["1", "2"] * 10 + [cell])
    with pytest.raises(ValueError, match="'it' has numbers that are not finite, or larger"):
        Table(str(path), ["it"], targets={"other": "a"})


@pytest.mark.parametrize("constant", ["0.1", "3.3", "-0.7", "1e12", "1e-30", "123456.789"])
def test_constant_column_becomes_zero(path, constant):
    """The mean of equal numbers is rounded, so that their deviation is not always 0."""
    one_column(path, [constant] * 50)
    table = Table(str(path), ["it"], targets={"other": "a"})
    assert not np.any(next(iter(table.train_evaluation(50)))[0]["numbers"])


def test_blanks_around_cells_are_stripped(path):
    before = dict(Table(str(path), **GIVEN).fingerprint())
    path.write_text(path.read_text().replace(",", "\t ,").replace("\n", "  \n"))
    assert dict(Table(str(path), **GIVEN).fingerprint()) == before


@pytest.mark.parametrize(
    ("mean", "deviation"), [(0, 1), (1.7e9, 40), (1e12, 1), (-3e15, 50), (2e-20, 1e-21)]
)
def test_serving_equals_training_for_numbers_of_any_magnitude(path, mean, deviation):
    numbers = np.random.default_rng(0).normal(mean, deviation, 50)
    path.write_text(
        "\n".join(["it,kind,other", *(f"{x!r}, {'ab'[x > mean]},{x!r}" for x in numbers.tolist())])
    )
    table = Table(str(path), ["it"], ["kind"], targets={"other": None}, width=4)
    network = table.network(0)
    (rows, *_) = split(50, (30, 10, 10), 0)
    x, _ = next(iter(table.train_evaluation(50)))
    scaled = network(x)["other"][:, 0].numpy().astype(float)
    expected = scaled * numbers[rows].std() + numbers[rows].mean()
    kinds = tf.constant(["ab"[int(each > mean)] for each in numbers[rows]])
    # Categories as in the table, with a leading blank, or without it.
    for blank in ("", " "):
        cells = {"it": tf.constant(numbers[rows]), "kind": blank + kinds}
        served = table.serving(network)["cells"].predict(cells)["other"]
        np.testing.assert_allclose(served, expected, rtol=1e-15, atol=1e-4 * deviation)


@pytest.mark.parametrize("target", ["rich", "kind", "height"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_split_without_labels_of_a_target_raises(path, place, target):
    """Raised on construction, not only after training when no step can be selected."""
    columns = {
        "age": [f"{row}" for row in range(50)],
        "rich": ["yes", "no"] * 25,
        "kind": ["a", "b", "c", "d", "e"] * 10,
        "height": [f"{row * 0.1}" for row in range(50)],
    }
    parts = split(50, (30, 10, 10), 0)
    for row in parts[place][1:]:
        columns[target][row] = ""
    targets = {"rich": "yes", "kind": list("abcde"), "height": None}

    def table():
        lines = [",".join(columns), *map(",".join, zip(*columns.values(), strict=True))]
        path.write_text("\n".join(lines))
        return Table(str(path), ["age"], targets=targets)

    table()
    columns[target][parts[place][0]] = ""
    what = ("training", "validation", "test")[place]
    with pytest.raises(ValueError, match=f"'{target}' has no (number|label) in the {what} rows"):
        table()


def test_either_kind_of_input_columns_may_be_missing(path):
    one_column(path, ["1", "2"] * 10)
    for given in ({"numbers": ["it"]}, {"categories": ["it"]}):
        table = Table(str(path), **given, targets={"other": "a"})
        assert [*next(iter(table.train_evaluation(20)))[0]] == [
            "numbers" if "numbers" in given else "it"
        ]
    with pytest.raises(ValueError, match="Give one or more input columns"):
        Table(str(path), targets={"other": "a"})
    with pytest.raises(TypeError, match="targets"):
        Table(str(path), ["it"])
