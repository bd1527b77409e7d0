"""Translates lines, and tells how far that is."""

import sys
import time
from collections.abc import Sequence
from typing import BinaryIO

from mtk import duration
from mtk.decoding.translators import Translator
from mtk.status_line import StatusLine

_WINDOW = 256  # lines: sentences of similar length are looked for among so many
_EVERY = 10.0  # seconds between two lines of progress where there is no terminal


def read_lines(stream: BinaryIO) -> list[str]:
    """Reads UTF-8 text.

    Raises:
        ValueError: If a line is something else.
    """
    lines = stream.read().split(b"\n")
    if not lines[-1]:
        lines.pop()  # Behind the last line's end.
    return [_decoded(number, line) for number, line in enumerate(lines, start=1)]


def translate_lines(
    translate: Translator, lines: Sequence[str], language: str, output: BinaryIO
) -> None:
    """Writes the translation of each line to a line of the output.

    Args:
        translate: What translates.
        lines: The lines; one that is empty gives an empty one.
        language: The target language.
        output: Where to write, as UTF-8.
    """
    progress = _Progress(len(lines))
    for first in range(0, len(lines), _WINDOW):
        texts, cut = translate(lines[first : first + _WINDOW], language)
        output.write("".join(f"{_on_one_line(text)}\n" for text in texts).encode())
        output.flush()
        for number, longer in enumerate(cut, start=first + 1):
            if longer:
                progress.warn(f"line {number} is longer than the model reads: its end is left out.")
        progress.show(first + len(texts))


class _Progress:
    """A bar on a terminal; elsewhere a line every few seconds."""

    def __init__(self, lines: int):
        self.lines = lines
        self.status = StatusLine(sys.stderr)
        self.started = self.shown = time.monotonic()

    def show(self, done: int) -> None:
        now, on_terminal = time.monotonic(), self.status.on_terminal
        if not on_terminal and now - self.shown < _EVERY:
            return
        self.shown = now
        speed = done / max(now - self.started, 1e-9)
        left = duration.in_words((self.lines - done) / speed)
        text = f"{done}/{self.lines} lines · {speed:.1f}/s · {left} left"
        stays = done == self.lines or not on_terminal
        self.status.show(self.status.bar(done / self.lines) + text, stays)

    def warn(self, text: str) -> None:
        self.status.show(f"warning: {text}", stays=True)


def _decoded(number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Line {number} of the input is no UTF-8: byte {error.start + 1} is "
            f"0x{line[error.start]:02x}. Convert it, by iconv for instance."
        ) from error


def _on_one_line(text: str) -> str:
    # A network that spells bytes can spell the end of a line.
    return text.replace("\n", " ").replace("\r", " ")
