import numpy as np
import pytest

from mtk.data.translation.cldr import cldr_corpus
from mtk.models import Transformer


@pytest.fixture(scope="session")
def corpus():
    return cldr_corpus(("fr", "zh"), 600, 40, 40, vocabulary_size=900)


@pytest.fixture(scope="session")
def network(corpus):
    """A small network of random weights, large enough that it says different things."""
    network = Transformer(len(corpus.vocabulary), 2, 16, 32, 2, seed=0)
    network.build()
    generator = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if "norm" not in variable.path:
            variable.assign(generator.normal(scale=0.3, size=variable.shape))
    return network
