import application_probe as probe
import pytest
from application_probe import BASE

from mtk import config
from mtk.config import explanation


def explanation_of(write, lines):
    """Parses a configuration that makes `drive` fail, and returns the explanation of the error."""
    config.parse([write(BASE + lines)])
    with pytest.raises(ValueError, match=r".") as caught:
        config.bound(probe.drive)()
    return config.explain(caught.value)


def test_error_of_a_configured_class_names_its_lines(write):
    text = explanation_of(write, "p = 200\nprobe.Engine.power = %p\nprobe.drive.stops = 1\n")
    assert text.startswith("An engine has at most 100 of power.\n")
    assert "line 6: probe.Engine.power = %p" in text
    assert "line 5: p = 200" in text
    assert "In call to" not in text
    assert "stops" not in text


def test_error_of_a_configured_class_names_only_related_lines(write):
    text = explanation_of(write, "probe.Engine.power = 200\nprobe.Engine.fuel = 'coal'\n")
    assert "line 5: probe.Engine.power = 200" in text
    assert "fuel" not in text


def test_error_that_mentions_no_binding_names_the_class_only(write):
    text = explanation_of(write, "probe.Engine.fuel = 'coal'\nprobe.Engine.horses = 0\n")
    assert text == "Nothing to ride on.\n  in Engine"


def test_error_of_the_root_names_the_lines_of_its_received_values(write):
    lines = "probe.drive.stops = -1\nprobe.drive.size = (1, -1)\nprobe.Engine.fuel = 'coal'\n"
    text = explanation_of(write, lines)
    assert text.startswith("A drive has no stops or more. Received: stops=-1\n")
    assert "line 5: probe.drive.stops = -1" in text
    assert text.count("line ") == 1


def test_error_of_the_root_without_received_values_names_no_line(write):
    text = explanation_of(write, "probe.drive.size = (1, 2)\nprobe.drive.names = ['closed']\n")
    assert text == "The road (1, 2) is closed."


def test_error_of_the_root_names_the_line_of_quoted_text(write):
    text = explanation_of(write, "probe.Engine.fuel = 'coal'\nprobe.drive.names = ['coal']\n")
    assert text.startswith("No 'coal' on this road.\n")
    assert "line 5: probe.Engine.fuel = 'coal'" in text
    assert text.count("line ") == 1


@pytest.mark.parametrize(
    ("parameter", "value", "message", "expected"),
    [
        ("power", 200, "Too much power.", 1),
        ("power", 200, "At most 100. Received: 200.", 1),
        ("power", 200, "power must be at most 100. Received: 200", 2),
        ("power", 20, "Received: 200, 1.20, 20.5 or power_20", 0),
        ("power", 0.1, "10.1 and 0.15", 0),
        ("examples", 1, "1,500 in the folder", 0),
        ("examples", 500, "1,500 in the folder", 0),
        ("path", "/data/none", "No file at /data/none: expected one.", 1),
        ("path", "/data/none", "No file at '/data/none'.", 2),
        ("layer", "trunk", "No 'trunk'. Did you mean 'trunk_1'?", 2),
        ("layer", "trunk_1", "No 'trunk'. Did you mean 'trunk_1'?", 0),
        ("name", "", "No name.", 1),
        ("steps", None, "None is not enough.", 0),
        ("steps", None, "Received: steps=None", 2),
        ("size", (1, 2), "Received: (1, 2)", 1),
        ("dropout", 0.1, "No MNIST at /data/none.", 0),
    ],
)
def test_messages_that_mention_a_binding(parameter, value, message, expected):
    assert explanation.score(parameter, value, message) == expected
