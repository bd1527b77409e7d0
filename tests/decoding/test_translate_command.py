import errno
import io
import re
import shutil
import subprocess
import sys

import pytest

from mtk import flags, streams, translate
from mtk.decoding import Translations, lines, text_translator
from tests.quick import slow


@pytest.fixture
def command(monkeypatch, capfdbinary):
    """Calls the command with bytes on standard input; returns exit code, output and errors."""

    def call(saved_model, language, given):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = translate.main([f"--saved_model={saved_model}", f"--to={language}"])
        sys.stdout.flush()
        output, errors = capfdbinary.readouterr()
        return code, output, errors.decode()

    return call


def upper(texts, language):
    """A fake translator: upper case, with the language in front."""
    found = [f"{language} {text.upper()}" if text.strip() else "" for text in texts]
    return Translations(found, [len(text) > 20 for text in texts])


def test_lines_are_translated_in_order(command, saved_models, exported, texts):
    expected = text_translator(exported["text"].signatures)(texts, "zh")
    code, output, errors = command(saved_models / "text", "zh", "\n".join(texts).encode())
    assert code == 0
    assert output.decode() == "".join(f"{text}\n" for text in expected.texts)
    warned = [line for line in errors.splitlines() if line.startswith("warning: line")]
    assert len(warned) == sum(expected.cut) > 0
    assert f"line {len(texts)} is longer" in warned[-1]


@pytest.mark.slow
def test_run_folder_is_accepted(command, saved_models, tmp_path):
    (tmp_path / "config.gin").touch()
    shutil.copytree(saved_models / "text", tmp_path / "saved_model_text")
    code, output, _ = command(tmp_path, "fr", b"\nten\n\n")
    assert code == 0
    first, second, third, rest = output.split(b"\n")
    assert (first, third, rest) == (b"", b"", b"")
    assert second


@pytest.mark.parametrize(
    ("kind", "language", "given", "message"),
    [
        (
            "text",
            "xx",
            b"a\n",
            "Unknown target language 'xx'. The SavedModel translates to: fr, zh",
        ),
        slow(("text", "fr", b"a\n\xff\n", "Line 2 of the input is not UTF-8: byte 1 is 0xff")),
        slow(("ids", "fr", b"a\n", "does not translate text")),
        ("none", "fr", b"a\n", "does not exist. Give the folder"),
    ],
)
def test_bad_input(command, saved_models, kind, language, given, message):
    code, output, errors = command(saved_models / kind, language, given)
    assert (code, output) == (2, b"")
    assert errors.startswith("error: ")
    assert message in errors


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
        ("\u2028 ü\x0b\n".encode(), ["\u2028 ü\x0b"]),
    ],
)
def test_lines_are_read_and_validated(given, expected):
    assert lines.read_lines(io.BytesIO(given)) == expected


@pytest.mark.parametrize("number", [0, 1, 255, 256, 257, 700])
def test_output_has_one_line_per_input_line(number, capsys):
    given = [f"line {i}" if i % 3 else "" for i in range(number)]
    output = io.BytesIO()
    lines.translate_lines(upper, given, "fr", output)
    assert output.getvalue().decode() == "".join(f"{x}\n" for x in upper(given, "fr").texts)
    # Nothing is printed when it is fast and stderr is not a terminal.
    assert capsys.readouterr().err == ""


def test_line_breaks_in_a_translation_become_spaces():
    output = io.BytesIO()
    lines.translate_lines(
        lambda texts, _: Translations(["a\nb\r", "c"], [False] * 2), "xy", "", output
    )
    assert output.getvalue() == b"a b \nc\n"


def test_warning_names_the_numbers_of_truncated_lines(capsys):
    given = ["x" * (21 if i in (3, 300) else 5) for i in range(400)]
    lines.translate_lines(upper, given, "fr", io.BytesIO())
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(" is ")[0] for line in errors] == ["warning: line 4", "warning: line 301"]


def test_progress_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    lines.translate_lines(upper, ["a"] * 512, "fr", io.BytesIO())
    shown = terminal.getvalue()
    assert "256/512 lines" in shown
    assert "━" in shown
    last = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.splitlines()[-1])
    assert last.startswith("512/512 lines · ")


def test_progress_lines_without_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("mtk.display._EVERY", 0.0)
    lines.translate_lines(upper, ["a"] * 512, "fr", io.BytesIO())
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("256/512 lines · ")
    assert first.endswith(" left")
    assert second.endswith("0:00 left")


def test_closed_pipe_ends_quietly(monkeypatch, tmp_path, capsys):
    def closed(*_):
        raise streams.OutputError from BrokenPipeError(errno.EPIPE, "")

    monkeypatch.setattr("mtk.export.loading.load_translator", lambda *_: upper)
    monkeypatch.setattr(lines, "translate_lines", closed)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    with (tmp_path / "output").open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        (tmp_path / "saved_model.pb").touch()
        with pytest.raises(SystemExit) as ended:
            flags.exit_with(lambda: translate.main([f"--saved_model={tmp_path}", "--to=fr"]))
    assert ended.value.code == 1
    assert capsys.readouterr().err == ""


def test_help_does_not_import_tensorflow():
    program = (
        "import sys; from mtk import translate\n"
        "try: translate.main(['--help'])\n"
        "except SystemExit: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.endswith("False\n")
    assert "--saved_model" in done.stdout
