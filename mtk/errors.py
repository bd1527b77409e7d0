"""Errors that several parts of the package raise, and messages of errors."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


class StudyError(ValueError):
    """A study that cannot be run as described, or whose folder cannot be read."""


class DamagedError(ValueError):
    """A file that exists but has wrong content, with the reason."""


def message(error: Exception) -> str:
    """Returns the message of an error, without the system's error number."""
    return re.sub(r"\[Errno \d+\] ", "", str(error))


def out_of_memory(error: BaseException) -> str | None:
    """Returns advice for a device that is out of memory; None for any other error.

    Args:
        error: The error. TensorFlow's is recognized by its name, without importing TensorFlow.
    """
    said = str(error)
    is_full = type(error).__name__ == "ResourceExhaustedError" and "OOM" in said
    if not is_full and not isinstance(error, MemoryError):
        return None
    found = re.search(r"OOM when allocating tensor with shape\[(.*?)\].* on (\S+)", said)
    said = f"a tensor of shape ({found[1]}) does not fit on {found[2]}" if found else said
    return (
        f"Out of memory: {said}. Use a smaller experiment.Optimization.batch_size, more "
        "experiment.Numerics.micro_batches, or a smaller network. --dry_run shows the memory that "
        "a step takes."
    )


def check_kinds(given: Any, kinds: Mapping[str, tuple[Any, str]]) -> None:
    """Checks the types of an object's attributes; a string is not a sequence.

    Args:
        given: The object.
        kinds: By the name of an attribute, one or several types, and a description of them.

    Raises:
        StudyError: If one has another type.
    """
    for name, (kind, words) in kinds.items():
        value = getattr(given, name)
        if not isinstance(value, kind) or (kind is Sequence and isinstance(value, str)):
            raise StudyError(f"`{name}` must be {words}. Received: {value!r}")
