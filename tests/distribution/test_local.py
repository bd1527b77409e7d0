import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from mtk import distribution
from tests.distribution.starting import CONFIGS, end_of, train

SCRIPT = """
import keras, tensorflow as tf
from mtk import distribution
keras.utils.set_random_seed(0)
strategy = distribution.mirrored(2)
assert strategy.num_replicas_in_sync == 2
assert distribution.mirrored(1).num_replicas_in_sync == 1
try:
    distribution.mirrored(3)
except ValueError as error:
    print(error)
try:
    distribution.tpu()
except ValueError as error:
    print(error)
"""
TWO = [
    f"--gin_file={CONFIGS / 'strategies' / 'mirrored.gin'}",
    "--gin.distribution.mirrored.replicas=2",
]


def test_single_is_the_default_strategy():
    assert distribution.single() is tf.distribute.get_strategy()


@pytest.mark.slow
def test_unavailable_devices_are_errors():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "TensorFlow has started with 2 logical CPU devices" in done.stdout
    assert "The TPU 'local' cannot be used from here" in done.stdout


def test_number_of_replicas_is_positive():
    with pytest.raises(ValueError, match="1 or more"):
        distribution.mirrored(0)


@pytest.mark.slow
def test_run_on_two_replicas_equals_the_run_on_one(tmp_path):
    losses = []
    for name, flags in {"one": [], "two": TWO}.items():
        status, _, errors = end_of(train(*flags, f"--run_dir={tmp_path / name}"))
        assert status == 0, errors
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        assert (tmp_path / name / "saved_model" / "saved_model.pb").exists()
        found = [json.loads(line) for line in lines]
        losses.append([line["value"] for line in found if line["name"] == "loss"])
    assert len(losses[0]) > 10
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow
def test_indivisible_batches_are_refused_before_training(tmp_path):
    size = "--gin.experiment.Optimization.batch_size=63"
    status, _, errors = end_of(train(*TWO, size, f"--run_dir={tmp_path / 'run'}"))
    assert status == 2
    assert (
        "each task's sub-batch, must be divisible by the 2 replicas, but there are parts of 63"
        in errors
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_dry_run_describes_the_devices():
    status, out, errors = end_of(train(*TWO, "--dry_run"))
    assert status == 0, errors
    assert "MirroredStrategy: 1 worker, 2 replicas, 32 examples each" in out
    assert "/replica:0/task:0/device:CPU:1" in out
