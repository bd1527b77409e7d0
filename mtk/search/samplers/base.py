"""The interface of samplers."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtk.errors import StudyError
from mtk.search.goals import Front, Goal, Seen
from mtk.search.space import Point, Space


class Trial(NamedTuple):
    """A point that was tried.

    Attributes:
        point: Values by the name of a parameter.
        losses: Validation loss of each task; None if the trial diverged or failed.
    """

    point: Point
    losses: tuple[float, ...] | None


class Sampler(abc.ABC):
    """Proposes the points to try next.

    Proposals depend only on the arguments and the trials told so far, in their order: a search that
    resumes after a kill tells them again and gets the same points.

    Args:
        space: The search space.
        goal: The goal; the front by default.
        budget: Approximate number of trials.
        seed: Seed of the random draws.

    Attributes:
        trials: The trials told so far.
    """

    def __init__(self, space: Space, goal: Goal | None = None, budget: int = 1, seed: int = 0):
        self.space = space
        self.goal = goal or Front()
        self.budget = budget
        self.seed = seed
        self.trials: list[Trial] = []

    def ask(self, number: int) -> list[Point]:
        """Returns the next points.

        Args:
            number: Maximum number of points. There may be fewer if later points depend on their
                results.

        Returns:
            Points; none if there is nothing more to try.

        Raises:
            StudyError: If the proposals are not points of the space.
        """
        owed = self._owed()[:number]
        left = number - len(owed)
        return [*owed, *self._checked(self.propose(left))] if left else owed

    def _checked(self, proposed: Any) -> list[Point]:
        """Returns the proposals if they are points of the space: samplers may be user code."""
        names = {*([self.space.weights] if self.space.weights else []), *self.space.others}
        is_list = isinstance(proposed, Sequence) and not isinstance(proposed, str)
        if not is_list or not all(isinstance(p, Mapping) and {*p} == names for p in proposed):
            raise StudyError(
                f"The sampler {type(self).__name__} proposes a list of points, each with a value "
                f"for {', '.join(sorted(names)) or 'nothing'}, as `space.point` makes them; an "
                f"empty list if there is nothing more to try. Received: {proposed!r}"
            )
        return [dict(point) for point in proposed]

    def tell(self, point: Point, losses: Sequence[float] | None) -> None:
        """Records the result of a trial.

        Args:
            point: The point.
            losses: Validation loss of each task; None if the trial diverged or failed.
        """
        known = None if losses is None or not np.isfinite(losses).all() else losses
        self.trials.append(Trial(point, None if known is None else tuple(map(float, known))))

    @abc.abstractmethod
    def propose(self, number: int) -> list[Point]:
        """Returns the points for `ask`, except the single-task runs that the goal needs."""

    @property
    def is_tuned(self) -> bool:
        """Whether parameters are known with which single-task runs can be trained."""
        return bool(self.finished)

    def best_others(self) -> Point:
        """Returns the parameters other than the weights of the best trial so far.

        The best trial has the smallest mean of the losses, each in units of its median over trials.
        """
        return self.space.others_of(best(self.finished).point)

    @property
    def finished(self) -> list[Trial]:
        """The trials that have losses."""
        return [trial for trial in self.trials if trial.losses is not None]

    def seen(self, trials: Sequence[Trial]) -> Seen:
        """Returns trials that have losses, in the form that goals accept."""
        return seen(self.space, trials)

    def _owed(self) -> list[Point]:
        """Returns the single-task points that the goal needs and whose losses are not known yet.

        If a single-task run has diverged, the parameters of the next best trial are tried.
        """
        tasks = list(self.space.tasks)
        wanted = [tasks.index(task) for task in self.goal.alone(tasks)] if self.is_tuned else []
        owed = []
        for weights in np.eye(len(tasks))[wanted]:
            own = [
                t for t in self.trials if np.array_equal(self.space.weights_of(t.point), weights)
            ]
            if any(trial.losses for trial in own):
                continue
            ranked = [self.finished[number].point for number in ranking(self.finished)]
            others = [self.best_others(), *map(self.space.others_of, ranked)]
            points = [self.space.at(weights, each) for each in others]
            tried = [trial.point for trial in own]
            owed += [point for point in points if point not in tried][:1]
        return owed


def seen(space: Space, trials: Sequence[Trial]) -> Seen:
    """Returns trials that have losses, in the form that goals accept."""
    shape = (-1, len(space.tasks))
    weights = np.array([space.weights_of(trial.point) for trial in trials]).reshape(shape)
    losses = np.array([trial.losses for trial in trials], float).reshape(shape)
    return Seen(list(space.tasks), weights, losses)


def best(trials: Sequence[Trial]) -> Trial:
    """Returns the trial with the smallest mean of the losses; see `ranking`."""
    return trials[ranking(trials)[0]]


def ranking(trials: Sequence[Trial]) -> list[int]:
    """Returns the positions of trials by the mean of the losses, each in units of its median."""
    return [int(number) for number in np.argsort(mean_losses(trials), kind="stable")]


def mean_losses(trials: Sequence[Trial]) -> np.ndarray:
    """Returns the mean of each trial's losses `(N,)`, each in units of its median."""
    losses = np.array([trial.losses for trial in trials], float)
    unit = np.abs(np.median(losses, axis=0))
    return (losses / np.where(unit > 0, unit, 1.0)).mean(1)
