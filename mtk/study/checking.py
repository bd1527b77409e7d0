"""Builds everything that the runs of a study need once, before the first run is started."""

import functools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from mtk.display import counted
from mtk.errors import StudyError
from mtk.study.engines.local import may_fork
from mtk.study.folder import State, StudyFolder
from mtk.study.grid import Run
from mtk.study.progress import Progress

_SHOWN = 5  # problems
_BEGUN = (State.FINISHED, State.DIVERGED, State.RUNNING)
# Under any other strategy, variables belong to one strategy object, and so to one run.
_ONE_DEVICE = ("None", ".single")


def check(
    runs: Sequence[Run],
    folder: StudyFolder,
    progress: Progress,
    retry_failed: bool = False,
    further: Callable[[Any], None] | None = None,
) -> None:
    """Builds data, network, combiner and plan of enough runs to cover each value of each method.

    For the first run of each method, a training step is also traced. Values with which a run in the
    folder has already started are known to be valid. Nothing is written. The check runs in a
    separate process, so that TensorFlow starts no threads in this one, which may be forked.

    Args:
        runs: All known runs.
        folder: The study folder.
        progress: Where to report progress.
        retry_failed: Whether failed runs are repeated.
        further: An additional check of what was built for a run; see `mtk.experiment.check`.

    Raises:
        StudyError: If a run could not be started.
    """
    states = {run: folder.state(run.hash) for run in runs}
    begun = [run for run in runs if states[run] in _BEGUN or _has_begun(folder, run)]
    wanted = (State.PENDING, State.FAILED) if retry_failed else (State.PENDING,)
    chosen = list(covering([run for run in runs if states[run] in wanted], begun))
    if not chosen:
        return
    progress.say(
        f"Checking: building {counted(len(chosen), 'run')} to cover all values of the study. "
        "This takes some seconds."
    )
    problems: dict[str, Run] = {}
    outcomes = _outcomes(chosen, begun, further)
    for done, (run, problem) in enumerate(zip(chosen, outcomes, strict=False), 1):
        progress.busy(f"checked {done}/{len(chosen)}: {run.method}")
        if problem:
            problems.setdefault(problem, run)
    progress.close()
    if problems:
        shown = [f"{run.method} {run.point}: {text}" for text, run in problems.items()]
        more = f"\nand {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        raise StudyError(
            "No run was started because some cannot be built:\n" + "\n".join(shown[:_SHOWN]) + more
        )


def covering(runs: Sequence[Run], begun: Sequence[Run]) -> Iterator[Run]:
    """Yields runs until each value of each method is covered once.

    Args:
        runs: The runs.
        begun: Runs whose values need not be covered again.
    """
    met = {value for run in begun for value in _values(run)}
    for run in runs:
        new = _values(run) - met
        met |= new
        if new:
            yield run


def _values(run: Run) -> set[tuple[str, str, str]]:
    varied = {**run.point, "seed": run.seed}
    return {(run.method, name, repr(value)) for name, value in varied.items()}


def _has_begun(folder: StudyFolder, run: Run) -> bool:
    return (folder.run_dir(run.hash) / "checkpoints" / "run.json").exists()


def _outcomes(
    runs: Sequence[Run], begun: Sequence[Run], further: Callable[[Any], None] | None
) -> Iterator[str]:
    """Yields the problem of each run, an empty string if there is none."""
    context = multiprocessing.get_context("fork" if may_fork() else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    traced = {run.method for run in begun}
    lines = [(run.lines, run.method) for run in runs]
    process = context.Process(  # type: ignore[attr-defined]
        target=_build_all, args=(lines, traced, sender, further)
    )
    process.start()
    sender.close()
    try:
        for _ in runs:
            try:
                yield receiver.recv()
            except EOFError:
                process.join()
                yield (
                    "the process that built it ended unexpectedly (exit code "
                    f"{process.exitcode}), possibly for lack of memory."
                )
                return
    finally:
        process.kill()
        process.join()


def _build_all(
    configurations: Sequence[tuple[Any, str]],
    traced: set[str],
    sender: Connection,
    further: Callable[[Any], None] | None,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The sweep ends this process.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    builder = _Builder(further)
    for lines, method in configurations:
        sender.send(builder.problem(lines, trace=method not in traced))
        traced.add(method)


class _Builder:
    """Builds runs one after another, reusing the data and network of the last one if they fit."""

    def __init__(self, further: Callable[[Any], None] | None = None) -> None:
        self._further = further
        self._key: Any = None
        self._data: Any = None

    def problem(self, lines: Sequence[Any], trace: bool) -> str:
        """Returns the problem of a configuration, an empty string if there is none."""
        from mtk import config

        try:
            self._build(lines, trace)
        except Exception as error:  # The run would fail with the same error.
            expected = isinstance(error, (ValueError, OSError, ImportError))
            return ("" if expected else f"{type(error).__name__}: ") + config.explain(error)
        return ""

    def _build(self, lines: Sequence[Any], trace: bool) -> None:
        from mtk import config, experiment

        draft = config.Draft.of(lines)
        config.apply(draft)  # From here on, errors name their locations.
        own = ("workload", "run_dir")
        check = config.bound(experiment.run, given=own, instead=experiment.check)
        factory = config.values(experiment.run)["workload"]
        workload = draft.values(experiment.run)["workload"].target
        bound = draft.values(experiment.Numerics)
        key = (draft.met(workload), bound.get("precision"), repr(bound.get("strategy")))
        if key != self._key or not key[-1].endswith(_ONE_DEVICE):
            self._key = self._data = None

        def data() -> Any:
            if self._data is None:
                self._data, self._key = factory(), key
                self._data.network = functools.cache(self._data.network)
            return self._data

        check(workload=data, trace=trace, further=self._further)
