"""Searches with fake runs."""

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
    """A convex front with larger losses away from a learning rate of 0.1."""
    weights = space.weights_of(point)
    cost = 0.2 * np.log10(point[RATE] / 0.1) ** 2 if RATE in point else 0.0
    return 0.3 + (1 - weights) ** 2 + cost


class KilledError(Exception):
    """Simulates that the search process is killed."""


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
        """Returns a run's entry in the list of runs."""
        listed = StudyFolder(self.path).listed(self.search().study)
        return next(entry for entry in listed if entry["hash"] == run)

    def point(self, run):
        """Returns the point of a run."""
        return self.entry(run)["bindings"]

    def outcome(self, folder, run, number):
        """Pauses or finishes a run, with losses that decrease with the steps."""
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
        """Restarts the search until it ends; runs save, die or kill the search at random.

        Checks that no part of a run is done twice. After `most_deaths` consecutive deaths a run
        saves a checkpoint, since with more deaths it would fail.
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
