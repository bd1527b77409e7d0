"""One run, from tasks to result, as described by a configuration."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtk import config, display, distribution
from mtk.combiners import Combiner, StaticWeights
from mtk.data import synthetic
from mtk.experiment import branching, dry_run, fingerprint, loop, manifest, results
from mtk.experiment.building import Built, build, started
from mtk.experiment.options import (
    GROUPS,
    Checkpoints,
    Logging,
    Numerics,
    Optimization,
    Sharing,
    Training,
)
from mtk.experiment.plan import Plan
from mtk.experiment.preemption import Preemption
from mtk.experiment.run_folder import RunFolder
from mtk.experiment.shared_folder import check_same_data, claimed
from mtk.workloads import Workload

__all__ = [
    "Checkpoints",
    "Logging",
    "Numerics",
    "Optimization",
    "Plan",
    "RunFolder",
    "Sharing",
    "Training",
    "check",
    "check_bound",
    "describe",
    "launch",
    "run",
]


def run(
    workload: Callable[[], Workload],
    run_dir: str | Path | None,
    training: Training,
    combiner: Callable[[], Combiner] = StaticWeights,
    sharing: Sharing = Sharing(),
    optimization: Optimization = Optimization(),
    numerics: Numerics = Numerics(),
    logging: Logging = Logging(),
    checkpoints: Checkpoints = Checkpoints(),
) -> dict[str, Any]:
    """Trains a workload once, and writes the run folder.

    When called again with the same folder and arguments, it resumes from the last checkpoint, no
    matter where and how the last call ended, and reaches the same result as a single call. A
    finished run is not changed: its result is returned. SIGTERM, SIGINT and SIGHUP end the call
    after the current step, with a checkpoint; a second signal ends the process at once.

    With a strategy of several workers, all workers make the same call; the chief writes the folder.

    Validation selects the step; test is measured once, at that step. Factories are called inside
    the strategy's scope. A configuration binds the fields of the argument groups by their classes,
    as in `experiment.Optimization.learning_rate = 0.1`.

    Args:
        workload: Factory of the workload: the tasks, their data and the network.
        run_dir: Output folder: new, empty, or that of this run. Several workers share it.
        training: How long to train, when to evaluate and what to select by.
        combiner: Factory of the combiner.
        sharing: Which variables tasks share, and how the gradients of each task are computed.
        optimization: How a step changes the weights.
        numerics: Precision, devices and reproducibility.
        logging: What to log during the run.
        checkpoints: How often to save the run, and where it pauses or branches.

    Returns:
        The contents of `result.json`; if a signal ended the call, the status "interrupted" and the
        steps done; if the run paused (`Checkpoints.pause_at`), the status "paused". On a worker
        that is not the chief, the result has the worker's number under "worker".

    Raises:
        ValueError: If the run folder contains something else or is in use, an argument does not fit
            the workload, or the workload returns too few batches, or none for a split.
        OSError: If the run folder cannot be written.
        PeerLostError: If another worker has ended or does not respond.
    """
    settings = fingerprint.settings(run, locals())
    with started(training, numerics) as devices, contextlib.ExitStack() as stack:
        workers = distribution.Workers(devices)
        if checkpoints.branch_from is not None and workers.number > 1:
            raise ValueError(
                "A run that branches from another one can only have one worker, since other "
                f"workers cannot read that run's folder. Received: {workers.number} workers, "
                f"{checkpoints.branch_from=}"
            )
        who = {} if workers.is_chief else {"worker": workers.index}
        folder = stack.enter_context(claimed(run_dir, settings, workers))
        if folder.finished:
            result = folder.read_result()
            display.Display().say(
                f"This run has already finished, so nothing is done: {folder.path}"
            )
            return {**result, **who}
        preemption = stack.enter_context(Preemption(workers, min(1.0, checkpoints.every)))
        built = build(devices, workload, training, combiner, sharing, optimization, numerics)
        # Fail early, while the folder is still empty.
        trained = loop.Loop(built, folder, preemption, logging, checkpoints)
        built.check()
        if checkpoints.branch_from is not None and not folder.begun.exists():
            branching.find(built, folder, checkpoints.branch_from)
        data = built.data.fingerprint()
        check_same_data(data, workers)
        folder.open(config.asked(), config.operative(), data)
        result = trained.go()
        workers.wait()  # A worker that left early would look lost to the others.
        return {**result, **who}


def describe(
    workload: Callable[[], Workload],
    training: Training,
    combiner: Callable[[], Combiner] = StaticWeights,
    sharing: Sharing = Sharing(),
    optimization: Optimization = Optimization(),
    numerics: Numerics = Numerics(),
    batch_size: int | None = None,
) -> str:
    """Takes a few steps of a run and describes its size, memory and time. Nothing is written.

    Arguments and errors are those of `run`. The steps have `batch_size` examples: by default those
    of the run, or as many of them as fit in memory, estimated from a smaller step.
    """
    with started(training, numerics) as devices, synthetic.where_missing():
        built = build(devices, workload, training, combiner, sharing, optimization, numerics)
        built.check()
        return dry_run.describe(built.model, built.data, built.plan, built.monitor, batch_size)


def check(
    workload: Callable[[], Workload],
    training: Training,
    combiner: Callable[[], Combiner] = StaticWeights,
    sharing: Sharing = Sharing(),
    optimization: Optimization = Optimization(),
    numerics: Numerics = Numerics(),
    trace: bool = False,
    further: Callable[[Built], None] | None = None,
) -> None:
    """Builds everything that a run needs, and checks it. Nothing is trained or written.

    Arguments and errors are those of `run`. With `trace`, a training step is traced too. A search
    passes its additional checks as `further`; see `mtk.experiment.rungs.check` and
    `mtk.experiment.branch_checks`.
    """
    with started(training, numerics) as devices:
        built = build(devices, workload, training, combiner, sharing, optimization, numerics)
        if further:
            further(built)
        if trace:
            built.check()
            built.model.step_graph(built.batches())


def check_bound(draft: config.Draft) -> None:
    """Checks the values that a configuration binds to each argument group of `run`, separately.

    Args:
        draft: The configuration.

    Raises:
        ValueError: If one is out of range.
    """
    for group in GROUPS:
        # The value that a reference returns is not known yet.
        bound = draft.values(group).items()
        group(**{name: value for name, value in bound if not config.refers(value)})


def launch(
    files: list[str],
    bindings: list[str],
    run_dir: str | None,
    profile_steps: tuple[int, int] | None = None,
    pause_at: int | None = None,
) -> dict[str, Any]:
    """Runs a configuration, and prints how the run ended.

    Args:
        files: Gin files; later files override earlier ones.
        bindings: Gin statements that override the files.
        run_dir: Output folder.
        profile_steps: Overrides that of `Logging` in the configuration.
        pause_at: Overrides that of `Checkpoints` in the configuration.

    Returns:
        See `run`.
    """
    config.parse(files, bindings)
    logging = config.bound(Logging)()
    if profile_steps:
        logging = replace(logging, profile_steps=profile_steps)
    checkpoints = config.bound(Checkpoints)()
    if pause_at is not None:
        checkpoints = replace(checkpoints, pause_at=pause_at)
    own = {"run_dir": run_dir, "logging": logging, "checkpoints": checkpoints}
    result = config.bound(run, given=list(own))(**own)
    print(results.summary(result, str(run_dir)))
    speed = None if run_dir is None else manifest.speed(Path(run_dir) / "manifest.json")
    if speed and "worker" not in result:
        print(speed)
    return result
