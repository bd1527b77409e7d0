"""Tunes parameters at equal weights first, then places weights where they gain most."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtk.search.goals import Goal, Seen
from mtk.search.samplers.base import Sampler, Trial, best, mean_losses, ranking
from mtk.search.samplers.spread import sobol
from mtk.search.space import Point, Space

# Coordinates of a single parameter, in the order of the trials.
_ONE = (1 / 2, 1 / 6, 5 / 6, 1 / 3, 2 / 3)
_NEAREST_VALUE = 0.08  # Of a parameter's range: closer values are considered tried.
_NEAREST = 0.01  # Weights that differ less are considered equal.
_NEAR = 0.1  # Initial weights are skipped if tried weights are this close.
# The expected loss in a gap: from the mean of its ends (0) to the best of both per task (1).
_CURVED = 0.25
_BEGIN = 2 / 3  # Fraction of the way from equal weights to the corners.
# Gains and costs beyond the outermost weights, relative to an equally long step before them.
_FURTHER_GAIN, _FURTHER_COST = 0.5, 2.0


class _Candidate(NamedTuple):
    """Candidate weights `(K,)`, and the losses `(K,)` expected there."""

    weights: np.ndarray
    losses: np.ndarray


class TwoStage(Sampler):
    """Tunes the other parameters at equal weights, then places the weights.

    If there is a single other parameter, and it is numeric, its value is the minimum of the
    parabola through the best trial and its two neighbours.

    The first weights lie between the center and each corner, where one task has all but the least
    weight. Each further one halves the gap between two neighbours, or moves towards a corner,
    whichever promises most: the largest expected increase of the goal's value (for the front, the
    hypervolume) given the losses expected there. So points are dense where the losses change most,
    not where the weights do.

    Args:
        space: The search space.
        goal: The goal; the front by default.
        budget: Approximate number of trials.
        seed: Seed of the random draws.
        tuning: Trials of the first stage; by default three for each parameter plus one, but at most
            a third of the budget. With a budget of six or more there are at least three, so that
            the first value is compared on both sides. If weights are not searched, there is no
            other stage.
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
        most = 3 * len(space.others) + 1
        least = 3 if budget >= 6 else 1
        number = min(most, max(least, budget // 3)) if tuning is None else tuning
        if not space.weights and tuning is None:  # Only the other parameters are searched.
            number = budget
        self.tuning = number if space.others else 1

    @property
    def is_tuned(self) -> bool:
        """Whether the first stage is over."""
        first = self._first_stage()
        return len(self.trials) >= self.tuning and any(trial.losses for trial in first)

    def best_others(self) -> Point:
        """Returns the other parameters that are best at equal weights."""
        first = [trial for trial in self._first_stage() if trial.losses]
        return self._fitted(first) or self.space.others_of(best(first).point)

    def propose(self, number: int) -> list[Point]:
        """Returns points of the current stage."""
        first = self._first_stage()
        if not self.is_tuned:
            # If all trials have diverged, the first stage is extended.
            left = max(0, self.tuning - len(first)) or number
            wanted = range(len(first), len(first) + min(number, left))
            zoomed = self._zoomed(first)
            others = [zoomed] if zoomed else [self._others(n) for n in wanted]
            return [self.space.at(self._equal, each) for each in others]
        return self._second_stage(number) if self.space.weights else []

    @property
    def _equal(self) -> np.ndarray:
        return np.full(len(self.space.tasks), 1 / len(self.space.tasks))

    def _first_stage(self) -> list[Trial]:
        equal = self.space.weights_of(self.space.at(self._equal, self._others(0)))
        return [t for t in self.trials if np.array_equal(self.space.weights_of(t.point), equal)]

    def _others(self, number: int) -> Point:
        """Returns the parameters of a trial of the first stage: the center, then others."""
        size = len(self.space.others)
        if number == 0 or not size:
            return self.space.values(np.full(size, 0.5))
        if size == 1 and number < len(_ONE):
            return self.space.values(np.array([_ONE[number]]))
        return self.space.values(sobol(size, number, self.seed))

    def _zoomed(self, first: Sequence[Trial]) -> Point | None:
        """Returns a single parameter's next value; None if its first values have no results.

        It lies halfway from the best to the farther neighbour, or the better one if equally far.
        """
        known = [trial for trial in first if trial.losses]
        if not self._is_scalar or len(first) < 3 or not known:
            return None
        places = self._places(known).tolist()
        ranked = [places[number] for number in ranking(known)]
        # Limits come last, since their losses are unknown.
        ranked += [limit for limit in (0.0, 1.0) if limit not in ranked]
        lower = max((place for place in ranked if place < ranked[0]), default=ranked[0])
        upper = min((place for place in ranked if place > ranked[0]), default=ranked[0])
        apart = [round(abs(place - ranked[0]), 3) for place in (lower, upper)]
        nearer = min((lower, upper), key=ranked.index)
        target = nearer if apart[0] == apart[1] else (lower, upper)[int(np.argmax(apart))]
        return self.space.values(np.array([(ranked[0] + target) / 2]))

    @property
    def _is_scalar(self) -> bool:
        """Whether there is exactly one other parameter, and it is numeric."""
        return len(self.space.others) == 1 and not self.space.choices

    def _places(self, trials: Sequence[Trial]) -> np.ndarray:
        """Returns the relative positions of a single parameter's values in its range, `(N,)`."""
        return np.array([self.space.coordinates(trial.point)[0] for trial in trials], float)

    def _fitted(self, known: Sequence[Trial]) -> Point | None:
        """Returns the value of a single parameter with the lowest loss, by successive parabolas.

        None if a tried value is close enough. The value lies at most halfway from the best one to
        its neighbour, or to the limit.
        """
        if not self._is_scalar or len(known) < 3:
            return None
        places, means = self._places(known), mean_losses(known)
        order = np.argsort(places)
        places, means = places[order], means[order]
        best_one = int(means.argmin())
        middle = min(max(best_one, 1), len(places) - 2)
        least = _least(places[middle - 1 : middle + 2], means[middle - 1 : middle + 2])
        here, around = places[best_one], [0.0, *places, 1.0]
        before, after = around[best_one], around[best_one + 2]
        value = float(np.clip(least, (before + here) / 2, (here + after) / 2))
        if not abs(value - here) > _NEAREST_VALUE:
            return None
        return self.space.values(np.array([value]))

    def _second_stage(self, number: int) -> list[Point]:
        others, first = self.best_others(), self._first_stage()
        start = best([trial for trial in first if trial.losses])
        tried = [start, *(trial for trial in self.trials if trial not in first)]
        known = [trial for trial in tried if trial.losses]
        taken = [self.space.weights_of(trial.point) for trial in tried]
        begin = [each for each in self.first_weights() if not _is_among(each, taken, _NEAR)]
        found = begin[:number]
        while not begin and len(found) < number:
            best_one = self._most_promising(known, [*taken, *found])
            if best_one is None:
                break
            found.append(best_one.weights)
            point = self.space.at(best_one.weights, others)
            known.append(Trial(point, tuple(best_one.losses.tolist())))
        return [self.space.at(weights, others) for weights in found]

    def first_weights(self) -> list[np.ndarray]:
        """Returns the initial weights `(K,)` of the second stage."""
        return [self._equal + _BEGIN * (end - self._equal) for end in self._ends()]

    def between(self, first: Trial, second: Trial) -> np.ndarray:
        """Returns the weights `(K,)` that divide a gap."""
        return (self.space.weights_of(first.point) + self.space.weights_of(second.point)) / 2

    def _ends(self) -> np.ndarray:
        """Returns the corners `(K, K)` of the weights, where one task has all but the least."""
        count, least = len(self.space.tasks), self.space.least_weight
        return least + (1 - count * least) * np.eye(count)

    def _most_promising(
        self, known: Sequence[Trial], taken: Sequence[np.ndarray]
    ) -> _Candidate | None:
        """Returns the most promising weights; None if there is nothing more to try."""
        if len(known) < 2:
            return None
        seen = self.seen(known)
        outward = [each for each in self._outward(seen) if not _is_among(each.weights, taken)]
        inside = [each for each in self._inside(known, seen) if not _is_among(each.weights, taken)]
        # Gains beyond the front so far count too, so units and corner include the candidates.
        losses = np.vstack([seen.losses, *(each.losses for each in outward)])
        weights = np.vstack([seen.weights, *(each.weights for each in outward)])
        value = self.goal.value(seen._replace(weights=weights, losses=losses))
        candidates = [*inside, *outward]
        promise = [value(np.vstack([seen.losses, each.losses])) for each in candidates]
        # Often none is expected to improve on the trials. The first one divides the widest gap.
        nearest = self.goal.tries_nearest
        alone = [value(each.losses[None]) if nearest else 0.0 for each in candidates]
        order = list(zip(promise, alone, strict=True))
        return candidates[order.index(max(order))] if candidates else None

    def _inside(self, known: Sequence[Trial], seen: Seen) -> list[_Candidate]:
        """Returns candidates that divide the gaps between neighbours, the widest gap first."""
        found = []
        for first, second in _neighbours(seen.weights):
            # A single-task run has a neighbour, too.
            weights = self.space.with_least(self.between(known[first], known[second]))
            pair = seen.losses[[first, second]]
            expected = (1 - _CURVED) * pair.mean(0) + _CURVED * pair.min(0)
            apart = float(np.abs(seen.weights[first] - seen.weights[second]).max())
            found.append((apart, _Candidate(weights, expected)))
        return [each for _, each in sorted(found, key=lambda pair: -pair[0])]

    def _outward(self, seen: Seen) -> list[_Candidate]:
        """Returns candidates halfway from the outermost weights of each task to its corner."""
        found = []
        for number, end in enumerate(self._ends()):
            outermost = int(seen.weights[:, number].argmax())
            here = seen.weights[outermost]
            distances = np.linalg.norm(seen.weights - here, axis=1)
            distances[distances < _NEAREST] = np.inf
            before = int(distances.argmin())
            if here[number] > end[number] - _NEAREST or not np.isfinite(distances[before]):
                continue
            weights = (here + end) / 2
            change = seen.losses[outermost] - seen.losses[before]
            change *= np.linalg.norm(weights - here) / distances[before]
            change *= np.where(change < 0, _FURTHER_GAIN, _FURTHER_COST)
            found.append(_Candidate(weights, seen.losses[outermost] + change))
        return found


def _least(places: np.ndarray, means: np.ndarray) -> float:
    """Returns the minimizer of the parabola through three points; NaN if there is no minimum."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(means) / np.diff(places)
        bend = slopes[1] - slopes[0]
        least = (places[0] + places[1] - slopes[0] * (places[2] - places[0]) / bend) / 2
    return float(least) if bend > 0 else np.nan


def _neighbours(weights: np.ndarray) -> list[tuple[int, int]]:
    """Returns the pairs of rows with no other row in the ball between them."""
    pairs = []
    for first, second in zip(*np.triu_indices(len(weights), 1), strict=True):
        centre = (weights[first] + weights[second]) / 2
        radius = np.linalg.norm(weights[first] - centre)
        distances = np.linalg.norm(weights - centre, axis=1)
        distances[[first, second]] = np.inf
        if distances.min() >= radius * (1 - 1e-9):
            pairs.append((int(first), int(second)))
    return pairs


def _is_among(weights: np.ndarray, taken: Sequence[np.ndarray], distance: float = _NEAREST) -> bool:
    return any(np.abs(weights - other).max() < distance for other in taken)
