"""A line that tells how far something is."""

import contextlib
import shutil
from typing import TextIO

_BAR = 24


class StatusLine:
    """Writes lines that stay, and on a terminal one that is drawn again and again.

    Args:
        stream: Where to write.

    Attributes:
        on_terminal: Whether that is a terminal.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.on_terminal = stream.isatty()

    def bar(self, done: float) -> str:
        """Returns a bar that is filled up to a share of it, or nothing if there is no terminal."""
        return f"[{'█' * int(done * _BAR):<{_BAR}}] " if self.on_terminal else ""

    def show(self, text: str, stays: bool) -> None:
        """Writes `text`; the next one takes its place unless it `stays`."""
        if not stays:
            text = text[: shutil.get_terminal_size().columns - 1]  # A second line would remain.
        # "Erase to the end of the line" after the text removes what a longer line left behind.
        start, end = ("\r", "\x1b[K") if self.on_terminal else ("", "")
        with contextlib.suppress(OSError):  # A log on a full disk must not stop what it tells of.
            self.stream.write(f"{start}{text}{end}" + "\n" * stays)
            self.stream.flush()
