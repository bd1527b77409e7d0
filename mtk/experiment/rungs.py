"""Pauses of a run at an evaluation, with a record of the results so far."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import keras
import tensorflow as tf

from mtk import atomic
from mtk.callbacks import BestCheckpoint
from mtk.combiners import StaticWeights
from mtk.display import counted
from mtk.experiment.building import Built
from mtk.experiment.plan import Plan
from mtk.experiment.results import by_task
from mtk.experiment.run_folder import RunFolder
from mtk.trainer import MultiTaskModel


def evaluation_at(plan: Plan, step: int) -> int:
    """Returns the step of the first evaluation at or after a step.

    Args:
        plan: The plan of the run.
        step: The step at which the run should pause.

    Raises:
        ValueError: If the run has no such evaluation before its end.
    """
    found = -(-step // plan.evaluate_every) * plan.evaluate_every
    if not 0 < found < plan.steps:
        raise ValueError(
            "A run pauses at the first evaluation at or after the given step, which must come "
            f"before its last evaluation. Received: step {step}, in a run of "
            f"{counted(plan.steps, 'step')} with an evaluation every {plan.evaluate_every}. Choose "
            "an earlier step, or set `evaluate_every`."
        )
    return found


def evaluations_at(plan: Plan, rungs: Sequence[int]) -> list[int]:
    """Returns the steps of the evaluations at which a run pauses, one per rung.

    Raises:
        ValueError: If a rung has no evaluation, or two rungs have the same one.
    """
    steps = [evaluation_at(plan, rung) for rung in rungs]
    if len(set(steps)) < len(steps):
        raise ValueError(
            "There must be an evaluation between any two rungs. Received: rungs "
            f"{tuple(rungs)}, with an evaluation every {counted(plan.evaluate_every, 'step')}. "
            "Leave one rung out, or set `evaluate_every`."
        )
    return steps


def ends(plan: Plan, interval: int) -> list[int]:
    """Returns the ends of intervals at which a run can pause: all except the last one."""
    last = (plan.steps - 1) // plan.evaluate_every * plan.evaluate_every
    return list(range(interval, last + 1, interval))


def rate_of(model: MultiTaskModel) -> Any:
    """Returns the learning rate of a model's optimizer: a schedule or a variable."""
    # A loss-scaling optimizer wraps another one.
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)._learning_rate


def write(
    folder: RunFolder, asked: int, step: int, plan: Plan, selection: BestCheckpoint
) -> dict[str, Any]:
    """Writes the results of a run at an evaluation, from its record, and returns them.

    Args:
        folder: The run folder.
        asked: The requested step of the pause, which names the file.
        step: The step of the evaluation.
        plan: The plan of the run.
        selection: The callback that selects by validation.

    Raises:
        OSError: If the file cannot be written.
    """
    lines = map(json.loads, folder.metrics.read_text(encoding="utf-8").splitlines())
    logs = {
        "_".join(["val", *filter(None, (line["task"], line["name"]))]): line["value"]
        for line in lines
        if line["step"] == step and line["split"] == "validation"
    }
    known = {name: float("nan") if value is None else value for name, value in logs.items()}
    result = {
        "status": "paused",
        "run": folder.description.hash,
        "steps": step,
        "validation": by_task(known, selection.task_names, "validation"),
        "monitor": selection.record_of(known),
        "plan": asdict(plan),
    }
    folder.rung(asked).parent.mkdir(exist_ok=True)
    atomic.write_json(folder.rung(asked), result)
    return result


def check(built: Built, rungs: tuple[int, ...]) -> None:
    """Checks that runs can be compared at several steps before their end.

    They can if learning rate and task weights either never become constant, so that no step is the
    right one to compare at, or are constant before the first of these steps.

    Args:
        built: Data, model and plan of the run.
        rungs: The steps in increasing order.

    Raises:
        ValueError: If the run has no evaluation at a step, several have the same one, or a schedule
            ends after the first step.
    """
    steps = evaluations_at(built.plan, rungs)
    for what, schedule in _schedules(built.model):
        _check_schedule(what, schedule, steps[0], built.plan.steps)


def _schedules(model: MultiTaskModel) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yields the names of quantities that change with the step, and their functions."""
    rate = rate_of(model)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        yield "learning rate", rate
    if isinstance(model.combiner, StaticWeights) and model.combiner.schedule:
        yield from ((f"weight of {t}", each) for t, each in model.combiner.schedule.items())


def _check_schedule(what: str, schedule: Callable[..., Any], first: int, last: int) -> None:
    here, end, *later = (
        float(keras.ops.convert_to_numpy(schedule(tf.constant(step, tf.int64))))
        for step in (first, last, 16 * last, 32 * last)
    )
    rests = later[0] == later[1] or min(later) <= 0
    if rests and here != later[0]:
        name = getattr(schedule, "__name__", type(schedule).__name__)
        raise ValueError(
            f"Runs cannot be compared at step {first}: {name}, the schedule of the {what}, "
            f"changes towards the end of the run, from {here:.4g} there to {end:.4g} at the last "
            f"step, {last}, so a ranking at the rung may not hold at the end. Search without "
            "rungs, or with a schedule that does not depend on the length of the run, such as "
            "StepDecay or InverseSqrt; or let runs cool down at each rung: "
            "`search.Search.cooldown`."
        )
