import keras
import numpy as np
import pytest

from mtk import schedules

SCHEDULES = [
    schedules.StepDecay(0.1, 187),
    schedules.InverseSqrt(0.5, warmup=100),
    schedules.Cosine(0.1, 10, epochs=3, warmup=5),
    schedules.WarmupStableDecay(0.1, warmup=5, decay_from=10, decay_to=20, shape="linear"),
]


def test_step_decay_decreases_every_thirty_epochs():
    schedule = schedules.StepDecay(0.1, steps_per_epoch=187)
    steps = [0, 30 * 187 - 1, 30 * 187, 60 * 187 - 1, 60 * 187, 99 * 187]
    expected = [0.1, 0.1, 0.085, 0.085, 0.07225, 0.1 * 0.85**3]
    np.testing.assert_allclose([float(schedule(s)) for s in steps], expected, rtol=1e-6)


def test_step_decay_is_exact_after_many_steps():
    schedule = schedules.StepDecay(1.0, steps_per_epoch=1, factor=0.5, every=2**25 + 1)
    assert float(schedule(2**25)) == 1.0
    assert float(schedule(2**25 + 1)) == 0.5


def test_inverse_sqrt_peaks_at_the_end_of_the_warmup():
    schedule = schedules.InverseSqrt(0.5, warmup=40_000)
    rates = np.array([float(schedule(s)) for s in range(39_990, 40_011)])
    assert rates.argmax() == 9  # The 40,000th update comes after 39,999 steps.
    assert rates.max() == pytest.approx(0.0025, rel=1e-6)
    assert float(schedule(0)) == pytest.approx(0.0025 / 40_000, rel=1e-5)
    assert float(schedule(19_999)) == pytest.approx(0.00125, rel=1e-5)
    assert float(schedule(159_999)) == pytest.approx(0.00125, rel=1e-5)


def test_cosine_ends_at_zero_and_stays_there():
    schedule = schedules.Cosine(0.2, 10, epochs=2)
    rates = [float(schedule(s)) for s in (0, 5, 10, 20, 25)]
    np.testing.assert_allclose(rates, [0.2, 0.1 + 0.1 / np.sqrt(2), 0.1, 0, 0], atol=1e-7)


def test_cosine_after_a_warmup():
    schedule, plain = schedules.Cosine(0.2, 10, 2, warmup=4), schedules.Cosine(0.2, 10, 2)
    shares = [float(schedule(s)) / float(plain(s)) for s in (0, 1, 2, 3, 4, 15)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-5)


@pytest.mark.parametrize("shape", ["1-sqrt", "linear"])
def test_warmup_stable_decay(shape):
    """Equal to its trunk up to the cooldown; then it decreases to zero."""
    given = {"warmup": 4, "shape": shape}
    schedule = schedules.WarmupStableDecay(0.2, 1, decay_from=10, decay_to=26, **given)
    trunk = schedules.WarmupStableDecay(0.2, 1, **given)
    rates = [float(schedule(s)) for s in (0, 1, 2, 3, 9, 10)]
    np.testing.assert_allclose(rates, [0.05, 0.1, 0.15, 0.2, 0.2, 0.2], rtol=1e-6)
    assert rates == [float(trunk(s)) for s in (0, 1, 2, 3, 9, 10)]
    assert float(trunk(10**9)) == pytest.approx(0.2)
    down = [float(schedule(s)) for s in (14, 19, 26, 27, 1000)]
    shares = [1 - 1 / 2, 1 - 3 / 4] if shape == "1-sqrt" else [3 / 4, 7 / 16]
    np.testing.assert_allclose(down, [0.2 * shares[0], 0.2 * shares[1], 0, 0, 0], atol=1e-7)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"shape": "cosine"}, "shape"),
        ({"decay_from": 3}, "a first step and a later last step"),
        ({"decay_to": 3}, "a first step and a later last step"),
        ({"decay_from": 0, "decay_to": 0}, "a first step and a later last step"),
        ({"decay_from": 5, "decay_to": 4}, "a first step and a later last step"),
    ],
)
def test_invalid_cooldowns_raise(given, named):
    with pytest.raises(ValueError, match=named):
        schedules.WarmupStableDecay(0.1, **given)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_round_trip_and_use_in_an_optimizer(schedule):
    optimizer = keras.optimizers.SGD(schedule)
    twin = keras.optimizers.SGD.from_config(optimizer.get_config())
    variable = keras.Variable(np.ones(2, "float32"))
    twin.build([variable])
    twin.apply([np.ones(2, "float32")])
    np.testing.assert_allclose(variable.numpy(), 1 - float(schedule(0)), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.StepDecay(0.1, 0),
        lambda: schedules.StepDecay(0.1, 10, every=0),
        lambda: schedules.InverseSqrt(0.1, warmup=0),
        lambda: schedules.WarmupStableDecay(0.1, warmup=0),
        lambda: schedules.Cosine(0.1, 10, epochs=-1),
        lambda: schedules.Cosine(0.1, 10, warmup=0),
    ],
)
def test_lengths_must_be_positive(make):
    with pytest.raises(ValueError, match="above 0"):
        make()
