"""Which trials go on from a rung: successive halving, with each trial judged as it comes."""

import math
from collections.abc import Sequence

from mtk.search.goals import Goal
from mtk.search.samplers.base import Trial, seen
from mtk.search.space import Space


class Halving:
    """Compares the trials that have reached a rung.

    A trial goes on if it is among the best of all that have reached the rung before it or with it.
    So what has been decided never changes, and follows from the trials in their order.

    Args:
        goal: What is looked for; it says which trials are better.
        space: What is varied.
        keep: Share of the trials that goes on, at least one.

    Reference:
        Jamieson & Talwalkar, *Non-stochastic best arm identification* (2016); judged as trials
        come as in Li et al., *A system for massively parallel hyperparameter tuning* (2020); over
        non-dominated ranks as in Schmucker et al., *Multi-objective asynchronous successive
        halving* (2021). Different from the latter two, no trial goes on later than it came.
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
        finished = [number for number, trial in enumerate(trials) if trial.losses is not None]
        if not finished:
            return set()
        ranked = self.goal.ranked(seen(self.space, [trials[number] for number in finished]))
        order = [finished[place] for place in ranked]
        alone = {n for n, t in enumerate(trials) if self.space.weights_of(t.point).max() == 1.0}
        others = [number for number in order if number not in alone]
        most = math.ceil(round(self.keep * (len(trials) - len(alone)), 9))
        return {*others[:most], *(alone & {*order})}
