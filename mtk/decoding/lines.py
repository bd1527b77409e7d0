"""Translates lines of text, with a progress display."""

from collections.abc import Sequence
from typing import BinaryIO

from mtk.decoding.translators import Translator
from mtk.display import Meter

_WINDOW = 256  # lines among which sentences of similar length are batched


def read_lines(stream: BinaryIO) -> list[str]:
    """Reads UTF-8 text.

    Raises:
        ValueError: If a line is not UTF-8.
    """
    lines = stream.read().split(b"\n")
    if not lines[-1]:
        lines.pop()  # After the last line end.
    return [_decoded(number, line) for number, line in enumerate(lines, start=1)]


def translate_lines(
    translate: Translator, lines: Sequence[str], language: str, output: BinaryIO
) -> None:
    """Writes the translation of each line to a line of the output.

    Args:
        translate: The translator.
        lines: The lines; an empty one gives an empty one.
        language: The target language.
        output: The output stream, in UTF-8.
    """
    meter = Meter("lines", len(lines))
    for first in range(0, len(lines), _WINDOW):
        texts, cut = translate(lines[first : first + _WINDOW], language)
        output.write("".join(f"{_on_one_line(text)}\n" for text in texts).encode())
        output.flush()
        for number, longer in enumerate(cut, start=first + 1):
            if longer:
                text = f"line {number} is longer than the model's maximum length and is truncated."
                meter.display.say(f"warning: {text}", "yellow")
        meter.add(len(texts))


def _decoded(number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Line {number} of the input is not UTF-8: byte {error.start + 1} is "
            f"0x{line[error.start]:02x}. Convert it, for example with iconv."
        ) from error


def _on_one_line(text: str) -> str:
    # A network that generates bytes can generate a line end.
    return text.replace("\n", " ").replace("\r", " ")
