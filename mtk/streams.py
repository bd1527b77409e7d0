"""Standard streams of a command that handle closed streams, full disks and closed terminals."""

import io
import os
import sys
import warnings

_ERROR_STREAM = 2


class OutputError(Exception):
    """The output of a command cannot be written; `__cause__` is the system's error.

    It is not an OSError, since it does not concern the input or the files of a command.
    """


class _Stream(io.FileIO):
    """A standard stream that drops text for a terminal that was closed."""

    def __init__(self, number: int):
        super().__init__(number, "w", closefd=False)
        self._drops = self.isatty()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            if self._drops:
                return len(data)
            raise OutputError from error


class _ErrorStream(_Stream):
    """The standard error stream, whose own errors cannot be reported."""

    def __init__(self, number: int):
        super().__init__(number)
        self._drops = True


def prepare() -> None:
    """Makes the standard streams of this process raise `OutputError` only.

    Closed streams are replaced, since the next opened file would receive their output. Streams that
    a caller has replaced are kept.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _ERROR_STREAM:
        pass
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    for number, (name, kind) in enumerate((("stdout", _Stream), ("stderr", _ErrorStream)), 1):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _text(kind(number), stream))


def shorten_warnings() -> None:
    """Shows a warning as its text, without its location in the code."""

    def shown(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        del category, filename, lineno, line
        return f"warning: {message}\n"

    warnings.formatwarning = shown


def _text(raw: io.FileIO, before: io.TextIOWrapper | None) -> io.TextIOWrapper:
    """Returns a text stream like the given one; characters not in its encoding are escaped."""
    encoding = before.encoding if before else "utf-8"
    by_line = raw.isatty() or raw.fileno() == _ERROR_STREAM
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=by_line)
