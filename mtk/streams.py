"""The standard streams of a command: closed ones, full disks, terminals that are gone."""

import io
import os
import sys
import warnings

_ERROR_STREAM = 2


class OutputError(Exception):
    """What a command prints cannot be written; `__cause__` is the system's error.

    It is no OSError: it says nothing of a command's input, and of no file that it reads or writes.
    """


class _Stream(io.FileIO):
    """A standard stream, in which text for a terminal that was closed is dropped."""

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
    """The standard error stream: where it cannot be written, nothing is left to say so by."""

    def __init__(self, number: int):
        super().__init__(number)
        self._drops = True


def prepare() -> None:
    """Has the standard streams of this process fail by `OutputError` alone.

    Something is put in the place of closed ones: the next file would get what is printed. What a
    caller has put in their place stays.
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
    """Shows a warning as its text, without the place in the code that gives it."""

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
    """Writes text as a stream did before; letters that its encoding lacks are escaped."""
    encoding = before.encoding if before else "utf-8"
    by_line = raw.isatty() or raw.fileno() == _ERROR_STREAM
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=by_line)
