"""`shared` and `heads` of a run configure the model, and the structure is recorded."""

import json

import pytest
from application_runs import described, start

from mtk import config, experiment
from tests.quick import slow

HEAD = ["left_0", "left"]


def paths(folder):
    return json.loads((folder / "manifest.json").read_text())["variables"]


@pytest.fixture(scope="module")
def found(finished):
    return paths(finished[0])


def test_detected_structure_is_in_the_manifest(tiny, found):
    every = [variable.path for variable in tiny().network(0).trainable_variables]
    told = [*found["shared"], *found["heads"]["left"], *found["heads"]["right"]]
    assert sorted(told) == sorted(every)
    assert found["shared"]
    assert set(found["heads"]) == {"left", "right"}
    assert found["not_trained"] == []


def layers_of(paths):
    return list(dict.fromkeys(path.split("/")[0] for path in paths))


@pytest.mark.slow
def test_given_structure_is_used(tiny, found, tmp_path):
    *lower, last = layers_of(found["shared"])
    start(tiny, tmp_path / "heads", steps=1, heads={"left": [last]})
    given = paths(tmp_path / "heads")
    assert layers_of(given["shared"]) == lower
    assert last in layers_of(given["heads"]["left"])
    start(tiny, tmp_path / "shared", steps=1, shared=found["shared"][:2])
    given = paths(tmp_path / "shared")
    assert given["shared"] == found["shared"][:2]
    assert given["some_head"] == found["shared"][2:]
    with pytest.raises(ValueError, match="another configuration"):
        start(tiny, tmp_path / "shared", steps=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shared": ["nolayer"]}, "'nolayer'"),
        slow(({"heads": {"left": ["nolayer"]}}, "'nolayer'")),
        ({"heads": {"up": ["nolayer"]}}, "'up'"),
    ],
)
def test_unknown_layers_raise_and_leave_no_folder(tiny, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        start(tiny, tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_dry_run_names_layers_and_configs_may_set_them(found, write):
    *_, last = layers_of(found["shared"])
    text = (
        "from __gin__ import dynamic_registration\nfrom mtk import experiment\n"
        "from mtk.workloads import multi_digits\n"
        "experiment.run.workload = @multi_digits.MultiDigits\n"
        "experiment.Optimization.batch_size = 64\n"
        f"experiment.Sharing.heads = {{'left': [{last!r}]}}\n"
        "experiment.Training:\n    steps = 4\n    evaluate_every = 4\n"
        "    monitor = {'left_accuracy': 'max'}\n"
        "multi_digits.MultiDigits:\n    partners = 1\n    channels = (4, 4)\n    units = 8\n"
    )
    config.parse([write(text)])
    text = described()
    (line,) = [line for line in text.splitlines() if line.startswith("  head left")]
    assert last in line.split(": ")[1]
    assert "selected by         validation's left_accuracy (best: max)" in text


def test_operative_configuration_contains_unbound_defaults(write):
    text = (
        "from mtk import experiment\nfrom mtk.workloads import multi_digits\n"
        "experiment.run.workload = @multi_digits.MultiDigits\nexperiment.Training.steps = 4\n"
    )
    config.parse([write(text)])
    assert config.bound(experiment.Optimization)() == experiment.Optimization()
    config.bound(experiment.Training)()
    told = config.operative()
    config.parse([write(told, "again.gin")])
    names = config.bindings()
    assert names["experiment.Optimization.learning_rate"] == "0.1"
    assert names["experiment.Training.steps"] == "4"
