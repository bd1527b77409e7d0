"""`--workload` and related flags: a run of a user-defined workload without a gin file."""

import json
import textwrap

import pytest

from mtk import train
from tests.quick import slow

MODULE = """
import keras
import numpy as np
import mtk


def network():
    x = keras.Input((4,))
    hidden = keras.layers.Dense(4)(x)
    return keras.Model(x, {name: keras.layers.Dense(1)(hidden) for name in "ab"})


def make():
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    tasks = [mtk.Task(name, "mse") for name in "ab"]
    return mtk.workloads.Arrays(network, tasks, (x, {"a": x[:, :1], "b": x[:, 1:2]}), 0.2, 0.2)


class Own(mtk.combiners.MGDA):
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_workload_of_a_user.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return "own_workload_of_a_user"


@pytest.mark.parametrize("combiner", [slow("PCGrad"), "own_workload_of_a_user:Own"])
def test_flags_write_an_equivalent_config(module, combiner, tmp_path, capsys):
    flags = [f"--workload={module}:make", f"--combiner={combiner}", "--epochs=1"]
    flags += ["--batch_size=8", "--learning_rate=0.01", "--seed=3"]
    assert train.main([*flags, "--run_dir=run"]) == 0
    assert f"experiment.run.workload = @{module}.make" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 4
    # The written config reproduces the run.
    assert train.main(["--gin_file=run/config.gin", "--run_dir=run"]) == 0
    combined = (tmp_path / "run" / "operative_config.gin").read_text()
    assert combiner.rpartition(":")[2] in combined


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workload=own_workload_of_a_user:mak"], "Did you mean 'make'"),
        (["--workload=own_workload_of_a_user:make", "--combiner=PCGrd"], "Did you mean 'PCGrad'"),
        (["--workload=no_such_module_anywhere:make"], "no_such_module_anywhere"),
        (["--workload=own_workload_of_a_user:make", "--epochs=-1"], "epochs"),
        (["--epochs=3"], "workload"),
    ],
)
def test_invalid_flags_are_refused(module, flags, words, tmp_path, capsys):
    assert train.main([*flags, "--run_dir=run"]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["mine", "a b:c", ":make", "mine:"])
def test_other_forms_are_refused(text, capsys):
    with pytest.raises(SystemExit, match="2"):
        train.main([f"--workload={text}", "--run_dir=run"])
    assert "my_package.my_module:make" in capsys.readouterr().err
