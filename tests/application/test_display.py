"""The output of commands on a terminal and in a pipe."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mtk import display
from mtk.display import BEST, Display, Meter


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def show(stream):
    shown = Display(stream)
    shown.draw("step 1/2", 0.5, [["task", "loss"], ["left", f"{BEST} 0.3"]])
    shown.say("a line with [markup] and 0.5", "green")
    shown.close()
    shown.close()
    return stream.getvalue()


def test_pipe_gets_plain_lines():
    assert show(io.StringIO()) == "a line with [markup] and 0.5\n"


@pytest.mark.parametrize("colours", [True, False])
def test_terminal_gets_a_live_view_below_the_lines(monkeypatch, colours):
    monkeypatch.setenv("NO_COLOR", "" if colours else "1")
    text = show(Terminal())
    assert "a line with [markup] and 0.5" in text
    for part in ("━", "step 1/2", "left", BEST):
        assert part in text
    assert ("\x1b[32m" in text) == colours
    # The cursor is shown again at the end.
    assert text.rindex("\x1b[?25l") < text.rindex("\x1b[?25h")


def test_rich_is_imported_only_for_terminals():
    code = "import sys; from mtk.display import Display; Display().say('x'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "x\n"
    assert "rich" not in done.stdout.split()


def test_stage_reports_its_time(capsys):
    with display.stage("Reading"):
        assert capsys.readouterr().err == "Reading …\n"
    assert capsys.readouterr().err.startswith("Reading: 0.")
    with pytest.raises(KeyError), display.stage("Reading"):
        raise KeyError
    assert capsys.readouterr().err == "Reading …\n"


def test_meter_reports_counts(capsys, monkeypatch):
    quick = Meter("lines", 7)
    quick.add(7)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(display, "_EVERY", 0.0)
    watched = Meter("pairs", label="reading").watch(iter(range(2_500)))
    assert list(watched) == list(range(2_500))
    said = capsys.readouterr().err
    assert [line.split(" · ")[0] for line in said.splitlines()] == [
        "reading: 1,000 pairs",
        "reading: 2,000 pairs",
    ]
    meter = Meter("lines", 7)
    meter.add(7)
    said = capsys.readouterr().err
    assert said.startswith("7/7 lines · ")
    assert said.endswith(" lines/s · 0:00 left\n")


def test_errors_on_writing_are_ignored():
    class Broken(Terminal):
        def write(self, text):
            raise OSError("no room")

    show(Broken())


@pytest.mark.parametrize(("columns", "bar"), [(80, True), (40, False)])
def test_narrow_terminal_shows_the_text_without_a_bar(monkeypatch, columns, bar):
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = Display(Terminal())
    shown.draw("step 1000/3000 · 59.1 steps/s · 0:4", 0.5)
    shown.close()
    assert "59.1 steps/s · 0:4" in shown.stream.getvalue()
    assert ("━" in shown.stream.getvalue()) == bar


def test_text_too_wide_for_the_terminal_is_split_into_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    parts = ["step 500/3000", "left loss 2.3027", "right loss 1.4791"]
    assert Display(io.StringIO()).fitted(parts) == " · ".join(parts)
    assert Display(Terminal()).fitted(parts[:2]) == " · ".join(parts[:2])
    assert Display(Terminal()).fitted(parts) == "\n  ".join(parts)


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (2000, "2,000 runs")]
)
def test_counted_uses_singular_and_plural(number, words):
    assert display.counted(number, "run") == words


_PLURALS = re.compile(
    r"\{+ ?[^{}]*\}+ "
    r"(tasks|runs|examples|steps|seeds|layers|configurations|epochs|batches|inputs)\b"
)
# Numbers that are never 1: constants, lengths that were checked before, hashed texts.
_NEVER_ONE = (
    "{self.update_every} steps",
    "{number} examples, the last one",
    "{number:,} examples, sha256",
    "{due:,} batches",
    "{number:,} batches",
    "{_TIMED} batches",
    "{examples:.0f} examples/s",
    "{speed:.1f} steps/s",
    "{len(sources)} tasks",
    "{steps} steps. Received",
    "{len(view.tasks)} tasks",
    "{_MOST_TASKS} tasks",
    "{verdict.seeds} seeds",
    "{len(every)} runs",
    "{len(again)} runs",
    "{len(first)} seeds",
    "{SEEDS} seeds",
    "{len(found)} layers",
    "{BATCH} examples",
    "{split} examples",
    "map(str, uneven))} examples",
)


def test_numbers_of_things_are_counted():
    """The code uses `counted` for numbers of things, so that no text says `1 runs`."""
    package = Path(display.__file__).parent
    found = [
        line.strip()
        for file in [*package.rglob("*.py"), *package.rglob("*.html"), *package.rglob("*.txt")]
        for line in file.read_text(encoding="utf-8").splitlines()
        if _PLURALS.search(line)
    ]
    assert [line for line in found if not any(known in line for known in _NEVER_ONE)] == []


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.12345, "0.123"), (1234.0, "1230"), (1e-5, "1e-05"), (99.96, "100"), (-0.5, "-0.5")],
)
def test_short_numbers_avoid_exponents(number, shown):
    assert display.short(number) == shown
