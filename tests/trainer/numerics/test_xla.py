"""Steps compiled by XLA equal steps without XLA, for every combiner."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from tests import networks
from tests.combiners.cases import BY_NAME, CASES


# By default test_step.py and test_own_steps.py compile a step, and combiners/test_contract.py every
# solver.
@pytest.mark.slow
@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_xla_equals_no_xla(name):
    found = []
    for compiled in (False, True):
        keras.utils.set_random_seed(5)
        network = networks.dense()
        model = mtk.MultiTaskModel(network, networks.tasks(), BY_NAME[name].make())
        model.compile(keras.optimizers.SGD(0.05), jit_compile=compiled, on_nonfinite="skip")
        data = tf.data.Dataset.from_tensors(networks.batch("dense")).repeat(3)
        model.fit(data, verbose=0, shuffle=False)
        found.append([v.numpy() for v in (*network.variables, *model.combiner.variables)])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
