"""The reader of operative configurations against gin itself."""

import dataclasses
import json

import gin
import pytest

from mtk.analysis import gin_text, plain_text
from mtk.experiment.options import GROUPS
from mtk.study.spec import bindings


def some_function(number=1, text="a", long=None, flag=False, other=None, seed=0, rate=0.5):
    return number, text, long, flag, other, seed, rate


@pytest.fixture
def operative():
    """What gin writes about a call with values of every kind, long ones among them."""
    values = {
        "number": 3,
        "text": "it's = %here",
        "long": {f"a long name of task {n}": [n * 0.1, (1, 2)] for n in range(6)},
        "flag": True,
        "other": None,
        "rate": 1e-05,
    }
    with gin.unlock_config():
        gin.clear_config(clear_constants=True)
        configured = gin.external_configurable(some_function, module="somewhere")
        for name, value in values.items():
            gin.bind_parameter(f"somewhere.some_function.{name}", value)
        gin.parse_config("seed = 7\nsome_function.seed = %seed")
        configured()
    yield values, gin.operative_config_str()
    gin.clear_config(clear_constants=True)


def test_values_of_every_kind_come_back(operative):
    values, text = operative
    assert "\\\n" in text  # A value on lines of its own.
    found = {name.rpartition(".")[2]: value for name, value in gin_text.parse(text).items()}
    for name in ("number", "text", "flag", "other", "rate"):
        assert found[name] == values[name]
        assert type(found[name]) is type(values[name])
    assert eval(found["long"]) == {key: [n, [1, 2]] for key, (n, _) in values["long"].items()}
    assert "seed" not in found


def test_macros_are_followed_and_references_named():
    text = (
        "batch = 32\nlayers = %batch\nf.size = %layers\nf.g = @module.Class\nf.h = @module.Class()"
    )
    found = gin_text.parse(text)
    assert found["f.size"] == 32
    assert found["f.g"] == found["f.h"] == "module.Class"


def test_a_macro_of_itself_does_not_hang():
    assert gin_text.parse("a = %b\nb = %a\nf.x = %a")["f.x"] in ("%a", "%b")


def test_bindings_in_both_forms_are_equal():
    given = {"f.rate": 0.1, "f.name": "x", "f.list": [1, 2], "experiment.Training.seed": 3}
    statements = [f"{name} = {value!r}" for name, value in given.items()]
    assert gin_text.from_bindings(given) == gin_text.from_bindings(statements)
    assert "experiment.Training.seed" not in gin_text.from_bindings(given)


@pytest.mark.parametrize(
    "value",
    [(4, 4), [4, 4], ((1, 2), [3]), {"right": 0.3, "left": (0.7,)}, {1: "a", 0: "b"}, "@f.Name",
     "@f.Name()", ("@f.One", "@f.Two()"), {"left": "@f.One"}, "a@b", ["a@b"], True, None, 1e-05],
)  # fmt: skip
def test_a_binding_that_went_through_json_equals_the_operative_one(value):
    text = f"f.x = {bindings({'f.x': value})[0].partition(' = ')[2]}"
    given = json.loads(json.dumps({"f.x": value}))
    assert gin_text.from_bindings(given) == gin_text.parse(text)


def test_macros_are_no_parameters():
    assert gin_text.parse("steps = 5\nf.x = %steps") == {"f.x": 5}
    assert gin_text.from_bindings({"steps": 5, "f.x": 5}) == {"f.x": 5}


@pytest.mark.parametrize("text", ["{[]: 1}", "(" * 5000, "\0", "'", "1 +", "@", "%"])
def test_what_is_no_value_is_kept_as_a_text(text):
    assert gin_text.parse(f"f.x = {text}") == {"f.x": plain_text.printable(text)}


def test_names_of_earlier_versions_are_those_of_now():
    text = "experiment.run.learning_rate = 0.1\nexperiment.run.workload = @w.W\n"
    text += "experiment.run.keep_checkpoints = 3\nexperiment.run.seed = 4\n"
    expected = {"experiment.Optimization.learning_rate": 0.1, "experiment.run.workload": "w.W"}
    assert gin_text.parse(text) == {**expected, "experiment.Checkpoints.keep": 3}
    assert gin_text.seed(text) == 4
    now = gin_text.from_bindings({"experiment.run.epochs": 2})
    assert now == {"experiment.Training.epochs": 2}


def test_every_setting_of_earlier_versions_has_a_name_now():
    known = {
        f"experiment.{kind.__name__}.{field.name}"
        for kind in GROUPS
        for field in dataclasses.fields(kind)
    }
    assert set(gin_text.RENAMED.values()) == known
