"""mIoU, pixel accuracy and relative error against scikit-learn and NumPy."""

import keras
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from mtk import metrics
from mtk.metrics import MeanIoU, PixelAccuracy, RelativeError

CLASSES = 5


def case(seed, classes=CLASSES, number=60):
    """Returns labels, scores and weights in three batches."""
    rng = np.random.default_rng(seed)
    shape = (3, 2, number)
    labels = rng.integers(0, classes, shape)
    scores = rng.normal(size=(*shape, CLASSES)) + 2 * np.eye(CLASSES)[labels]
    return labels, scores.astype("float32"), rng.integers(0, 2, shape)


def measured(metric, labels, scores, weights):
    for batch in zip(labels, scores, weights, strict=True):
        metric.update_state(*batch)
    return float(metric.result())


@pytest.mark.parametrize("seed", range(20))
def test_metrics_equal_those_of_scikit_learn(seed):
    labels, scores, weights = case(seed)
    kept = weights.astype(bool)
    true, found = labels[kept], scores.argmax(-1)[kept]
    score = jaccard_score(true, found, average="macro")
    assert measured(MeanIoU(CLASSES), labels, scores, weights) == pytest.approx(score, rel=1e-5)
    accuracy = (true == found).mean()
    metric = PixelAccuracy(CLASSES)
    assert measured(metric, labels, scores, weights) == pytest.approx(accuracy, rel=1e-5)
    np.testing.assert_array_equal(metric.matrix, confusion_matrix(true, found))
    metric.reset_state()
    assert float(metric.result()) == 0


def test_absent_class_does_not_count_in_miou():
    labels = np.array([[0, 0, 1, 1]])
    scores = np.eye(CLASSES, dtype="float32")[[[0, 1, 1, 1]]]
    metric = MeanIoU(CLASSES)
    metric.update_state(labels, scores)
    assert float(metric.result()) == pytest.approx((1 / 2 + 2 / 3) / 2)
    # Predicted but never true: now it counts with IoU 0.
    metric.update_state(labels, np.eye(CLASSES, dtype="float32")[[[0, 0, 1, 4]]])
    assert float(metric.result()) == pytest.approx((3 / 4 + 3 / 5 + 0) / 3)


def test_miou_is_not_the_mean_over_batches():
    labels, scores, weights = case(1)
    metric = MeanIoU(CLASSES)
    whole = measured(metric, labels, scores, weights)
    parts = []
    for batch in zip(labels, scores, weights, strict=True):
        one = MeanIoU(CLASSES)
        one.update_state(*batch)
        parts.append(float(one.result()))
    assert abs(whole - np.mean(parts)) > 1e-4


def test_metrics_without_labels_are_zero():
    labels, scores, _ = case(2)
    for metric in (MeanIoU(CLASSES), PixelAccuracy(CLASSES)):
        assert measured(metric, labels, scores, np.zeros_like(labels)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_relative_error_is_the_mean_over_labelled_pixels(seed):
    rng = np.random.default_rng(seed)
    true, found = rng.uniform(0.1, 1, (2, 3, 4, 6, 1)).astype("float32")
    weights = rng.integers(0, 2, (3, 4, 6))
    true[weights == 0] = 0
    errors = (np.abs(true - found)[..., 0] / np.where(weights, true[..., 0], 1))[weights > 0]
    metric = RelativeError()
    assert measured(metric, true, found, weights) == pytest.approx(errors.mean(), rel=1e-5)


@pytest.mark.parametrize("metric", [MeanIoU(4), PixelAccuracy(4), RelativeError()])
def test_config_round_trip(metric):
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(restored) is type(metric)
    assert restored.get_config() == metric.get_config()


@pytest.mark.parametrize("batch_size", [1, 3, 7, 20])
@pytest.mark.parametrize(
    "metric",
    [metrics.SparseCategoricalError(), metrics.SparseCrossEntropy(), metrics.RelativeError()],
)
def test_metrics_are_independent_of_the_batch_size(metric, batch_size):
    """Batches of sequences are padded to the longest sequence of the batch."""
    rng = np.random.default_rng(0)
    lengths = np.sort(rng.integers(1, 30, 20))
    scores = [rng.normal(3.0 / length, 1.0, (length, 4)).astype("float32") for length in lengths]
    labels = [rng.integers(0, 4, length) for length in lengths]
    if isinstance(metric, metrics.RelativeError):
        labels = [rng.uniform(1.0, 2.0, s.shape).astype("float32") for s in scores]

    def value(size):
        metric.reset_state()
        for start in range(0, len(lengths), size):
            own = slice(start, start + size)
            longest = max(lengths[own])
            padded = [
                np.stack([np.pad(x, [(0, longest - len(x)), *[(0, 0)] * (x.ndim - 1)]) for x in xs])
                for xs in (labels[own], scores[own])
            ]
            there = np.arange(longest) < lengths[own, None]
            metric.update_state(*padded, sample_weight=there.astype("float32"))
        return float(metric.result())

    metric.reset_state()
    metric.update_state(np.concatenate(labels), np.concatenate(scores))
    expected = float(metric.result())
    assert value(batch_size) == pytest.approx(expected, rel=1e-5)
