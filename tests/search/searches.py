"""Searches whose runs are lines of Python."""

import io
import random
from collections import Counter
from pathlib import Path

import numpy as np
from fake_engine import FakeEngine, finish, pause, save

from mtk.search import Search
from mtk.search.runs import SearchRuns
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


class KilledError(Exception):
    """The search ended in the middle of something."""


class Folder:
    """A search in a folder, and an engine whose runs have known losses."""

    def __init__(self, path, space):
        self.path, self.space = path, space
        self.said = io.StringIO()

    def search(self, **changes):
        given = {"name": "small", "configs": ["multi_digits.gin"], "space": self.space, "runs": 7}
        return Search(**{**given, **changes})

    def searcher(self, retry_failed=False, **changes):
        search = self.search(**changes)
        return Searcher(SearchRuns(search, self.path, [ROOT / "configs"], retry_failed))

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

    def go_through_kills(self, seed, most_deaths=300, **changes):
        """Goes on, while runs are saved, die or end the search at random; none is done twice.

        After `most_deaths` in a row a run saves something: with more of them it fails.
        """
        draw, done, deaths = random.Random(seed), set(), Counter()

        def outcome(path, run, number):
            event = draw.choice(["go", "go", "save", "die", "kill"])
            part = run, StudyFolder(path).pause_at(run)
            deaths[run] = deaths[run] + 1 if event == "die" else 0
            event = "save" if deaths[run] > most_deaths else event
            if event == "go":
                assert part not in done
                done.add(part)
                self.outcome(path, run, number)
            elif event == "save":
                save(path, run)
            elif event == "kill":
                raise KilledError

        for _ in range(300):
            try:
                found = self.go(FakeEngine(outcome, slots=draw.randint(1, 4)), True, **changes)
            except KilledError:
                continue
            if found.exit_code == 0:
                return found
        raise AssertionError("It has not ended.")
