"""What the data of a study do not allow."""


class UnavailableError(Exception):
    """A figure or table that the study's data do not allow, with the reason."""
