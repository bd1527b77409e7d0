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


@pytest.mark.parametrize(("arguments", "code"), [(LIST, 1), ((*LIST[:3], "train", "--help"), 0)])
def test_nobody_reads_the_output(arguments, code):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, "")


def test_an_output_without_room():
    done = run(LIST, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_errors_of_other_files_are_shown_where_they_arose():
    code = "from mtk import flags\nflags.exit_with(lambda: open('/nothing'))"
    done = run((sys.executable, "-c", code))
    assert "FileNotFoundError" in done.stderr


def test_letters_that_the_output_does_not_know():
    code = "from mtk import flags\nflags.exit_with(lambda: print('step \\u2605') or 0)"
    done = run((sys.executable, "-c", code), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "step \\u2605\n")


def test_a_bad_input_without_an_error_stream():
    assert run((*LIST[:3], "train", "--gin_file=nothing.gin"), "2>&-").returncode == 2


def test_nobody_reads_what_a_command_says_on_its_way():
    """That is no bad input, which would be an error and exit code 2."""
    code = (
        "from mtk import config, flags\n"
        "flags.exit_with(lambda: config.exit_code(lambda: print('a line', flush=True) or 0))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    line = (sys.executable, "-c", code)
    done = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
