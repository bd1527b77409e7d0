"""Figures show selected models, settings at their values, and distinguishable methods."""

import dataclasses
import itertools
import json
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from scipy import stats

from mtk import analysis
from mtk.analysis.figures import (
    averages,
    forest,
    fronts,
    hyperparameters,
    limits,
    measured_models,
    mixtures,
    parallel_coordinates,
    seeds_and_grids,
    sensitivity,
    style,
    task_weights,
)
from mtk.analysis.figures.hyperparameters import scale, set_scale
from mtk.analysis.figures.style import figure
from mtk.analysis.metric_sets import UnavailableError
from tests.analysis.synthetic import Run, grid, two_stages, write_study

RATE, DECAY = "experiment.Optimization.learning_rate", "experiment.Optimization.weight_decay"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    runs = grid(decays=(0.0, 1e-3))
    return analysis.load(write_study(tmp_path_factory.mktemp("figures") / "study", runs))


def view_of(table):
    (view,) = analysis.views(table)
    return view


def x_of(axis):
    return np.concatenate([np.ravel(line.get_xdata()).astype(float) for line in axis.lines])


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("far", [-30.0, 30.0])
def test_figure_10_shows_selected_models_and_counts_those_outside(table, split, far):
    moved = table.copy()
    columns = [name for name in moved if name.startswith(f"{split}/") and name.endswith("accuracy")]
    best = moved["test/left/accuracy"].idxmax()
    moved.loc[best, columns] += far  # Selected, and far from all others, if it is better.
    view = view_of(moved)
    for axis in averages.draw(view).axes:
        low, high = axis.get_xlim()
        for line in axis.lines:
            if line.get_markersize() == 9:
                assert low < line.get_xdata()[0] < high
        x = x_of(axis)
        outside = int(((x < low) | (x > high)).sum())
        said = re.search(r"\((\d+) of (\d+) are outside\)", axis.get_title())
        assert (int(said[1]) if said else 0) == outside
        assert said is None or int(said[2]) == len(view.found)


@pytest.mark.parametrize("sign", [1, -1])
def test_limits_exclude_far_worse_values_and_count_them(sign):
    good = np.linspace(1.0, 2.0, 30)
    wild = np.concatenate([good, [50.0, 1e6, np.inf, np.nan]])
    ends = limits.near(sign * wild, sign, np.empty(0))
    low, high = sorted(sign * end for end in ends)
    assert 0.8 < low < 1.0 < 2.0 < high < 2.2
    assert limits.outside(sign * wild, np.array(ends)) == " (2 of 32 are outside)"
    # Values that must be shown are within the limits, however far away.
    for shown in (-9.0, 60.0):
        ends = limits.near(sign * wild, sign, sign * np.array([shown]))
        assert min(ends) < sign * shown < max(ends)
    ends = limits.near(sign * good, sign, np.empty(0))
    assert limits.outside(sign * good, np.array(ends)) == ""


def test_nearly_diverged_runs_do_not_set_limits(table):
    moved = table.copy()
    columns = [name for name in moved if re.match("(validation|test|train)/", name)]
    wild = (moved[RATE] == 1.0) & moved["method"].isin(["mgda", "pcgrad"])
    moved.loc[wild, columns] = moved.loc[wild, columns] * 1e4 + 1e3
    losses = [(view_of(moved).spaces.loss, "test")]
    (wide,) = fronts.draw_everything(view_of(moved), losses).axes
    assert np.ptp(wide.get_xlim()) < 10
    assert f"({wild.sum()} of " in wide.get_title()
    for axis in sensitivity.draw(view_of(moved)).axes:
        assert np.ptp(axis.get_ylim()) < 10
        assert f"({wild.sum()} of " in axis.get_title()
    moved.loc[wild, [c for c in columns if c.endswith("accuracy")]] *= -1
    (by_rate,) = averages.draw_by_rate(view_of(moved)).axes
    assert np.ptp(by_rate.get_ylim()) < 1
    assert "(2 of 12 are outside)" in by_rate.get_title()


