"""One run, from tasks to result: what a configuration configures."""

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import tensorflow as tf

from mtk import config, display, distribution
from mtk.callbacks.monitored import monitor_of
from mtk.combiners import Combiner, StaticWeights
from mtk.data import synthetic
from mtk.experiment import identity, manifest, numerics, rehearsal, results, supply, training
from mtk.experiment.arguments import COUNTS
from mtk.experiment.arguments import check as check_arguments
from mtk.experiment.checkpointing import Checkpointing
from mtk.experiment.interruption import Interruption
from mtk.experiment.numerics import Precision
from mtk.experiment.plan import Plan, make_plan
from mtk.experiment.run_folder import RunFolder
from mtk.experiment.sharing import check_same_data, claimed
from mtk.gradients import GradientStrategy
from mtk.monitor import Monitored
from mtk.trainer import MultiTaskModel, OnNonfinite
from mtk.workloads import Workload

__all__ = ["Plan", "RunFolder", "check_bound", "launch", "run"]


def run(
    workload: Callable[[], Workload],
    run_dir: str | Path | None = None,
    combiner: Callable[[], Combiner] = StaticWeights,
    gradients: GradientStrategy = "auto",
    representation: str | None = None,
    shared: Sequence[str] | None = None,
    heads: Mapping[str, Sequence[str]] | None = None,
    optimizer: Callable[..., keras.optimizers.Optimizer] = keras.optimizers.SGD,
    learning_rate: float = 0.1,
    schedule: Callable[..., keras.optimizers.schedules.LearningRateSchedule] | None = None,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    precision: Precision = "float32",
    on_nonfinite: OnNonfinite = "stop",
    micro_batches: int = 1,
    jit_compile: bool = False,
    deterministic: bool = False,
    batch_size: int = 256,
    epochs: int | None = None,
    steps: int | None = None,
    evaluate_every: int | None = None,
    monitor: Monitored = None,
    patience: int | None = None,
    log_every: int = 100,
    measure_every: int | None = None,
    strategy: Callable[[], tf.distribute.Strategy] = distribution.single,
    checkpoint_every: float = 60.0,
    keep_checkpoints: int = 2,
    seed: int = 0,
    dry_run: bool = False,
    dry_run_batch: int | None = None,
    check_only: Literal["arguments", "step"] | None = None,
    profile_steps: tuple[int, int] | None = None,
    callbacks: Sequence[Callable[[], keras.callbacks.Callback]] = (),
) -> dict[str, Any]:
    """Trains a workload once, and writes the run folder.

    Called again with the same folder and the same arguments it goes on from the last checkpoint,
    wherever and however the last call ended, to the result that one call would have reached. A
    finished run is not touched: its result is returned. SIGTERM and SIGINT end the call after the
    step that is being taken, with a checkpoint; a second signal ends the process at once.

    With a strategy of several workers, all of them call this alike; the chief writes the folder.

    Validation picks the step; test is measured there, once. What is given as a factory is built
    inside the strategy's scope.

    Args:
        workload: Factory of the tasks, their data and the network.
        run_dir: Folder to write: new, empty, or the one of this run.
        combiner: Factory of the combiner.
        gradients: How to compute per-task gradients; see `mtk.gradients.choose`.
        representation: Name of the layer whose output the heads read, where it cannot be found.
        shared: Names of layers or paths of variables that the tasks share, where that cannot be
            found; see `mtk.MultiTaskModel`. What was found or chosen is in `manifest.json`.
        heads: The same by task, of its head.
        optimizer: Factory of the optimizer, called with `learning_rate=`.
        learning_rate: At the start, or whatever `schedule` makes of it.
        schedule: Factory of a schedule, called with `learning_rate=` and `steps_per_epoch=`; None
            keeps the learning rate.
        weight_decay: Coupled L2.
        clip_norm: Largest global norm of the combined gradient.
        precision: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`: in what the network
            computes. Its variables, losses and combiner stay in float32.
        on_nonfinite: `"stop"` ends the run at a step whose losses or gradient are infinite or
            NaN; `"skip"` leaves the step out and counts it.
        micro_batches: Passes into which a replica's part of a batch is divided to save memory.
        jit_compile: Whether to compile the step with XLA, on one device.
        deterministic: Whether to use only operations that give the same bits in every run.
        batch_size: Examples a step, over all replicas.
        epochs: Length of the run in epochs of the training split; this or `steps`.
        steps: Length of the run in steps.
        evaluate_every: Steps between two evaluations; an epoch, by default.
        monitor: What validation selects by, here and among the runs of a study: `"mean_loss"`, the
            mean of the tasks' losses; `"relative_loss"`, the mean of their ratios to the first
            evaluation's; a metric, such as `"left_accuracy"`, or `("left_accuracy", "max")` where
            its class does not tell its direction; or a mean of several, `{"left_accuracy": "max",
            "right_loss": "min"}`. None is the first where all losses are of one kind (the same
            class, or cross-entropies), and the second where they have different units. See
            `mtk.monitor.resolve`.
        patience: Evaluations without a better one after which the run stops; None never stops it.
        log_every: Steps between two points of a training curve.
        measure_every: Steps between two measurements of per-task gradients; 0 for none. By default
            so rare that they cost less than 3 % of the run.
        strategy: Factory of the distribution strategy.
        checkpoint_every: Seconds between two checkpoints; there is also one at each evaluation.
        keep_checkpoints: How many of them to keep.
        seed: Of the initial weights, dropout and the order of the data.
        dry_run: Describe the run and time a step instead, and write nothing.
        dry_run_batch: Examples of the step that is timed then; by default `batch_size`, or the
            largest part of it whose memory is there, as a smaller step tells.
        check_only: Build everything instead, and write nothing; `"step"` also traces a step.
        profile_steps: First and last step to record for TensorBoard's profiler, counted from 1.
        callbacks: Factories of further Keras callbacks, such as those of experiment trackers. They
            see Keras' epochs, one for each evaluation; what they remember is in no checkpoint.

    Returns:
        What `result.json` holds; for a dry run the description, under "description"; nothing for
        a check; if a signal has ended the call, the status "interrupted" and the steps done. A
        worker that is not the chief has its number in it, under "worker".

    Raises:
        ValueError: If the run folder holds something else or is in use, or an argument is out of
            range, or the workload gives fewer batches than are due, or none of a split.
        OSError: If the run folder cannot be written.
        PeerLostError: If another worker has ended or does not answer.
    """
    settings = {} if check_only else identity.settings(locals(), config.bound_values(run))
    check_arguments(
        learning_rate=learning_rate,
        seed=seed,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        evaluate_every=evaluate_every,
        micro_batches=micro_batches,
        patience=patience,
    )
    if dry_run_batch is not None and not dry_run:
        raise ValueError(
            "`dry_run_batch` is for a dry run only; a run's batches are `batch_size`. "
            f"Received: dry_run_batch={dry_run_batch}"
        )
    numerics.set_up(seed, deterministic)
    with contextlib.ExitStack() as stack:
        # First of all: several workers must know of one another before TensorFlow does anything.
        devices = strategy()
        workers = distribution.Workers(devices)
        who = {} if workers.is_chief else {"worker": workers.index}
        stack.enter_context(distribution.peers_watched(devices))
        dry = dry_run or check_only is not None
        folder = None if dry else stack.enter_context(claimed(run_dir, settings, workers))
        if folder is not None and folder.finished:
            display.Display().say(f"Finished already, so nothing is done: {folder.path}")
            return {**folder.read_result(), **who}
        if dry_run:
            stack.enter_context(synthetic.where_missing())
        interruption = Interruption(workers)
        if not dry:
            stack.enter_context(interruption)
        with devices.scope(), numerics.computing_in(precision):
            with display.stage("Reading the data"):
                data = _built(workload, Workload, "workload")
            plan = make_plan(data, batch_size, epochs, steps, evaluate_every, patience, seed)
            rate: Any = learning_rate
            if schedule is not None:
                rate = schedule(learning_rate=learning_rate, steps_per_epoch=plan.steps_per_epoch)
            model = MultiTaskModel(
                data.network(seed),
                data.tasks,
                _built(combiner, Combiner, "combiner"),
                gradients=gradients,
                shared=shared,
                heads=heads,
                representation=representation,
            )
            model.compile(
                optimizer(learning_rate=rate),
                weight_decay=weight_decay,
                clip_norm=clip_norm,
                jit_compile=jit_compile,
                micro_batches=micro_batches,
                on_nonfinite=on_nonfinite,
            )
        compared = monitor_of(monitor, model)
        supply.check(data, plan)
        # What can fail should fail now, while there is nothing in the folder.
        written = folder or RunFolder("", settings)  # Nothing is written to that one.
        watchers = training.watch(plan, written, log_every, measure_every, compared)
        profile = training.profile(plan, written, profile_steps)
        checkpointing = Checkpointing(
            written, watchers, interruption, checkpoint_every, keep_checkpoints
        )
        batches = data.train(batch_size, plan.steps, seed)
        if check_only != "arguments":
            model.check(batches)
        if folder is None and check_only:
            if check_only == "step":
                model.step_graph(batches)
            return {}
        if folder is None:
            description = rehearsal.describe(model, data, plan, compared, dry_run_batch)
            return {"description": description}
        fingerprint = data.fingerprint()
        check_same_data(fingerprint, workers)
        folder.open(config.asked(), config.operative(), fingerprint)
        further = [make() for make in callbacks]
        result = training.train(model, data, plan, watchers, checkpointing, profile, further)
        workers.wait()  # Whoever left early would look lost to the others.
        return {**result, **who}


