"""Non-inferior set estimation: weights normal to the chord of a gap."""

import numpy as np

from mtk.errors import StudyError
from mtk.search.goals import Goal
from mtk.search.samplers.base import Trial
from mtk.search.samplers.two_stage import TwoStage
from mtk.search.space import Space


class Bisection(TwoStage):
    """Divides gaps of the front of two tasks by the weights normal to their chord.

    Like `TwoStage`, but it starts with both ends, and a gap between two trials is divided by the
    weights with which both have the same weighted loss: on a convex front, this is the point
    farthest from the chord. If these weights lie outside those of the two trials, which noise can
    cause, the gap is halved in weight space.

    Args:
        space: The search space, with two tasks.
        goal: The goal; the front by default.
        budget: Approximate number of trials.
        seed: Seed of the random draws.
        tuning: See `TwoStage`.

    Raises:
        StudyError: If there are not exactly two tasks.

    Reference:
        Cohon, *Multiobjective Programming and Planning* (1978), chapter 6. There the gap is chosen
        by the largest possible error; here by the gain in hypervolume. There a chord without such a
        normal is not divided.
    """

    def __init__(
        self,
        space: Space,
        goal: Goal | None = None,
        budget: int = 1,
        seed: int = 0,
        tuning: int | None = None,
    ):
        super().__init__(space, goal, budget, seed, tuning)
        if len(space.tasks) != 2:
            raise StudyError(
                f"Bisection works only for two tasks, but the space has {len(space.tasks)}. Use "
                "TwoStage."
            )

    def first_weights(self) -> list[np.ndarray]:
        """Returns the two ends, between which all others lie."""
        return list(self._ends())

    def between(self, first: Trial, second: Trial) -> np.ndarray:
        """Returns the weights normal to the chord, or else the midpoint of the weights."""
        one, other = (np.array(trial.losses, float) for trial in (first, second))
        normal = np.abs(one - other)[::-1]
        ends = sorted(self.space.weights_of(trial.point)[0] for trial in (first, second))
        has_chord = (one < other).sum() == 1 == (one > other).sum()  # Neither dominates.
        if has_chord and ends[0] < normal[0] / normal.sum() < ends[1]:
            return normal / normal.sum()
        return super().between(first, second)
