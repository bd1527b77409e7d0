import re

import application_probe as probe
import keras
import pytest
from application_probe import BASE, HEAD

from mtk import config
from mtk.config import source, types


def drive():
    return config.bound(probe.drive)()


def test_files_overlay_and_bindings_come_last(write):
    base = write(BASE + "probe.drive.stops = 1\nprobe.Engine.power = 2\n")
    overlay = write(HEAD + "probe.drive.stops = 2\nprobe.drive.fast = True\n", "overlay.gin")
    config.parse([base, overlay], ["probe.drive.stops = 3"])
    found = drive()
    assert (found["stops"], found["fast"], found["engine"].power) == (3, True, 2)


def test_macros_are_overlaid_too(write):
    config.parse([write(BASE + "n = 4\nprobe.drive.stops = %n\n")], ["n = 5"])
    assert drive()["stops"] == 5


def test_parse_clears_the_previous_configuration(write):
    config.parse([write(BASE + "probe.drive.stops = 1\n")])
    config.parse([write(BASE)])
    assert drive()["stops"] is None


def test_include_is_relative_to_its_file_and_errors_name_the_included_file(write):
    write(BASE + "probe.drive.stopz = 1\n", "inner/base.gin")
    outer = write("include 'inner/base.gin'\n")
    with pytest.raises(config.ConfigError, match=r"inner/base\.gin, line 5: probe\.drive\.stopz"):
        config.parse([outer])


def test_keras_classes_are_configurable(write):
    text = HEAD + "import keras\nprobe.learn.optimizer = @keras.optimizers.SGD\n"
    config.parse([write(text + "keras.optimizers.SGD.momentum = 0.5\n")])
    optimizer = config.bound(probe.learn)()
    assert type(optimizer) is keras.optimizers.SGD
    assert optimizer.momentum == 0.5


def test_requested_text_is_a_complete_configuration(write):
    write(HEAD + "probe.Engine.power = 7\n", "inner/engine.gin")
    base = write("include 'inner/engine.gin'\n" + BASE + "n = 1\nprobe.drive.stops = %n\n")
    text = config.parse([base], ["n = 6"])
    config.parse([write(text, "elsewhere/alone.gin")])
    found = drive()
    assert (found["engine"].power, found["stops"]) == (7, 6)
    assert config.asked().count("dynamic_registration") == 1


def test_operative_text_has_defaults_and_is_a_complete_configuration(write):
    config.parse([write(BASE + "n = 3\nprobe.drive.stops = %n\n")])
    drive()
    text = config.operative()
    assert "Engine.fuel = 'gas'" in text
    config.parse([write(text, "operative.gin")])
    assert drive()["stops"] == 3
    assert config.operative() == text


def test_library_code_needs_no_configuration():
    config.parse()
    assert config.bound(probe.Engine) is probe.Engine
    assert config.asked().strip() == source.DYNAMIC


