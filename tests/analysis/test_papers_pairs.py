"""The metrics that figures plot against each other, and comparisons of model sizes."""

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest

from mtk import analysis
from mtk.analysis import metric_sets, run_table
from mtk.analysis.figures import sizes
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.reporting import figure_list
from mtk.analysis.study_view import StudyView
from tests.analysis.synthetic import grid, write_study

FIGURES = {
    entry.name: partial(lambda draw, view: draw(view, ()), entry.draw)
    for entry in figure_list.OF_A_STUDY
}


HIGHER = {"miou", "pixel_accuracy"}


def view_of(metrics):
    """A study with the metrics `{task: names}`, each with values of its own."""
    generator = np.random.default_rng(0)
    found = pd.DataFrame({"method": ["static"] * 4 + ["mgda"] * 2})
    found["role"] = ["baseline"] * 4 + ["method"] * 2
    found = found.assign(
        status="finished", comparable=True, seeds=1, study="s", setting="", measured=True
    )
    said = {t: {n: "max" if n in HIGHER else "min" for n in own} for t, own in metrics.items()}
    found["directions"] = [said] * 6
    found["configuration"] = [f"c.x = {n}" for n in range(6)]
    for split in ("validation", "test", "train"):
        for task, names in metrics.items():
            for name in names:
                found[f"{split}/{task}/{name}"] = generator.uniform(size=6)
    return StudyView("made up", found, found, *metric_sets.find_metric_sets(found))


def labels(figure):
    return [(axis.get_xlabel(), axis.get_ylabel()) for axis in figure.axes]


SCENES = {
    "segmentation": ["loss", "miou", "pixel_accuracy"],
    "depth": ["loss", "absolute_error", "relative_error"],
}


@pytest.mark.parametrize(
    ("figure", "first", "second"),
    [("figure 08", "pixel_accuracy", "absolute_error"), ("figure 15", "miou", "absolute_error")],
)
def test_figures_of_scenes_use_the_metrics_of_the_paper(figure, first, second):
    found = labels(FIGURES[figure](view_of(SCENES)))
    assert found[-1] == (
        f"segmentation: {first} (higher is better)",
        f"depth: {second} (lower is better)",
    )


@pytest.mark.parametrize("figure", ["figure 02 04 05", "figure 08", "figure 06 right"])
@pytest.mark.parametrize("recorded", [True, False])
def test_figures_use_the_unsmoothed_loss_if_recorded(figure, recorded):
    names = ["loss", "cross_entropy", "error"] if recorded else ["loss", "error"]
    view = view_of({"fr": names, "zh": names})
    text = str(labels(FIGURES[figure](view)))
    assert ("cross_entropy" in text) == recorded
    assert ("loss" in text) != recorded


def sized(views, counts):
    return [
        dataclasses.replace(view, found=view.found.assign(parameters=count))
        for view, count in zip(views, counts, strict=True)
    ]


def test_figure_7_labels_model_sizes_and_needs_two(tmp_path):
    study = write_study(tmp_path / "study", grid(rates=(0.1,), layers=(3, 6)))
    small, large = analysis.views(analysis.load(study))
    assert list(sizes.by_size([small, large])) == ["3,000 parameters", "6,000 parameters"]
    named = sizes.by_size(sized([small, large], [1234.0, 5678.0]))
    assert list(named) == ["1,234 parameters", "5,678 parameters"]
    assert len(named["1,234 parameters"]) == 9
    assert sizes.by_size(sized([small], [np.nan])) == {}
    drawn = sizes.draw(sized([small, large], [1234.0, 5678.0]))
    assert [text.get_text() for text in drawn.axes[0].get_legend().get_texts()] == list(named)
    for views in ([small, small], sized([small, large], [1234.0, 1234.0]), [small]):
        with pytest.raises(UnavailableError, match="only one model size"):
            sizes.draw(views)


def test_counts_and_costs_are_not_parameters(tmp_path):
    runs = grid(rates=(0.1, 1.0), seeds=(0, 1))
    runs[0].status = "diverged"
    (view,) = analysis.views(analysis.load(write_study(tmp_path / "study", runs)))
    assert set(run_table.varying(view.found)) == {
        "combiners.StaticWeights.weights",
        "experiment.run.combiner",
        "experiment.Optimization.learning_rate",
    }
    chosen = analysis.selected(view, "loss")
    assert len(set(chosen)) == len(chosen.columns)
    assert not {"cost", "comparable", "diverged"} & {*chosen}
