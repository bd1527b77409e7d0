"""Quantiles of task weights over single steps are recorded, also across resumptions."""

import json

import keras
import numpy as np
import pytest

import mtk
from mtk import callbacks
from mtk.callbacks.weight_quantiles import WeightQuantiles
from tests.quick import slow


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("num_tasks", [2, 5])
def test_quantiles_of_shares_are_accurate_to_half_a_percent(scale, num_tasks):
    generator = np.random.default_rng(num_tasks)
    weights = scale * generator.dirichlet(np.ones(num_tasks), 999)
    first, names = WeightQuantiles(), [f"task {n}" for n in range(num_tasks)]
    for step in weights[:500]:
        first.add(step)
    # Checkpoints store the counts as JSON.
    second = WeightQuantiles(json.loads(json.dumps(first.counts.tolist())))
    for step in [*weights[500:], np.full(num_tasks, np.nan), np.zeros(num_tasks)]:
        second.add(step)
    found = second.named(names)
    for name, shares in zip(names, weights.T / scale, strict=True):
        low, high = np.quantile(shares, [0.05, 0.95])
        assert found[f"{name}_weight_low"] == pytest.approx(low, abs=0.006)
        assert found[f"{name}_weight_high"] == pytest.approx(high, abs=0.006)


def test_no_counts_give_no_quantiles():
    assert WeightQuantiles().named(["a"]) == {}


@pytest.mark.parametrize("combiner", [mtk.combiners.RLW(), slow(mtk.combiners.StaticWeights())])
def test_quantiles_are_logged_for_random_and_not_for_static_weights(tmp_path, combiner):
    inputs = keras.Input((3,))
    heads = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")}
    model = mtk.MultiTaskModel(keras.Model(inputs, heads), combiner=combiner)
    model.compile("sgd", loss={"a": "mse", "b": "mse"})
    x = np.random.default_rng(0).normal(size=(420, 3))
    log = callbacks.MetricsLog(tmp_path / "metrics.jsonl")
    model.fit(x, dict.fromkeys("ab", x[:, :1]), batch_size=2, epochs=2, callbacks=[log], verbose=0)
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    of_a = {(x["step"], x["name"]): x["value"] for x in lines if x["task"] == "a"}
    names = {name for _, name in of_a}
    if combiner.is_static:
        assert not {"weight_low", "weight_high"} & names
        return
    for step in (210, 420):
        low, mean, high = (of_a[step, n] for n in ("weight_low", "weight", "weight_high"))
        assert low < 0.4 < mean < 0.6 < high
