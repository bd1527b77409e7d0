import keras
import pytest
import tensorflow as tf
from application_runs import start

import mtk
from mtk import config
from mtk.workloads.multi_digits import MultiDigits


@pytest.fixture(scope="session")
def tiny():
    """A factory of the smallest Multi-digits: 1,079 training pairs, a few hundred weights."""
    return lambda: MultiDigits(partners=1, channels=(4, 4), units=8)


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory):
    """The folder and the result of a short run; tests must not modify it."""
    config.parse()  # Clears the configuration of other tests.
    folder = tmp_path_factory.mktemp("runs") / "deep" / "run"
    return folder, start(tiny, folder)


@pytest.fixture
def batches():
    """Real digits in batches of 20, for a model of two tasks: parity and size of a digit."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images[:200].astype("float32") / 16
    tasks = {"odd": labels[:200] % 2, "large": labels[:200] // 5}
    return tf.data.Dataset.from_tensor_slices((images, tasks)).batch(20)


@pytest.fixture
def model():
    """A compiled two-task model for `batches`."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64,))
    shared = keras.layers.Dense(8, "tanh")(inputs)
    outputs = {name: keras.layers.Dense(2)(shared) for name in ("odd", "large")}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    tasks = [mtk.Task(name, loss, ["accuracy"]) for name in outputs]
    made = mtk.MultiTaskModel(keras.Model(inputs, outputs), tasks)
    made.compile(keras.optimizers.SGD(0.1))
    return made


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a config file; the configuration is cleared afterwards."""

    def write_file(text, name="base.gin"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    yield write_file
    config.parse()