def test_figure_10_without_validation_values_is_unavailable(table):
    columns = [name for name in table if name.startswith("validation/")]
    view = view_of(table.assign(**dict.fromkeys(columns, np.nan)))
    with pytest.raises(UnavailableError):
        averages.draw(view)


@pytest.mark.parametrize(
    "settings",
    [(0.001, 0.002, 0.005), (0.1, 0.3), (1e-3, 2e-3, 9e-3, 1.0), (0.0, 1e-4, 1e-2), (0.0, 0.5)],
)
def test_settings_are_drawn_near_their_value_and_within_the_limits(table, settings):
    known = np.array(settings)
    rates = np.resize(known, len(table))
    axis = sensitivity.draw(view_of(table.assign(**{RATE: rates}))).axes[0]
    transform = axis.xaxis.get_transform()
    places = transform.transform(np.sort(known))
    x = x_of(axis)
    away = np.abs(transform.transform(x)[:, None] - places)
    assert away.min(1).max() <= 0.11 * np.diff(places).min()
    assert set(places[away.argmin(1)]) == set(places)
    assert axis.get_xlim()[0] < x.min()
    assert x.max() < axis.get_xlim()[1]
    assert (x >= 0).all()
    assert np.unique(x).size == x.size


@pytest.mark.parametrize("every", [True, False])
def test_learning_rate_schedules_are_left_out_and_counted(table, every):
    schedule = (table["method"] == "mgda") | every
    moved = table.assign(**{RATE: table[RATE].astype(object).mask(schedule, "schedules.Cosine")})
    view = view_of(moved)
    axes = sensitivity.draw(view).axes
    remarks = [axis.get_xlabel() for axis in axes if "learning rate" in axis.get_xlabel()]
    assert remarks == (
        [] if every else ["learning rate\n(left out: 6 configurations without a numeric value)"] * 2
    )
    for draw in (averages.draw_by_rate, mixtures.draw_region, seeds_and_grids.draw):
        if every or draw is seeds_and_grids.draw:
            with pytest.raises(UnavailableError):
                draw(view)
        else:
            assert draw(view).axes


def test_scales_of_hyperparameters():
    assert scale(np.array([0.001, 0.005])) == ("linear", {})
    assert scale(np.array([0.001, 0.1])) == ("log", {})
    assert scale(np.array([0.0, 0.001, 0.1])) == ("symlog", {"linthresh": 0.001})
    assert scale(np.array([-1.0, 0.001, 0.1])) == ("linear", {})
    assert scale(np.array([0.0, 0.0])) == ("linear", {})
    assert scale(np.array([0.1, 0.3, 1.0])) == ("log", {})
    assert scale(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == ("linear", {})
    assert scale(np.arange(1, 100) / 100) == ("linear", {})
    assert scale(np.array([0.0, *10.0 ** np.arange(-6, -1.5, 0.5)])) == (
        "symlog",
        {"linthresh": 1e-6},
    )


@pytest.mark.parametrize(
    "values",
    [
        [0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
        [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0],
        [0.0, *10.0 ** np.arange(-6, -1.5, 0.5)],
        [1e-4, 1e-3],
    ],
)
@pytest.mark.parametrize("which", ["x", "y"])
def test_ticks_are_at_tried_values_and_labels_do_not_overlap(values, which):
    drawn = figure(4.6, 3.4, "")
    axes = drawn.subplots()
    set_scale(axes, which, np.resize(values, 100))
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    {"x": axes.set_xlim, "y": axes.set_ylim}[which](hyperparameters.limits(axis, np.array(values)))
    np.testing.assert_allclose(axis.get_ticklocs(), values)
    drawn.canvas.draw()
    labels = [label for label in axis.get_ticklabels() if label.get_text()]
    assert {float(label.get_text()) for label in labels} <= {float(f"{v:g}") for v in values}
    assert len(labels) >= min(len(values), 4)
    boxes = [label.get_window_extent() for label in labels]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_figure_18_shows_the_whole_search_and_no_negative_decay(table):
    decays = np.resize([0.0, 1e-4, 1e-3, 1e-2], len(table))
    axis = mixtures.draw_region(view_of(table.assign(**{DECAY: decays}))).axes[0]
    low, high = axis.get_ylim()
    assert -1e-4 / 3 < low < 0
    assert high > 1.1e-2
    y = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.lines])
    assert (y >= 0).all()
    assert (y < high).all()
    assert all(tick >= 0 or tick < low for tick in axis.get_yticks())


