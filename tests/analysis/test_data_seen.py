"""A report states if the runs of a study used different data."""

import json

from mtk import analysis
from mtk.analysis.plain_text import FileNames
from mtk.analysis.reporting import contents, page, tables
from tests.analysis.synthetic import grid, write_study

DATA = {"train": "9 examples, sha256 a", "test": "5 examples, sha256 b"}


def study(folder, *data):
    """Writes a study whose runs have these data in turn; None records nothing."""
    path = write_study(folder / "study", grid(rates=(0.1,)))
    for number, run in enumerate(sorted(path.glob("runs/*/result.json"))):
        seen = data[number % len(data)]
        more = {} if seen is None else {"data": seen}
        run.write_text(json.dumps({**json.loads(run.read_text()), **more}))
    return analysis.load(path)


def words(table):
    views = analysis.views(table)
    made = contents.Contents(table, [contents.Section(v.title, FileNames(), v) for v in views])
    return page.render(made)


def test_equal_or_unknown_data_are_not_reported(tmp_path):
    for number, data in enumerate([(DATA,), (None,), (DATA, None)]):
        table = study(tmp_path / str(number), *data)
        assert tables.other_data(table).empty
        assert "different data sets" not in words(table)


def test_different_data_are_reported_with_their_runs(tmp_path):
    table = study(tmp_path, DATA, {**DATA, "test": "6 examples, sha256 <c>"})
    found = tables.other_data(table)
    assert sorted(found["data"]) == ["test: 5 examples, sha256 b", "test: 6 examples, sha256 <c>"]
    assert found["runs"].sum() == len(table)
    assert "Its runs used 2 different data sets" in words(table)
    assert (table["status"] == "finished").all()


def test_data_of_a_wrong_type_are_damage(tmp_path):
    table = study(tmp_path, DATA, ["train"], {"train": 5})
    assert {"finished", "damaged"} == set(table["status"])
    assert table.loc[table["status"] == "damaged", "reason"].str.contains("train").all()
