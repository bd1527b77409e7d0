"""Which trials go on from a rung: successive halving, with each trial judged as it comes."""

from collections.abc import Sequence

import numpy as np

from mtk.search.goals import Goal
from mtk.search.samplers.base import Trial, seen
from mtk.search.space import Space


class Halving:
    """Compares the trials that have reached a rung.

    A trial goes on if its rank begins within the best share of all that have reached the rung
    before it or with it: equally good ones go on together, or stop together. So what has been
    decided never changes, and follows from the trials in their order.

    Args:
        goal: What is looked for; it ranks the trials. Trials of a front have the same rank where
            none is clearly worse; see `mtk.search.goals.Front.ranks`.
        space: What is varied.
        keep: Share of the trials that goes on, at least one.

    Reference:
        Jamieson & Talwalkar, *Non-stochastic best arm identification* (2016); judged as trials
        come as in Li et al., *A system for massively parallel hyperparameter tuning* (2020); over
        non-dominated ranks as in Schmucker et al., *Multi-objective asynchronous successive
        halving* (2021). Different from the latter two, no trial goes on later than it came, and
        no rank is divided.
    """

    def __init__(self, goal: Goal, space: Space, keep: float):
        self.goal, self.space, self.keep = goal, space, keep
        self._reached: dict[int, list[Trial]] = {}

    def go_on(self, rung: int, trials: Sequence[Trial]) -> list[int]:
        """Returns the positions of the trials that go on from a rung.

        Tasks alone, which a goal needs for comparison, always do, and count among no others.

        Args:
            rung: Which rung, from 0.
            trials: Those that come together, with their losses there, in the order of the search.
        """
        known = self._reached.setdefault(rung, [])
        first = len(known)
        known += trials
        best = self._best(known)
        return [position for position in range(len(trials)) if first + position in best]

    def _best(self, trials: Sequence[Trial]) -> set[int]:
        alone = np.array([self.space.weights_of(t.point).max() == 1.0 for t in trials], bool)
        finished = np.array([number for number, t in enumerate(trials) if t.losses is not None])
        if not len(finished):
            return set()
        ranks = self.goal.ranks(seen(self.space, [trials[number] for number in finished]))
        others = np.sort(ranks[~alone[finished]])
        ahead = np.searchsorted(others, ranks)  # How many have a better rank.
        most = round(self.keep * float((~alone).sum()), 9)
        return {int(number) for number in finished[(ahead < most) | alone[finished]]}
