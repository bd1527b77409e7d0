"""Whether a method helps a model: one call, from a compiled Keras model to a verdict."""

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
from mtk.comparison.planning import Size, is_static, method_of, rates, weightings
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
    """Trains a model with static weights and with methods, and says which of them help.

    First every configuration is trained once and validation selects; then what was selected, of
    static weights and of methods alike, is trained again on fresh seeds, and test is read. Called
    again with the same arguments it goes on where it was stopped, does again what has failed, or
    returns what was found.

    What is written is a study folder, as `mtk.sweep` writes it: `mtk.report` reads it.

    Args:
        build: Makes a new model, compiled in Keras' way with a number as learning rate; a compiled
            `mtk.MultiTaskModel`; or an `mtk.workloads.Workload`, which is trained with Adam. It
            may take `seed`.
        train: The training split: `(x, y)` or `(x, y, sample_weight)` of arrays, a data set of
            batches or examples, or a function that returns one of these. It is held in memory. A
            workload has its own, which need not be: leave out the splits.
        validation: The validation split, or the share of the training split held out for it. Each
            seed draws other examples, so that an answer is not that of one split.
        test: The test split, or a share, as for `validation`.
        methods: Names of combiners, their classes, or combiners with arguments; or one name. Static
            weights and single-task models are always trained beside; those of a `StaticWeights`
            among the methods are tried too.
        epochs: Length of each run.
        batch_size: Examples a step.
        learning_rates: To try for each configuration, for the mean of the losses; by default three
            around the model's. `"search"` begins with these and tries more, for equal weights and
            for each method, until the best on validation lies inside.
        monitor: What validation selects by: `{task: metric}`, such as `{"a": "rmse", "b": "auc"}`,
            whatever their units, or as `mtk.experiment.Training` takes it. By default the mean of
            the losses, relative to those of the first evaluation where they have several units or
            one of the untrained network is more than ten times another.
        seeds: Fresh seeds; by default 5, or what the budget allows.
        budget: How long it may take, about: seconds, or a text such as "2h" or "30min". Fewer
            weightings, learning rates and seeds are tried where it would take longer.
        out: The study folder.
        engine: Factory of what does the runs, such as `mtk.study.engines.Ray`. By default processes
            of their own, one for each core, or this process where TensorFlow has begun to compute
            in it. Processes that are not forked off this one import the module of `build`; on Ray
            it travels, with those beside it.

    Returns:
        What was found; print it.

    Raises:
        ValueError: If an argument does not fit, the budget is too small for any answer, or `out`
            holds something else, such as a comparison of another model.
        RuntimeError: If a signal has stopped it, or some runs have failed.
    """
    started, out = time.monotonic(), flags.as_folder("out", out)
    if not callable(build) or hasattr(build, "compile"):
        raise ValueError(
            "`build` is a function that makes a new compiled model for each run, or a workload. "
            f"Received: {build!r}"
        )
    if needed := [*_needed(build)]:
        raise ValueError(
            f"`build` is called without arguments, but for `seed`, and needs {needed}. Give them "
            "defaults, or have a function without them call it."
        )
    check_count(epochs=epochs, batch_size=batch_size)
    searches = _check(seeds, learning_rates)
    allowed = _seconds(budget)
    splits = [None] * 3 if train is None else _splits(build, train, validation, test)
    make = (Local if may_fork() else Here) if engine is None else engine
    first = made(make)
    content = sent.packed(build, first) if sent.is_needed(first) else None
    several = [methods] if isinstance(methods, (str, Combiner, type)) else methods
    if not isinstance(several, Sequence):
        raise ValueError(f"`methods` is a list, such as ['PCGrad']. Received: methods={methods!r}")
    static = [method for method in several if is_static(method)]
    chosen = [method_of(method) for method in several if not is_static(method)]
    added = [each.weights_by_task for each in static if isinstance(each, StaticWeights)]
    found = Given(build, *splits)
    key = found.key()
    arguments = [key, epochs, batch_size, repr(monitor), seeds, str(budget), repr(learning_rates)]
    arguments += [[label for label, _, _ in chosen], repr(added)]
    codes = {label: own_code((kind, given)) for label, kind, given in chosen}
    plan = Plan.written(out, arguments, codes)
    if plan is None:
        print("Looking at the model: building it and timing a few steps.", flush=True)
        makers = {label: functools.partial(kind, **own) for label, kind, own in chosen}
        plan = Plan(arguments, look(key, batch_size, monitor, makers), codes=codes)
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
    settings = {
        "experiment.Training.epochs": epochs,
        "experiment.Training.monitor": seen.monitor,
        "experiment.Optimization.batch_size": batch_size,
        **(seen.settings or {}),
    }
    if (computes_in := precision()) != "float32":
        settings["experiment.Numerics.precision"] = computes_in
    if found.draws_splits:
        settings["given.workload.data_seed"] = "%seed"
    trainer = Trainer(out, key, chosen, settings, make, content, tuple(splits))
    if plan.learning_rates is None:
        tried = rates(seen, learning_rates, size.rates)
        if searches:
            plan = _searched(trainer, plan, tried, limits, started)
        else:
            plan = dataclasses.replace(plan, learning_rates=dict.fromkeys(trainer.labels, tried))
    trainer.sweep(plan)
    return Comparison(out, seen.tasks, key, trainer.labels)


