"""The `search` command: exit codes, output, and dry runs."""

import json

import pytest
from fake_engine import FakeEngine, finish
from searches import ROOT

from mtk import command, search, study
from mtk.search import searching

SEARCH = "--gin_file=configs/searches/multi_digits.gin"
POPULATION = "--gin_file=configs/searches/multi_digits_population.gin"
COOLDOWN = "--gin_file=configs/searches/multi_digits_cooldown.gin"
BOUNDED = "--gin_file=configs/searches/multi_digits_constraint.gin"


@pytest.fixture(autouse=True)
def _without_model_building(monkeypatch):
    """Builds no model and does not start TensorFlow."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(searching.checking, "check", lambda *given: None)


@pytest.fixture
def engine(monkeypatch):
    made = FakeEngine()
    monkeypatch.setattr(study.engines, "Local", lambda **given: made)
    monkeypatch.setattr(searching.search, "__defaults__", (lambda: made, (), False))
    return made


@pytest.mark.parametrize("run", [search.main, lambda given: command.main(["search", *given])])
def test_dry_run_shows_the_first_points_and_writes_nothing(run, tmp_path, capsys):
    folder = tmp_path / "search"
    assert run([SEARCH, "--dry_run", f"--study_dir={folder}"]) == 0
    shown = capsys.readouterr().out
    assert "9 trials" in shown
    assert shown.count("learning_rate") == 3
    assert not folder.exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([SEARCH], "--study_dir=PATH"),
        ([SEARCH, "--dry_run", "--gin.search.Search.runs=0"], "budget of 0 runs"),
        ([SEARCH, "--dry_run", "--gin.search.Search.run=3"], "Did you mean 'runs'"),
        ([SEARCH, "--dry_run", "--gin.search.Search.runs='many'"], "runs"),
        ([SEARCH, "--dry_run", "--gin.search.Space.tasks=()"], "Space.tasks"),
        ([SEARCH, "--dry_run", "--gin.search.Space.tasks=('left',)"], "two or more tasks"),
        ([SEARCH, "--dry_run", "--gin.search.Search.sampler=@search.Bisect"], "Bisection"),
        ([SEARCH, "--dry_run", "--gin.search.Space.log_uniform={'learning_rat': (1, 2)}"], "rat"),
        ([BOUNDED, "--dry_run", "--gin.search.Constraint.task='middle'"], "'middle'"),
        ([BOUNDED, "--dry_run", "--gin.search.Constraint.at_most=0.1"], "one bound"),
        ([POPULATION, "--dry_run", "--gin.search.Search.runs=1"], "two or more runs"),
        ([POPULATION, "--dry_run", "--gin.search.Space.weights=None"], "the space has none"),
        ([COOLDOWN, "--dry_run", "--gin.search.Search.rungs=()"], "Set `rungs`"),
        ([], "'name' is required"),
    ],
)
def test_bad_input_prints_one_message(given, named, capsys):
    assert search.main(given) == 2
    said = capsys.readouterr().err
    assert "error: " in said
    assert named in said
    assert "Traceback" not in said


def test_result_is_printed(engine, tmp_path, capsys):
    assert search.main([SEARCH, f"--study_dir={tmp_path / 'search'}"]) == 0
    shown = capsys.readouterr()
    assert "loss(left)" in shown.out
    assert "trial 9/9" in shown.err
    listed = json.loads((tmp_path / "search" / "study.json").read_text())["runs"]
    assert {run["hash"] for run in listed} == set(engine.started)


def test_unsatisfied_bound_exits_with_1(engine, tmp_path, capsys):
    engine.outcome = lambda folder, run, number: finish(folder, run)
    bound = ["--gin.search.Constraint.worse=None", "--gin.search.Constraint.at_most=0.1"]
    assert search.main([BOUNDED, *bound, f"--study_dir={tmp_path / 'search'}"]) == 1
    shown = capsys.readouterr()
    assert "Not found" in shown.err
    assert "No trial" in shown.out


@pytest.mark.parametrize("name", ["multi_digits", "multi_digits_constraint"])
def test_user_file_may_include_a_shipped_search(name, tmp_path, monkeypatch, capsys):
    """Paths in an included file are relative to that file."""
    (tmp_path / "mine.gin").write_text(
        f"include 'searches/{name}.gin'\nsearch.Search.name = 'mine'\n"
    )
    monkeypatch.chdir(tmp_path)
    assert search.main(["--gin_file=mine.gin", "--dry_run"]) == 0
    assert "mine: " in capsys.readouterr().out
