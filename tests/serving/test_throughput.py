import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk.callbacks import Throughput, throughput
from tests.networks import NETWORKS, batch, tasks
from tests.quick import slow

BATCHES = tf.data.Dataset.from_tensors(batch("dense")).repeat(8)


@pytest.fixture
def clock(monkeypatch):
    """A fake clock that tests advance."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(throughput, "time", made)
    return made


class Takes(keras.callbacks.Callback):
    """Advances the clock by 1 s for an execution, 10 s for a validation, 100 s for a tracing."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.known = 0

    def on_train_batch_end(self, batch, logs=None):
        new = self.model.tracings - self.known
        self.known += new
        self.clock.now += 1.0 + 100.0 * new

    def on_test_batch_end(self, batch, logs=None):
        self.clock.now += 10.0


def trained(combiner, callbacks, fits=1, **options):
    model = mtk.MultiTaskModel(NETWORKS["dense"](), tasks(), combiner)
    model.compile(keras.optimizers.SGD(0.01), **options)
    for _ in range(fits):
        model.fit(BATCHES, validation_data=BATCHES.take(1), callbacks=callbacks, verbose=0)
    return model


@pytest.mark.parametrize(
    ("fits", "options", "steps_each"),
    [slow((1, {}, 1)), slow((2, {}, 1)), (1, {"steps_per_execution": 4}, 4)],
)
def test_report_by_phase(clock, fits, options, steps_each):
    found = Throughput(batch_size=12)
    trained(mtk.combiners.StaticWeights(), [Takes(clock), found], fits, **options)
    # An execution takes a second, and the traced one 101.
    executions = fits * 8 // steps_each
    report = found.report(checkpoints=0.5)
    assert report["steps"] == fits * 8
    assert report["seconds"] == {
        "total": executions + 100.0 + fits * 10.0,
        "training": executions - 1.5,
        "tracing": 101.0,
        "evaluation": fits * 10.0,
        "checkpoints": 0.5,
    }
    speed = (fits * 8 - steps_each) / (executions - 1.5)
    assert report["steps_per_second"] == pytest.approx(speed, abs=1e-3)
    assert report["examples_per_second"] == pytest.approx(12 * speed, abs=0.1)


@pytest.mark.slow
def test_tracing_of_diagnostic_steps_is_counted(clock):
    found = Throughput(batch_size=12)
    model = mtk.MultiTaskModel(NETWORKS["dense"](), tasks(), mtk.combiners.RLW())
    model.compile(keras.optimizers.SGD(0.01))
    model.gradient_schedule.diagnostics_every = (
        4  # Two of eight steps measure gradients, in a separate graph.
    )
    model.fit(BATCHES, callbacks=[Takes(clock), found], verbose=0)
    assert model.tracings == 2
    assert found.report()["seconds"]["tracing"] == 202.0
    assert found.report()["steps_per_second"] == 1.0


def test_report_while_training_and_before_the_second_step(clock):
    found = Throughput(batch_size=12)
    reports = []
    probe = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: reports.append(found.report())
    )
    trained(mtk.combiners.StaticWeights(), [Takes(clock), found, probe])
    assert reports[0]["steps_per_second"] is None
    assert "too few" in throughput.in_words(reports[0])
    assert [report["steps_per_second"] for report in reports[1:]] == [1.0] * 7
    assert throughput.in_words(reports[-1]) == (
        "Speed: 1.0 steps/s, 12 examples/s; other time: tracing 101.0 s"
    )


def test_keras_models_are_measured():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    found = Throughput(batch_size=4)
    model.fit(np.ones((16, 3)), np.ones((16, 1)), batch_size=4, callbacks=[found], verbose=0)
    report = found.report()
    assert report["steps"] == 4
    assert 0 < report["seconds"]["tracing"] < report["seconds"]["total"]
    assert report["steps_per_second"] > 0
