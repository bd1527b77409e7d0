"""Starts TensorFlow without its talk."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mtk import display

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def start_tensorflow() -> None:
    """Imports TensorFlow, says how long that took, and keeps its C++ messages off the terminal.

    Whoever sets `TF_CPP_MIN_LOG_LEVEL` himself sees everything that it lets through.

    Raises:
        ValueError: If Keras is told to compute by something else.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise ValueError(
            "mtk needs Keras' TensorFlow backend. Unset the environment variable "
            f"KERAS_BACKEND, or set it to 'tensorflow'. Received: {backend!r}"
        )
    is_chosen = _LEVEL in os.environ
    # Errors too: without a GPU, TensorFlow reports the missing one as an error. What goes wrong in
    # an operation is raised in Python anyway.
    os.environ.setdefault(_LEVEL, "3")
    if "tensorflow" in sys.modules:
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(display.stage("Starting TensorFlow"))
        if not is_chosen:  # What is logged while the libraries load knows no level.
            stack.enter_context(no_error_stream())
        importlib.import_module("tensorflow")


@contextlib.contextmanager
def no_error_stream() -> Iterator[None]:
    """Drops what is written to the error stream, also by C++ code that knows no log level."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
