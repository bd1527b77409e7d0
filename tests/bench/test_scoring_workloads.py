"""Scores of a sealed test equal the metrics of an open one, for every form of data."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from benches import make_card

import mtk
from mtk import predictions, workloads
from mtk.bench.scoring import Scorer
from mtk.errors import StudyError
from mtk.experiment import results, sealed
from mtk.predictions import Collector
from tests.quick import some

sys.path.insert(0, str(Path(__file__).parents[1] / "translation"))


def with_missing_labels():
    """Shared examples with masks; 50 test rows, so that the last batch is smaller."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(250, 6)).astype("f4")
    y = {"a": x[:, 0] * 2, "b": (x[:, 1] > 0).astype("f4")}
    mask = {"a": (generator.random(250) < 0.7).astype("f4")}

    def network():
        inputs = keras.Input((6,))
        hidden = keras.layers.Dense(4, "tanh")(inputs)
        outputs = {
            "a": keras.layers.Dense(1)(hidden),
            "b": keras.layers.Dense(1, "sigmoid")(hidden),
        }
        return keras.Model(inputs, outputs)

    tasks = [mtk.Task("a", "mse", ["mae"]), mtk.Task("b", "binary_crossentropy", ["AUC"])]
    parts = [(x[s], {n: v[s] for n, v in y.items()}, {"a": mask["a"][s]})
             for s in (slice(150), slice(150, 200), slice(200, 250))]  # fmt: skip
    return workloads.Arrays(network, tasks, *parts)


def streets():
    return workloads.StreetWorld(
        num_train=4, num_validation=2, num_test=3, size=(32, 64), widths=(4, 4, 4, 4), head_width=4
    )


def translation():
    """Separate examples per task, in batches of several lengths."""
    from toy import toy_corpus

    small = {"num_layers": 1, "width": 8, "feed_forward_width": 8, "num_heads": 2}
    return workloads.Translation(toy_corpus, **small)


CASES = {
    "masks": (with_missing_labels, {"a": ("mae", "min"), "b": ("AUC", "max")}),
    "pixels": (streets, {"segmentation": "pixel_accuracy", "depth": "absolute_error"}),
    "own inputs": (translation, {"fr": "error", "de": "cross_entropy"}),
}


def predicted(model, data, most=predictions.MOST_VALUES):
    found = Collector(most)
    for each in data.test(predictions.BATCH):
        found.add({n: np.asarray(v) for n, v in sealed.predict(model, each).items()})
    return found.predictions


@pytest.fixture(params=some(CASES, ["masks"]))
def case(request):
    make, metrics = CASES[request.param]
    keras.utils.set_random_seed(0)
    data = make()
    model = mtk.MultiTaskModel(data.network(0), data.tasks)
    model.compile()
    return data, model, make_card(metrics=metrics)


def test_scores_equal_the_metrics_of_an_open_test(case):
    data, model, card = case
    logs = model.evaluate(data.test(predictions.BATCH), verbose=0, return_dict=True)
    test = results.by_task(logs, model.task_names, "test")["tasks"]
    values, examples = Scorer(card, data)._of_run("a", predicted(model, data))
    expected = [test[task][card.metric(task)[0]] for task in card.tasks]
    np.testing.assert_allclose(np.abs(values), np.abs(expected), rtol=1e-4)
    if examples is not None:
        np.testing.assert_allclose(examples.mean(0), 0, atol=1e-6)
    # AUC is not a mean over examples, so there are no values per group of examples.
    assert (examples is None) == ("AUC" in str(card.metrics))


def test_subsampled_predictions_are_scored_on_every_nth_batch():
    data = with_missing_labels()
    model = mtk.MultiTaskModel(data.network(0), data.tasks)
    card = make_card(metrics={"a": ("mae", "min"), "b": ("loss", "min")})
    found = predicted(model, data, most=64)
    assert found.every == 2
    values, _ = Scorer(card, data)._of_run("a", found)
    first = next(iter(data.test(predictions.BATCH)))
    outputs = model.network(first[0])
    errors = np.abs(outputs["a"][:, 0] - first[1]["a"])
    mask = first[2]["a"].numpy()
    assert values[0] == pytest.approx((errors * mask).sum() / mask.sum(), rel=1e-4)


@pytest.mark.parametrize(
    ("metrics", "named"),
    [
        ({"a": "mae", "c": "AUC"}, "the tasks are a, b"),
        ({"a": "mse", "b": "AUC"}, "'mse' of 'a' is not measured; available:"),
    ],
)
def test_card_that_does_not_match_the_workload_raises(metrics, named):
    data = with_missing_labels()
    model = mtk.MultiTaskModel(data.network(0), data.tasks)
    with pytest.raises(StudyError, match=named):
        Scorer(make_card(metrics=metrics), data)._of_run("a", predicted(model, data))
