"""Lists of losses, weights and labels follow Keras' order of outputs: dict keys are sorted."""

from collections import OrderedDict

import keras
import numpy as np
import pytest
from keras import layers

import mtk

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = {task: RNG.normal(size=(12, 1)).astype("float32") for task in "za"}
TWO = {"z": "mse", "a": "mae"}


class Subclassed(keras.Model):
    """Returns a dict whose keys are not sorted."""

    def __init__(self):
        super().__init__()
        self.heads = {task: layers.Dense(1) for task in "za"}

    def call(self, x):
        return {task: head(x) for task, head in self.heads.items()}


def functional(form):
    i = keras.Input((4,))
    return keras.Model(i, form({task: layers.Dense(1, name=task)(i) for task in "za"}))


NETWORKS = {
    "dict": lambda: functional(dict),
    "ordered": lambda: functional(OrderedDict),
    "list": lambda: functional(lambda outputs: list(outputs.values())),
    "subclassed": Subclassed,
}
COMPILED = {
    "losses": {"loss": ["mse", "mae"]},
    "weights": {"loss": TWO, "loss_weights": [1.0, 3.0]},
    "metrics": {"loss": TWO, "metrics": [["mae"], ["mse", "mape"]]},
    "no loss": {"loss": ["mse", None], "loss_weights": [2.0, 3.0]},
}


CASES = [
    (network, compiled)
    for network in NETWORKS
    for compiled, given in COMPILED.items()
    if network != "ordered" or given["loss"] is not TWO  # Which Keras refuses.
]


def evaluated(wrap, network, compiled, **options):
    keras.utils.set_random_seed(0)
    model = wrap(NETWORKS[network]())
    model.compile("sgd", **compiled, **options)
    labels = list(Y.values()) if network == "list" else Y
    if network == "ordered":
        labels = OrderedDict(Y)
    return model, model.evaluate(X, labels, verbose=0, return_dict=True)


@pytest.mark.parametrize(("network", "compiled"), CASES)
def test_lists_of_compile_arguments_follow_the_order_of_keras(network, compiled):
    # Eagerly, because a step takes Keras less time than tracing one.
    _, expected = evaluated(lambda plain: plain, network, COMPILED[compiled], run_eagerly=True)
    _, found = evaluated(mtk.MultiTaskModel, network, COMPILED[compiled])
    assert found == pytest.approx(expected, rel=1e-5)


def test_lists_of_labels_follow_the_order_of_keras():
    plain, _ = evaluated(lambda network: network, "dict", {"loss": TWO}, run_eagerly=True)
    model, _ = evaluated(mtk.MultiTaskModel, "dict", {"loss": TWO})
    labels = [Y["a"], Y["z"]]
    for name in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        options = {"verbose": 0} if name in ("fit", "evaluate") else {}
        expected = getattr(plain, name)(X, labels, **options)
        found = getattr(model, name)(X, labels, **options)
        if name == "fit":
            expected, found = expected.history["loss"], found.history["loss"]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_output_names_are_those_of_the_network():
    assert mtk.MultiTaskModel(NETWORKS["list"]()).output_names == ["z", "a"]
    assert not hasattr(mtk.MultiTaskModel(Subclassed()), "output_names")


def test_untrainable_network_stays_unchanged_with_a_warning():
    model = mtk.MultiTaskModel(NETWORKS["dict"]())
    model.trainable = False
    model.compile("sgd", TWO)
    before = model.get_weights()
    with pytest.warns(UserWarning, match="no trainable weights"):
        model.fit(X, Y, verbose=0)
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
