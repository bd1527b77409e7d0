"""Parameters at equal weights first, then weights where they gain most."""

from collections.abc import Sequence

import numpy as np

from mtk.search.goals import Goal
from mtk.search.samplers.base import Sampler, Trial, best
from mtk.search.samplers.spread import sobol
from mtk.search.space import Point, Space

# Coordinates of one parameter in the order in which they are tried.
_ONE = (1 / 2, 1 / 6, 5 / 6, 1 / 3, 2 / 3)
_NEAREST = 0.01  # Weights that differ less are not told apart.
_NEAR_END = 0.1  # An end counts as tried where other weights are as near.
# The loss expected in a gap: from its ends' mean (0) to the best of both in each task (1).
_CURVED = 0.25


class TwoStage(Sampler):
    """Finds the other parameters at equal weights, then places weights.

    The weights begin with the ends, where a task has all but the least weight. Then each one halves
    the gap between two neighbours that promises most: by how much the goal's value (of the front:
    the hypervolume) would grow with a trial whose losses lie between theirs. So points come close
    where the losses change much, not where the weights do.

    Args:
        space: What is varied.
        goal: What is looked for; the front by default.
        budget: How many trials there will be, about.
        seed: Of what is drawn.
        tuning: Trials of the first stage; by default two for each parameter and one, but no more
            than a third of the budget.
    """

    def __init__(
        self,
        space: Space,
        goal: Goal | None = None,
        budget: int = 1,
        seed: int = 0,
        tuning: int | None = None,
    ):
        super().__init__(space, goal, budget, seed)
        number = 2 * len(space.others) + 1 if tuning is None else tuning
        if tuning is None:
            number = min(number, max(1, budget // 3))
        self.tuning = number if space.others else 1

    @property
    def is_tuned(self) -> bool:
        """Whether the first stage is over."""
        first = self._first_stage()
        return len(first) >= self.tuning and any(trial.losses for trial in first)

    def best_others(self) -> Point:
        """Returns the parameters beside the weights that are best at equal weights."""
        first = [trial for trial in self._first_stage() if trial.losses]
        return self.space.others_of(best(first).point)

    def propose(self, number: int) -> list[Point]:
        """Returns points of the stage that is not over."""
        first = self._first_stage()
        if not self.is_tuned:
            # When all have diverged there are more of them.
            left = max(0, self.tuning - len(first)) or number
            wanted = range(len(first), len(first) + min(number, left))
            return [self.space.at(self._equal, self._others(n)) for n in wanted]
        return self._second_stage(number)

    @property
    def _equal(self) -> np.ndarray:
        return np.full(len(self.space.tasks), 1 / len(self.space.tasks))

    def _first_stage(self) -> list[Trial]:
        equal = self.space.weights_of(self.space.at(self._equal, self._others(0)))
        return [t for t in self.trials if np.array_equal(self.space.weights_of(t.point), equal)]

    def _others(self, number: int) -> Point:
        """Returns the parameters of a trial of the first stage: the centre, then others."""
        size = len(self.space.others)
        if number == 0 or not size:
            return self.space.values(np.full(size, 0.5))
        if size == 1 and number < len(_ONE):
            return self.space.values(np.array([_ONE[number]]))
        return self.space.values(sobol(size, number, self.seed))

    def _second_stage(self, number: int) -> list[Point]:
        others = self.best_others()
        tried = [t for t in self.trials if self.space.others_of(t.point) == others]
        known = [trial for trial in tried if trial.losses]
        taken = [self.space.weights_of(trial.point) for trial in tried]
        ends = [end for end in self.ends() if not _is_among(end, taken, _NEAR_END)]
        found = ends[:number]
        while not ends and len(found) < number:
            gap = self._largest_gap(known, [*taken, *found])
            if gap is None:
                break
            found.append(gap[0])
            point = self.space.at(gap[0], others)
            known.append(Trial(point, tuple(gap[1].tolist())))
        return [self.space.at(weights, others) for weights in found]

    def ends(self) -> list[np.ndarray]:
        """Returns the weights `(K,)` that the second stage begins with."""
        count, least = len(self.space.tasks), self.space.least_weight
        return list(least + (1 - count * least) * np.eye(count))

    def between(self, first: Trial, second: Trial) -> np.ndarray | None:
        """Returns the weights `(K,)` that divide a gap; None if it is not to be divided."""
        return (self.space.weights_of(first.point) + self.space.weights_of(second.point)) / 2

    def _largest_gap(
        self, known: Sequence[Trial], taken: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns the weights that promise most, and the losses expected there."""
        if len(known) < 2:
            return None
        seen = self.seen(known)
        value = self.goal.value(seen)
        now, gaps = value(seen.losses), []
        for first, second in _neighbours(seen.weights):
            weights = self.between(known[first], known[second])
            if weights is None or _is_among(weights, taken):
                continue
            pair = seen.losses[[first, second]]
            expected = (1 - _CURVED) * pair.mean(0) + _CURVED * pair.min(0)
            gain = value(np.vstack([seen.losses, expected])) - now
            apart = float(np.abs(seen.weights[first] - seen.weights[second]).max())
            gaps.append((gain, apart, weights, expected))
        if not gaps:
            return None
        return max(gaps, key=lambda gap: gap[:2])[2:]


def _neighbours(weights: np.ndarray) -> list[tuple[int, int]]:
    """Returns the pairs of rows with no other one in the ball between them."""
    pairs = []
    for first, second in zip(*np.triu_indices(len(weights), 1), strict=True):
        centre = (weights[first] + weights[second]) / 2
        radius = np.linalg.norm(weights[first] - centre)
        distances = np.linalg.norm(weights - centre, axis=1)
        distances[[first, second]] = np.inf
        if distances.min() >= radius * (1 - 1e-9):
            pairs.append((int(first), int(second)))
    return pairs


def _is_among(
    weights: np.ndarray, taken: Sequence[np.ndarray], distance: float = _NEAREST
) -> bool:
    return any(np.abs(weights - other).max() < distance for other in taken)
