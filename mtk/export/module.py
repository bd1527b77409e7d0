"""Writes a TensorFlow module as a SavedModel."""

from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from mtk import atomic


class Served(Protocol):
    """A `tf.Module` that knows the functions of its SavedModel."""

    def signatures(self) -> dict[str, Any]:
        """Returns `tf.function`s with an input signature, by name."""


def export_module(module: Served, path: str | Path) -> None:
    """Writes `module` with its signatures to the folder `path`, whole or not at all.

    Args:
        module: What to write.
        path: Folder to write. What is there already is replaced.
    """
    # Traced here, or the signatures would be traced anew, for other names of the arguments.
    traced = {name: given.get_concrete_function() for name, given in module.signatures().items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path) as unfinished:
        tf.saved_model.save(module, str(unfinished), signatures=traced)