def _built(factory: Callable[[], Any], kind: type, name: str) -> Any:
    """Calls a factory that was given as an argument of `run`."""
    if isinstance(factory, kind):
        raise ValueError(
            f"`{name}` is called to make a {kind.__name__}, so give what makes it: the class, or a "
            f"function, without calling it. Received: a {type(factory).__name__}"
        )
    made = factory()
    if not isinstance(made, kind):
        raise ValueError(
            f"`{name}` makes a {kind.__name__}, such as those in mtk.{name}s. Received: "
            f"{getattr(factory, '__name__', factory)}, which makes a {type(made).__name__}"
        )
    return made


def check_bound(bound: Mapping[str, Any]) -> None:
    """Checks by themselves the numbers that a configuration binds to arguments of `run`.

    Args:
        bound: Values by the name of the parameter.

    Raises:
        ValueError: If one is out of range.
    """
    parameters = inspect.signature(run).parameters
    names = ("learning_rate", "seed", "epochs", "steps", *COUNTS)
    # What a reference will return is not known yet.
    known = {n: value for n, value in bound.items() if not config.refers(value)}
    check_arguments(**{name: known.get(name, parameters[name].default) for name in names})


def launch(
    files: list[str],
    bindings: list[str],
    run_dir: str | None,
    dry_run: bool,
    dry_run_batch: int | None = None,
    profile_steps: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Runs what a configuration describes, and prints how it ended.

    Args:
        files: Gin files, the later overlaying the earlier.
        bindings: Gin statements that overlay the files.
        run_dir: Folder to write.
        dry_run: As in `run`.
        dry_run_batch: As in `run`.
        profile_steps: As in `run`.

    Returns:
        As `run`.
    """
    config.parse(files, bindings)
    flags = {"dry_run_batch": dry_run_batch, "profile_steps": profile_steps}
    configured = config.bound(run, given=("run_dir", "dry_run", *flags))
    result = configured(run_dir=run_dir, dry_run=dry_run, **flags)
    print(result["description"] if dry_run else results.summary(result, str(run_dir)))
    speed = None if run_dir is None else manifest.speed(Path(run_dir) / "manifest.json")
    if speed and not dry_run and "worker" not in result:
        print(speed)
    return result
