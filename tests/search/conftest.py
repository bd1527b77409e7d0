import sys
from pathlib import Path

import pytest

from mtk import config
from mtk.search import Space

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from searches import RATE, Folder


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


@pytest.fixture
def space():
    return Space(["left", "right"], log_uniform={RATE: (0.01, 1.0)})


@pytest.fixture
def folder(tmp_path, space):
    return Folder(tmp_path / "study", space)
