"""Searches whose runs are lines of Python."""

import io
from pathlib import Path

import numpy as np
from fake_engine import FakeEngine, finish, pause

from mtk.search import Search
from mtk.search.searching import Searcher
from mtk.study import StudyFolder
from mtk.study.progress import Progress

ROOT = Path(__file__).parents[2]
RATE = "experiment.Optimization.learning_rate"


def losses_at(space, point):
    """A convex front, worse away from a learning rate of 0.1."""
    weights = space.weights_of(point)
    cost = 0.2 * np.log10(point[RATE] / 0.1) ** 2 if RATE in point else 0.0
    return 0.3 + (1 - weights) ** 2 + cost


class Folder:
    """A search in a folder, and an engine whose runs have known losses."""

    def __init__(self, path, space):
        self.path, self.space = path, space
        self.said = io.StringIO()

    def search(self, **changes):
        given = {"name": "small", "configs": ["multi_digits.gin"], "space": self.space, "runs": 7}
        return Search(**{**given, **changes})

    def searcher(self, retry_failed=False, **changes):
        return Searcher(self.search(**changes), self.path, [ROOT / "configs"], retry_failed)

    def entry(self, run):
        """What the list of runs says of a run."""
        listed = StudyFolder(self.path).listed(self.search().study)
        return next(entry for entry in listed if entry["hash"] == run)

    def point(self, run):
        """The point of a run."""
        return self.entry(run)["bindings"]

    def outcome(self, folder, run, number):
        """Pauses or finishes, with losses that fall with the steps."""
        del number
        step = StudyFolder(folder).pause_at(run)
        losses = losses_at(self.space, self.point(run))
        if step is None:
            finish(folder, run, losses=losses)
        else:
            pause(folder, run, step, losses + 10 / step)

    def go(self, engine=None, retry_failed=False, **changes):
        engine = engine or FakeEngine(self.outcome)
        return self.searcher(retry_failed, **changes).go(engine, Progress(self.said))
