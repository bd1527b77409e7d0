"""Checks, before any run of a search, that its runs can branch from one another."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from mtk.display import counted
from mtk.experiment import branching, rungs
from mtk.experiment.building import Built
from mtk.schedules import WarmupStableDecay


class Population:
    """Checks that runs can copy the state of one another at the ends of intervals.

    Args:
        interval: Steps of an interval.
        varies_rate: Whether the learning rate changes where a run branches.
    """

    def __init__(self, interval: int, varies_rate: bool):
        self.interval = interval
        self.varies_rate = varies_rate
        self._first: dict[str, Any] = {}

    def __call__(self, built: Built) -> None:
        """Checks one run, and that it fits the previous ones.

        Raises:
            ValueError: If it has fewer than two intervals, or one without an evaluation, its state
                fits no other run, or its learning rate cannot change.
        """
        plan = built.plan
        ends = rungs.ends(plan, self.interval)
        if not ends:
            raise ValueError(
                "A run of a population needs two or more intervals, each with an evaluation at "
                f"its end or after it. Received: an interval of {counted(self.interval, 'step')}, "
                f"in a run of {plan.steps} with an evaluation every {plan.evaluate_every}."
            )
        rungs.evaluations_at(plan, ends)
        branching.check(built)
        if self.varies_rate:
            _check_rate_follows(built, self.interval)
        own = {name: getattr(plan, name) for name in (*branching.SAME, "steps")}
        own |= {"number of parameters": built.model.network.count_params()}
        self._first = self._first or own
        differ = [name for name in own if own[name] != self._first[name]]
        if differ:
            told = ", ".join(f"{name} {self._first[name]} and {own[name]}" for name in differ)
            raise ValueError(
                "Runs of a population copy each other's state, so network, batch size and "
                f"length must be the same for all of them. Received: {told}. Leave this out of the "
                "space."
            )


class Trunk:
    """Checks that runs can cool down at rungs, on branches off a constant learning rate.

    Args:
        pauses: The steps at which the trunk pauses, one for each rung.
        ends: The rungs: the steps at which the branches have cooled down.
    """

    def __init__(self, pauses: Sequence[int], ends: Sequence[int]):
        self.pauses = tuple(pauses)
        self.ends = tuple(ends)

    def __call__(self, built: Built) -> None:
        """Checks one run.

        Raises:
            ValueError: If its learning rate does not have the schedule of a trunk, or a rung has no
                evaluation to branch from, or lies after the end of the run.
        """
        schedule = rungs.rate_of(built.model)
        if not isinstance(schedule, WarmupStableDecay) or schedule.decay_from is not None:
            raise ValueError(
                "A run that cools down at rungs needs a constant learning rate before each "
                "cooldown. Set `experiment.Optimization.schedule = @schedules.WarmupStableDecay` "
                f"without `decay_from`. Received: {_name(schedule)}"
            )
        branching.check(built)
        if self.ends[-1] >= built.plan.steps:
            raise ValueError(
                f"The last rung, {self.ends[-1]}, must come before the end of the run. "
                f"Received: a run of {counted(built.plan.steps, 'step')}."
            )
        branches = rungs.evaluations_at(built.plan, self.pauses)
        for step, end in zip(branches, self.ends, strict=True):
            if step >= end:
                raise ValueError(
                    f"The cooldown for the rung {end} must begin at an evaluation before the "
                    f"rung, but the next evaluation is at step {step}. Choose a longer cooldown, "
                    "or set `evaluate_every`."
                )


def _check_rate_follows(built: Built, step: int) -> None:
    twice = replace(built.optimization, learning_rate=2 * built.optimization.learning_rate)
    schedule = rungs.rate_of(built.model)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return
    other = twice.make(built.plan.steps_per_epoch)._learning_rate
    here, there = (float(each(tf.constant(step, tf.int64))) for each in (schedule, other))
    if here == there:
        raise ValueError(
            f"The learning rate is in the space but has no effect: {_name(schedule)} gives "
            f"{here:.4g} at step {step} for any `learning_rate`. Leave it out of the space, or use "
            "a schedule that scales with it."
        )


def _name(schedule: Any) -> str:
    is_schedule = isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule)
    return type(schedule).__name__ if is_schedule else "no schedule"
