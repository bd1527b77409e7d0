"""The sentences of a verdict, and its figure: nothing absurd, whatever the numbers are."""

import numpy as np
import pytest

from mtk import analysis
from mtk.analysis import Lead, Verdict, judge, judging
from mtk.analysis.figures import leads
from tests.analysis.synthetic import grid, write_study
from tests.analysis.test_verdict import FRONT, models

NONE = np.empty((0, 4))


def verdict(amount=0.05, seeds=(0.01, 0.1), held=(0.0,) * 9, average=False):
    return Verdict(Lead(amount, 0, 0, 1), (3, 9), seeds, np.array(held), 0.975, average)


def test_the_whole_sentence():
    assert verdict().words == (
        "Beyond: by 5.0% of the front's width. It exceeds the spread over seeds (97.5% interval: "
        "1.0% to 10.0%). It exceeds the spread over sparse grids of weights: 0 of 9 static "
        "weightings lie as far beyond the others."
    )


@pytest.mark.parametrize("amount", [-3.0, -0.01, -4e-4, -0.0, 0.0, 4e-4, 1e-12, 0.01, 9.0])
@pytest.mark.parametrize("low", [-np.inf, -2.0, -4e-4, -0.0, 4e-4])
@pytest.mark.parametrize("average", [False, True])
def test_no_number_is_infinite_or_a_zero_with_a_sign(amount, low, average):
    words = verdict(amount, (low, 1.389), average=average).words
    assert "inf%" not in words
    assert "-0.0%" not in words
    assert " by 0.0%" not in words
    assert "by -" not in words


def test_an_interval_that_begins_without_a_lead_says_so():
    words = verdict(0.5, (-np.inf, 1.389)).words
    assert "does not exceed the spread over seeds" in words
    assert "(97.5% interval: extending the front only to 138.9%)" in words


def test_a_tie_is_said_as_a_tie():
    for point in ([2, 6], [2, 7]):  # On a model of the front, and as good in one task.
        found = judge(models([point]), FRONT, NONE)
        assert found.conclusion == "not beyond"
        assert "a tie with a static weighting" in found.words
    same = models([[3.0]])
    assert judge(same, same, NONE).words == "Not beyond: a tie with the static weights."
    rounded = models([[0.1 + 0.2]])
    assert not judge(models([[0.3]]), rounded, NONE).is_beyond
    assert "tie" not in judge(models([[3, 7]]), FRONT, NONE).words


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "No static weighting lies inside"),
        (1, "Only 1 static weighting lies inside"),
        (3, "Only 3 static weightings lie inside"),
    ],
)
def test_few_weightings_are_counted_in_plain_english(number, said):
    assert said in verdict(held=(0.0,) * number).words


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words") / "study"
    return analysis.views(analysis.load(write_study(folder, grid(rates=(0.1,)))))[0]


def test_the_table_names_the_unit_of_a_lead(view):
    units = {}
    for question in analysis.questions(view):
        table = judging.verdict_table(view, question)
        units[question.title] = set(table["% of"])
        assert not any("front" in column for column in table)
    assert units["front of loss"] == {"the front's width"}
    assert units["mean loss over tasks"] == {"what static weights reach"}


def test_without_a_method_there_is_no_question(view):
    runs = view.table[view.table["role"] == "baseline"]
    (alone,) = analysis.views(runs)
    assert alone.spaces
    assert analysis.questions(alone) == []


@pytest.mark.parametrize(
    ("amount", "seeds", "held", "arrow"),
    [
        (0.1, (-0.5, 0.3), (0.0,), False),
        (0.1, None, (), False),
        (0.1, (-np.inf, 0.3), (0.0,), True),
        (-3.0, None, (0.0,), True),
        (0.1, (-0.5, 0.3), (-2.0,), True),
    ],
)
def test_the_figure_says_where_it_is_cut(view, amount, seeds, held, arrow):
    drawn = leads.draw(view, {"pcgrad": verdict(amount, seeds, held)}, "front of loss")
    (axis,) = drawn.axes
    assert ("black arrow" in axis.get_xlabel()) == arrow
    assert ("<" in [line.get_marker() for line in axis.lines]) == arrow
