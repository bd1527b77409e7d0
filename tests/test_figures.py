"""Measured figures in the README and in comments of configs are reproduced, or cite a paper."""

import json
import re
import time
from importlib import metadata
from pathlib import Path

import pytest

from mtk import config, experiment, search, train

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
SEARCHES = sorted((CONFIGS / "searches").glob("*.gin"))
README = (ROOT / "README.md").read_text()
INSTALL = (ROOT / "docs" / "start" / "install.md").read_text()
_EXPECTED = re.compile(
    r"Test accuracy \(seed 0, (one point|three points) either way\): "
    r"left (0\.\d\d), right (0\.\d\d)\."
)
_IN_PROSE = re.compile(r"test accuracy of about (\S+) \(left\) and (\S+) \(right\)")
# Figures that depend on the machine or on randomness: durations, sizes, metrics.
_MEASURED = re.compile(
    r"\d (s|min|h|ms|[KMG]i?B)\b|\b(CPU seconds?|hours?|minutes?)\b|BLEU \d|"
    r"(mIoU|accuracy|error|BLEU)\b[^.:]{0,40}\d*\.\d"
)
# Machines differ too much for exact values; the first two are compared with the CPU time of both
# cores.
_DURATION = re.compile(r"(Less than a|A|Some) minutes? on two cores\.")
_MINUTE = 2 * 60  # CPU seconds
# Figures are rounded to one point, hence the half point. Threads sum in any order, and some methods
# are random or amplify rounding errors.
_TOLERANCE = {"one point": 0.015, "three points": 0.035}


def head(path):
    return path.read_text().split("\n\n")[0]


def expected(path):
    """Returns the accuracies that a config's head comment states, and their tolerance."""
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
def test_accuracy_stated_in_a_config_is_reproduced(path, tmp_path):
    overlays = [path] if path.parent.name in ("combiners", "architectures") else []
    before = time.process_time()
    assert reached(overlays, tmp_path) == expected(path)
    if (told := _DURATION.search(head(path))) and told[1] != "Some":
        assert time.process_time() - before < _MINUTE


@pytest.mark.slow
def test_accuracy_stated_in_the_readme_is_reproduced(tmp_path):
    found = reached([CONFIGS / "combiners" / "pcgrad.gin"], tmp_path)
    wanted = [float(figure) for figure in _IN_PROSE.search(README).groups()]
    assert found == pytest.approx(wanted, abs=_TOLERANCE["one point"])


def test_installation_page_states_the_figures_of_the_readme():
    assert _IN_PROSE.search(INSTALL).groups() == _IN_PROSE.search(README).groups()
    assert not _MEASURED.search(_IN_PROSE.sub("", INSTALL))


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_search_configs_state_their_number_of_runs(path):
    config.parse([path])
    try:
        asked = config.bound(search.Search)()
    finally:
        config.parse()
    assert re.findall(r"(\S+) runs\b", head(path)) in ([f"{asked.runs}"], ["of", f"{asked.runs}"])


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.gin")), ids=lambda path: path.stem)
def test_configs_state_no_other_measured_figure(path):
    text = _DURATION.sub("", _EXPECTED.sub("", head(path)))
    own = re.sub(r"[^.]*\bpaper's[^.]*(\.\d[^.]*)*\.", "", " ".join(text.split("\n# ")))
    assert not _MEASURED.search(own), own


def test_readme_states_no_other_figure():
    text = _IN_PROSE.sub("", README)
    python = metadata.metadata("mtk")["Requires-Python"].removeprefix(">=")
    known = (f"Python {python} or later", "Apache 2.0")
    # Other tests check code, tables and links.
    for other in (r"```.*?```", r"\n\|[^\n]*", r"\]\(.*?\)", r"`.*?`", *map(re.escape, known)):
        text = re.sub(other, "", text, flags=re.DOTALL)
    assert not re.findall(r".*\d.*|.*\b(?:half|third|fifth|twice|minutes?|hours?)\b.*", text)


def test_documented_checkpoint_interval_is_the_default():
    page = (ROOT / "docs" / "howto" / "resume.md").read_text()
    (seconds,) = re.findall(r"written at least every (\d+) s", page)
    default = experiment.Checkpoints().every
    assert float(seconds) == default
