"""The lineage of branched runs in records and tables."""

import json

import pytest

from mtk.analysis import run_record
from mtk.analysis.reporting import tables

PARENT = {"run": "aaaa", "hash": "1", "first_step": 0}
CHILD = {"run": "bbbb", "hash": "2", "first_step": 84}
CHANGED = {
    "combiners.StaticWeights.weights": {"from": "{'left': 0.5}", "to": "{'left': 0.7}"},
    "experiment.Optimization.learning_rate": {"from": "0.1", "to": "0.3"},
}


def read(folder, lineage=None):
    tasks = {"left": {"loss": 0.5}}
    result = {"status": "finished", "validation": {"tasks": tasks}, "test": {"tasks": tasks}}
    (folder / "result.json").write_text(json.dumps(result))
    if lineage is not None:
        (folder / "lineage.json").write_text(json.dumps(lineage))
    return run_record.read(folder, {})


def test_lineage_lists_the_parts_in_order(tmp_path):
    row = read(tmp_path, {"runs": [PARENT, {**CHILD, "changed": CHANGED}]})
    assert row["status"] == "finished"
    assert row["lineage"] == (
        "aaaa from step 0; bbbb from step 84: weights {'left': 0.7}, learning_rate 0.3"
    )


def test_runs_without_branches_have_no_lineage(tmp_path):
    assert "lineage" not in read(tmp_path)


@pytest.mark.parametrize(
    "lineage", [{"runs": 3}, {"runs": [{**CHILD, "first_step": "84"}]}, {"runs": [{"run": []}]}]
)
def test_damaged_lineage_makes_the_run_damaged(tmp_path, lineage):
    row = read(tmp_path, lineage)
    assert row["status"] == "damaged"
    assert "lineage.json" in row["reason"]


def test_table_of_lineages_contains_only_branched_runs():
    import pandas as pd

    known = {"study": "s", "method": "m", "seed": 0}
    table = pd.DataFrame([{**known, "run": "a"}, {**known, "run": "b", "lineage": "a; b"}])
    assert tables.lineages(table)["run"].tolist() == ["b"]
    assert tables.lineages(table.drop(columns="lineage")).empty
