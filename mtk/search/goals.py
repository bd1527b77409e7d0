"""Goals of a search: the front, the best for a preference, or the best within a bound."""

import abc
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mtk.errors import StudyError, check_kinds


class Seen(NamedTuple):
    """The N trials that have losses.

    Attributes:
        tasks: Names of the tasks.
        weights: `(N, K)`.
        losses: `(N, K)`, of validation.
    """

    tasks: Sequence[str]
    weights: np.ndarray
    losses: np.ndarray


_CLEARLY = 0.25  # Widths of the front.
_OUTWEIGHS = 0.9  # Share of a mean over tasks above which one task decides it.
Value = Callable[[np.ndarray], float]


class Goal(abc.ABC):
    """What makes a set of trials better than another.

    Attributes:
        tries_nearest: Whether a search tries the candidate with the best value of its own if none
            is expected to improve on the trials. Otherwise it divides the widest gap.
    """

    tries_nearest: ClassVar[bool] = False

    @abc.abstractmethod
    def value(self, seen: Seen) -> Value:
        """Returns a function from losses `(N, K)` to a number; higher is better.

        Args:
            seen: The trials so far, at least one; units and bounds are theirs.
        """

    @abc.abstractmethod
    def chosen(self, seen: Seen) -> list[int]:
        """Returns the positions of the trials that meet the goal, the best first."""

    @abc.abstractmethod
    def words(self, seen: Seen) -> str:
        """Returns a description of the progress of the trials."""

    def ranks(self, seen: Seen) -> np.ndarray:
        """Returns the rank `(N,)` of each trial, from 0: by the value of each by itself."""
        value = self.value(seen)
        values = [-value(seen.losses[[number]]) for number in range(len(seen.losses))]
        return np.unique(values, return_inverse=True)[1]

    def check(self, tasks: Sequence[str]) -> None:  # noqa: B027  Many have nothing to check.
        """Raises a StudyError if the goal names an unknown task."""

    def alone(self, tasks: Sequence[str]) -> list[str]:
        """Returns the tasks for which the goal needs single-task runs."""
        del tasks
        return []

    def doubts(self, seen: Seen) -> list[str]:
        """Returns caveats about the chosen trials."""
        del seen
        return []

    def broken(self, seen: Seen, losses: Mapping[str, float]) -> str:
        """Returns a sentence if losses exceed the goal's bound; otherwise an empty string.

        Args:
            seen: The trials, which determine the bound.
            losses: Losses by task of a trial that was run again.
        """
        del seen, losses
        return ""

    @property
    def record(self) -> dict[str, Any]:
        """The values that identify the goal, as JSON values."""
        values = asdict(self) if isinstance(self, (Preference, Constraint)) else {}
        return {"goal": type(self).__name__, **values}