def test_more_methods_than_colours_are_distinguishable(tmp_path):
    runs = [
        Run(f"m{n}", "PCGrad", weight=0.05 + 0.09 * n, rate=r) for n in range(11) for r in (0.1, 1)
    ]
    runs += [run for run in grid() if run.method == "static_weights"]
    view = view_of(analysis.load(write_study(tmp_path / "study", runs)))
    axis, *_ = fronts.draw(view, [("loss", "test")]).axes
    small = [line for line in axis.lines if line.get_markersize() == 3 and len(line.get_xdata())]
    large = [n for n in axis.lines if n.get_marker() != "None" and n.get_markersize() > 3]
    assert {line.get_color() for line in small} == {style.DOMINATED_COLOR}
    looks = {(line.get_color(), line.get_marker()) for line in large}
    assert len(large) == 12
    assert len(looks) == 12


def test_mixtures_use_recorded_task_weights(table):
    """The recorded weights count: with sampling they are not a parameter of the combiner."""
    other = table.drop(columns="combiners.StaticWeights.weights").assign(combiner="Sampling")
    found = mixtures.mixtures(view_of(other))
    assert list(found) == list(mixtures.mixtures(view_of(table)))
    assert len(found) > 2


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A study of two stages, with its verdicts."""
    runs = two_stages()
    view = view_of(analysis.load(write_study(tmp_path_factory.mktemp("staged") / "study", runs)))
    return view, analysis.comparisons(view)


def drawn_at(axis, marker):
    lines = [
        line for line in axis.lines if line.get_marker() == marker and line.get_markersize() > 3
    ]
    return np.concatenate([line.get_xydata() for line in lines])


@pytest.mark.parametrize("space", ["loss", "accuracy"])
def test_every_measured_model_is_drawn_once_with_a_labelled_static_front(staged, space):
    view, questions = staged
    axis = fronts.draw(view, [(space, "test")], questions).axes[0]
    measured = next(q.measured for q in questions if q.space == space)
    sign = view.spaces[space][0].sign
    for method, models in measured.models.items():
        marker = style.style_of(method, view.methods)["marker"]
        points = sign * models.values.mean(1)
        np.testing.assert_allclose(np.sort(drawn_at(axis, marker), 0), np.sort(points, 0))
    (front,) = (line for line in axis.lines if line.get_linestyle() == "--")
    away = np.abs(
        front.get_xydata()[:, None] - sign * measured.models["static weights"].values.mean(1)
    )
    assert away.max(2).min(0).max() < 1e-3
    assert {text.get_text() for text in axis.texts} == {f"{n / 10:g}" for n in range(1, 10)}


def test_error_bars_exclude_seed_effects_common_to_all_models(staged):
    view, questions = staged
    measured = questions[0].measured
    common = measured.models["static weights"].values.mean(0)
    for method, own in measured_models.shown(view, "loss", "test", questions).items():
        for model, errors in zip(measured.models[method].values, own.errors, strict=True):
            for task, error in enumerate(errors):
                low, high = stats.ttest_1samp(
                    model[:, task] - common[:, task], 0
                ).confidence_interval()
                assert error == pytest.approx((high - low) / 2)


@pytest.mark.parametrize(
    ("weights", "number"), [((0.48, 0.5, 0.52), 2), ((0.3, 0.32, 0.9), 2), ((0.1, 0.5, 0.9), 1)]
)
def test_inset_enlarges_a_cluster_of_methods(tmp_path, weights, number):
    places = dict(zip(("pcgrad", "mgda", "gradnorm"), weights, strict=True))
    runs = two_stages()
    runs = [dataclasses.replace(r, weight=places.get(r.method, r.weight), gain=0) for r in runs]
    view = view_of(analysis.load(write_study(tmp_path / "study", runs, noise=0.003)))
    first, *others = fronts.draw(view, [("loss", "test")], analysis.comparisons(view)).axes
    assert len(others) == number - 1
    for axis in others:
        low, high = np.array([axis.get_xlim(), axis.get_ylim()]).T
        assert high[0] - low[0] < 0.4 * np.ptp(first.get_xlim())
        markers = [style.style_of(method, view.methods)["marker"] for method in view.methods]
        points = np.concatenate([drawn_at(first, marker) for marker in markers])
        assert ((low < points) & (points < high)).all(1).sum() == (weights[2] < 0.9) + 2


def test_figure_12_is_drawn_only_if_figure_2_omits_models(staged):
    view, questions = staged
    axis = fronts.draw_everything(view, [("loss", "test")], questions).axes[0]
    x = x_of(axis)
    assert (x >= axis.get_xlim()[0]).all()
    assert (x <= axis.get_xlim()[1]).all()
    few = dataclasses.replace(view, found=view.found[view.found[RATE] == 0.1])
    with pytest.raises(UnavailableError):
        fronts.draw_everything(few, [("loss", "test")])


def test_figure_3_shows_one_learning_rate_with_limits_0_and_1(table):
    for axis in task_weights.draw(view_of(table)).axes:
        assert axis.get_title().endswith("\nlearning rate 0.1")
        assert axis.get_ylim() == (0, 1)


def test_figure_3_shows_quantiles_of_single_steps(tmp_path):
    study = write_study(tmp_path / "study", grid(rates=(0.1,)))
    table = analysis.load(study)
    ends = {"weight_low": 0.2, "weight_high": 0.7}
    for path in table.loc[table["method"] == "mgda", "path"]:
        lines = [
            {"step": step, "split": "train", "task": "left", "name": name, "value": value}
            for name, value in ends.items()
            for step in range(100, 700, 100)
        ]
        with (Path(path) / "metrics.jsonl").open("a") as log:
            log.writelines(json.dumps(line) + "\n" for line in lines)
    axes = {
        axis.get_title().split("\n")[0]: axis for axis in task_weights.draw(view_of(table)).axes
    }
    for method, axis in axes.items():
        heights = [set(band.get_paths()[0].vertices[:, 1]) for band in axis.collections]
        assert heights == ([{0.2, 0.7}] if method == "mgda" else [])
    own = task_weights.table(view_of(table)).set_index("method").loc["mgda"]
    assert (own["left, 5 %"] == 0.2).all()
    assert (own["left, 95 %"] == 0.7).all()


def test_the_table_of_figure_3_has_the_shares_that_are_drawn(tmp_path):
    """The weights of PCGrad and others do not sum to one."""
    table = analysis.load(write_study(tmp_path / "study", grid(rates=(0.1,))))
    for path in table.loc[table["method"] == "mgda", "path"]:
        log = Path(path) / "metrics.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        for line in lines:
            line["value"] *= 7 if line["name"] == "weight" else 1
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    view = view_of(table)
    own = task_weights.table(view).set_index("method")
    for axis in task_weights.draw(view).axes:
        method = axis.get_title().split("\n")[0]
        drawn = [line.get_ydata() for line in axis.lines[: len(view.tasks)]]
        np.testing.assert_allclose(drawn, own.loc[method, view.tasks].to_numpy().T)


def test_three_tasks_have_a_panel_for_each_pair_and_parallel_coordinates(tmp_path, staged):
    runs = [dataclasses.replace(run, tasks=("a", "b", "c")) for run in two_stages()]
    view = view_of(analysis.load(write_study(tmp_path / "study", runs)))
    questions = analysis.comparisons(view)
    assert len(fronts.draw(view, [("loss", "test")], questions).axes) == 3
    (axis,) = parallel_coordinates.draw(view, questions).axes
    heights = np.array([line.get_ydata() for line in axis.lines])
    assert len(heights) == 9 + 3
    np.testing.assert_allclose(heights.max(0), 1)
    np.testing.assert_allclose(heights.min(0), 0, atol=1e-12)
    with pytest.raises(UnavailableError):
        parallel_coordinates.draw(*staged)


def test_styles_are_unique_per_method_and_independent_of_user_settings():
    methods = [f"m{n}" for n in range(30)]
    looks = {str(sorted(style.line_of(name, methods).items())) for name in methods}
    assert len(looks) == len(methods)
    with mpl.rc_context({"lines.linewidth": 9.0}), style.styled():
        assert mpl.rcParams["lines.linewidth"] == 1.6


def test_axes_are_logarithmic_if_one_model_is_far_worse(tmp_path, staged):
    runs = two_stages()
    far = [dataclasses.replace(r, gain=-1000.0) if r.method == "mgda" else r for r in runs]
    view = view_of(analysis.load(write_study(tmp_path / "study", far)))
    for (one, questions), kind in (
        ((view, analysis.comparisons(view)), "log"),
        (staged, "linear"),
    ):
        axis, *others = fronts.draw(one, [("loss", "test")], questions).axes
        assert {each.get_xscale() for each in (axis, *others)} == {kind}
        (front,) = (line for line in axis.lines if line.get_linestyle() == "--")
        # Between two weightings the front is a straight line in the losses, also on logarithmic
        # axes.
        turns = np.diff(front.get_ydata()) / np.diff(front.get_xdata())
        assert len({f"{turn:.6f}" for turn in turns}) < len(turns) / 5
        assert min(*axis.get_xlim(), *axis.get_ylim()) > 0


def test_limits_ignore_non_finite_values():
    from mtk.analysis.figures import fronts

    points = np.array([[1.0, 2.0], [np.nan, 3.0], [2.0, 4.0], [np.inf, 1.0]])
    np.testing.assert_array_equal(fronts._limits(points), fronts._limits(points[[0, 2]]))
    assert np.isfinite(fronts._limits(points[1:2])).all()


@pytest.mark.parametrize("columns", [1, 2])
def test_long_names_do_not_overlap(tmp_path, columns):
    """All titles are within the figure and do not overlap."""
    runs = two_stages()
    for run in runs:
        run.method += ", at='representation'" if run.method == "mgda" else ""
    view = view_of(analysis.load(write_study(tmp_path / "study", runs)))
    questions = [
        dataclasses.replace(question, space="binary_io_u × categorical_accuracy × mae")
        for question in analysis.comparisons(view)
    ]
    drawn = forest.draw(view, questions, columns)
    drawn.canvas.draw()
    boxes = [axis.title.get_window_extent() for axis in drawn.axes]
    boxes += [axis.xaxis.label.get_window_extent() for axis in drawn.axes if axis.get_xlabel()]
    whole = drawn.bbox.padded(1)
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 for box in boxes)
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_long_tick_labels_do_not_overlap(table):
    """Labels such as `0.7625` can be wider than the distance between ticks."""
    moved = table.copy()
    columns = [name for name in moved if name.endswith("left/accuracy")]
    moved[columns] = 0.76 + 0.02 * moved[columns]
    drawn = fronts.draw(view_of(moved), [("accuracy", "test"), ("accuracy", "validation")])
    drawn.draw_without_rendering()
    for axis in drawn.axes:
        low, high = axis.get_xlim()
        ticks = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
        boxes = [label.get_window_extent() for at, label in ticks if low <= at <= high]
        assert len(boxes) > 2
        assert all(first.x1 < second.x0 for first, second in itertools.pairwise(boxes))
