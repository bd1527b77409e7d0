"""Scores that a workload computes itself, in the record of a run."""

import json

import numpy as np
import pytest
from application_runs import read_metrics, start

from mtk.experiment.evaluation import evaluate
from mtk.workloads.multi_digits import MultiDigits


class Scored(MultiDigits):
    """Multi-digits with a score that depends on the network's weights and the split."""

    def __init__(self):
        super().__init__(partners=1, channels=(4, 4), units=8)
        self.signatures = {}

    def scores(self, network, split):
        total = sum(float(np.sum(variable.numpy())) for variable in network.weights)
        self.signatures["left/sum"] = "in float32"
        return {"left": {"sum": total + (split == "test")}}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "scored"
    return folder, start(Scored, folder)


def test_scores_are_in_the_result(scored):
    folder, result = scored
    assert json.loads((folder / "result.json").read_text()) == result
    test, validation = (result[split]["tasks"]["left"] for split in ("test", "validation"))
    assert test["sum"] == pytest.approx(validation["sum"] + 1)
    assert {"loss", "accuracy", "sum"} <= validation.keys()
    assert "sum" not in result["test"]["tasks"]["right"]
    assert "sum" not in result["train"]["tasks"]["left"]
    assert result["signatures"] == {"left/sum": "in float32"}


def test_scores_are_those_of_the_selected_step(scored):
    folder, result = scored
    lines = [line for line in read_metrics(folder) if line["name"] == "sum"]
    assert [(x["step"], x["split"], x["task"]) for x in lines] == [
        (result["selected_step"], "validation", "left"),
        (result["selected_step"], "test", "left"),
    ]
    assert [x["value"] for x in lines] == [
        result[split]["tasks"]["left"]["sum"] for split in ("validation", "test")
    ]


def test_exported_network_has_the_same_scores(scored):
    folder, result = scored
    figures = evaluate(Scored, folder / "model.keras", "test")
    assert figures["tasks"]["left"]["sum"] == pytest.approx(result["test"]["tasks"]["left"]["sum"])


def test_workload_without_scores_has_no_signatures(finished):
    assert "signatures" not in finished[1]
