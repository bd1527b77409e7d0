"""What figures must show: every selected model, every setting at its place, all methods apart."""

import re

import numpy as np
import pytest

from mtk import analysis
from mtk.analysis.figures import averages, fronts, mixtures, seeds_and_grids, sensitivity
from mtk.analysis.figures.knobs import scale
from mtk.analysis.metric_sets import UnavailableError
from tests.analysis.synthetic import Run, grid, write_study

RATE, DECAY = "experiment.run.learning_rate", "experiment.run.weight_decay"


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
def test_figure_10_shows_the_selected_models_of_both_splits_and_counts_the_rest(table, split, far):
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


def test_figure_10_without_any_value_in_validation_is_unavailable(table):
    columns = [name for name in table if name.startswith("validation/")]
    view = view_of(table.assign(**dict.fromkeys(columns, np.nan)))
    with pytest.raises(UnavailableError):
        averages.draw(view)


@pytest.mark.parametrize(
    "settings",
    [(0.001, 0.002, 0.005), (0.1, 0.3), (1e-3, 2e-3, 9e-3, 1.0), (0.0, 1e-4, 1e-2), (0.0, 0.5)],
)
def test_settings_are_drawn_next_to_their_value_and_within_the_limits(table, settings):
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
def test_learning_rates_that_are_schedules_are_left_out_and_counted(table, every):
    schedule = (table["method"] == "mgda") | every
    moved = table.assign(**{RATE: table[RATE].astype(object).mask(schedule, "schedules.Cosine")})
    view = view_of(moved)
    axes = sensitivity.draw(view).axes
    remarks = [axis.get_xlabel() for axis in axes if "learning rate" in axis.get_xlabel()]
    assert remarks == (
        [] if every else ["learning rate\n(6 configurations without a number are left out)"] * 2
    )
    for draw in (averages.draw_by_rate, mixtures.draw_region, seeds_and_grids.draw):
        if every or draw is seeds_and_grids.draw:
            with pytest.raises(UnavailableError):
                draw(view)
        else:
            assert draw(view).axes


def test_scales_of_knobs():
    assert scale(np.array([0.001, 0.005])) == ("linear", {})
    assert scale(np.array([0.001, 0.1])) == ("log", {})
    assert scale(np.array([0.0, 0.001, 0.1])) == ("symlog", {"linthresh": 0.001})
    assert scale(np.array([-1.0, 0.001, 0.1])) == ("linear", {})
    assert scale(np.array([0.0, 0.0])) == ("linear", {})


def test_figure_18_shows_all_that_was_searched_and_no_negative_decay(table):
    decays = np.resize([0.0, 1e-4, 1e-3, 1e-2], len(table))
    axis = mixtures.draw_region(view_of(table.assign(**{DECAY: decays}))).axes[0]
    low, high = axis.get_ylim()
    assert -1e-4 / 3 < low < 0
    assert high > 1.1e-2
    y = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.lines])
    assert (y >= 0).all()
    assert (y < high).all()
    assert all(tick >= 0 or tick < low for tick in axis.get_yticks())


def test_more_methods_than_colours_are_told_apart_even_when_dominated(tmp_path):
    runs = [
        Run(f"m{n}", "PCGrad", weight=0.05 + 0.09 * n, rate=r) for n in range(11) for r in (0.1, 1)
    ]
    runs += [run for run in grid() if run.method == "static_weights"]
    view = view_of(analysis.load(write_study(tmp_path / "study", runs)))
    (axis,) = fronts.draw(view, [("loss", "test")], everything=True).axes
    small = [line for line in axis.lines if line.get_markersize() == 3 and len(line.get_xdata())]
    looks = {(line.get_color(), line.get_marker()) for line in small}
    assert len(small) == 12
    assert len(looks) == 12


def test_mixtures_are_those_that_the_runs_recorded(table):
    """Whatever decides the weights: of sampling, no parameter of a combiner tells them."""
    other = table.drop(columns="combiners.StaticWeights.weights").assign(combiner="Sampling")
    found = mixtures.mixtures(view_of(other))
    assert list(found) == list(mixtures.mixtures(view_of(table)))
    assert len(found) > 2
