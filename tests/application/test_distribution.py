import subprocess
import sys

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


def test_single_is_tensorflows_default():
    assert distribution.single() is tf.distribute.get_strategy()


def test_mirrored_makes_logical_devices_before_tensorflow_starts():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "TensorFlow has started with 2 logical CPU device(s)" in done.stdout


def test_number_of_replicas_is_positive():
    with pytest.raises(ValueError, match="1 or more"):
        distribution.mirrored(0)
