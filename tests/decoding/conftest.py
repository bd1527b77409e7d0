import numpy as np
import pytest

from mtk import export
from mtk.data.translation.cldr import cldr_corpus
from mtk.decoding import Decoding, served
from mtk.models import Transformer

DECODING = Decoding(max_source=20, max_length=12, beam=3, length_penalty=1.0)


@pytest.fixture(scope="session")
def corpus():
    return cldr_corpus(("fr", "zh"), 600, 40, 40, vocabulary_size=900)


@pytest.fixture(scope="session")
def network(corpus):
    """A small network with random weights, large enough for varied translations."""
    network = Transformer(len(corpus.vocabulary), 1, 16, 32, 2, seed=0)
    network.build()
    generator = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if "norm" not in variable.path:
            variable.assign(generator.normal(scale=0.3, size=variable.shape))
    return network


@pytest.fixture(scope="session")
def saved_models(network, corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    for name, module in served(network, DECODING, corpus.vocabulary).items():
        export.export_module(module, folder / name)
    return folder


@pytest.fixture(scope="session")
def exported(saved_models):
    return {name: export.load(saved_models / name) for name in ("ids", "text")}


@pytest.fixture(scope="session")
def texts(corpus):
    return [*corpus.texts("test", "fr").sources, "", " \t ", "中文 and ü 🙂", "a b " * 40]
