"""One run, from tasks to result: what a configuration configures."""

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

    Called again with the same folder and the same arguments it goes on from the last checkpoint,
    wherever and however the last call ended, to the result that one call would have reached. A
    finished run is not touched: its result is returned. SIGTERM, SIGINT and SIGHUP end the call
    after the step that is being taken, with a checkpoint; a second signal ends the process at once.

    With a strategy of several workers, all of them call this alike; the chief writes the folder.

    Validation picks the step; test is measured there, once. What is given as a factory is built
    inside the strategy's scope. A configuration binds the fields of the groups by their classes,
    as in `experiment.Optimization.learning_rate = 0.1`.

    Args:
        workload: Factory of the tasks, their data and the network.
        run_dir: Folder to write: new, empty, or the one of this run. Several workers share it.
        training: How long to train, when to evaluate and what to select by.
        combiner: Factory of the combiner.
        sharing: Which variables tasks share, and how the gradients of each task are computed.
        optimization: How a step changes the weights.
        numerics: In what, on what and how exactly to compute.
        logging: What to write of the run's course.
        checkpoints: How often to save the run.

    Returns:
        What `result.json` holds; if a signal has ended the call, the status "interrupted" and the
        steps done; if it pauses (`Checkpoints.pause_at`), "paused". A worker that is not the chief
        has its number in it, under "worker".

    Raises:
        ValueError: If the run folder holds something else or is in use, or an argument does not
            fit the workload, or the workload gives fewer batches than are due, or none of a split.
        OSError: If the run folder cannot be written.
        PeerLostError: If another worker has ended or does not answer.
    """
    settings = fingerprint.settings(run, locals())
    with started(training, numerics) as devices, contextlib.ExitStack() as stack:
        workers = distribution.Workers(devices)
        if checkpoints.branch_from is not None and workers.number > 1:
            raise ValueError(
                "A run that branches from another one has one worker: others do not see that run's "
                f"folder. Received: {workers.number} workers, {checkpoints.branch_from=}"
            )
        who = {} if workers.is_chief else {"worker": workers.index}
        folder = stack.enter_context(claimed(run_dir, settings, workers))
        if folder.finished:
            result = folder.read_result()
            display.Display().say(f"Finished already, so nothing is done: {folder.path}")
            return {**result, **who}
        preemption = stack.enter_context(Preemption(workers, min(1.0, checkpoints.every)))
        built = build(devices, workload, training, combiner, sharing, optimization, numerics)
        # What can fail should fail now, while there is nothing in the folder.
        trained = loop.Loop(built, folder, preemption, logging, checkpoints)
        built.check()
        if checkpoints.branch_from is not None and not folder.begun.exists():
            branching.find(built, folder, checkpoints.branch_from)
        data = built.data.fingerprint()
        check_same_data(data, workers)
        folder.open(config.asked(), config.operative(), data)
        result = trained.go()
        workers.wait()  # Whoever left early would look lost to the others.
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
    """Makes a few steps of a run and describes it: its size, memory and time. Nothing is written.

    Arguments and errors are those of `run`. The steps have `batch_size` examples: by default those
    of the run, or the largest part of them whose memory is there, as a smaller step tells.
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
    """Builds what a run needs, and finds what does not fit. Nothing is trained or written.

    Arguments and errors are those of `run`. With `trace` a training step is traced too. A search
    checks `further` what it does with runs; see `mtk.experiment.rungs.check` and
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
    """Checks by themselves the values that a configuration binds to the groups of `run`.

    Args:
        draft: The configuration.

    Raises:
        ValueError: If one is out of range.
    """
    for group in GROUPS:
        # What a reference will return is not known yet.
        bound = draft.values(group).items()
        group(**{name: value for name, value in bound if not config.refers(value)})


def launch(
    files: list[str],
    bindings: list[str],
    run_dir: str | None,
    profile_steps: tuple[int, int] | None = None,
    pause_at: int | None = None,
) -> dict[str, Any]:
    """Runs what a configuration describes, and prints how it ended.

    Args:
        files: Gin files, the later overlaying the earlier.
        bindings: Gin statements that overlay the files.
        run_dir: Folder to write.
        profile_steps: As in `Logging`, if not as in the configuration.
        pause_at: As in `Checkpoints`, if not as in the configuration.

    Returns:
        As `run`.
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
