"""Standard streams that are closed, not read, full, or limited in encoding."""

import os
import subprocess
import sys

import pytest

LIST = (sys.executable, "-m", "mtk", "list", "combiners")


def run(arguments, closed="", **changed):
    """Runs a command with streams closed by the shell."""
    line = f'exec "$@" {closed}'
    environment = {**os.environ, **changed}
    return subprocess.run(
        ["sh", "-c", line, "sh", *arguments], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_closed_streams_are_ignored(closed):
    done = run(LIST, closed)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("PCGrad" in done.stdout) == (">" not in closed)


def test_messages_to_a_closed_error_stream_are_not_written_to_files(tmp_path):
    """Otherwise the first opened file would get the descriptor of the error stream."""
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


# Output printed within a command's error handling is not bad input either.
HELP = (*LIST[:3], "train", "--help")
ON_ITS_WAY = (
    sys.executable,
    "-c",
    "from mtk import config, flags\n"
    "flags.exit_with(lambda: config.exit_code(lambda: print('a line', flush=True) or 0))",
)
PRINTING = {"list": LIST, "help": HELP, "on its way": ON_ITS_WAY}


@pytest.mark.parametrize("arguments", PRINTING.values(), ids=PRINTING)
def test_broken_pipe_ends_quietly(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("arguments", PRINTING.values(), ids=PRINTING)
def test_full_output_device_is_an_error(arguments):
    done = run(arguments, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_output_to_a_closed_terminal_is_ignored():
    """So that a run can still write its checkpoint."""
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


def test_unexpected_errors_show_a_traceback():
    code = "from mtk import flags\nflags.exit_with(lambda: open('/nothing'))"
    done = run((sys.executable, "-c", code))
    assert "FileNotFoundError" in done.stderr


def test_characters_outside_the_output_encoding_are_escaped():
    code = "from mtk import flags\nflags.exit_with(lambda: print('step \\u2605') or 0)"
    done = run((sys.executable, "-c", code), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "step \\u2605\n")


@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full", ">/dev/full 2>/dev/full"])
def test_exit_code_of_bad_input_without_an_error_stream(streams):
    assert run((*LIST[:3], "train", "--gin_file=nothing.gin"), streams).returncode == 2


def test_warnings_are_shown_as_one_line():
    code = (
        "import warnings; from mtk import flags\n"
        "flags.exit_with(lambda: warnings.warn('too few', stacklevel=1) or 0)"
    )
    done = run((sys.executable, "-c", code))
    assert (done.returncode, done.stderr) == (0, "warning: too few\n")
