import pytest
from parallel_text import SETTINGS, make, readers

from mtk.data.translation.preparation import prepare


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def prepared(text, tmp_path_factory):
    """A prepared corpus; tests must not modify it."""
    folder = tmp_path_factory.mktemp("prepared") / "corpus"
    prepare(str(folder), readers(text), **SETTINGS)
    return folder