class Front(Goal):
    """The front: the largest hypervolume of the validation losses."""

    def value(self, seen: Seen) -> Value:
        """Returns the hypervolume as a share of the box from the best to the worst of the front.

        The worst corner lies a tenth of the front's width behind the front, in each task.
        """
        from mtk.analysis.indicators import hypervolume  # Takes a second to import.

        best, scale = self._box(seen)
        corner = 1.1
        box = corner ** len(seen.tasks)

        def share(losses: np.ndarray) -> float:
            units = (losses - best) / scale
            return hypervolume(units, np.full(len(scale), corner)) / box

        return share

    def chosen(self, seen: Seen) -> list[int]:
        """Returns the non-dominated trials, ordered by the loss of the first task."""
        from mtk.analysis.fronts import non_dominated

        on_front = np.flatnonzero(non_dominated(seen.losses))
        return [int(each) for each in on_front[np.argsort(seen.losses[on_front, 0], kind="stable")]]

    def ranks(self, seen: Seen) -> np.ndarray:
        """Returns non-dominated ranks: 0 for trials not clearly dominated, 1 without those, ….

        A trial clearly dominates another one if it is better in each task by a quarter of the
        front's width; smaller differences may be noise.
        """
        _, scale = self._box(seen)
        margin = seen.losses[None] + _CLEARLY * scale
        dominated = np.asarray((margin <= seen.losses[:, None]).all(2))  # Rows by columns.
        ranks = np.full(len(seen.losses), -1)
        while (left := ranks < 0).any():
            ranks[left & ~dominated[:, left].any(1)] = ranks.max() + 1
        return ranks

    def _box(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """Returns the best loss of each task on the front, and the front's width."""
        front = seen.losses[self.chosen(seen)]
        best, width = front.min(0), np.ptp(front, axis=0)
        return best, np.where(width > 0, width, np.maximum(np.abs(best), 1e-9))

    def words(self, seen: Seen) -> str:
        """Describes the size of the front, its hypervolume, and the gain by the last trial."""
        if len(self.chosen(seen)) == 1:
            return "front of 1"  # A single point spans no box.
        value = self.value(seen)
        now = value(seen.losses)
        gain = now - (value(seen.losses[:-1]) if len(seen.losses) > 1 else 0.0)
        return f"front of {len(self.chosen(seen))}, hypervolume {now:.3f} ({gain:+.3f})"


@dataclass(frozen=True)
class Preference(Goal):
    """The smallest weighted mean of the losses, for tasks of known importance.

    Attributes:
        importance: Weights by task; other tasks count as zero.
    """

    tries_nearest: ClassVar[bool] = True
    importance: Mapping[str, float]

    def check(self, tasks: Sequence[str]) -> None:
        """Raises a StudyError if a task is unknown, or the numbers are not valid weights."""
        check_kinds(self, {"importance": (Mapping, "{task: weight}")})
        for task in self.importance:
            _check_task(task, tasks)
        values = list(self.importance.values())
        usable = all(isinstance(each, Real) and 0 <= each < math.inf for each in values)
        if not usable or not sum(values) > 0:
            raise StudyError(
                "The weights of a preference must be 0 or more, and at least one must be "
                f"positive. Received: {dict(self.importance)!r}"
            )

    def value(self, seen: Seen) -> Value:
        """Returns the negative of the smallest weighted mean."""
        return lambda losses: -float(self._means(seen.tasks, losses).min())

    def chosen(self, seen: Seen) -> list[int]:
        """Returns the trial with the smallest weighted mean."""
        return [int(self._means(seen.tasks, seen.losses).argmin())] if len(seen.losses) else []

    def doubts(self, seen: Seen) -> list[str]:
        """Names the task that decides alone, regardless of the importance of the others."""
        counts = [self.importance.get(task, 0.0) for task in seen.tasks]
        return _outweighing(seen, np.array(counts), "Scale its importance to the unit of its loss.")

    def words(self, seen: Seen) -> str:
        """Describes the smallest weighted mean."""
        return f"best weighted mean {-self.value(seen)(seen.losses):.4g}"

    def _means(self, tasks: Sequence[str], losses: np.ndarray) -> np.ndarray:
        counts = np.array([self.importance.get(task, 0.0) for task in tasks])
        return np.asarray(losses @ counts / counts.sum())


@dataclass(frozen=True)
class Constraint(Goal):
    """The best result on the other tasks, while one task stays within a bound.

    Attributes:
        task: The task whose loss is bounded.
        worse: The bound relative to the single-task loss of this task: 0.02 means 2 % worse. The
            search makes one single-task run for it.
        at_most: The bound as a loss; an alternative to `worse`.
        best: The task whose loss is minimized; None for the mean of all others.
    """

    task: str
    worse: float | None = None
    at_most: float | None = None
    best: str | None = None

    def __post_init__(self) -> None:
        """Raises a StudyError if there is not exactly one bound, a finite number."""
        if (self.worse is None) == (self.at_most is None):
            raise StudyError(
                "A constraint needs exactly one bound: `worse` (0.02 means 2 % worse than the "
                f"single-task model) or `at_most`, a loss. Received: worse={self.worse!r}, "
                f"at_most={self.at_most!r}"
            )
        bound = self.at_most if self.worse is None else self.worse
        if not isinstance(bound, Real) or not math.isfinite(bound):
            raise StudyError(
                f"The bound of a constraint must be a finite number. Received: {bound!r}"
            )

    def check(self, tasks: Sequence[str]) -> None:
        """Raises a StudyError if a task is unknown, or one is both bounded and minimized."""
        _check_task(self.task, tasks)
        if self.best is not None:
            _check_task(self.best, tasks)
        if self.best == self.task:
            raise StudyError(
                f"{self.task!r} is the bounded task, so `best` must name another task."
            )

    def alone(self, tasks: Sequence[str]) -> list[str]:
        """Returns the bounded task, if the bound is relative."""
        del tasks
        return [self.task] if self.at_most is None else []

    def bound(self, seen: Seen) -> float:
        """Returns the largest allowed loss; NaN while a relative bound is not known yet."""
        if self.at_most is not None:
            return self.at_most
        assert self.worse is not None
        number = seen.tasks.index(self.task)
        alone = seen.losses[seen.weights[:, number] == 1, number]
        return float(alone.min() + self.worse * abs(alone.min())) if len(alone) else float("nan")

    def value(self, seen: Seen) -> Value:
        """Returns the best other losses within the bound; if none, the distance of the nearest."""
        bound, number = self.bound(seen), seen.tasks.index(self.task)
        if np.isnan(bound):
            bound = float(seen.losses[:, number].min())
        worst = float(self._others(seen.tasks, seen.losses).max())

        def value(losses: np.ndarray) -> float:
            beyond = losses[:, number] - bound
            within = losses[beyond <= 0]
            if len(within):
                return -float(self._others(seen.tasks, within).min())
            return -worst - 1.0 - float(beyond.min())

        return value

    def chosen(self, seen: Seen) -> list[int]:
        """Returns the best trial within the bound; empty if no trial meets it."""
        within = self._within(seen)
        if not len(within):
            return []
        return [int(within[self._others(seen.tasks, seen.losses[within]).argmin()])]

    def words(self, seen: Seen) -> str:
        """Describes the best trial within the bound, or the distance of the nearest one."""
        bound, number = self.bound(seen), seen.tasks.index(self.task)
        if np.isnan(bound):
            return f"no single-task run of {self.task}, which defines the bound, has finished yet"
        if chosen := self.chosen(seen):
            others = self._others(seen.tasks, seen.losses[chosen])[0]
            return f"{self.task} at most {bound:.4g}: best {self.best or 'others'} {others:.4g}"
        nearest = seen.losses[_all_trained(seen), number].min(initial=np.inf)
        return (
            f"no trial meets the bound {self.task} at most {bound:.4g}; the closest has "
            f"{nearest:.4g}"
        )

    def doubts(self, seen: Seen) -> list[str]:
        """Names the other task that decides alone."""
        counts = [
            float(task == self.best if self.best else task != self.task) for task in seen.tasks
        ]
        return _outweighing(seen, np.array(counts), "Name the task to minimize with `best`.")

    def broken(self, seen: Seen, losses: Mapping[str, float]) -> str:
        """States by how much the bounded task exceeds the bound."""
        bound, loss = self.bound(seen), losses[self.task]
        if not loss > bound:
            return ""
        return (
            f"{self.task} has {loss:.4g}, and at most {bound:.4g} was asked for. Ask for a tighter "
            "bound, or let more `seeds` select."
        )

    def _within(self, seen: Seen) -> np.ndarray:
        number = seen.tasks.index(self.task)
        return np.flatnonzero(_all_trained(seen) & (seen.losses[:, number] <= self.bound(seen)))

    def _others(self, tasks: Sequence[str], losses: np.ndarray) -> np.ndarray:
        columns = [
            number
            for number, task in enumerate(tasks)
            if (task == self.best if self.best else task != self.task)
        ]
        return np.asarray(losses[:, columns].mean(1))


def _outweighing(seen: Seen, counts: np.ndarray, advice: str) -> list[str]:
    """Returns a sentence if the loss of one task dominates a mean of several.

    Args:
        seen: The trials.
        counts: Weight of each task in the mean `(K,)`.
        advice: What to do about it.
    """
    parts = counts * np.abs(np.median(seen.losses, axis=0))
    largest = int(parts.argmax())
    if (counts > 0).sum() < 2 or not parts[largest] > _OUTWEIGHS * parts.sum():
        return []
    share = parts[largest] / parts.sum()
    return [
        f"The loss of {seen.tasks[largest]} makes up {share:.1%} of the mean that was "
        f"minimized, so it dominates the result. {advice}"
    ]


def _all_trained(seen: Seen) -> np.ndarray:
    """Returns which trials train every task `(N,)`: single-task runs only serve as bounds."""
    return np.asarray((seen.weights > 0).all(1))


def _check_task(task: str, tasks: Sequence[str]) -> None:
    if task not in tasks:
        raise StudyError(f"The goal names the task {task!r}, but the space has {', '.join(tasks)}.")
