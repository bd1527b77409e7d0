"""Writes a TensorFlow module as a SavedModel."""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from mtk import atomic, places

# Errors that TensorFlow raises if files cannot be written.
_NUMBERS = {
    tf.errors.ResourceExhaustedError: errno.ENOSPC,
    tf.errors.PermissionDeniedError: errno.EACCES,
    tf.errors.NotFoundError: errno.ENOENT,
}


class Served(Protocol):
    """A `tf.Module` that knows the functions of its SavedModel."""

    def signatures(self) -> dict[str, Any]:
        """Returns `tf.function`s with an input signature, by name."""


def export_module(module: Served, path: str | Path) -> None:
    """Writes `module` with its signatures to the folder `path` atomically.

    Args:
        module: The module.
        path: Output folder: new, empty, or an earlier export, which is replaced.

    Raises:
        ValueError: If something else is in the folder; then nothing is changed.
        OSError: If the folder cannot be written.
    """
    target = places.check_folder(path)
    # Traced here; otherwise the signatures would be traced again, with other argument names.
    traced = {name: given.get_concrete_function() for name, given in module.signatures().items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing_folder(target) as unfinished, written_by_tensorflow():
        tf.saved_model.save(module, str(unfinished), signatures=traced)


@contextlib.contextmanager
def written_by_tensorflow() -> Iterator[None]:
    """Turns TensorFlow's errors into OSErrors, which all other writing functions raise.

    The path of TensorFlow is not shown, since the folder is renamed when it is complete.
    """
    logger = tf.get_logger()
    logger.addFilter(_tells_more)
    try:
        yield
    except tf.errors.OpError as error:
        if number := _NUMBERS.get(type(error)):  # Its message names TensorFlow's own files.
            raise OSError(number, os.strerror(number)) from error
        first = (error.message or type(error).__name__).strip().splitlines()[0]
        raise OSError(errno.EIO, first.partition("}} ")[2] or first) from error
    finally:
        logger.removeFilter(_tells_more)


def _tells_more(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Assets written to")