# Line 5 of the config file, and parts of the error message.
FAULTS = {
    "unknown parameter": ("probe.drive.stopps = 1", "no parameter 'stopps'. Did you mean 'stops'"),
    "parameter like no other": ("probe.Engine.xyz = 1", "It has: power, fuel"),
    "unknown function": ("probe.drove.stops = 1", "no 'drove'. Did you mean 'drive'"),
    "unknown class": ("probe.drive.engine = @probe.Engin", "no 'Engin'. Did you mean 'Engine'"),
    "unknown import": ("prob.drive.stops = 1", "'prob' is not imported. Did you mean 'probe'"),
    "unimported": ("zebra.drive.stops = 1", "Import its module first"),
    "unimported of mtk": ("schedules.Cosine.x = 1", "Write `from mtk import schedules`"),
    "module as function": ("probe.stops = 1", "'probe' is not a function or class"),
    "unknown module": ("from mtk import combinerz", "Did you mean 'combiners'"),
    "unknown package": ("import nosuchpackage", "no module 'nosuchpackage'"),
    "undefined macro": ("probe.drive.stops = %stop", "macro %stop is not defined"),
    "bad literal": ("probe.drive.road = A1", "Strings need quotes"),
    "no value": ("probe.drive.road = ", "Strings need quotes"),
    "no equals sign": ("probe.drive.road 'A1'", "expected ':' or '='"),
    "open bracket": ("probe.drive.names = ['a',", "never closed"),
    "open text": ("probe.drive.road = '''a", "never closed"),
    "left over": ("probe.drive.stops = 3)", "Expected newline"),
    "text for a number": ("probe.drive.stops = '3'", "must be int or None, not '3'"),
    "fraction for an integer": ("probe.drive.stops = 1.5", "must be int or None, not 1.5"),
    "number for a switch": ("probe.drive.fast = 1", "must be bool"),
    "wrong choice": ("probe.Engine.fuel = 'wood'", "must be 'gas' or 'coal'"),
    "text for a class": ("probe.drive.engine = 'Engine'", "must be a reference"),
    "object for a class": ("probe.drive.engine = @probe.Engine()", "without parentheses"),
    "class for a number": ("probe.drive.stops = @probe.Engine", "must be int"),
    "wrong item": ("probe.drive.names = ['a', 1]", "must be"),
    "text for a sequence": ("probe.drive.loads = ['a']", "must be"),
    "pair of three": ("probe.drive.size = (1, 2, 3)", "must be"),
    "missing value": ("probe.drive.stops = %gin.REQUIRED", "'probe.drive.stops' needs a value"),
    "unused macro": ("stops = 3", "never used as %stops"),
    "missing include": ("include 'bose.gin'", "bose.gin"),
    "own include": ("include 'base.gin'", "includes itself"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_error_names_file_line_fault_and_remedy(write, fault):
    line, message = FAULTS[fault]
    path = write(f"{BASE}{line}\n# the end\n")
    with pytest.raises(config.ConfigError) as caught:
        config.parse([path])
    text = str(caught.value)
    assert message in text
    assert re.search(rf"{re.escape(str(path))}, line 5: ", text)
    assert line.strip() in text


@pytest.mark.parametrize("fault", ["unknown parameter", "bad literal", "text for a number"])
def test_error_names_the_overlay(write, fault):
    line, message = FAULTS[fault]
    overlay = write(f"{HEAD}\n# A comment.\n{line}\n", "overlay.gin")
    with pytest.raises(config.ConfigError, match=r"overlay\.gin, line 5") as caught:
        config.parse([write(BASE), overlay])
    assert message in str(caught.value)


def test_error_names_the_command_line(write):
    with pytest.raises(config.ConfigError, match=r"command line, line 1: probe\.drive\.stopps"):
        config.parse([write(BASE)], ["probe.drive.stopps = 1"])


def test_bad_indentation_of_a_block(write):
    path = write(f"{BASE}probe.drive:\n    stops = 1\n  fast = True\n")
    with pytest.raises(config.ConfigError, match=r"indentation(.|\n)*line 7"):
        config.parse([path])


def test_misspelled_keras_parameter(write):
    path = write(f"{BASE}import keras\nkeras.optimizers.SGD.momentun = 0.9\n")
    with pytest.raises(config.ConfigError, match=r"Did you mean 'momentum'(.|\n)*line 6"):
        config.parse([path])


def test_similar_macro_is_suggested(write):
    path = write(f"{BASE}stops = 1\nprobe.drive.stops = %stops\n")
    with pytest.raises(config.ConfigError, match=r"'stop' is set(.|\n)*Did you mean 'stops'"):
        config.parse([path], ["stop = 2"])


def test_type_of_a_macros_value_is_checked(write):
    path = write(f"{BASE}n = 'many'\nprobe.drive.stops = %n\n")
    with pytest.raises(config.ConfigError, match="must be int or None, not 'many'"):
        config.parse([path])


def test_required_value_may_come_from_an_overlay(write):
    path = write(f"{BASE}n = %gin.REQUIRED\nprobe.drive.stops = %n\n")
    with pytest.raises(config.ConfigError, match=r"--gin\.n=VALUE"):
        config.parse([path])
    config.parse([path], ["n = 2"])
    assert drive()["stops"] == 2


def test_missing_file_suggests_a_similar_name(write):
    path = write(BASE, "pcgrad.gin")
    with pytest.raises(config.ConfigError, match=r"Did you mean 'pcgrad\.gin'"):
        config.parse([path.with_name("pcgard.gin")])


def test_missing_argument_of_the_root_function(write):
    config.parse([write(f"{HEAD}probe.drive.engine = @probe.Engine\n")])
    with pytest.raises(config.ConfigError, match="does not set 'road'"):
        config.bound(probe.drive)
    assert config.bound(probe.drive, given=["road"])(road="B2")["road"] == "B2"


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (float, [1, 1.5], [True, "1", None]),
        (int, [1], [1.0, True, "1"]),
        (bool, [True], [1, "True"]),
        (str, ["a"], [1, None]),
        (float | None, [None, 2], ["a", False]),
        (list[int], [[1], (1, 2), []], [1, "1", ["a"]]),
        (tuple[int, ...], [(1, 2, 3), []], [(1, "a")]),
        (dict[str, float], [{"a": 1}], [{"a": "b"}, [1]]),
    ],
)
def test_values_are_checked_against_type_hints(hint, good, bad):
    assert all(types.accepts(hint, value) for value in good)
    assert not any(types.accepts(hint, value) for value in bad)
