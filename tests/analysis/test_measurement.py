"""The second stage as it is compared, and incomplete second stages."""

import numpy as np
import pandas as pd
import pytest

from mtk.analysis import measured
from mtk.analysis.metric_sets import Objective
from mtk.analysis.select import STATIC, best_of_each, select, spread_front

LOSSES = [Objective("left", "loss", 1), Objective("right", "loss", 1)]


def runs(stage="measure", seeds=(1, 2, 3)):
    """Three weightings and two methods with two models each, in one stage."""
    rows = []
    models = [("w", n, {"left": w, "right": 1 - w}) for n, w in enumerate((0.2, 0.5, 0.8))]
    models += [(method, n, None) for method in ("a", "b") for n in (0, 1)]
    for method, number, weights in models:
        for seed in seeds:
            rows.append(
                {
                    "method": method,
                    "configuration": f"{method}{number}",
                    "static": method == "w",
                    "weights": weights,
                    "seed": seed,
                    "stage": stage,
                    "status": "finished",
                    "monitored": 0.1 * number,
                    "validation/left/loss": 0.1 * number,
                    "validation/right/loss": 1 - 0.1 * number,
                    "test/left/loss": number + 0.01 * seed,
                    "test/right/loss": 3 - number + 0.01 * seed,
                }
            )
    return pd.DataFrame(rows)


def test_values_of_every_model_and_seed():
    found = measured(runs(), LOSSES)
    assert found.seeds == [1, 2, 3]
    assert found.remarks == []
    assert {name: own.values.shape for name, own in found.models.items()} == {
        STATIC: (3, 3, 2), "a": (2, 3, 2), "b": (2, 3, 2)
    }  # fmt: skip
    expected = [[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]]
    np.testing.assert_allclose(found.models[STATIC].weights, expected)
    assert found.models["a"].values[1, :, 0].tolist() == pytest.approx([1.01, 1.02, 1.03])


def test_first_stage_is_not_measured():
    first = runs("select", seeds=(0,))
    poisoned = first.assign(**{"test/left/loss": -100.0})
    both = pd.concat([poisoned, runs()])
    found = measured(both, LOSSES)
    assert found.seeds == [1, 2, 3]
    assert min(own.values.min() for own in found.models.values()) >= 0


def test_maximized_metrics_are_negated():
    table = runs().rename(columns=lambda name: name.replace("loss", "accuracy"))
    found = measured(table, [Objective(o.task, "accuracy", -1) for o in LOSSES])
    assert found.models["a"].values[1, 0, 0] == pytest.approx(-1.01)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t[~((t["configuration"] == "a1") & (t["seed"] == 2))], "a: 1 of 2"),
        (lambda t: t.assign(status=t["status"].mask(
            (t["configuration"] == "a1") & (t["seed"] == 2), "diverged")), "diverged at 2"),
        (lambda t: t.assign(**{"test/left/loss": t["test/left/loss"].mask(
            (t["configuration"] == "a1") & (t["seed"] == 2))}), "a: 1 of 2"),
        (lambda t: t.assign(seed=t["seed"].mask(t["configuration"] == "a1", t["seed"] + 9)),
         "a: 1 of 2"),
    ],
    ids=["a seed is missing", "diverged", "NaN in test", "seeds of its own"],
)  # fmt: skip
def test_models_with_missing_seeds_are_left_out_with_a_remark(change, said):
    found = measured(change(runs()), LOSSES)
    assert found.configurations["a"] == ["a0"]
    assert found.configurations["b"] == ["b0", "b1"]
    assert found.seeds == [1, 2, 3]
    assert any(said in remark for remark in found.remarks)


def test_seeds_of_few_models_are_left_out_with_a_remark():
    extra = runs(seeds=(7,))
    found = measured(pd.concat([runs(), extra[extra["method"] == "b"]]), LOSSES)
    assert found.seeds == [1, 2, 3]
    assert any("7" in remark for remark in found.remarks)


