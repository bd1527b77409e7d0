"""The `report` command: content of the page, and messages on incomplete studies."""

import html
import json
import subprocess
import sys

import pandas as pd
import pytest

from mtk import analysis, places, report
from mtk.analysis.reporting import contents as contents_module
from tests.analysis.pages import Page, composed
from tests.analysis.synthetic import Run, grid, two_stages, write_run, write_study

SPEED = {"static_weights": 12.0, "pcgrad": 5.0, "mgda": 4.0, "gradnorm": 8.0}


def small(seeds=(0,), **changes):
    return grid(seeds=seeds, rates=(0.1, 1.0), **changes)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A report on a study that allows nearly all figures, and on two sizes of a model."""
    folder = tmp_path_factory.mktemp("full")
    runs = grid(seeds=(0, 1, 2), gain=0.2, decays=(0.0, 1e-3))
    runs += [
        Run(rate=float(f"{k}e{p}"), decay=1e-3) for k in range(1, 10) for p in (-2, -1, 0) if k > 1
    ]
    runs += [Run("single_left", weight=1.0), Run("single_right", weight=0.0)]
    for run in runs:
        run.extra = {"steps_per_second": SPEED.get(run.method, 12.0), "parameters": 1234}
    first = write_study(folder / "first", runs, name="first")
    second = write_study(folder / "second", small(layers=(6,)), name="second")
    arguments = [f"--study_dir={first}", f"--study_dir={second}", f"--out={folder / 'report'}"]
    assert report.main(arguments) == 0
    return folder / "report", Page(folder / "report" / "index.html")


def assert_self_contained(folder, page):
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    head = html.unescape((folder / "index.html").read_text().split("<body>")[0])
    assert "http://" not in head
    assert "https://" not in head
    assert "default-src 'none'" in head


@pytest.mark.slow
def test_page_is_self_contained(full):
    folder, page = full
    assert len(page.images) >= 15
    assert_self_contained(folder, page)


def test_page_with_one_figure_is_self_contained(tmp_path, monkeypatch):
    """By default, a page with one drawn figure and its table."""
    monkeypatch.setattr(contents_module.figure_list, "OVER_STUDIES", [])
    of_a_study = contents_module.figure_list.OF_A_STUDY[:1]
    monkeypatch.setattr(contents_module.figure_list, "OF_A_STUDY", of_a_study)
    study = write_study(tmp_path / "first", small(weights=(0.3, 0.5, 0.7)), name="first")
    out = tmp_path / "report"
    assert report.main([f"--study_dir={study}", f"--out={out}"]) == 0
    page = Page(out / "index.html")
    assert page.images
    assert_self_contained(out, page)
    assert_drawn(out, "02_04_05")
    assert "In the paper: Figures 2, 4, 5." in page.words
    assert len(pd.read_csv(out / "tables" / "runs.csv")) == len([*(study / "runs").iterdir()])


FIGURES = '''
from matplotlib.figure import Figure
from mtk.analysis import UnavailableError


def bars(view):
    """How many <b>runs</b> there are.

    A bar for each
    method.
    """
    figure = Figure()
    figure.subplots().bar(view.labels, [len(view.runs(name)) for name in view.labels])
    return figure


def nothing(view):
    raise UnavailableError("a reason of its own")


def text(view):
    return "no figure"
'''


def test_figures_of_another_package_are_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contents_module.figure_list, "OVER_STUDIES", [])
    monkeypatch.setattr(contents_module.figure_list, "OF_A_STUDY", [])
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "figures_of_a_user.py").write_text(FIGURES)
    study = write_study(tmp_path / "first", small(weights=(0.3, 0.5, 0.7)), name="first")
    out = tmp_path / "report"
    given = [f"--study_dir={study}", f"--out={out}"]
    names = ["--figure=figures_of_a_user:bars", "--figure=figures_of_a_user:nothing"]
    assert report.main([*given, *names]) == 0
    page = Page(out / "index.html")
    assert "How many <b>runs</b> there are. A bar for each method." in page.words
    assert "nothing: a reason of its own" in page.words
    assert (out / "figures" / "other_bars_first.png").stat().st_size > 1000
    assert_self_contained(out, page)
    for name, words in (
        ("figures_of_a_user:text", "text returned: 'no figure'"),
        ("figures_of_a_user:bar", "the module has no function 'bar'"),
        ("no_such_module_anywhere:bars", "there is no module 'no_such_module_anywhere'"),
    ):
        assert report.main([*given, f"--figure={name}"]) == 2
        assert words in capsys.readouterr().err
    assert "How many" in Page(out / "index.html").words


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    ["02_04_05", "03", "06_left", "06_right", "07", "08", "09", "10", "11", "12", "13", "16",
     "17", "18"],
)  # fmt: skip
def test_available_figures_are_drawn_as_png_and_svg(full, number):
    assert_drawn(full[0], number)


def assert_drawn(folder, number):
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        (path,) = (
            p for p in (folder / "figures").glob(f"figure_{number}_*.{kind}")
            if p.stem.removeprefix(f"figure_{number}_") in ("first", "all_studies")
        )  # fmt: skip
        assert path.read_bytes().startswith(start)
        assert path.stat().st_size > 3000


@pytest.mark.slow
def test_skipped_figures_are_listed_with_the_reason(full):
    _, page = full
    assert "Fronts of BLEU: no run has the metric 'bleu' for every task" in page.words


@pytest.mark.slow
def test_tables_of_figures_are_written(full):
    folder, _ = full
    tables = {path.stem: pd.read_csv(path) for path in (folder / "tables").glob("*.csv")}
    assert len(tables["runs"]) == 3 * 72 + 24 + 2 + 24
    fast = tables["models_and_speed_all_studies"].set_index("method")
    assert fast.loc["MGDA", "steps per second"].iloc[0] == 4.0
    assert fast.loc["MGDA", "relative cost of a step"].iloc[0] == pytest.approx(3.0)
    verdict = tables["verdict_on_the_front_of_loss_first"].set_index("method")
    assert verdict.loc["PCGrad", "answer"] == "better"
    assert verdict.loc["MGDA", "answer"] != "better"
    assert verdict.loc["PCGrad", "low, %"] < verdict.loc["PCGrad", "margin, %"]
    shares = tables["sources_of_variance_of_the_mean_loss_first"]
    assert shares.iloc[:, 1].sum() == pytest.approx(100)
    budgets = tables["budgets_tuning_included_first"].set_index("method")
    assert budgets.loc["MGDA", "runs"] == 3 * 2 * 3
    single = tables["against_single_task_models_loss_first"].set_index("method")
    assert len(single) == 4
    assert "indicators_of_accuracy_first" in tables
    compute = tables["at_equal_compute_loss_first"].set_index("method")
    assert compute.loc["MGDA", "cost of a run, in static runs"] == pytest.approx(3.0)
    assert compute.loc["MGDA", "compute of the search, in static runs"] == pytest.approx(18.0)


@pytest.mark.slow
def test_page_shows_the_verdict_first(full):
    folder, page = full
    assert "PCGrad: Better: margin" in page.words
    assert "The study has no second stage: the runs with seed 0 select" in page.words
    assert "Undecided: a single seed gives no interval" in page.words  # In the second study.
    # The forest plot is the first figure.
    assert (folder / "figures" / "verdicts_first.png").stat().st_size > 3000
    text = (folder / "index.html").read_text()
    assert text.index("All verdicts") < text.index("Fronts of the losses")


def test_new_report_replaces_only_an_old_report(without_figures, tmp_path):
    study = write_study(tmp_path / "study", small(weights=(0.4, 0.6)))
    out = tmp_path / "out"
    assert report.main([f"--study_dir={study}", f"--out={out}"]) == 0
    (out / "figures" / "old.png").write_text("somebody's")
    assert report.main([f"--study_dir={study}", f"--out={out}"]) == 2
    assert (out / "figures" / "old.png").exists()
    places.mark(out)  # Marks the file as the report's own.
    assert report.main([f"--study_dir={study}", f"--out={out}"]) == 0
    assert not (out / "figures" / "old.png").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    assert report.main([f"--study_dir={study}", f"--out={tmp_path / 'other'}"]) == 2
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_failed_report_keeps_the_old_one(without_figures, tmp_path, monkeypatch):
    study = write_study(tmp_path / "study", small(weights=(0.4, 0.6)))
    out = tmp_path / "out"
    analysis.report([study], out)
    before = (out / "index.html").read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(contents_module.Contents, "write", fail)
    assert report.main([f"--study_dir={study}", f"--out={out}"]) == 2
    assert (out / "index.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study"]


@pytest.fixture
def unrendered(monkeypatch):
    monkeypatch.setattr(contents_module, "render", composed)


@pytest.fixture
def without_figures(unrendered, monkeypatch):
    """For tests of tables and texts."""
    for name in ("OF_A_STUDY", "OVER_STUDIES"):
        monkeypatch.setattr(contents_module.figure_list, name, [])


def page_of(tmp_path, runs, **options):
    study = write_study(tmp_path / "study", runs)
    return Page(analysis.report([study], tmp_path / "out", **options))


@pytest.mark.slow
def test_method_whose_runs_all_diverged(unrendered, tmp_path):
    runs = small(weights=(0.3, 0.5, 0.7))
    for run in runs:
        run.status = "diverged" if run.method == "mgda" else run.status
    page = page_of(tmp_path, runs)
    assert "No run of MGDA can be compared: 2 diverged." in page.words
    assert "MGDA has no finished runs at both the selecting and the compared seeds" in page.words


def test_all_runs_diverged(unrendered, tmp_path):
    runs = small(weights=(0.3, 0.5, 0.7))
    for run in runs:
        run.status = "diverged"
    page = page_of(tmp_path, runs)
    assert "No run of static weights can be compared" in page.words


def test_the_terminal_says_what_came_out_and_what_does_not_count(unrendered, tmp_path, capsys):
    runs = small(weights=(0.3, 0.5, 0.7))
    for run in runs:
        run.tasks = ("left",) if run.method == "static_weights" else run.tasks
        run.status = "diverged" if run.method == "mgda" else run.status
    study = write_study(tmp_path / "study", runs)
    assert report.main([f"--study_dir={study}", f"--out={tmp_path / 'out'}"]) == 0
    said, place = capsys.readouterr().out.splitlines()
    lost = sum(run.method == "mgda" for run in runs)
    assert said.startswith("synthetic: PCGrad ")
    assert "MGDA no verdict" in said
    assert f" {lost} of {len(runs)} runs do not count ({lost} diverged)." in said
    assert " Not compared: right. The page has " in said
    assert place == f"Report: {tmp_path / 'out' / 'index.html'}"
    page = Page(tmp_path / "out" / "index.html")
    assert "on the task left (not right; see the remarks)" in page.words


@pytest.mark.slow
def test_task_missing_in_half_of_the_runs(unrendered, tmp_path):
    runs = small(weights=(0.3, 0.5, 0.7))
    for run in runs[::2]:
        run.tasks = ("left",)
    page = page_of(tmp_path, runs)
    assert (
        f"{len(runs) // 2} of {len(runs)} runs lack values that the comparison needs" in page.words
    )
    assert "right" in page.words


@pytest.mark.slow
def test_studies_without_or_with_only_static_weights(unrendered, tmp_path):
    runs = [run for run in small() if run.method != "static_weights"]
    page = page_of(tmp_path / "a", runs)
    assert "no method has a verdict" in page.words
    # The first screen gives the reason for the missing verdict, not for a missing figure.
    reasons = page.words[page.words.index("No verdict") :].partition("remark")[0]
    assert "Figure" not in reasons
    assert len(reasons) < 200
    runs = [run for run in small() if run.method == "static_weights"]
    assert "no method other than static weights" in page_of(tmp_path / "b", runs).words


def test_damaged_and_unfinished_runs_are_listed(without_figures, tmp_path):
    study = write_study(tmp_path / "study", small(weights=(0.3, 0.5, 0.7)))
    first, second = sorted((study / "runs").iterdir())[:2]
    (first / "result.json").write_text("{")
    (second / "result.json").unlink()
    content = json.loads((study / "study.json").read_text())
    content["remarks"] = ["1 run is equal to another one."]
    (study / "study.json").write_text(json.dumps(content))
    page = Page(analysis.report([study], tmp_path / "out"))
    assert "1 damaged" in page.words
    assert "1 unfinished" in page.words
    assert "result.json is not valid JSON" in page.words
    assert "1 run is equal to another one." in page.words


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param(("only",), marks=pytest.mark.slow),
        ("a", "b", "c"),
        pytest.param(tuple(f"t{n}" for n in range(9)), marks=pytest.mark.slow),
    ],
)
def test_any_number_of_tasks(unrendered, tmp_path, tasks):
    page = page_of(tmp_path, with_tasks(small(weights=(0.3, 0.5, 0.7)), tasks))
    assert "On the mean loss over tasks" in page.words
    assert ("On the front of loss" in page.words) == (len(tasks) == 3)
    assert ("worst task, loss" in page.words) == (len(tasks) > 3)


@pytest.mark.slow
def test_many_tasks_cause_no_warning(without_figures, tmp_path, capsys, recwarn):
    runs = with_tasks(small(weights=(0.3, 0.5, 0.7)), tuple(f"t{n}" for n in range(20)))
    study = write_study(tmp_path / "study", runs)
    assert report.main([f"--study_dir={study}", f"--out={tmp_path / 'report'}"]) == 0
    assert capsys.readouterr().err == ""
    assert not [str(each.message) for each in recwarn if "fragmented" in str(each.message)]


def with_tasks(runs, tasks):
    for run in runs:
        run.tasks = tasks
    return runs


@pytest.mark.slow
def test_metric_of_unknown_direction_is_left_out_with_a_remark(without_figures, tmp_path):
    study = write_study(tmp_path / "study", small(weights=(0.3, 0.5, 0.7)))
    for path in (study / "runs").glob("*/result.json"):
        path.write_text(path.read_text().replace('"accuracy"', '"score"'))
    page = Page(analysis.report([study], tmp_path / "out"))
    assert "The metric 'score' is left out because its direction is unknown" in page.words
    page = Page(analysis.report([study], tmp_path / "out", higher=["score"]))
    assert "On the front of score" in page.words


def test_study_of_an_earlier_version_is_read(without_figures, tmp_path):
    study = write_study(tmp_path / "study", grid(seeds=(0, 1, 2)), recorded=False)
    content = json.loads((study / "study.json").read_text())
    content["baseline"] = "static_weights"
    (study / "study.json").write_text(json.dumps(content))
    page = Page(analysis.report([study], tmp_path / "out"))
    assert "of an earlier version" in page.words
    assert "The metric 'accuracy' is left out because its direction is unknown" in page.words
    assert "On the front of loss" in page.words


@pytest.mark.slow
def test_runs_of_two_sizes_are_not_compared(without_figures, tmp_path):
    page = page_of(tmp_path, small(layers=(3, 6), seeds=(0, 1)))
    for size in (3000, 6000):
        assert f"Verdict: synthetic ({size:,} parameters)" in page.words


@pytest.mark.slow
def test_method_with_a_single_configuration_is_reported(without_figures, tmp_path):
    runs = [r for r in small(seeds=(0, 1)) if r.method != "mgda" or r.rate == 0.1]
    assert "MGDA has only one configuration" in page_of(tmp_path, runs).words


def test_seeds_that_do_not_match_are_reported(without_figures, tmp_path):
    runs = two_stages()
    for run in runs:
        if run.method == "mgda" and run.stage == "measure":
            run.seed += 50
    page = page_of(tmp_path, runs)
    assert "MGDA: 1 of 1 selected models are left out" in page.words
    assert "MGDA: Better" not in page.words
    assert "MGDA no verdict" in page.words
    assert "GradNorm: " in page.words


def test_bad_input_is_an_error_before_anything_is_written(tmp_path, capsys):
    study = write_study(tmp_path / "study", [])
    assert report.main([f"--study_dir={study}", f"--out={tmp_path / 'out'}"]) == 2
    assert "has no runs" in capsys.readouterr().err
    assert report.main([f"--study_dir={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
    assert "neither a study.json" in capsys.readouterr().err
    write_run(study / "runs" / "one", Run())
    command = [f"--study_dir={study}", f"--out={tmp_path / 'out'}", "--cost=magic=2"]
    assert report.main(command) == 2
    assert "No run has the method 'magic'" in capsys.readouterr().err
    assert report.main([*command[:2], "--delta=0"]) == 2
    assert "delta" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        report.main([*command[:2], "--cost=mgda=-1"])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_help_and_analysis_do_not_import_tensorflow():
    code = (
        "import sys, json, mtk.report\n"
        "try: mtk.report.main(['--help'])\n"
        "except SystemExit: pass\n"
        "early = [m for m in ('pandas', 'matplotlib', 'numpy') if m in sys.modules]\n"
        "import mtk.analysis\n"
        "late = [m for m in ('tensorflow', 'keras', 'matplotlib.pyplot') if m in sys.modules]\n"
        "print(json.dumps([early, late]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [[], []]
