import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtk import config, train

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = [
    f"--gin_file={CONFIGS / 'multi_digits.gin'}",
    f"--gin_file={CONFIGS / 'combiners' / 'pcgrad.gin'}",
    "--gin.multi_digits.MultiDigits.partners=1",
    "--gin.multi_digits.MultiDigits.channels=(4, 4)",
    "--gin.experiment.Training.epochs=None",
    "--gin_bindings=experiment.Training.steps = 4",
    "--gin.evaluate_every=2",
]


def command(*arguments, **variables):
    # A user's own level of TensorFlow's log takes precedence; here it must be unset.
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= variables
    return subprocess.run(
        [sys.executable, "-m", "mtk.train", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


@pytest.fixture
def no_tensorflow(tmp_path):
    """Environment variables under which importing TensorFlow is an error."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "tensorflow.py").write_text("raise SystemExit('it was imported')")
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "modules"), *filter(None, given)])}


def test_help_is_complete_without_importing_tensorflow(no_tensorflow):
    done = command("--help", **no_tensorflow)
    assert done.returncode == 0, done.stderr
    for flag in ("--gin_file", "--gin_bindings", "--gin.NAME", "--run_dir", "--dry_run"):
        assert flag in done.stdout


@pytest.mark.parametrize(
    "fault",
    ["--gin_file=nothing.gin", "--gin.sed=1", "--gin.experiment.Training.stepz=1", "--run_dir="],
)
def test_errors_about_files_and_names_do_not_import_tensorflow(fault, tmp_path, no_tensorflow):
    done = command(*TINY, f"--run_dir={tmp_path / 'run'}", fault, **no_tensorflow)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")


def test_command_prints_only_progress_and_the_folder_of_curves(tmp_path):
    done = command(*TINY, f"--run_dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert "Test at step" in done.stdout
    assert str(tmp_path / "run") in done.stdout
    said = [line[:8] for line in done.stderr.splitlines()]
    stages = [
        "Starting",
        "Starting",
        "Reading ",
        "Reading ",
        "tracing ",
        "first st",
    ]
    assert said == [*stages, "step 2/4", "step 4/4"]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "finished"
    assert (tmp_path / "run" / "operative_config.gin").exists()


@pytest.mark.slow
def test_operative_configuration_repeats_the_run(tmp_path):
    assert train.main([*TINY, f"--run_dir={tmp_path / 'run'}"]) == 0
    config.parse()
    operative = tmp_path / "run" / "operative_config.gin"
    again = [f"--gin_file={operative}", f"--run_dir={tmp_path / 'again'}"]
    assert train.main(again) == 0
    one, other = (tmp_path / name / "metrics.jsonl" for name in ("run", "again"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_requested_configuration_repeats_the_run(tmp_path, capsys):
    assert train.main([*TINY, f"--run_dir={tmp_path / 'run'}"]) == 0
    asked = tmp_path / "run" / "config.gin"
    assert train.main([f"--gin_file={asked}", f"--run_dir={tmp_path / 'again'}"]) == 0
    one, other = (tmp_path / name / "operative_config.gin" for name in ("run", "again"))
    assert one.read_text() == other.read_text()
    assert "epochs = None" in one.read_text()
    assert "steps = 4" in one.read_text()
    assert "PCGrad" in one.read_text()


def test_divergence_has_its_own_exit_code(tmp_path, capsys):
    code = train.main(
        [*TINY, "--gin.experiment.Optimization.learning_rate=1e30", f"--run_dir={tmp_path}"]
    )
    assert code == 3
    assert "Diverged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gin.experiment.Optimization.learning_rat=1"], "Did you mean 'learning_rate'"),
        (["--gin.experiment.Optimization.learning_rate='fast'", "--dry_run"], "must be float"),
        (["--gin.sed=1"], "Did you mean 'seed'"),
        (["--gin_file=nothing.gin"], "no config file 'nothing.gin'"),
        (["--gin.multi_digits.MultiDigits.offset=-1", "--dry_run"], "MultiDigits.offset = -1"),
        (["--gin.experiment.Optimization.batch_size=100000", "--dry_run"], "batch size"),
        ([], "--run_dir"),
    ],
)
def test_bad_input_prints_one_message_without_traceback(flags, message, capsys):
    assert train.main([*TINY, *flags]) == 2
    error = capsys.readouterr().err
    assert "error: " in error
    assert message in error
    assert "Traceback" not in error
    assert "In call to" not in error


def test_traceback_on_demand():
    with pytest.raises(config.ConfigError):
        train.main(["--gin_file=nothing.gin", "--traceback"])


def test_unknown_flag_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        train.main(["--gin_fil=x"])
    assert caught.value.code == 2
    assert "--gin_fil" in capsys.readouterr().err


def test_missing_config_is_explained(capsys):
    assert train.main([]) == 2
    assert "no 'workload'" in capsys.readouterr().err


@pytest.mark.slow
def test_dry_run_prints_the_configuration_in_force(tmp_path, capsys):
    assert train.main([*TINY, "--dry_run", f"--run_dir={tmp_path / 'run'}"]) == 0
    text = capsys.readouterr().out
    assert "experiment.Training.steps = 4" in text
    assert "combiner            PCGrad" in text
    assert not (tmp_path / "run").exists()
