"""Whether a method helps a model: one call, from a compiled Keras model to a verdict."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtk.comparison.given import Given, as_arrays
from mtk.comparison.look import Look, look, monitored
from mtk.comparison.planning import SIZES, Size, method_of, rates, runs_of, seconds, study_of
from mtk.comparison.result import Comparison
from mtk.display import format_duration
from mtk.study.engines import Engine, Here, Local
from mtk.study.engines.local import may_fork
from mtk.study.sweeping import Sweep

__all__ = ["Comparison", "compare"]

METHODS = ("PCGrad", "MGDA", "GradNorm", "UncertaintyWeights", "RLW")


def compare(
    build: Callable[..., Any],
    train: Any,
    validation: Any = 0.2,
    test: Any = 0.2,
    methods: Sequence[Any] = METHODS,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rates: Sequence[float] | None = None,
    monitor: Any = None,
    seeds: int | None = None,
    budget: str | float | None = None,
    out: str | Path = "studies/comparison",
    engine: Callable[[], Engine] | None = None,
) -> Comparison:
    """Trains a model with static weights and with methods, and says which of them help.

    First every configuration is trained once and validation selects; then what was selected, of
    static weights and of methods alike, is trained again on fresh seeds, and test is read. Called
    again with the same arguments it goes on where it was stopped, or returns what was found.

    What is written is a study folder, as `mtk.sweep` writes it: `mtk.report` reads it.

    Args:
        build: Makes a new model, compiled in Keras' way with a number as learning rate; or a
            compiled `mtk.MultiTaskModel`. It may take `seed`.
        train: The training split: `(x, y)` or `(x, y, sample_weight)` of arrays, a data set of
            batches or examples, or a function that returns one of these. It is held in memory.
        validation: The validation split, or the share of the training split held out for it.
        test: The test split, or a share.
        methods: Names of combiners, their classes, or combiners with arguments, beside static
            weights and single-task models, which are always trained.
        epochs: Length of each run.
        batch_size: Examples a step.
        learning_rates: To try for each configuration, for the mean of the losses; by default three
            around the model's.
        monitor: What validation selects by: `{task: metric}`, or as
            `mtk.experiment.Training` takes it.
        seeds: Fresh seeds; by default 5, or what the budget allows.
        budget: How long it may take, about: seconds, or a text such as "2h" or "30min". Fewer
            weightings, learning rates and seeds are tried where it would take longer.
        out: The study folder.
        engine: Factory of what does the runs. By default processes of their own, one for each core,
            or this process where TensorFlow has begun to compute in it.

    Returns:
        What was found; print it.

    Raises:
        ValueError: If an argument does not fit, the budget is too small for any answer, or `out`
            holds something else, such as a comparison of another model.
        RuntimeError: If a signal has stopped it, or some runs have failed.
    """
    allowed = _seconds(budget)
    if seeds is not None and seeds < 2:
        raise ValueError(f"An interval needs two seeds or more. Received: seeds={seeds}")
    found = Given(build, *(as_arrays(*each, build) for each in _splits(train, validation, test)))
    key = found.key()
    chosen = [method_of(method) for method in methods if str(method).lower() != "static"]
    print("Looking at the model: building it and timing a few steps.", flush=True)
    seen = look(key, batch_size, monitor)
    make = engine or (Local if may_fork() else Here)
    steps = epochs * (seen.examples // batch_size)
    slots = make().slots
    size, expected = _size(seen, len(chosen), steps, epochs, slots, learning_rates, seeds, allowed)
    print(
        f"{len(seen.tasks)} tasks, {seen.examples} training examples. Planned: {size.weightings} "
        f"static weightings, {len(chosen)} methods, {size.seeds} fresh seeds; about "
        f"{format_duration(expected)}, {slots} at a time.",
        flush=True,
    )
    chosen_by = monitored(monitor, seen.tasks)
    settings = {
        "experiment.Training.epochs": epochs,
        "experiment.Training.monitor": chosen_by,
        "experiment.Optimization.batch_size": batch_size,
    }
    tried = rates(seen, learning_rates, size.rates)
    study = study_of(Path(out), key, seen, chosen, size, tried, settings)
    code = Sweep(study, out).go(make())
    if code:
        raise RuntimeError(
            "The comparison was stopped; the same call goes on."
            if code == 75
            else f"Some runs have failed; their logs are in {Path(out) / 'logs'}."
        )
    return Comparison(Path(out), seen.tasks)


def _splits(train: Any, validation: Any, test: Any) -> list[tuple[str, Any]]:
    return [("train", train), ("validation", validation), ("test", test)]


def _size(
    seen: Look,
    methods: int,
    steps: int,
    evaluations: int,
    slots: int,
    learning_rates: Sequence[float] | None,
    seeds: int | None,
    allowed: float,
) -> tuple[Size, float]:
    """Returns the largest size that the budget allows, and how long it takes."""
    if steps < 1:
        raise ValueError("`epochs` and `batch_size` leave no step to take.")
    for size in SIZES:
        size = size if seeds is None else size._replace(seeds=seeds)
        number = size.rates if learning_rates is None else len(learning_rates)
        counts = runs_of(seen, methods, size, number)
        expected = seconds(seen, counts, steps, evaluations) / slots
        if expected <= allowed:
            return size, expected
    raise ValueError(
        f"The least that has an answer takes about {format_duration(expected)}, more than the "
        f"budget of {format_duration(allowed)}. Allow more time, compare fewer methods, or train "
        "for fewer epochs."
    )


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
    if not found > 0:
        raise ValueError(f"`budget` is a time such as 600, '30min' or '2h'. Received: {budget!r}")
    return found
