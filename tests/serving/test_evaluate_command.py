import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mtk import config, evaluate, train
from tests.quick import some

CONFIGS = Path(__file__).parents[2] / "configs"
DIGITS = [
    f"--gin_file={CONFIGS / 'multi_digits.gin'}",
    "--gin.multi_digits.MultiDigits.partners=1",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one [1]"
    length = ["Training.epochs=None", "Training.steps=6", "Training.evaluate_every=3"]
    short = [*length, "Optimization.batch_size=100"]
    few = ["--gin.multi_digits.MultiDigits.channels=(4, 4)"]
    assert (
        train.main(
            [*DIGITS, *few, *(f"--gin.experiment.{x}" for x in short), f"--run_dir={folder}"]
        )
        == 0
    )
    return folder


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


def evaluated(capsys, *flags):
    assert evaluate.main([str(flag) for flag in (*flags, "--json=-")]) == 0
    return json.loads(capsys.readouterr().out)


CASES = list(itertools.product(["", "saved_model", "model.keras"], ["test", "validation"]))


@pytest.mark.parametrize(("what", "split"), some(CASES, [CASES[0], CASES[3], CASES[4]]))
def test_results_equal_those_of_the_run(run, capsys, split, what):
    found = evaluated(capsys, f"--saved_model={run / what}", f"--split={split}")
    recorded = json.loads((run / "result.json").read_text())[split]
    assert found["loss"] == pytest.approx(recorded["loss"], abs=1e-6)
    assert set(found["tasks"]) == {"left", "right"}
    for task, metrics in recorded["tasks"].items():
        names = found["tasks"][task]
        assert names == pytest.approx({name: metrics[name] for name in names}, abs=1e-6)
    assert found["split"] == split


@pytest.mark.slow
def test_results_on_the_training_split_do_not_depend_on_the_batch_size(run, capsys):
    by_batches = [
        evaluated(
            capsys,
            f"--saved_model={run}",
            "--split=train",
            f"--gin.experiment.Optimization.batch_size={size}",
        )
        for size in (100, 1079)
    ]
    one, other = (found["tasks"]["left"] for found in by_batches)
    assert one == pytest.approx(other, rel=1e-5)


def test_table_and_file(run, capsys, tmp_path):
    path = tmp_path / "new" / "figures.json"
    assert evaluate.main([f"--saved_model={run}", f"--json={path}"]) == 0
    printed = capsys.readouterr().out
    figures = json.loads(path.read_text())
    heads, left, right = (line.split() for line in printed.splitlines()[1:4])
    assert heads == ["loss", "accuracy"]
    for row in (left, right):
        of_task = figures["tasks"][row[0]]
        assert row[1:] == [f"{of_task[name]:.4f}" for name in heads]


@pytest.mark.slow
def test_moved_and_renamed_folder(run, capsys, tmp_path):
    shutil.copytree(run, tmp_path / "else [w]here")
    found = evaluated(capsys, f"--saved_model={tmp_path / 'else [w]here'}")
    expected = evaluated(capsys, f"--saved_model={run}")
    assert {**found, "saved_model": ""} == {**expected, "saved_model": ""}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--saved_model=nowhere", *DIGITS], "'nowhere' does not exist"),
        (["--saved_model=no.keras", *DIGITS], "'no.keras' does not exist"),
        (["--saved_model={alone}"], "'workload'"),
        (["--saved_model={run}", "--gin.multi_digits.MultiDigits.offset=4"], "(None, 12, 12, 1)"),
        (["--saved_model={run}", "--gin.experiment.Optimization.batch_size='many'"], "must be int"),
        (["--saved_model={run}", "--gin.experiment.Optimization.batch_size=0"], "batch_size=0"),
        (["--saved_model={run}", "--gin_file=nothing.gin"], "no config file 'nothing.gin'"),
        (["--saved_model={run}", "--json=/proc/figures.json"], "/proc"),
    ],
)
def test_bad_input_is_one_message_without_traceback(run, flags, message, capsys, tmp_path):
    alone = shutil.copytree(run / "saved_model", tmp_path / "alone")
    folders = {"run": run, "alone": alone}
    assert evaluate.main([flag.format_map(folders) for flag in flags]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.out == ""


def test_given_configuration_replaces_that_of_the_folder(run, capsys):
    flags = [*DIGITS, "--gin.multi_digits.MultiDigits.offset=4"]
    assert evaluate.main([f"--saved_model={run / 'saved_model'}", *flags]) == 2
    assert "(None, 12, 12, 1)" in capsys.readouterr().err


def test_unfinished_run_is_explained(run, capsys, tmp_path):
    shutil.copy(run / "config.gin", tmp_path)
    assert evaluate.main([f"--saved_model={tmp_path}"]) == 2
    assert "when it finishes" in capsys.readouterr().err


def test_unknown_split_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        evaluate.main(["--saved_model=x", "--split=dev"])
    assert caught.value.code == 2
    assert "train" in capsys.readouterr().err


def test_help_needs_no_tensorflow():
    program = (
        "import sys, mtk.evaluate\n"
        "try:\n    mtk.evaluate.main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "assert not {'tensorflow', 'keras', 'gin'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for flag in ("--gin_file", "--gin_bindings", "--gin.NAME", "--saved_model", "--split"):
        assert flag in done.stdout


def changed(run, folder, name, change):
    """Copies a run and changes one of its files."""
    shutil.copytree(run, folder)
    (folder / name).write_text(change((folder / name).read_text()))
    return folder


def test_other_data_give_a_warning(run, tmp_path, capsys):
    assert "other_data" not in evaluated(capsys, f"--saved_model={run}")
    other_seed = "--gin.multi_digits.MultiDigits.data_seed=1"
    with pytest.warns(UserWarning, match="The data differ from those of the run"):
        found = evaluated(capsys, f"--saved_model={run}", other_seed)
    names = [line.partition(":")[0] for line in found["other_data"]]
    assert names == ["test", "train", "validation"]

    # Changed data with the same configuration.
    told = json.loads((run / "result.json").read_text())["data"]["test"]
    folder = changed(run, tmp_path / "run", "result.json", lambda t: t.replace(told, "others"))
    with pytest.warns(UserWarning, match="test: others in the folder"):
        found = evaluated(capsys, f"--saved_model={folder}")
    assert len(found["other_data"]) == 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.gin", lambda text: text.replace("partners = 1", "partners = 2")),
        ("result.json", lambda text: text.replace('"run": "', '"run": "0')),
    ],
)
def test_files_of_another_run_are_refused(run, tmp_path, capsys, name, change):
    folder = changed(run, tmp_path / "run", name, change)
    assert (folder / name).read_text() != (run / name).read_text()
    assert evaluate.main([f"--saved_model={folder}"]) == 2
    assert name in capsys.readouterr().err


def test_table_is_evaluated_with_the_network_that_reads_numbers(tmp_path, capsys):
    """The run also exports a network that reads the cells of the table."""
    rows = [f"{row * 7 % 60},{'yes' if row % 3 else 'no'},{row * row % 60}" for row in range(60)]
    (tmp_path / "table.csv").write_text("\n".join(["age,rich,height", *rows, ""]))
    (tmp_path / "table.gin").write_text(
        f"""
include '{CONFIGS / "base.gin"}'
from mtk.workloads import table
experiment.run.workload = @table.Table
experiment.Training.epochs = 1
experiment.Optimization.learning_rate = 0.1
experiment.Optimization.batch_size = 12
table.Table:
    path = '{tmp_path / "table.csv"}'
    numbers = ['age']
    categories = []
    targets = {{'rich': 'yes', 'height': None}}
    width = 4
"""
    )
    folder = tmp_path / "run"
    assert train.main([f"--gin_file={tmp_path / 'table.gin'}", f"--run_dir={folder}"]) == 0
    assert (folder / "saved_model_cells").is_dir()
    capsys.readouterr()
    recorded = json.loads((folder / "result.json").read_text())["test"]
    assert evaluated(capsys, f"--saved_model={folder}")["loss"] == pytest.approx(recorded["loss"])
