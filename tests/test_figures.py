"""Figures in the README and in the heads of configs: each is checked here, or cites another's."""

import json
import re
from pathlib import Path

import pytest

from mtk import config, experiment, train

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
README = (ROOT / "README.md").read_text()
_EXPECTED = re.compile(
    r"Test accuracy \(seed 0, (one point|three points) either way\): "
    r"left (0\.\d\d), right (0\.\d\d)\."
)
# Figures that depend on a machine or on chance: durations, sizes, metrics.
_MEASURED = re.compile(
    r"\d (s|min|h|ms|[KMG]i?B)\b|BLEU \d|(mIoU|accuracy|error|BLEU)\b[^.:]{0,40}\d*\.\d"
)
# Figures are rounded to one point, hence the half. Threads add up in any order, and some methods
# draw or magnify chance.
_TOLERANCE = {"one point": 0.015, "three points": 0.035}


def head(path):
    return path.read_text().split("\n\n")[0]


def expected(path):
    """The accuracies that a head promises, and how far off they may be."""
    found = _EXPECTED.search(head(path))
    if not found:
        return None
    words, *figures = found.groups()
    return pytest.approx([float(figure) for figure in figures], abs=_TOLERANCE[words])


TRAININGS = [p for p in sorted(CONFIGS.rglob("*.gin")) if expected(p) is not None]


def reached(overlays, folder):
    files = [f"--gin_file={path}" for path in (CONFIGS / "multi_digits.gin", *overlays)]
    try:
        assert train.main([*files, f"--run_dir={folder}"]) == 0
    finally:
        config.parse()
    tasks = json.loads((folder / "result.json").read_text())["test"]["tasks"]
    return [tasks[task]["accuracy"] for task in ("left", "right")]


@pytest.mark.slow
@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.stem)
def test_accuracy_in_the_head_of_a_config(path, tmp_path):
    overlays = [path] if path.parent.name == "combiners" else []
    assert reached(overlays, tmp_path) == expected(path)


@pytest.mark.slow
def test_accuracy_in_the_readme(tmp_path):
    figures = re.search(r"test accuracy of about (\S+) \(left\) and (\S+) \(right\)", README)
    found = reached([CONFIGS / "combiners" / "pcgrad.gin"], tmp_path)
    wanted = [float(figure) for figure in figures.groups()]
    assert found == pytest.approx(wanted, abs=_TOLERANCE["one point"])


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.gin")), ids=lambda path: path.stem)
def test_no_other_figure_is_promised_by_a_config(path):
    text = _EXPECTED.sub("", head(path))
    own = re.sub(r"[^.]*\bpaper's[^.]*(\.\d[^.]*)*\.", "", " ".join(text.split("\n# ")))
    assert not _MEASURED.search(own), own


def test_no_other_figure_is_promised_by_the_readme():
    text = re.sub(r"test accuracy of about \S+ \(left\) and \S+ \(right\)", "", README)
    allowed = {
        "0 s",  # every = 60 s, a default.
    }
    found = {match[0] for match in _MEASURED.finditer(text)} - allowed
    assert not found


def test_the_interval_of_checkpoints_on_the_page():
    page = (ROOT / "docs" / "howto" / "resume.md").read_text()
    (seconds,) = re.findall(r"written at least every (\d+) s", page)
    default = experiment.Checkpoints().every
    assert float(seconds) == default
