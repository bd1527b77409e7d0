import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mtk import distribution

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
"""

CONFIGS = Path(__file__).parents[2] / "configs"
# Dropout masks differ between replicas, so the runs are equal only without.
SMALL = [
    f"--gin_file={CONFIGS / 'multi_digits.gin'}",
    f"--gin_file={CONFIGS / 'combiners' / 'cagrad.gin'}",
    "--gin.multi_digits.MultiDigits.partners=1",
    "--gin.multi_digits.MultiDigits.channels=(4, 4)",
    "--gin.multi_digits.MultiDigits.dropout=0.0",
    "--gin.experiment.run.epochs=None",
    "--gin.experiment.run.steps=6",
    "--gin.experiment.run.log_every=1",
    "--gin.evaluate_every=3",
]


def test_single_is_tensorflows_default():
    assert distribution.single() is tf.distribute.get_strategy()


def test_mirrored_makes_logical_devices_before_tensorflow_starts():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "TensorFlow has started with 2 logical CPU device(s)" in done.stdout


def test_number_of_replicas_is_positive():
    with pytest.raises(ValueError, match="1 or more"):
        distribution.mirrored(0)


def test_run_on_two_replicas_equals_the_run_on_one(tmp_path):
    losses = []
    for name, flags in {
        "one": [],
        "two": [
            "--gin.experiment.run.strategy=@distribution.mirrored",
            "--gin.distribution.mirrored.replicas=2",
        ],
    }.items():
        command = [sys.executable, "-m", "mtk.train", *SMALL, *flags]
        done = subprocess.run(
            [*command, f"--run_dir={tmp_path / name}"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        assert (tmp_path / name / "saved_model" / "saved_model.pb").exists()
        found = [json.loads(line) for line in lines]
        losses.append([line["value"] for line in found if line["name"] == "loss"])
    assert len(losses[0]) > 10
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
