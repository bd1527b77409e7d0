"""Successive halving: selects the trials that continue after a rung, as the trials arrive."""

from collections.abc import Sequence

import numpy as np

from mtk.search.goals import Goal
from mtk.search.samplers.base import Trial, seen
from mtk.search.space import Space


class Halving:
    """Compares the trials that have reached a rung.

    A trial continues if its rank begins within the best share of all trials that have reached the
    rung before it or with it: equally good trials continue together, or stop together. So decisions
    never change, and follow from the order of the trials.

    Args:
        goal: The goal, which ranks the trials. Trials of a front have the same rank if none is
            clearly worse; see `mtk.search.goals.Front.ranks`.
        space: The search space.
        keep: Share of the trials that continues, at least one.

    Reference:
        Jamieson & Talwalkar, *Non-stochastic best arm identification* (2016); judged as trials
        come as in Li et al., *A system for massively parallel hyperparameter tuning* (2020); over
        non-dominated ranks as in Schmucker et al., *Multi-objective asynchronous successive
        halving* (2021). Unlike in the latter two, no trial is continued after it was stopped, and
        no rank is divided.
    """

    def __init__(self, goal: Goal, space: Space, keep: float):
        self.goal, self.space, self.keep = goal, space, keep
        self._reached: dict[int, list[Trial]] = {}

    def go_on(self, rung: int, trials: Sequence[Trial]) -> list[int]:
        """Returns the positions of the trials that continue after a rung.

        Single-task trials, which a goal needs as references, always continue and do not compete.

        Args:
            rung: Number of the rung, from 0.
            trials: Trials that arrive together, with their losses, in the order of the search.
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
        ahead = np.searchsorted(others, ranks)  # Number of trials of better rank.
        most = round(self.keep * float((~alone).sum()), 9)
        return {int(number) for number in finished[(ahead < most) | alone[finished]]}
