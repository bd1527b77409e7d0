"""Tells whether two finished run folders have the same contents, bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


def differences(folder: Path, expected: Path) -> list[str]:
    """Returns what two run folders do not have in common; nothing if they are alike.

    Compared are result, record, newest checkpoint, selected weights, curves (but for the speed) and
    what the exported networks make of the same numbers.
    """
    found = [
        name
        for name in ("result.json", "metrics.jsonl")
        if (folder / name).read_bytes() != (expected / name).read_bytes()
    ]
    found += _arrays("checkpoint", checkpoint(folder), checkpoint(expected))
    found += _arrays("selected weights", selected(folder), selected(expected))
    found += _arrays("exported network", outputs(folder), outputs(expected))
    ours, theirs = curves(folder), curves(expected)
    if ours.keys() != theirs.keys():
        return [*found, f"curves: {sorted(ours.keys() ^ theirs.keys())}"]
    return found + [f"curve {name}" for name, points in ours.items() if points != theirs[name]]


def checkpoint(folder: Path) -> Arrays:
    """Returns the variables of the newest checkpoint, by their number."""
    from mtk.checkpoints import Snapshot

    newest = max((folder / "checkpoints").glob("0*"), key=lambda path: path.name)
    variables = Snapshot.load(newest).variables
    # What follows the number may count the objects of a process.
    return {name.partition(" ")[0]: array for name, array in variables.items()}


def selected(folder: Path) -> Arrays:
    """Returns the selected weights."""
    import h5py

    found = {}
    with h5py.File(folder / "checkpoints" / "selected.weights.h5") as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None
        )
    return found


def outputs(folder: Path) -> Arrays:
    """Returns what the exported network makes of fixed numbers."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    draw = np.random.default_rng(0)
    inputs = {
        name: tf.cast(draw.uniform(0, 1, [8, *spec.shape[1:]]), spec.dtype)
        for name, spec in serve.structured_input_signature[1].items()
    }
    return {name: output.numpy() for name, output in serve(**inputs).items()}


def curves(folder: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Returns the points of every curve in the order of the files, but for those of the speed."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: dict[str, list[tuple[int, bytes]]] = {}
    for path in sorted((folder / "tensorboard").rglob("events.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars" or value.tag in found:
                    name = f"{path.parent.name}/{value.tag}"
                    point = (event.step, value.tensor.SerializeToString())
                    found.setdefault(name, []).append(point)
    return {name: points for name, points in found.items() if "steps_per_second" not in name}


def _arrays(what: str, ours: Arrays, theirs: Arrays) -> list[str]:
    if ours.keys() != theirs.keys():
        return [f"{what}: {sorted(ours.keys() ^ theirs.keys())}"]

    def same(one: Any, other: Any) -> bool:
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()

    return [f"{what}: {name}" for name, array in ours.items() if not same(array, theirs[name])]
