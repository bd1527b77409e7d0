"""Non-inferior set estimation: weights normal to the chord of a gap."""

import numpy as np

from mtk.errors import StudyError
from mtk.search.goals import Goal
from mtk.search.samplers.base import Trial
from mtk.search.samplers.two_stage import TwoStage
from mtk.search.space import Space


class Bisection(TwoStage):
    """Divides gaps of the front of two tasks by the weights normal to their chord.

    As `TwoStage`, but it begins with both ends, and a gap between two trials gets the weights with
    which both have the same weighted loss: on a convex front that is where it bends away from the
    chord most. A chord whose normal lies beyond the weights of its ends has nothing to find, and is
    not divided.

    Args:
        space: What is varied, with two tasks.
        goal: What is looked for; the front by default.
        budget: How many trials there will be, about.
        seed: Of what is drawn.
        tuning: As of `TwoStage`.

    Raises:
        StudyError: If there are not two tasks.

    Reference:
        Cohon, *Multiobjective Programming and Planning* (1978), chapter 6. There the gap is chosen
        by the largest possible error; here by the gain in hypervolume.
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
                f"Bisection is for two tasks; the space has {len(space.tasks)}. Use TwoStage."
            )

    def first_weights(self) -> list[np.ndarray]:
        """Returns the two ends, between which all others lie."""
        return list(self._ends())

    def between(self, first: Trial, second: Trial) -> np.ndarray | None:
        """Returns the weights normal to the chord, if they lie between those of its ends."""
        one, other = (np.array(trial.losses, float) for trial in (first, second))
        difference = one - other
        normal = np.abs(difference[::-1])
        if difference[0] * difference[1] >= 0:
            return None  # One of them is better in both tasks.
        weights = normal / normal.sum()
        ends = sorted(self.space.weights_of(trial.point)[0] for trial in (first, second))
        return weights if ends[0] < weights[0] < ends[1] else None
