"""Streams that are closed, that nobody reads, or that know few letters."""

import os
import subprocess
import sys

import pytest

LIST = (sys.executable, "-m", "mtk", "list", "combiners")


def run(arguments, closed="", **changed):
    """Runs a command with streams closed as a shell does it."""
    line = f'exec "$@" {closed}'
    environment = {**os.environ, **changed}
    return subprocess.run(
        ["sh", "-c", line, "sh", *arguments], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_closed_streams_take_nothing(closed):
    done = run(LIST, closed)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("PCGrad" in done.stdout) == (">" not in closed)


def test_a_file_does_not_get_the_messages_of_a_closed_error_stream(tmp_path):
    """The first file that is opened would have the number of the error stream."""
    code = (
        "import sys; from mtk import flags\n"
        "def main():\n"
        f"    with open({str(tmp_path / 'file')!r}, 'w') as file:\n"
        "        print('a message', file=sys.stderr, flush=True); file.write('content')\n"
        "    return 0\n"
        "flags.exit_with(main)\n"
    )
    assert run((sys.executable, "-c", code), "<&- >&- 2>&-").returncode == 0
    assert (tmp_path / "file").read_text() == "content"


# What one prints within its own handling of errors is no bad input either.
HELP = (*LIST[:3], "train", "--help")
ON_ITS_WAY = (
    sys.executable,
    "-c",
    "from mtk import config, flags\n"
    "flags.exit_with(lambda: config.exit_code(lambda: print('a line', flush=True) or 0))",
)
PRINTING = {"list": LIST, "help": HELP, "on its way": ON_ITS_WAY}


@pytest.mark.parametrize("arguments", PRINTING.values(), ids=PRINTING)
def test_nobody_reads_the_output(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("arguments", PRINTING.values(), ids=PRINTING)
def test_an_output_without_room(arguments):
    done = run(arguments, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_a_terminal_that_is_closed_takes_nothing():
    """So that a run can write its checkpoint."""
    code = (
        "from mtk import flags\n"
        "flags.exit_with(lambda: input('ready') and print('a line', flush=True) or 0)"
    )
    controller, terminal = os.openpty()
    program = subprocess.Popen(
        (sys.executable, "-c", code), stdin=subprocess.PIPE, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    assert os.read(controller, 5) == b"ready"
    os.close(controller)
    program.communicate(b"go on\n")
    assert program.returncode == 0


def test_errors_of_other_files_are_shown_where_they_arose():
    code = "from mtk import flags\nflags.exit_with(lambda: open('/nothing'))"
    done = run((sys.executable, "-c", code))
    assert "FileNotFoundError" in done.stderr


def test_letters_that_the_output_does_not_know():
    code = "from mtk import flags\nflags.exit_with(lambda: print('step \\u2605') or 0)"
    done = run((sys.executable, "-c", code), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "step \\u2605\n")


@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full", ">/dev/full 2>/dev/full"])
def test_a_bad_input_without_an_error_stream(streams):
    assert run((*LIST[:3], "train", "--gin_file=nothing.gin"), streams).returncode == 2


def test_a_warning_is_shown_as_its_text():
    code = (
        "import warnings; from mtk import flags\n"
        "flags.exit_with(lambda: warnings.warn('too few', stacklevel=1) or 0)"
    )
    done = run((sys.executable, "-c", code))
    assert (done.returncode, done.stderr) == (0, "warning: too few\n")