def test_method_with_other_seeds_is_not_compared():
    table = runs()
    table["seed"] = table["seed"].mask(table["method"] == "b", table["seed"] + 9)
    found = measured(table, LOSSES)
    assert "b" not in found.models
    assert any(remark.startswith("b: 2 of 2") for remark in found.remarks)


def test_without_a_second_stage_the_first_seed_selects():
    table = runs(stage=None, seeds=(4, 5, 6))
    table["validation/left/loss"] = table["validation/left/loss"].mask(
        (table["configuration"] == "a1"), 9.0
    )
    table["validation/right/loss"] = table["validation/right/loss"].mask(
        (table["configuration"] == "a1"), 9.0
    )
    found = measured(table, LOSSES)
    assert found.seeds == [5, 6]
    assert found.configurations["a"] == ["a0"]
    assert any("no second stage" in remark for remark in found.remarks)


def test_weighting_measured_twice_counts_once():
    """As after a sweep that selected again after failed runs were retried."""
    other = runs()[lambda t: t["configuration"] == "w1"]
    other = other.assign(configuration="w1 slow", monitored=9.0, **{"test/left/loss": -5.0})
    found = measured(pd.concat([runs(), other]), LOSSES)
    assert found.configurations[STATIC] == ["w0", "w1", "w2"]


def test_method_without_a_second_stage_is_reported():
    lost = runs()[lambda t: t["method"] != "b"]
    first = runs("select", seeds=(0,))
    found = measured(pd.concat([first, lost]), LOSSES)
    assert "b" not in found.models
    assert any(remark.startswith("b has no run in the second stage") for remark in found.remarks)


def test_single_seed_is_reported():
    found = measured(runs(stage=None, seeds=(0,)), LOSSES)
    assert found.seeds == [0]
    assert any("the same runs are compared" in remark for remark in found.remarks)


def test_no_finished_run_is_reported():
    found = measured(runs().assign(status="failed", stage=None), LOSSES)
    assert found.models == {}
    assert found.remarks


@pytest.mark.parametrize("weights", [None, {"left": 0.0, "right": 1.0}, {"other": 1.0}])
def test_invalid_weights_disable_the_smooth_front(weights):
    table = runs()
    table.loc[table["configuration"] == "w1", "weights"] = pd.Series(
        [weights] * len(table), table.index
    )
    assert measured(table, LOSSES).models[STATIC].weights is None


def test_each_weighting_is_selected_with_its_best_parameters():
    first = runs(stage="select", seeds=(0,))
    slow = first.assign(
        configuration=first["configuration"] + " slow", monitored=first["monitored"] - 0.5
    )
    both = pd.concat([first, slow]).assign(label=lambda t: t["method"].replace("w", STATIC))
    chosen = select(both, LOSSES)
    static = chosen[chosen["label"] == STATIC]["configuration"]
    assert sorted(static) == ["w0 slow", "w1 slow", "w2 slow"]


def test_best_of_each_group():
    assert best_of_each(["a", "b", "a", "b"], np.array([2.0, 5.0, 1.0, np.nan])) == [1, 2]
    assert best_of_each(["a"], np.array([np.nan])) == []


def test_spread_front_takes_the_best_and_distant_models():
    first = np.linspace(0, 1, 21)
    losses = np.stack([first, (1 - first) ** 2], axis=1)
    dominated = np.array([[2.0, 2.0]])
    every = np.concatenate([losses, dominated])
    chosen = spread_front(every, every.mean(1), 5)
    assert len(chosen) == 5
    assert {0, 20, int(losses.mean(1).argmin())} <= {*chosen}
    assert 21 not in chosen
    # The selecting metric may differ from the losses.
    by_metric = spread_front(every, np.append(losses.mean(1), 0.0), 5)
    assert len(by_metric) == 5
    assert {0, 20, 21} <= {*by_metric}
    assert spread_front(np.full((2, 2), np.nan), np.zeros(2)) == []
