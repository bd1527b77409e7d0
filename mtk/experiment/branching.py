"""Branches: runs that start from the pause of another run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras

from mtk import atomic, checkpoints, records
from mtk.checkpoints import AppendOnlyFiles, DamagedError, Snapshot, Store
from mtk.combiners import StaticWeights
from mtk.experiment import rungs
from mtk.experiment.building import Built
from mtk.experiment.run_description import RunDescription
from mtk.experiment.run_folder import RunFolder

# Fields of the plan that must be equal in a branch, since they determine the order of the data.
SAME = ("batch_size", "evaluate_every", "seed")
_OWN = ("module of ", "experiment.Checkpoints.")  # Settings that do not change the training.


def begin(built: Built, folder: RunFolder, store: Store, branch_from: tuple[str, int]) -> None:
    """Makes the state of another run at its pause the first checkpoint of this run.

    The whole state is copied: weights, optimizer, random generators, the callbacks' states and the
    record. The learning rate is that of this run. If the process is killed, this is done again.

    Args:
        built: Data, model and plan of this run.
        folder: The opened run folder.
        store: The store of its checkpoints, still empty.
        branch_from: See `mtk.experiment.Checkpoints`.

    Raises:
        ValueError: If the other run has no valid checkpoint there, or does not fit this one.
        OSError: If the folder cannot be written.
    """
    check(built)
    parent, snapshot = find(built, folder, branch_from)
    before = RunDescription.of(snapshot.state["run"])
    before.check_data(parent.path, folder.description.data)
    growing = AppendOnlyFiles(parent.path, parent.metrics, parent.tensorboard)
    growing.check(snapshot.lengths, snapshot.record)
    growing.copy(snapshot.lengths, folder.path)
    _write_lineage(folder, parent, before, snapshot.step)
    model = built.model
    model.make_train_function()  # Creates variables that do not exist yet.
    rate = rungs.rate_of(model)
    own = keras.ops.convert_to_numpy(rate) if isinstance(rate, keras.Variable) else None
    checkpoints.assign(model, snapshot.variables)
    if own is not None:
        rate.assign(own)
    state = {**snapshot.state, "run": folder.description.as_dict()}
    store.write(replace(snapshot, variables=checkpoints.values(model), state=state))


def find(
    built: Built, folder: RunFolder, branch_from: tuple[str, int]
) -> tuple[RunFolder, Snapshot]:
    """Returns the run to branch from, and the checkpoint of its pause.

    Args:
        built: Data, model and plan of this run.
        folder: This run's folder.
        branch_from: See `mtk.experiment.Checkpoints`.

    Raises:
        ValueError: If there is no valid checkpoint there, or its plan does not fit.
    """
    parent = RunFolder(folder.path.parent / branch_from[0], {})
    snapshot = _paused(parent, branch_from[1])
    _check_fits(built, parent, branch_from[1])
    return parent, snapshot


def check(built: Built) -> None:
    """Checks that the task weights of a configuration take effect in a branch.

    Raises:
        ValueError: If the weights are part of the state that the branch copies.
    """
    combiner = built.model.combiner
    if isinstance(combiner, StaticWeights) and combiner.schedule is not None:
        raise ValueError(
            "With a `schedule`, the weights of `StaticWeights` are state, so a run that "
            "branches from another one would take over that run's weights, not those of its own "
            "configuration. Leave the schedule out."
        )


def lineage(folder: RunFolder) -> list[dict[str, Any]]:
    """Returns the runs that a run consists of, in order; empty if it is not a branch."""
    if not folder.lineage.exists():
        return []
    found: list[dict[str, Any]] = records.json_object(folder.lineage)["runs"]
    return found


def described(folder: RunFolder, method: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record of a run's method: weights that a branch has changed are not static.

    Args:
        folder: The run folder, with its `lineage.json` if it is a branch.
        method: The record that `mtk.experiment.method.describe` returns.
    """
    runs = lineage(folder)
    if not runs:
        return dict(method)
    manifest = folder.path.parent / runs[-2]["run"] / "manifest.json"
    before = records.json_object(manifest).get("method", {})
    if before.get("static") and before.get("task_weights") == method["task_weights"]:
        return dict(method)
    return {**method, "static": False, "task_weights": None}


def _paused(parent: RunFolder, step: int) -> Snapshot:
    """Returns the checkpoint of a run's pause."""
    try:
        return Snapshot.load(parent.pause(step))
    except DamagedError as error:
        raise ValueError(
            f"No valid checkpoint {str(parent.pause(step))!r} to branch from: {error}. Let that "
            f"run pause there first, with `pause_at={step}` and `keep_pauses=True`."
        ) from error


def _check_fits(built: Built, parent: RunFolder, step: int) -> None:
    theirs = records.json_object(parent.rung(step))["plan"]
    differ = [name for name in SAME if theirs[name] != getattr(built.plan, name)]
    if differ:
        told = ", ".join(f"{n} {theirs[n]} there, {getattr(built.plan, n)} here" for n in differ)
        raise ValueError(
            f"A run cannot branch from {str(parent.path)!r} because the data order or the "
            f"evaluations would not continue: {told}. Make these equal."
        )


def _write_lineage(folder: RunFolder, parent: RunFolder, before: RunDescription, step: int) -> None:
    earlier = lineage(parent) or [{"run": parent.path.name, "hash": before.hash, "first_step": 0}]
    ours, theirs = folder.description.settings, before.settings
    changed = {
        name: {"from": theirs.get(name), "to": ours.get(name)}
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name) and not name.startswith(_OWN)
    }
    own = {"run": folder.path.name, "hash": folder.description.hash, "first_step": step}
    atomic.write_json(folder.lineage, {"runs": [*earlier, {**own, "changed": changed}]})
