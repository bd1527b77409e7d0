"""Errors that several parts of the package raise, and what is said of errors."""

import re


class StudyError(ValueError):
    """A study that cannot be run as it is described, or whose folder cannot be read."""


def message(error: Exception) -> str:
    """Returns what an error says, without the number that the system gives it."""
    return re.sub(r"\[Errno \d+\] ", "", str(error))
