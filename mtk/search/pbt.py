"""Updates of a population of runs: which run copies which, and how weights are perturbed."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

import numpy as np

from mtk.errors import StudyError, check_kinds
from mtk.search.space import Point, Space

_TRIES = 20


class Next(NamedTuple):
    """The next state of a member of a population at the end of an interval.

    Attributes:
        parent: Position of the member whose state it copies; its own if it continues unchanged.
        point: Its values by the name of a parameter.
    """

    parent: int
    point: Point


@dataclass(frozen=True)
class PBT:
    """Population-based training: runs train in intervals, and the worst runs copy better ones.

    At the end of an interval, the worst share of the population copies weights, optimizer and all
    other state of members drawn from the best share (truncation selection), and perturbs their
    parameters. Each task weight is multiplied by a factor drawn between `1 / factor` and `factor`
    on a logarithmic scale, and the weights are normalized. Numeric parameters are perturbed in the
    same way, within their range; choices move to a neighbour.

    Attributes:
        interval: Steps between two selections, each at the first evaluation there or after it.
        share: Share of the population that is replaced, and that is copied; at most a half.
        factor: Largest perturbation factor, above 1.
        seed: Seed of the random draws.

    Reference:
        Jaderberg et al., *Population Based Training of Neural Networks* (2017): truncation
        selection and perturbation. For task weights: Royer et al., *Scalarization for Multi-Task
        and Multi-Domain Learning at Scale* (2023). Unlike in the former, all members have reached
        the same step when they are compared, so that the decisions follow from the runs; and
        factors are drawn from a range, since one of two (0.8 and 1.2) leaves half of the copies
        with the weights of their parent if there are two tasks.
    """

    interval: int
    share: float = 0.25
    factor: float = 1.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises a StudyError if a number is out of range."""
        check_kinds(self, dict.fromkeys(("share", "factor"), (Real, "a number")))
        if type(self.interval) is not int or self.interval < 1:
            raise StudyError(
                f"`interval` must be a number of steps, 1 or more. Received: {self.interval!r}"
            )
        if not 0 < self.share <= 0.5:
            raise StudyError(
                "`share` must be the share of the population that is replaced, above 0 and at "
                f"most 0.5. Received: {self.share!r}"
            )
        if not 1 < self.factor < float("inf"):
            raise StudyError(f"`factor` must be above 1, such as 1.5. Received: {self.factor!r}")

    def advance(
        self,
        space: Space,
        points: Sequence[Point],
        costs: Sequence[float],
        alive: Sequence[bool],
        generation: int,
    ) -> list[Next]:
        """Returns the next state of each member.

        Args:
            space: The search space.
            points: The points of the members.
            costs: The selection value of each, lower is better; infinite if it has no result.
            alive: Whether each has a state that can be copied.
            generation: Number of completed intervals, which distinguishes the random draws.
        """
        draw = np.random.default_rng([self.seed, generation])
        number = max(1, round(self.share * len(points)))
        order = [int(each) for each in np.argsort(costs, kind="stable")]
        leaders = [each for each in order if alive[each] and np.isfinite(costs[each])][:number]
        lost = [each for each in order if not np.isfinite(costs[each])]
        replaced = sorted({*order[-number:], *lost} - {*leaders}) if leaders else []
        after = [Next(each, point) for each, point in enumerate(points)]
        for each in replaced:
            parent = int(draw.choice(leaders))
            known = [one.point for one in after] + [points[parent]]
            after[each] = Next(parent, self._perturbed(space, points[parent], known, draw))
        return after

    def _perturbed(
        self, space: Space, point: Point, known: Sequence[Point], draw: np.random.Generator
    ) -> Point:
        """Returns a point near another one that is not a known point."""
        for _ in range(_TRIES):
            weights = space.weights_of(point) * self._factors(len(space.tasks), draw)
            others = {n: self._moved(space, n, point[n], draw) for n in space.others}
            found = space.at(space.with_least(weights / weights.sum()), others)
            if found not in known:
                return found
        return found  # At the edge of a space, all nearby points may be known.

    def _factors(self, number: int, draw: np.random.Generator) -> np.ndarray:
        return np.asarray(self.factor ** draw.uniform(-1.0, 1.0, number))

    def _moved(self, space: Space, name: str, value: object, draw: np.random.Generator) -> object:
        if name in space.choices:
            values = list(space.choices[name])
            place = values.index(value) + int(draw.choice([-1, 1]))
            return values[min(max(place, 0), len(values) - 1)]
        low, high = {**space.log_uniform, **space.uniform}[name]
        moved = float(value) * float(self._factors(1, draw)[0])  # type: ignore[arg-type]
        return float(f"{min(max(moved, low), high):.4g}")