def _check(seeds: int | None, learning_rates: Sequence[float] | str | None) -> bool:
    """Checks arguments; returns whether learning rates are searched."""
    if seeds is not None and not (isinstance(seeds, int) and 2 <= seeds <= _MOST_SEEDS):
        raise ValueError(
            f"`seeds` is how many, from 2, which an interval needs, to {_MOST_SEEDS}. "
            f"Received: seeds={seeds!r}"
        )
    is_search = isinstance(learning_rates, str) and learning_rates == SEARCH
    if learning_rates is not None and not is_search and not _are_positive(learning_rates):
        raise ValueError(
            "`learning_rates` is a list of positive numbers, such as [0.01, 0.1], or 'search'. "
            f"Received: {learning_rates!r}"
        )
    return is_search


def _needed(build: Callable[..., Any]) -> Iterator[str]:
    """Yields the names of arguments that a function cannot be called without."""
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
    """Returns how much is tried, and says it."""
    if len(seen.tasks) < 2:
        raise ValueError(f"A comparison needs two tasks or more. The model has {seen.tasks}.")
    size, expected = limits.size(seen, methods)
    if expected > limits.seconds:
        raise ValueError(
            f"The least that has an answer takes about {format_duration(expected)}, more than the "
            f"budget of {format_duration(limits.seconds)}. Allow more time, compare fewer methods, "
            "or train for fewer epochs."
        )
    static = len(weightings(seen, size.weightings))
    print(
        f"{counted(len(seen.tasks), 'task')}, {counted(seen.examples, 'training example')}; "
        f"{seen.selects} on validation selects. "
        f"Planned: {counted(static, 'static weighting')}, {counted(methods, 'method')}, "
        f"{counted(limits.rates or size.rates, 'learning rate')} each, "
        f"{counted(size.seeds, 'fresh seed')}; about "
        f"{format_duration(expected)}, {limits.slots} at a time.",
        flush=True,
    )
    if seen.outweighing and seen.selects == MEAN_LOSS:
        print(
            f"The loss of {seen.outweighing!r} outweighs others, so it decides what is selected. "
            "With monitor='relative_loss' all tasks count alike.",
            flush=True,
        )
    return size


def _searched(
    trainer: Trainer, plan: Plan, first: Sequence[float], limits: Budget, started: float
) -> Plan:
    """Returns the plan with the learning rates that were found, and what fits into the rest."""
    found = searched(
        lambda rates: trainer.sweep(dataclasses.replace(plan, learning_rates=rates), True),
        lambda label, rates: best_of(trainer.out, label, rates),
        trainer.labels,
        first,
        lambda: time.monotonic() < started + limits.seconds / 2,
    )
    for label, tried in found.items():
        best = best_of(trainer.out, label, tried)
        words = "none of these has finished" if best is None else f"the best is {best:g}"
        if best in (min(tried), max(tried)):
            words += ", at an end, where the search has stopped"
        print(f"Learning rates of {label}: {tried}; {words}.", flush=True)
    size = plan.size
    if limits.seconds < math.inf:
        left = dataclasses.replace(limits, seconds=limits.seconds - (time.monotonic() - started))
        size, rest = left.size(plan.look, len(trainer.methods), trainer.seconds_of_a_run())
        if rest > left.seconds:
            print(
                f"The rest takes about {format_duration(rest)}. Of the budget "
                f"{format_duration(max(0.0, left.seconds))} are left: it will take longer.",
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
        raise ValueError(f"`budget` is a time such as 600, '30min' or '2h'. Received: {budget!r}")
    return found
