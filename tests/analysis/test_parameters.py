"""Parameters from the records of runs and from the lists of studies."""

import dataclasses
import json

import pytest

from mtk.analysis import parameters, plain_text
from mtk.experiment.options import GROUPS
from mtk.study.spec import bindings


def recorded(text):
    return parameters.recorded({"f.x": text})["f.x"]


@pytest.mark.parametrize("value", [3, "it's = %here", True, None, 1e-05, -2.5, "a"])
def test_values_of_every_type_are_parsed(value):
    found = recorded(repr(value))
    assert found == value
    assert type(found) is type(value)


def test_references_become_names_and_other_settings_are_dropped():
    found = parameters.recorded(
        {"f.g": "@module.Class", "f.h": "@module.Class()", "steps": "5", "module of @f.g": "a.b.c"}
    )
    assert found == {"f.g": "module.Class", "f.h": "module.Class"}
    assert parameters.listed({"steps": 5, "f.x": 5}) == {"f.x": 5}


def test_bindings_in_both_forms_are_equal():
    given = {"f.rate": 0.1, "f.name": "x", "f.list": [1, 2]}
    lines = [f"{name} = {value!r}" for name, value in given.items()]
    assert parameters.listed(given) == parameters.listed(lines)


@pytest.mark.parametrize(
    "value",
    [(4, 4), [4, 4], ((1, 2), [3]), {"right": 0.3, "left": (0.7,)}, {1: "a", 0: "b"}, "@f.Name",
     "@f.Name()", ("@f.One", "@f.Two()"), {"left": "@f.One"}, "a@b", ["a@b"], True, None, 1e-05],
)  # fmt: skip
def test_binding_from_json_equals_the_recorded_one(value):
    text = bindings({"f.x": value})[0].partition(" = ")[2]
    given = json.loads(json.dumps({"f.x": value}))
    assert parameters.listed(given) == parameters.recorded({"f.x": text})


@pytest.mark.parametrize("text", ["{[]: 1}", "(" * 5000, "\0", "'", "1 +", "@", "%"])
def test_invalid_values_are_kept_as_text(text):
    assert recorded(text) == plain_text.printable(text)


def test_names_of_earlier_versions_are_renamed():
    given = {"experiment.run.learning_rate": "0.1", "experiment.run.workload": "@w.W"}
    expected = {"experiment.Optimization.learning_rate": 0.1, "experiment.run.workload": "w.W"}
    assert parameters.recorded({**given, "experiment.run.keep_checkpoints": "3"}) == {
        **expected, "experiment.Checkpoints.keep": 3
    }  # fmt: skip
    assert parameters.listed({"experiment.run.epochs": 2}) == {"experiment.Training.epochs": 2}


def test_renamed_settings_cover_all_groups():
    known = {
        f"experiment.{kind.__name__}.{field.name}"
        for kind in GROUPS
        for field in dataclasses.fields(kind)
    }
    pauses = {"pause_at", "keep_pauses", "branch_from"}
    newer = {f"experiment.Checkpoints.{name}" for name in pauses} | {"experiment.Training.test"}
    assert set(parameters.RENAMED.values()) == known - newer
