"""Untrusted configurations may only name the parts of a run, and execute nothing else."""

import sys
import zipfile
from pathlib import Path

import pytest

from mtk import config, evaluate, sweep, train

CONFIGS = Path(__file__).parents[2] / "configs"
# Configs of runs; the others are for studies, searches, cards, engines and preparations.
OF_RUNS = sorted(
    path
    for path in CONFIGS.rglob("*.gin")
    if path.parent.name not in ("studies", "engines", "searches", "cards")
    and not path.name.startswith("prepare_")
)
HEAD = "from __gin__ import dynamic_registration\nfrom mtk import experiment\n"

REFUSED = {
    "a module": ("import os\n", "imports 'os'"),
    "a module under another name": ("import subprocess as keras\n", "imports 'subprocess'"),
    "a part of a package": ("from os import path\n", "imports 'os.path'"),
    "a name that begins alike": ("import mtkx.y\n", "imports 'mtkx.y'"),
    "a module of a stranger": ("import trap\nx = @trap.f\n", "imports 'trap'"),
    "an included file": ("include 'other.gin'\n", "imports 'trap'"),
    "what a module of ours imports": (
        "import mtk.study.folder\nexperiment.run.workload = @mtk.study.folder.os.system()\n",
        "uses 'posix.system'",
    ),
    "a parameter of such": (
        "import mtk.study.folder\nmtk.study.folder.os.system.command = 'touch caught'\n",
        "uses 'posix.system'",
    ),
    "a block": (
        "import mtk.study.folder\nmtk.study.folder.os.system:\n  command = 'touch caught'\n",
        "uses 'posix.system'",
    ),
    "a macro": ("import mtk.tf_logging\nx = @mtk.tf_logging.os.system()\n", "uses 'posix.system'"),
    "in a container": (
        "import mtk.tf_logging\n"
        "experiment.Training.monitor = {'a': [@mtk.tf_logging.os.abort()]}\n",
        "uses 'posix.abort'",
    ),
    "in a scope": (
        "import mtk.tf_logging\nexperiment.run.workload = @a/b/mtk.tf_logging.os.abort()\n",
        "uses 'posix.abort'",
    ),
    "another configuration": (
        "experiment.launch.files = []\n",
        "uses 'mtk.experiment.launch'",
    ),
    "a command": ("from mtk import train\nx = @train.main()\n", "uses 'mtk.train.main'"),
    "a function that writes": (
        "from mtk import atomic\natomic.write_json.path = 'caught'\n",
        "uses 'mtk.atomic.write_json'",
    ),
    "a run of its own": (
        "experiment.Training.monitor = [@other/experiment.run()]\n",
        "starts a run",
    ),
    "a run by a macro": ("x = @experiment.run\n", "starts a run"),
    "a class of Python": (
        "import mtk.tasks\nx = @mtk.tasks.Task.__class__()\n",
        "uses 'builtins.type'",
    ),
    "a method": (
        "from mtk import combiners\nx = @combiners.MGDA.from_config()\n",
        "uses 'keras.src.ops.operation.Operation.from_config'",
    ),
    "a program of Keras": (
        "import keras\nx = @keras.saving.load_model()\n",
        "uses 'keras.src.saving.saving_api.load_model'",
    ),
    "a download": ("import keras\nx = @keras.utils.get_file()\n", "uses 'keras.src.utils"),
    "a lambda": ("import keras\nx = @keras.layers.Lambda()\n", "uses 'keras.src.layers"),
    "what reads a class": (
        "import keras\nx = @keras.optimizers.deserialize()\n",
        "uses 'keras.src.optimizers.deserialize'",
    ),
}  # fmt: skip


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A folder with a module that writes a file when it is imported."""
    (tmp_path / "trap.py").write_text("open('caught', 'w')\ndef f(): open('caught', 'w')\n")
    (tmp_path / "other.gin").write_text("import trap\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("trap", None)
    config.parse()


@pytest.mark.parametrize("kind", REFUSED)
def test_untrusted_code_raises_before_it_runs(trap, kind):
    text, refused = REFUSED[kind]
    (trap / "config.gin").write_text(HEAD + text)
    with pytest.raises(config.ConfigError) as raised:
        config.parse([trap / "config.gin"], trusted=False)
    assert refused in str(raised.value)
    assert "add --trust" in str(raised.value)
    assert ".gin, line " in str(raised.value)
    assert not (trap / "caught").exists()


# Configs that need the location of their data, by the name of its macro.
LOCATED = {
    "data_dir": ("adult", "celeba", "cityscapes", "energy", "multi_mnist"),
    "folder": (*(f"translation_fr_{name}" for name in ("de", "ro", "zh")), "translation_multi30k"),
}


@pytest.mark.parametrize("path", OF_RUNS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_shipped_configs_of_runs_are_accepted(path):
    """Overlays, which are in subfolders, together with a base."""
    base = [] if path.parent == CONFIGS else [CONFIGS / "multi_digits.gin"]
    bindings = [f"{name} = 'data'" for name, stems in LOCATED.items() if path.stem in stems]
    config.parse([*base, path], bindings, trusted=False)
    config.parse()


def test_error_escapes_control_characters(trap):
    (trap / "config.gin").write_text(HEAD + "import os  # \x1b[2J\u202e\0 é\n")
    with pytest.raises(config.ConfigError) as raised:
        config.parse([trap / "config.gin"], trusted=False)
    assert str(raised.value).endswith(r"line 3: import os  # \x1b[2J\u202e\x00 é")


def test_bindings_of_the_user_are_trusted(trap):
    (trap / "config.gin").write_text(HEAD + "experiment.Training.seed = 3\n")
    config.parse([trap / "config.gin"], ["import trap"], trusted=False)
    assert (trap / "caught").exists()


def exported(run):
    """Creates a run folder that seems to contain exported networks."""
    (run / "saved_model").mkdir(parents=True)
    (run / "saved_model" / "saved_model.pb").touch()
    zipfile.ZipFile(run / "model.keras", "w").close()
    return run


@pytest.mark.parametrize("flag", ["--saved_model={run}", "--saved_model={run}/model.keras"])
def test_run_folder_is_trusted_only_with_a_flag(trap, flag, capsys):
    run = exported(trap / "run")
    (run / "config.gin").write_text(HEAD + "import trap\n")
    command = [flag.format(run=run)]
    assert evaluate.main(command) == 2
    said = capsys.readouterr().err
    assert "imports 'trap'" in said
    assert "--trust" in said
    assert "config.gin, line 3" in said
    assert not (trap / "caught").exists()
    assert evaluate.main([*command, "--trust"]) == 2  # There is no workload.
    assert "trap" not in capsys.readouterr().err
    assert (trap / "caught").exists()


def test_given_config_file_is_trusted(trap, capsys):
    run = exported(trap / "run")
    (run / "config.gin").write_text("import os\n")
    (trap / "own.gin").write_text(HEAD + "import trap\n")
    assert evaluate.main([f"--saved_model={run}", f"--gin_file={trap / 'own.gin'}"]) == 2
    assert "refused" not in capsys.readouterr().err
    assert (trap / "caught").exists()


@pytest.mark.parametrize("command", [train, sweep, evaluate])
def test_help_says_that_a_configuration_can_run_any_code(command, capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "run any code" in " ".join(capsys.readouterr().out.split())
