"""Writes a network as a `.keras` file that holds no Python code."""

import json
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras

from mtk import atomic, places
from mtk.export.outputs import with_outputs


def save_keras(network: keras.Model, path: str | Path, tasks: Sequence[str] | None = None) -> bool:
    """Writes `network` to the file `path` atomically.

    The file can be loaded with `keras.saving.load_model(path)` in safe mode, that is, without
    running code that is stored in it. For a network that cannot be saved in this way, there is a
    warning and no file: if it has a `Lambda` layer with a Python function, which Keras stores as
    byte code, or a custom layer without `get_config`. (A SavedModel can store any network.)

    Args:
        network: The network.
        path: A file ending in `.keras`. An existing file is replaced.
        tasks: The outputs to keep; all by default.

    Returns:
        Whether the file was written.

    Raises:
        ValueError: If `path` is a folder, or cannot be written, or a task is unknown.
        OSError: If the disk is full.
    """
    reason = ""
    network = network if tasks is None else with_outputs(network, tasks)
    target = places.check_file(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic.replacing(target) as unfinished:
            network.save(unfinished)
            if _holds_code(unfinished):
                raise NotImplementedError("A Lambda layer contains a Python function.")
    except NotImplementedError as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
    if reason:
        warnings.warn(
            f"{path} was not written: the network cannot be saved without Python code. {reason} "
            "Replace that layer by a subclass of keras.Layer with a `get_config`.",
            stacklevel=2,
        )
    return not reason


def _holds_code(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        text = archive.read("config.json").decode("utf-8")
    found = False

    def look(part: dict) -> dict:
        nonlocal found
        found = found or part.get("class_name") == "__lambda__"
        return part

    json.loads(text, object_hook=look)
    return found
