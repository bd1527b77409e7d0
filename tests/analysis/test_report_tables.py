"""The tables of figures, as files and as links on the page, and the advice on weights."""

import ast
import base64
import html
import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mtk import analysis, report
from mtk.analysis.comparison import better
from mtk.analysis.figures import search, task_weights, utility
from mtk.analysis.plain_text import FileNames
from mtk.analysis.reporting import contents, page, tables
from mtk.analysis.reporting.tables import ordered
from tests.analysis.pages import composed
from tests.analysis.synthetic import Run, grid, write_study


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A study with the data for all curves, and its report without drawn figures."""
    folder = tmp_path_factory.mktemp("tables")
    runs = grid(rates=(0.1, 1.0))
    runs += [Run(rate=float(f"{k}e{p}")) for k in range(1, 10) for p in (-2, -1, 0)]
    runs += [Run(rate=0.1, seed=seed) for seed in (1, 2)]
    runs = list({run.name: run for run in runs}.values())
    for run in runs:
        run.extra = {"steps_per_second": 6.0 if run.method == "mgda" else 12.0}
    study = write_study(folder / "study", runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "render", composed)
        page = analysis.report([study], folder / "out")
    return study, page


def test_links_of_the_page_equal_the_table_files(written):
    _, page = written
    text = page.read_text(encoding="utf-8")
    links = re.findall(r'download="([^"]+)" href="data:text/csv;base64,([^"]*)"', text)
    names = [name for name, _ in links]
    assert len(set(names)) == len(names) > 20
    files = {path.name: path.read_bytes() for path in (page.parent / "tables").iterdir()}
    assert {name: base64.b64decode(data) for name, data in links} == files


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("task_weights_over_time_synthetic", {"method", "step", "left", "right"}),
        ("sparse_grids_and_seeds_points_synthetic", {"method", "of", "k", "test"}),
        ("ranking_by_evaluation_weighting_curves_synthetic", {"static weights", "MGDA"}),
        ("search_result_by_cost_curves_synthetic", {"method", "cost", "mean", "low", "high"}),
        ("all_configurations_synthetic", {"seeds", "test/left/loss"}),
    ],
)
def test_figures_have_tables(written, name, columns):
    _, page = written
    table = pd.read_csv(page.parent / "tables" / f"{name}.csv")
    assert len(table) > 0
    assert columns <= set(table)


def test_methods_without_seeds_in_common_with_static_weights_are_reported(written):
    """The additional seeds of this study are those of one static configuration."""
    _, page = written
    text = page.read_text(encoding="utf-8")
    assert "no second stage: the runs with seed 0 select" in text
    assert (
        "MGDA has no finished runs at both the selecting and the compared seeds, so it has "
        "no verdict" in text
    )
    assert "no method was measured at the same seeds as static weights" in text


def test_spread_over_sparse_grids_is_relative_to_the_mean(written):
    _, page = written
    folder = page.parent / "tables"
    points = pd.read_csv(folder / "sparse_grids_and_seeds_points_synthetic.csv").dropna(subset="k")[
        "test"
    ]
    table = pd.read_csv(folder / "sparse_grids_and_seeds_synthetic.csv")
    percent = table["over grids, % of their mean"].item()
    assert percent == pytest.approx(100 * points.std() / points.mean())


def test_long_tables_are_truncated_on_the_page(written, monkeypatch):
    _, path = written
    assert "of 101 rows" not in path.read_text(encoding="utf-8")
    monkeypatch.setattr(page, "_MOST_ROWS", 40)
    table = pd.DataFrame({"study": "s", "status": "finished", "a": range(101)})
    table.attrs["remarks"] = []
    made = contents.Contents(table, [contents.Section("s", FileNames())])
    made.sections[0].tabulate("long", lambda: table)
    text = page.render(made)
    assert "the first 40 of 101 rows" in text
    assert text.count("<td") == 40 * 3


def test_tables_equal_the_drawn_values(written):
    study, _ = written
    (view,) = analysis.views(analysis.load(study))
    curves = search.table(view).set_index("method")
    lines = {line.get_label(): line.get_xydata() for line in search.draw(view).axes[0].lines}
    for method, drawn in lines.items():
        np.testing.assert_array_equal(drawn, curves.loc[method, ["cost", "mean"]].to_numpy())
    assert curves.loc["mgda", "cost"].tolist() == [2.0, 4.0]
    weights = task_weights.table(view)
    assert set(weights["method"]) == {"pcgrad", "mgda", "gradnorm"}
    assert len(weights) == 3 * 6
    np.testing.assert_allclose(weights["left"] + weights["right"], 1)
    assert len(utility.table(view)) == 101


@pytest.mark.parametrize(
    "given", ["mgda", "mgda=", "=2", "mgda=two", "mgda=0", "mgda=nan", "a=inf"]
)
def test_invalid_cost_is_an_error(given, capsys):
    with pytest.raises(SystemExit):
        report.main(["--study_dir=s", "--out=o", f"--cost={given}"])
    said = capsys.readouterr().err
    assert (
        f"--cost: expected METHOD=X with a number X above 0, as in mgda=2.5. Received: {given!r}"
        in said
    )
    assert "_cost" not in said


@pytest.mark.parametrize("flag", ["higher", "lower"])
def test_direction_of_an_unknown_metric_is_an_error(written, tmp_path, capsys, flag):
    command = [f"--study_dir={written[0]}", f"--out={tmp_path / 'out'}", f"--{flag}=nonsense"]
    assert report.main(command) == 2
    assert "No run has the metric 'nonsense'. Available: accuracy, loss" in capsys.readouterr().err
    assert report.main([*command[:2], "--higher=loss", "--lower=loss"]) == 2
    assert "both higher-is-better and lower-is-better" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_summary_of_runs_lists_single_tasks_and_sorts_values(tmp_path):
    runs = [Run(weight=w, rate=rate) for w in (0.3, 0.6) for rate in (10.0, 9.0, 0.5)]
    runs += [Run("left_alone", weight=1.0), Run("right_alone", weight=0.0)]
    (view,) = analysis.views(analysis.load(write_study(tmp_path / "study", runs)))
    said = page.what_was_run(view)
    assert "learning_rate 0.5, 9, 10" in dict(said)["static weights"]
    assert dict(said)["single-task runs"].startswith("2 configurations, 1 finished seed each.")
    mixed = pd.Series([10, "constant", 9.0, None, "a schedule"], dtype=object)
    assert ordered(mixed) == [9, 10, "a schedule", "constant"]


def test_changes_against_single_tasks_are_those_of_selected_models(tmp_path):
    """With different units of losses, their plain mean is dominated by the largest."""
    runs = [Run(weight=w, seed=s) for w in (0.2, 0.5, 0.8) for s in (0, 1)]
    runs += [Run("left_alone", weight=1.0), Run("right_alone", weight=0.0)]
    for run in runs:
        said = {"name": "relative_loss", "direction": "min", "value": 1.0}
        run.extra = {"monitor": {**said, "first": {"left": 0.01, "right": 100.0}}}
    (view,) = analysis.views(analysis.load(write_study(tmp_path / "study", runs)))
    table = tables.single_task_table(view, "loss").set_index("method")
    changes = analysis.delta_m(view.found, view.spaces["loss"])
    means = view.found.set_index("configuration")["validation/left/loss"]
    best = (
        view.found["configuration"] == means[view.found["role"].eq("baseline").to_numpy()].idxmin()
    )
    assert table.loc["static_weights"].item() == pytest.approx(changes[best].item())


def test_default_weights_and_none_settings_are_listed(tmp_path):
    runs = [Run(weight=w, rate=r) for w in (0.3, 0.5, 0.6) for r in (0.1, 0.5)]
    folder = write_study(tmp_path / "study", runs)
    for file in folder.glob("runs/*/checkpoints/run.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        own = content["settings"]
        weights = next(name for name in own if name.endswith(".StaticWeights.weights"))
        if len({*ast.literal_eval(own[weights]).values()}) == 1:
            own[weights] = "None"  # As a run records default weights.
        rate = own["experiment.Optimization.learning_rate"]
        own["experiment.Optimization.clip_norm"] = "None" if rate == "0.1" else "2.0"
        file.write_text(json.dumps(content), encoding="utf-8")
    (view,) = analysis.views(analysis.load(folder))
    said = dict(page.what_was_run(view))["static weights"]
    for share in (0.3, 0.5, 0.6):
        assert f"'left': {share}" in said
    assert "clip_norm 2, None" in said
    assert analysis.configurations(view.table).filter(like=".weights").notna().all(axis=None)


def test_advised_weights_are_best_over_all_selecting_seeds(tmp_path):
    """The first seed alone would prefer other weights by chance."""
    runs = [Run(weight=w, seed=s, stage="select") for w in (0.3, 0.5, 0.7) for s in (0, 1, 2)]
    runs = [run for run in runs if (run.weight, run.seed) != (0.5, 2)]
    for run in runs:
        value = {0.3: [0.0, 9.0, 9.0], 0.5: [1.0, 1.0], 0.7: [2.0, 2.0, 2.0]}[run.weight][run.seed]
        run.extra = {"monitor": {"name": "mean_loss", "direction": "min", "value": value}}
    (view,) = analysis.views(analysis.load(write_study(tmp_path / "study", runs)))
    assert analysis.advice(view).startswith("Use loss_weights={'left': 0.7, 'right': 0.3}")


@pytest.mark.parametrize(
    ("told", "begins"),
    [
        (
            '{"search": {"goal": "Constraint"}}',
            "These runs belong to a search for the goal Constraint",
        ),
        (
            r'{"search": {"goal": "\u001b[2J"}}',
            r"These runs belong to a search for the goal \x1b[2J,",
        ),
        ('{"search": {"goal": 3}}', "Use loss_weights="),
        ('{"search": [3]}', "Use loss_weights="),
        ('{"search": {"goal": "Front"}}', "Use loss_weights="),
        ("{}", "Use loss_weights="),
    ],
)
def test_advice_respects_the_goal_of_a_search(tmp_path, told, begins):
    """Weights with the best mean may violate the bound of the search."""
    runs = [Run(weight=w, stage="select") for w in (0.3, 0.7)]
    for run in runs:
        run.extra = {"monitor": {"name": "mean_loss", "direction": "min", "value": run.weight}}
    folder = write_study(tmp_path / "study", runs)
    (folder / "search.json").write_text(told)
    (view,) = analysis.views(analysis.load(folder))
    assert analysis.advice(view).startswith(begins)


@pytest.mark.parametrize(("at_seed_3", "doubted"), [(0.2, True), (0.9, False)])
def test_advice_is_qualified_if_all_fresh_seeds_prefer_other_weights(tmp_path, at_seed_3, doubted):
    """The selecting seed may prefer these weights by chance."""
    runs = [Run(weight=w, stage="select") for w in (0.3, 0.7)]
    runs += [Run(weight=w, seed=s, stage="measure") for w in (0.3, 0.7) for s in (1, 2, 3)]
    for run in runs:
        value = 0.5 if run.weight == 0.3 else at_seed_3 if run.seed == 3 else 0.2
        value = value if run.stage == "measure" else run.weight
        run.extra = {"monitor": {"name": "mean_loss", "direction": "min", "value": value}}
    (view,) = analysis.views(analysis.load(write_study(tmp_path / "study", runs)))
    said = analysis.advice(view)
    assert said.startswith("Use loss_weights={'left': 0.3, ")
    doubt = "validation prefers loss_weights={'left': 0.7, 'right': 0.3} to these."
    assert said.endswith(f" However, at each of the 3 fresh seeds {doubt}") == doubted


@pytest.mark.parametrize("diverging", [[0.3], [0.3, 0.7]])
def test_weights_that_diverged_with_a_fresh_seed_are_not_advised(tmp_path, diverging):
    runs = [Run(weight=w, stage="select") for w in (0.3, 0.7)]
    runs += [Run(weight=w, seed=s, stage="measure") for w in (0.3, 0.7) for s in (1, 2, 3)]
    for run in runs:
        run.extra = {"monitor": {"name": "mean_loss", "direction": "min", "value": run.weight}}
        if run.seed == 3 and run.weight in diverging:
            run.status = "diverged"
    (view,) = analysis.views(analysis.load(write_study(tmp_path / "study", runs)))
    best = 0.7 if len(diverging) == 1 else 0.3
    said = analysis.advice(view)
    assert said.startswith(f"Use loss_weights={{'left': {best}, ")
    assert said.endswith("It diverged with 1 further seed.") == (best in diverging)


@pytest.mark.slow
def test_first_screen_shows_advised_weights_and_their_metrics(tmp_path):
    runs = [Run(weight=w, rate=r, stage="select") for w in (0.3, 0.5, 0.7) for r in (0.1, 0.5)]
    runs += [Run(weight=w, rate=0.1, seed=s, stage="measure") for w in (0.3, 0.7) for s in (1, 2)]
    runs += [Run("mgda", "MGDA", rate=r, stage="select") for r in (0.1, 0.5)]
    for run in runs:
        value = abs(run.weight - 0.7) + run.rate - run.seed
        run.extra = {"monitor": {"name": "mean_loss", "direction": "min", "value": value}}
    folder = write_study(tmp_path / "study", runs)
    (view,) = analysis.views(analysis.load(folder))
    own = view.table[(view.table["stage"] == "measure") & (view.table["seed"] > 0)]
    own = own[[row["left"] > 0.6 for row in own["task_weights"]]]
    said = analysis.advice(view)
    losses = own["test/left/loss"]
    assert said.startswith("Use loss_weights={'left': 0.7, 'right': 0.3} with learning rate 0.1 ")
    assert f"left_loss {losses.mean():.4g} ± {losses.std():.1g}, left_accuracy" in said
    assert "best on validation by mean_loss" in said
    assert said.endswith("(mean of 2 seeds ± standard deviation).")
    question = SimpleNamespace(verdicts={"mgda": SimpleNamespace(answer="better")})
    first = analysis.advice(view, better([question]))
    assert first.endswith(f" mgda. Otherwise use{said.removeprefix('Use')}")
    shown = html.unescape(analysis.report([folder], tmp_path / "out").read_text(encoding="utf-8"))
    assert said in shown.partition("Method by method")[0]
