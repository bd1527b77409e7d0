"""Compares multi-task methods on a model: one call from a compiled Keras model to a verdict."""

import dataclasses
import functools
import inspect
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtk import flags
from mtk.combiners import Combiner, StaticWeights
from mtk.comparison import sent
from mtk.comparison.code import own_code
from mtk.comparison.given import Given, as_arrays, precision
from mtk.comparison.look import Look, look
from mtk.comparison.plan import Budget, Plan, Trainer
from mtk.comparison.planning import Method, Size, is_static, method_of, rates, weightings
from mtk.comparison.result import Comparison
from mtk.comparison.search import best_of, searched
from mtk.display import counted, format_duration
from mtk.monitor import MEAN_LOSS
from mtk.per_task import in_task_order
from mtk.ranges import check_count
from mtk.study.engines import Engine, Here, Local, made
from mtk.study.engines.local import may_fork

__all__ = ["Comparison", "compare"]

SEARCH = "search"
_MOST_SEEDS = 1000
_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
METHODS = ("PCGrad", "MGDA", "GradNorm", "UncertaintyWeights", "RLW")


def compare(
    build: Callable[..., Any],
    train: Any = None,
    validation: Any = 0.2,
    test: Any = 0.2,
    methods: Sequence[Any] | str = METHODS,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rates: Sequence[float] | str | None = None,
    monitor: Any = None,
    seeds: int | None = None,
    budget: str | float | None = None,
    out: str | Path = "studies/comparison",
    engine: Callable[[], Engine] | None = None,
) -> Comparison:
    """Trains a model with static weights and multi-task methods, and finds which methods help.

    First, every configuration is trained once, and models are selected on validation; the selected
    models of static weights and methods are then trained again with fresh seeds and measured on
    test. When called again with the same arguments, it continues where it was stopped, repeats
    failed runs, or returns the results.

    The output is a study folder like that of `mtk.sweep`, which `mtk.report` reads.

    Args:
        build: Function that returns a new model, compiled with Keras' `compile` and a constant
            learning rate; a compiled `mtk.MultiTaskModel`; or an `mtk.workloads.Workload`, which is
            trained with Adam. It may have an argument `seed`.
        train: The training split: `(x, y)` or `(x, y, sample_weight)` of arrays, a data set of
            batches or examples, or a function that returns one of these. It is kept in memory. A
            workload has its own splits, which need not fit in memory: leave out all three.
        validation: The validation split, or the share of the training split to hold out for it.
            Each seed holds out different examples, so that results do not depend on one split.
        test: The test split, or a share, as for `validation`.
        methods: Names of combiners, their classes, or combiner objects; or a single one. Static
            weights and single-task models are always trained too; the weights of a `StaticWeights`
            among the methods are added to the static weights.
        epochs: Length of each run.
        batch_size: Examples per step.
        learning_rates: Learning rates to try for each configuration, for the mean of the losses; by
            default three around that of the model. `"search"` starts with these and tries more, for
            equal weights and for each method, until the best one on validation is not at an end of
            the range.
        monitor: Selection criterion: `{task: metric}`, such as `{"a": "rmse", "b": "auc"}`, in any
            units, or a monitor of `mtk.experiment.Training`. By default the mean of the losses,
            relative to those of the first evaluation if they have different units or one of the
            untrained network is more than ten times another.
        seeds: Number of fresh seeds; by default 5, or as many as the budget allows.
        budget: Approximate time limit: seconds, or a string such as "2h" or "30min". Fewer
            weightings, learning rates and seeds are tried if the comparison would take longer.
        out: The study folder.
        engine: Factory of the engine that executes the runs, such as `mtk.study.engines.Ray`. By
            default, runs use separate processes, one per core, or this process if TensorFlow has
            already computed something in it. Processes that are not forked from this one import
            the module of `build`; on Ray, the module and those next to it are sent along.

    Returns:
        The results, which can be printed.

    Raises:
        ValueError: If an argument is invalid, the budget is too small for any comparison, or `out`
            contains something else, such as a comparison of another model.
        RuntimeError: If a signal stopped the comparison, or some runs failed.
    """
    started, out = time.monotonic(), flags.as_folder("out", out)
    _check_build(build)
    check_count(epochs=epochs, batch_size=batch_size)
    searches = _check(seeds, learning_rates)
    allowed = _seconds(budget)
    splits = [None] * 3 if train is None else _splits(build, train, validation, test)
    make = (Local if may_fork() else Here) if engine is None else engine
    first = made(make)
    content = sent.packed(build, first) if sent.is_needed(first) else None
    chosen, added = _methods(methods)
    found = Given(build, *splits)
    key = found.key()
    arguments = [key, epochs, batch_size, repr(monitor), seeds, str(budget), repr(learning_rates)]
    arguments += [[label for label, _, _ in chosen], repr(added)]
    plan = _begun(out, arguments, chosen, lambda each: look(key, batch_size, monitor, each))
    names = plan.look.tasks
    weights = [in_task_order("weights", each, names, len(names)) for each in added]
    seen = plan.look._replace(added=weights)
    limits = Budget(
        seconds=allowed,
        steps=epochs * (seen.examples // batch_size),
        evaluations=epochs,
        slots=first.slots,
        rates=None if learning_rates is None or searches else len(learning_rates),
        seeds=seeds,
        searches=searches,
    )
    size = plan.size or _planned(limits, seen, len(chosen))
    plan = dataclasses.replace(plan, look=seen, size=size)
    settings = _settings(epochs, batch_size, seen, found.draws_splits)
    trainer = Trainer(out, key, chosen, settings, make, content, tuple(splits))
    if plan.learning_rates is None:
        tried = rates(seen, learning_rates, size.rates)
        if searches:
            plan = _searched(trainer, plan, tried, limits, started)
        else:
            plan = dataclasses.replace(plan, learning_rates=dict.fromkeys(trainer.labels, tried))
    trainer.sweep(plan)
    return Comparison(out, seen.tasks, key, trainer.labels)


def _check_build(build: Any) -> None:
    if not callable(build) or hasattr(build, "compile"):
        raise ValueError(
            "`build` must be a function that returns a new compiled model for each run, or a "
            f"workload. Received: {build!r}"
        )
    if needed := [*_needed(build)]:
        raise ValueError(
            f"`build` is called with no argument except `seed`, but it needs {needed}. Give "
            "these defaults, or wrap `build` in a function without them."
        )


def _methods(given: Any) -> tuple[list[Method], list[Any]]:
    """Returns the methods to compare, and the weights of the static ones among those given."""
    several = [given] if isinstance(given, (str, Combiner, type)) else given
    if not isinstance(several, Sequence):
        raise ValueError(
            f"`methods` must be a list, such as ['PCGrad']. Received: methods={given!r}"
        )
    static = [method for method in several if is_static(method)]
    chosen = [method_of(method) for method in several if not is_static(method)]
    return chosen, [each.weights_by_task for each in static if isinstance(each, StaticWeights)]


def _begun(
    out: Path, arguments: Sequence[Any], methods: Sequence[Method], measure: Callable[..., Look]
) -> Plan:
    """Returns the plan of an earlier call, or a new one with the properties of the model."""
    codes = {label: own_code((kind, given)) for label, kind, given in methods}
    if (plan := Plan.written(out, arguments, codes)) is not None:
        return plan
    print("Inspecting the model: building it and timing a few steps.", flush=True)
    makers = {label: functools.partial(kind, **own) for label, kind, own in methods}
    return Plan(arguments, measure(makers), codes=codes)


def _settings(epochs: int, batch_size: int, seen: Look, draws_splits: bool) -> dict[str, Any]:
    """Returns the settings of all runs, by the name that a configuration binds."""
    settings = {
        "experiment.Training.epochs": epochs,
        "experiment.Training.monitor": seen.monitor,
        "experiment.Optimization.batch_size": batch_size,
        **(seen.settings or {}),
    }
    if (computes_in := precision()) != "float32":
        settings["experiment.Numerics.precision"] = computes_in
    if draws_splits:
        settings["given.workload.data_seed"] = "%seed"
    return settings


def _check(seeds: int | None, learning_rates: Sequence[float] | str | None) -> bool:
    """Checks the arguments; returns whether learning rates are searched."""
    if seeds is not None and not (isinstance(seeds, int) and 2 <= seeds <= _MOST_SEEDS):
        raise ValueError(
            "`seeds` must be the number of fresh seeds, from 2 (needed for an interval) to "
            f"{_MOST_SEEDS}. Received: seeds={seeds!r}"
        )
    is_search = isinstance(learning_rates, str) and learning_rates == SEARCH
    if learning_rates is not None and not is_search and not _are_positive(learning_rates):
        raise ValueError(
            "`learning_rates` must be a list of positive numbers, such as [0.01, 0.1], or "
            f"'search'. Received: {learning_rates!r}"
        )
    return is_search


def _needed(build: Callable[..., Any]) -> Iterator[str]:
    """Yields the names of a function's required arguments."""
    for name, each in inspect.signature(build).parameters.items():
        if name != "seed" and each.default is each.empty and each.kind not in _ANY_NUMBER:
            yield name


def _are_positive(given: Any) -> bool:
    is_list = isinstance(given, (Sequence, np.ndarray)) and not isinstance(given, str)
    return is_list and len(given) > 0 and all(map(_is_positive, given))


def _is_positive(given: Any) -> bool:
    is_number = isinstance(given, (int, float, np.integer, np.floating))
    return is_number and not isinstance(given, bool) and bool(0 < given < math.inf)


def _splits(build: Callable[..., Any], train: Any, validation: Any, test: Any) -> list[Any]:
    named = {"train": train, "validation": validation, "test": test}
    return [as_arrays(what, data, build) for what, data in named.items()]


def _planned(limits: Budget, seen: Look, methods: int) -> Size:
    """Returns the size of the comparison, and prints it."""
    if len(seen.tasks) < 2:
        raise ValueError(f"A comparison needs two or more tasks. The model has {seen.tasks}.")
    size, expected = limits.size(seen, methods)
    if expected > limits.seconds:
        raise ValueError(
            f"The smallest meaningful comparison takes about {format_duration(expected)}, more "
            f"than the budget of {format_duration(limits.seconds)}. Allow more time, compare fewer "
            "methods, or train for fewer epochs."
        )
    static = len(weightings(seen, size.weightings))
    print(
        f"{counted(len(seen.tasks), 'task')}, {counted(seen.examples, 'training example')}; "
        f"selected by {seen.selects} on validation. Plan: {counted(static, 'static weighting')} "
        f"and {counted(methods, 'method')}, "
        f"{counted(limits.rates or size.rates, 'learning rate')} each, "
        f"{counted(size.seeds, 'fresh seed')}; about {format_duration(expected)} with "
        f"{counted(limits.slots, 'run')} at a time.",
        flush=True,
    )
    if seen.outweighing and seen.selects == MEAN_LOSS:
        print(
            f"The loss of {seen.outweighing!r} is much larger than others, so it dominates the "
            "selection. With monitor='relative_loss' all tasks count equally.",
            flush=True,
        )
    return size


def _searched(
    trainer: Trainer, plan: Plan, first: Sequence[float], limits: Budget, started: float
) -> Plan:
    """Returns the plan with the learning rates that were found and a size for the time left."""
    found = searched(
        lambda rates: trainer.sweep(dataclasses.replace(plan, learning_rates=rates), True),
        lambda label, rates: best_of(trainer.out, label, rates),
        trainer.labels,
        first,
        lambda: time.monotonic() < started + limits.seconds / 2,
    )
    for label, tried in found.items():
        best = best_of(trainer.out, label, tried)
        words = "none of these runs has finished" if best is None else f"the best is {best:g}"
        if best in (min(tried), max(tried)):
            words += ", at the end of the range where the search stopped"
        print(f"Learning rates of {label}: {tried}; {words}.", flush=True)
    size = plan.size
    if limits.seconds < math.inf:
        left = dataclasses.replace(limits, seconds=limits.seconds - (time.monotonic() - started))
        size, rest = left.size(plan.look, len(trainer.methods), trainer.seconds_of_a_run())
        if rest > left.seconds:
            print(
                f"The remaining runs take about {format_duration(rest)}, longer than the "
                f"{format_duration(max(0.0, left.seconds))} left in the budget.",
                flush=True,
            )
    return dataclasses.replace(plan, size=size, learning_rates=found)


def _seconds(budget: str | float | None) -> float:
    if budget is None:
        return float("inf")
    units = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
    text = str(budget).replace(" ", "")
    number = text.rstrip("smindh")
    try:
        found = float(number) * units[text[len(number) :] or "s"]
    except (ValueError, KeyError):
        found = 0.0
    if not 0 < found < math.inf:
        raise ValueError(
            f"`budget` must be a time such as 600 (seconds), '30min' or '2h'. Received: {budget!r}"
        )
    return found
