"""The `bench` command: exit codes and messages."""

import subprocess
import sys

import numpy as np
import pytest
from benches import ROOT, Bench

from mtk import bench as package
from mtk import command, config
from mtk.bench import Card, main
from mtk.search.spec import METHOD
from mtk.study import Grid

CARDS = sorted((ROOT / "configs" / "cards").glob("*.gin"))
DIGITS = "--gin_file=configs/cards/multi_digits.gin"


@pytest.fixture(autouse=True)
def _root_directory(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_shipped_card_expands_to_runs_of_all_its_methods(path):
    config.parse([path])
    card = config.bound(Card)()
    for label, files in {METHOD: [], **card.methods}.items():
        own = [files] if isinstance(files, str) else files
        search = card.search(label, own, 100.0)
        grid = Grid(search.study, [path.parent])
        grid.check_names()
        if label in (METHOD, "gradnorm"):
            run = grid.run(label, search.make_sampler().ask(1)[0], 0)
            assert "experiment.Training.test = 'sealed'" in run.text
    assert len(card.hash([path.parent])) == 64


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["run"], "--bench_dir=PATH"),
        (["run", "--bench_dir=b"], "A task card is required"),
        (["submit", DIGITS, "--bench_dir=b"], "--out=PATH"),
        (["score", DIGITS, "--submission=x"], "--board_dir=PATH"),
        (["run", DIGITS, "--bench_dir=b", "--out=x"], "--out is not a flag of mtk bench run"),
        (["score", DIGITS, "--submission=x", "--board_dir=y", "--all"], "--all is not a flag"),
        (
            ["submit", DIGITS, "--bench_dir=b", "--out=x", "--method=a", "--method=b"],
            "Only one entry",
        ),
        (["run", DIGITS, "--bench_dir=b", "--gin.bench.Card.configurations=0"], "configurations"),
        (["run", DIGITS, "--bench_dir=b", "--gin.bench.Card.config=0"], "Did you mean"),
        (["run", DIGITS, "--bench_dir=b", "--method=pcgard"], "is not a method"),
        (["submit", DIGITS, "--bench_dir=b", "--out=x"], "no entry 'static_weights'"),
        (["score", DIGITS, "--submission=none.zip", "--board_dir=y"], "does not exist"),
    ],
)
def test_bad_input_prints_one_message(given, named, tmp_path, capsys):
    placed = [a.replace("_dir=", f"_dir={tmp_path}/") for a in given]
    assert main(placed) == 2
    said = capsys.readouterr().err
    assert "error: " in said
    assert named in said
    assert "Traceback" not in said
    assert not any(tmp_path.rglob("*.jsonl"))


def test_import_does_not_load_pandas_and_scipy():
    program = "import sys, mtk.bench.entry; assert not {'pandas', 'scipy.stats'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_bench_is_a_command_of_mtk(capsys):
    for run in (main, lambda given: command.main(["bench", *given])):
        with pytest.raises(SystemExit, match="2"):
            run(["rank"])
        assert "'rank'" in capsys.readouterr().err


CARD = """
include 'configs/cards/multi_digits.gin'
from mtk import bench
bench.Card:
    name = 'small'
    configs = ('multi_digits.gin',)
    settings = {
        'experiment.Training.epochs': 1,
        'multi_digits.MultiDigits.partners': 1,
        'multi_digits.MultiDigits.channels': (4, 4),
        'multi_digits.MultiDigits.units': 8,
    }
    data = {}
    methods = {'mgda': 'combiners/mgda.gin'}
    method_choices = {}
    configurations = 4
"""


def test_run_submit_and_score_end_to_end(tmp_path, workload, monkeypatch, capsys):
    """The commands as a user gives them; only the runs are fake."""
    from mtk.bench import entry

    made = Bench(tmp_path, workload, None)
    monkeypatch.setattr(entry.run, "__defaults__", (lambda: made.engine, (), False))
    (tmp_path / "card.gin").write_text(CARD)
    card, bench = f"--gin_file={tmp_path / 'card.gin'}", f"--bench_dir={tmp_path / 'bench'}"
    assert main(["run", card, bench, "--all"]) == 0
    for name in ("static_weights", "mgda"):
        out = tmp_path / f"{name}.zip"
        assert main(["submit", card, bench, f"--method={name}", f"--out={out}"]) == 0
        board = [f"--submission={out}", f"--board_dir={tmp_path / 'board'}"]
        assert main(["score", card, *board]) == 0
    assert "mgda: place 1;" in capsys.readouterr().out
    np.savez(tmp_path / "labels.npz", left=np.zeros(3, "i4"), right=np.zeros(3, "i4"))
    other = [f"--submission={out}", f"--board_dir={tmp_path / 'other'}"]
    zero = f"--submission={tmp_path / 'static_weights.zip'}"
    labels = f"--labels={tmp_path / 'labels.npz'}"
    assert main(["score", card, zero, other[1], labels]) == 2
    assert "cannot be used" in capsys.readouterr().err
    assert package.Board.__name__ in package.__all__


def test_paths_in_an_included_card_are_relative_to_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.gin").write_text("include 'cards/multi_digits.gin'\n")
    monkeypatch.chdir(tmp_path)
    assert main(["submit", "--gin_file=mine.gin", "--bench_dir=b", "--out=o"]) == 2
    assert "config file" not in capsys.readouterr().err
