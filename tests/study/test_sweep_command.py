import json
import subprocess
import sys

import pytest
import study_fault_injection

from mtk import config, flags, sweep
from mtk.bench import command as bench_command
from mtk.search import command as search_command
from mtk.study import Study, Sweep

STUDY = "--gin_file=configs/studies/multi_digits.gin"


@pytest.fixture(autouse=True)
def _root_directory(monkeypatch):
    monkeypatch.chdir(study_fault_injection.ROOT)


def test_help_does_not_import_tensorflow():
    code = "import sys; from mtk import sweep; sweep.main(['--help'])"
    shown = (
        f"import atexit, sys; atexit.register(lambda: print('tensorflow' in sys.modules)); {code}"
    )
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.endswith("False\n")
    for flag in ("--study_dir", "--dry_run", "--retry_failed", "--replay", "--gin_file"):
        assert flag in done.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([STUDY], "--study_dir=PATH"),
        ([], "'name' is required"),
        (["--gin_file=configs/studies/multi_digit.gin"], "multi_digits.gin"),
        ([STUDY, "--gin.study.Study.seed=(1,)", "--dry_run"], "Did you mean 'seeds'"),
        ([STUDY, "--gin.study.Study.seeds=3", "--dry_run"], "must be"),
        ([STUDY, "--gin.study.Study.seeds=()", "--dry_run"], "no seeds"),
        ([STUDY, "--gin.study.Study.grid={'evaluate_ever': (1,)}", "--dry_run"], "evaluate_every"),
        (
            [STUDY, "--gin_file=configs/engines/local.gin", "--gin.engines.Local.workers=-1"],
            "--study_dir=PATH",
        ),
    ],
)
def test_bad_input_prints_one_message_without_traceback(given, message, capsys):
    assert sweep.main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("main", "folder", "arguments", "field"),
    [
        (sweep.main, "studies", ["--dry_run"], "study.Study.settings"),
        (search_command.main, "searches", ["--dry_run"], "search.Search.settings"),
        (bench_command.main, "cards", [], "bench.Card.settings"),
    ],
)
def test_bindings_that_no_run_reads_are_refused(main, folder, arguments, field, tmp_path, capsys):
    """The files of a study, a search and a card are not configurations of their runs."""
    file = tmp_path / "mine.gin"
    own = "experiment.Training.epochs = 1"
    file.write_text(
        f"include 'configs/{folder}/multi_digits.gin'\nfrom mtk import experiment\n{own}\n"
    )
    given = [f"--gin_file={file}", *arguments]
    given = given if arguments else ["run", *given, f"--bench_dir={tmp_path / 'bench'}"]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert field in error
    assert "mine.gin, line 3" in error


def test_bad_input_and_dry_runs_write_nothing(tmp_path, capsys):
    folder = tmp_path / "study"
    assert sweep.main([STUDY, f"--study_dir={folder}", "--dry_run"]) == 0
    bad = "--gin.study.Study.grid={'experiment.Optimization.learning_rat': (1.0,)}"
    assert sweep.main([STUDY, f"--study_dir={folder}", bad]) == 2
    assert "Did you mean 'learning_rate'" in capsys.readouterr().err
    assert not folder.exists()


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Arguments of a study whose engine is a fake one in another package."""
    monkeypatch.setattr("mtk.study.checking.check", lambda *_, **__: None)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "engine_of_a_user.py").write_text(
        "from fake_engine import FakeEngine\n\n\nclass Mine(FakeEngine):\n    pass\n"
    )
    file = tmp_path / "mine.gin"
    lines = ["from __gin__ import dynamic_registration", "import engine_of_a_user"]
    lines += ["from mtk import study", "study.sweep.engine = @engine_of_a_user.Mine"]
    file.write_text("\n".join(lines) + "\n")
    return [STUDY, f"--gin_file={file}", f"--study_dir={tmp_path / 's'}"]


def test_engine_is_found_by_its_import_path(given, tmp_path):
    assert sweep.main([*given, "--only=static_weights", "--max_runs=2"]) in (0, 75)
    ended = [*(tmp_path / "s" / "runs").glob("*/result.json")]
    assert len(ended) == 2


@pytest.mark.slow
def test_finished_study_is_shown_on_a_read_only_file_system(given, tmp_path, bind):
    assert sweep.main(given) == 0
    bind(tmp_path / "s", tmp_path / "s")
    subprocess.run(["mount", "-o", "remount,bind,ro", tmp_path / "s"], check=True)
    assert sweep.main(given) == 0


@pytest.mark.slow
def test_failed_and_diverged_runs_are_distinguished(tmp_path):
    """One run cannot start, one diverges, one finishes; then a retry."""
    study = study_fault_injection.write(tmp_path / "study.gin", steps=7, rates=(0.1, 1e30))
    folder = tmp_path / "study"
    config.parse([study])
    made = Sweep(config.bound(Study)(), folder, [study_fault_injection.ROOT])
    config.parse()
    for run in made.runs:
        if run.method == "static_weights":  # Its folder exists already and is not a run's.
            made.folder.run_dir(run.hash).mkdir(parents=True)
            (made.folder.run_dir(run.hash) / "mine.txt").touch()
    command = [
        argument
        for argument in study_fault_injection.command(study, folder)
        if "retry" not in argument
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "1 run finished, 1 diverged, 2 failed" in done.stderr
    runs = json.loads((folder / "study.json").read_text())["runs"]
    bad = [run["hash"] for run in runs if run["method"] == "static_weights"]
    for run in bad:
        failed = json.loads((folder / "runs" / run / "failed.json").read_text())
        assert "not empty" in failed["reason"]
        assert "Traceback" in (folder / failed["log"]).read_text()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1
    assert "done," not in again.stderr  # No run was started.
    retried = subprocess.run([*command, "--retry_failed"], capture_output=True, text=True)
    assert retried.returncode == 1
    assert retried.stderr.count("FAILED") == 2


@pytest.mark.parametrize("interrupted", [True, False])
def test_early_ctrl_c_prints_no_traceback(interrupted, capsys):
    def main():
        if interrupted:
            raise KeyboardInterrupt
        return 3

    with pytest.raises(SystemExit) as caught:
        flags.exit_with(main)
    assert caught.value.code == (75 if interrupted else 3)
    assert capsys.readouterr().err == ("stopped\n" if interrupted else "")


def test_paths_in_an_included_study_are_relative_to_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.gin").write_text(
        "include 'studies/multi_digits.gin'\nstudy.Study.name = 'mine'\n"
    )
    monkeypatch.chdir(tmp_path)
    assert sweep.main(["--gin_file=mine.gin", "--dry_run"]) == 0
    assert "mine" in capsys.readouterr().out
