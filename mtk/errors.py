"""Errors that several parts of the package raise."""


class StudyError(ValueError):
    """A study that cannot be run as it is described, or whose folder cannot be read."""
