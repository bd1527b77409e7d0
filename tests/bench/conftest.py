import sys
from pathlib import Path

import pytest

from mtk import config

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from benches import Bench, make_card

from mtk.search import searching
from mtk.study import sweeping


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


@pytest.fixture(autouse=True)
def _without_model_building(monkeypatch):
    """Skips building the models before the first run."""
    for module in (searching, sweeping):
        monkeypatch.setattr(module.checking, "check", lambda *given: None)


@pytest.fixture(scope="session")
def workload():
    """The smallest Multi-digits workload, as the card configures it."""
    from mtk.workloads import MultiDigits

    return MultiDigits(partners=1, channels=(4, 4), units=8)


@pytest.fixture
def card():
    return make_card()


@pytest.fixture
def bench(tmp_path, workload, card):
    return Bench(tmp_path, workload, card)


@pytest.fixture(scope="session")
def packed(tmp_path_factory, workload):
    """Submissions of entry 0, of an equal method and of a better one, as folders."""
    place = tmp_path_factory.mktemp("packed")
    made = Bench(place, workload, make_card())
    with pytest.MonkeyPatch.context() as patched:
        for module in (searching, sweeping):
            patched.setattr(module.checking, "check", lambda *given: None)
        found = {name: made.submission(name) for name in ("static_weights", "pcgrad", "mgda")}
    config.parse()
    return found
