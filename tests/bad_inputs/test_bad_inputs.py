"""Every bad input exits 2 with a message that names the cause; no file is written or lost."""

import importlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mtk import config, prepare
from tests.bad_inputs.cases import BUILT_STUDIES, NAMES, STUDIES, TEXTS, VALUES, Case
from tests.quick import some

_LONGEST = 900  # characters


def files(root):
    """Returns the files of a folder with what shows a change; lock files are ignored."""
    found = {}
    # `Path` objects would take a sixth of these tests' time.
    for entry in os.scandir(root):
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name != "lock":
            state = entry.stat(follow_symlinks=False)
            found[entry.path] = (state.st_size, not is_folder and state.st_mtime_ns)
        if is_folder:
            found |= files(entry.path)
    return found


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


def check_refused(case, world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    monkeypatch.syspath_prepend(world)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = files(world)
    assert not (world / "new").exists()
    try:
        code = importlib.import_module(f"mtk.{case.command}").main(list(case.arguments))
    except SystemExit as end:
        code = end.code
    printed = capsys.readouterr()
    after = files(world)
    shutil.rmtree(world / "new", ignore_errors=True)
    assert code == 2, printed
    assert after == before, {*after} ^ {*before}
    assert printed.out == ""
    message = printed.err[printed.err.rindex("error: ") :]
    for word in case.words:
        assert word in message, message
    for word in ("Traceback", "In call to", "\n\n"):
        assert word not in message, message
    assert len(message) < _LONGEST, message


@pytest.mark.parametrize("case", NAMES, ids=lambda case: case.id)
def test_flags_files_and_names(case, world, monkeypatch, capsys):
    check_refused(case, world, monkeypatch, capsys)


@pytest.mark.parametrize("case", VALUES, ids=lambda case: case.id)
def test_values(case, world, monkeypatch, capsys):
    check_refused(case, world, monkeypatch, capsys)


# The last study is validated as a whole before its folder is read.
BUILT = pytest.param(STUDIES[-1], marks=pytest.mark.slow)


@pytest.mark.parametrize("case", [*STUDIES[:-1], BUILT, *TEXTS], ids=lambda case: case.id)
def test_studies_and_texts(case, world, monkeypatch, capsys):
    check_refused(case, world, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("case", BUILT_STUDIES, ids=lambda case: case.id)
def test_studies_rejected_by_building_models(case, world, monkeypatch, capsys):
    check_refused(case, world, monkeypatch, capsys)


@pytest.mark.parametrize("text", some(["latin1", "gaps", "unlike"], ["latin1"]))
def test_suggested_flags_for_skipped_text_work(text, world, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(world)
    own = ["--gin_file=text.gin", f"--gin.data_dir='{text}'", f"--out={tmp_path / 'corpus'}"]
    assert prepare.main(["translation", *own]) == 2
    message = capsys.readouterr().err.replace(";", " ")
    typed = [word for word in shlex.split(message.split("\n  pair")[0]) if "--gin." in word]
    encoding = [word for word in typed if word.startswith("--gin.readers.LineFiles.encoding=")]
    assert len(encoding) == (text == "latin1")
    allowed = [word for word in typed if "=" in word][-1:]
    for remedy in (encoding, allowed):
        if remedy:
            assert prepare.main(["translation", *own, *remedy]) == 0, capsys.readouterr().err
            shutil.rmtree(tmp_path / "corpus")


def test_other_keras_backend_is_refused(world, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    words = ("KERAS_BACKEND", "'torch'")
    check_refused(
        Case("train", ("--gin_file=tiny.gin", "--run_dir=new"), words), world, monkeypatch, capsys
    )


def test_there_are_at_least_three_hundred_cases():
    every = [*NAMES, *VALUES, *STUDIES, *BUILT_STUDIES, *TEXTS]
    assert len({(case.command, case.arguments) for case in every}) >= 300


def test_files_and_names_are_checked_without_tensorflow(world):
    """One process for all commands: each import of TensorFlow would take seconds."""
    program = (
        "import importlib, sys\n"
        "from tests.bad_inputs.cases import NAMES\n"
        "for case in NAMES:\n"
        "    try: importlib.import_module(f'mtk.{case.command}').main(list(case.arguments))\n"
        "    except SystemExit: pass\n"
        "    for slow in ('tensorflow', 'pandas', 'matplotlib'):\n"
        "        assert slow not in sys.modules, (slow, case)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=world,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
