"""The command `mtk` and its lists."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtk import combiners, command, prepare, workloads
from mtk import list as listing

ROOT = Path(__file__).parents[2]


def test_commands_receive_their_arguments(monkeypatch, capsys):
    from mtk import evaluate

    seen = []
    monkeypatch.setattr(evaluate, "main", lambda given: seen.append(given) or 2)
    assert command.main(["evaluate", "--saved_model=x"]) == 2
    assert seen == [["--saved_model=x"]]
    assert command.main([]) == 0
    assert "sweep" in capsys.readouterr().out


def test_version_and_completion(capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main(["--version"])
    assert capsys.readouterr().out.startswith("mtk ")
    assert command.main(["--completion"]) == 0
    script = capsys.readouterr().out
    assert "COMMANDS" not in script
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tr", ["train", "translate"]),
        ("report some", ["some folder"]),
        ("train an", ["another.gin"]),
        ("list ?", []),
        ("list ", list(listing._WHAT)),
        ("list runs some", ["some folder"]),
        ("list combiners some", []),
        ("bench ", ["run", "submit", "score"]),
        ("prepare ", list(prepare._DATA_SETS)),
    ],
)
def test_bash_completion(capsys, tmp_path, typed, offered):
    """Calls the function as bash does: with the words so far, of which the last is completed."""
    (tmp_path / "some folder").mkdir()
    (tmp_path / "another.gin").touch()
    assert command.main(["--completion"]) == 0
    words = " ".join(f"'{word}'" for word in ["mtk", *typed.split(" ")])
    script = (
        f"{capsys.readouterr().out}complete -p mtk >/dev/null || exit 1\n"
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        """_mtk; [ ${#COMPREPLY[@]} = 0 ] || printf '%s\\n' "${COMPREPLY[@]}"\n"""
    )
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (0, offered), done.stderr


def test_unknown_command(capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["trian"])
    assert "'train'" in capsys.readouterr().err


def test_classes_are_listed_without_importing_them(capsys):
    program = (
        "import sys; from mtk import list as l; l.main(['combiners']); l.main(['workloads']);"
        "assert 'keras' not in sys.modules and 'pandas' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    named = {line.split()[0] for line in done.stdout.splitlines()}
    bases = {"Combiner", "GramianCombiner", "LossCombiner", "PartsCombiner", "Combined"}
    methods = {name for name in combiners.__all__ if name[0].isupper()} - bases
    own = {name for name in workloads.__all__ if name != "Workload"}
    assert named == methods | own | {"name"}


@pytest.fixture
def folder(tmp_path):
    done, unfinished = tmp_path / "runs" / "done", tmp_path / "runs" / "unfinished"
    for path in (done, unfinished, tmp_path / "runs" / "notes"):
        path.mkdir(parents=True)
    about = {"settings": {"experiment.run.combiner": "@combiners.PCGrad"}, "files": {}}
    for run in (done, unfinished):
        (run / "checkpoints").mkdir()
        (run / "config.gin").write_text("")
        (run / "checkpoints" / "run.json").write_text(json.dumps(about))
    result = {
        "status": "finished",
        "steps": 8,
        "selected_step": 4,
        "monitor": {"name": "mean_loss", "direction": "min", "value": 0.5},
        "test": {"tasks": {"a": {"loss": 0.25}}},
    }
    (done / "result.json").write_text(json.dumps(result))
    return tmp_path


def test_runs_are_listed(folder, capsys):
    assert listing.main(["runs", str(folder / "runs")]) == 0
    _, done, unfinished = capsys.readouterr().out.splitlines()
    assert done.split()[:3] == ["done", "finished", "PCGrad"]
    assert "4 of 8" in done
    assert "a_loss 0.25" in done
    assert unfinished.split()[:2] == ["unfinished", "unfinished"]
    # The folder of one run is listed as one row.
    assert listing.main(["runs", str(folder / "runs" / "done")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == done.split()
    (folder / "runs" / "done" / "result.json").write_text("{")
    assert listing.main(["runs", str(folder / "runs")]) == 0
    assert "damaged" in capsys.readouterr().out


def test_studies_are_listed(folder, capsys):
    runs = [{"hash": "0123456789abcdef", "method": "x"}]
    (folder / "study.json").write_text(json.dumps({"name": "s", "runs": runs}))
    for place in (folder, folder.parent):
        assert listing.main(["studies", str(place)]) == 0
        assert "1 pending, 1 finished, 2 unfinished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not valid JSON"),
        ('{"runs": 3}', "'runs' is 3"),
        ('{"runs": [{"hash": "../x"}]}', "'hash' is '../x'"),
        (None, "is a device or a pipe"),
    ],
)
def test_damaged_list_is_an_error_if_given_by_path(folder, content, words, capsys):
    file = folder / "study.json"
    file.write_text(content) if content else os.mkfifo(file)
    for what in ("runs", "studies"):
        assert listing.main([what, str(folder)]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert str(file) in said
    if content:  # In a list of several studies a damaged one is a row, and the others are listed.
        assert listing.main(["studies", str(folder.parent)]) == 0
        assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["runs", "nowhere"], "'nowhere'"),
        (["runs", "."], "no runs"),
        (["runs"], "needs a folder"),
        (["combiners", "x"], "takes no folder"),
        (["things"], "things"),
    ],
)
def test_bad_input_prints_an_error(given, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = listing.main(given)
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert words in capsys.readouterr().err


def test_removed_working_directory(tmp_path):
    program = (
        "import os, sys; from mtk import command; os.rmdir(os.getcwd());"
        "sys.argv[1:] = ['train', '--gin_file=x.gin', '--run_dir=r']; command.run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: The working directory does not exist any more. Change to another one.\n"
    )
