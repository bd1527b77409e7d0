"""Errors that several parts of the package raise, and what is said of errors."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


class StudyError(ValueError):
    """A study that cannot be run as it is described, or whose folder cannot be read."""


class DamagedError(ValueError):
    """A file that is there and does not hold what it should, with the reason."""


def message(error: Exception) -> str:
    """Returns what an error says, without the number that the system gives it."""
    return re.sub(r"\[Errno \d+\] ", "", str(error))


def check_kinds(given: Any, kinds: Mapping[str, tuple[Any, str]]) -> None:
    """Checks of what kind the attributes of an object are; a text is no sequence.

    Args:
        given: The object.
        kinds: By the name of an attribute, a type or several, and what it is in words.

    Raises:
        StudyError: If one is of another kind.
    """
    for name, (kind, words) in kinds.items():
        value = getattr(given, name)
        if not isinstance(value, kind) or (kind is Sequence and isinstance(value, str)):
            raise StudyError(f"`{name}` is {words}. Received: {value!r}")
