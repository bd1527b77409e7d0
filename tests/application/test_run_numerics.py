"""Numerics of runs: precision, XLA, micro-batches, skipped steps, determinism."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from application_runs import read_metrics, start

from mtk.workloads.multi_digits import MultiDigits
from tests.quick import some


class WithInfinities(MultiDigits):
    """The smallest Multi-digits, with infinite pixels in some batches."""

    bad: tuple[int, ...] = (3, 6)

    def __init__(self):
        super().__init__(partners=1, channels=(4, 4), units=8)

    def train(self, batch_size, steps, seed, first_step=0):
        def insert_infinities(step, batch):
            is_bad = tf.reduce_any(tf.equal(step, tf.constant(self.bad, tf.int64)))
            x = tf.where(is_bad, np.inf, batch[0])
            return (x, *batch[1:])

        found = super().train(batch_size, steps, seed, first_step)
        return found.enumerate(first_step).map(insert_infinities)


class NearlyAllInfinite(WithInfinities):
    bad = tuple(range(2, 400))


@pytest.mark.slow
def test_non_finite_steps_are_skipped_and_counted(tmp_path, read_events):
    result = start(WithInfinities, tmp_path / "run", on_nonfinite="skip", micro_batches=2)
    assert (result["status"], result["steps"], result["skipped_steps"]) == ("finished", 10, 2)
    assert None not in [line["value"] for line in read_metrics(tmp_path / "run")]
    curve = read_events(tmp_path / "run" / "tensorboard" / "train")["skipped_steps"]
    assert curve == [(2, 0.0), (4, 1.0), (6, 1.0), (8, 2.0), (10, 2.0)]


@pytest.mark.slow
def test_without_skipping_the_same_run_diverges(tmp_path):
    result = start(WithInfinities, tmp_path / "run")
    assert (result["status"], result["steps"], result["skipped_steps"]) == ("diverged", 4, 0)
    assert result["task"] == "left"


@pytest.mark.slow
def test_many_consecutive_skipped_steps_end_as_diverged(tmp_path):
    result = start(
        NearlyAllInfinite, tmp_path / "run", on_nonfinite="skip", steps=300, evaluate_every=150
    )
    assert (result["status"], result["steps"]) == ("diverged", 102)
    assert result["skipped_steps"] >= 100


@pytest.mark.slow
@pytest.mark.parametrize("precision", some(["mixed_bfloat16", "mixed_float16"], ["mixed_float16"]))
def test_precision_applies_only_to_the_run(tiny, tmp_path, precision):
    result = start(tiny, tmp_path / "run", precision=precision, micro_batches=4)
    assert result["status"] == "finished"
    assert keras.config.dtype_policy().name == "float32"
    loaded = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    policies = {layer.dtype_policy.name for layer in loaded.layers}
    assert precision in policies


@pytest.mark.slow
def test_xla_gives_the_same_losses(tmp_path):
    """Without dropout, as XLA draws different masks."""

    def tiny():
        return MultiDigits(partners=1, channels=(4, 4), units=8, dropout=0.0)

    found = [start(tiny, tmp_path / str(jit), jit_compile=jit, steps=4) for jit in (False, True)]
    losses = [result["validation"]["loss"] for result in found]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "float8"}, "`precision` must be one of .*'float8'"),
        ({"on_nonfinite": "ignore"}, "`on_nonfinite` must be one of .*'ignore'"),
        ({"micro_batches": 0}, "micro_batches=0"),
        ({"micro_batches": 3}, "64 examples cannot be split into 3 equal parts"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(tiny, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        start(tiny, tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())
    assert keras.config.dtype_policy().name == "float32"


_TWICE = """
import sys
from pathlib import Path

from application_runs import start
from tensorflow.python.framework.config import is_op_determinism_enabled

from mtk.workloads.multi_digits import MultiDigits

for folder in sys.argv[1:]:
    tiny = lambda: MultiDigits(partners=1, channels=(4, 4), units=8)
    start(tiny, Path(folder), deterministic=True, steps=6)
assert is_op_determinism_enabled()
"""


@pytest.mark.slow
def test_deterministic_runs_are_bitwise_equal(tmp_path):
    """In a subprocess, since deterministic mode cannot be disabled."""
    one, two = tmp_path / "a", tmp_path / "b"
    command = [sys.executable, "-c", _TWICE, str(one), str(two)]
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parents[1])])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (one / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, two)]
    assert results[0] == results[1]
    weights = []
    for folder in (one, two):
        loaded = keras.saving.load_model(folder / "model.keras", compile=False)
        weights.append(loaded.get_weights())
    for first, second in zip(*weights, strict=True):
        np.testing.assert_array_equal(first, second)
