"""Output of commands: permanent lines, and on a terminal a view that is redrawn.

Colours and views are made by rich, which respects NO_COLOR and is only imported for a terminal;
files and pipes get plain lines.
"""

import atexit
import contextlib
import difflib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO, TypeVar

Item = TypeVar("Item")

BEST = "★"
_BAR, _SHORTEST = 24, 6  # characters
_EVERY = 10.0  # seconds between two lines without a terminal
_AT_ONCE = 1_000  # items between two readings of the clock


class Display:
    """Writes lines and, on a terminal, a bar and a table under them.

    Args:
        stream: Where to write; the standard error stream by default.

    Attributes:
        on_terminal: Whether the stream is a terminal.
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.on_terminal = self.stream.isatty()
        self._live: Any = None

    def say(self, text: str, style: str = "") -> None:
        """Writes a permanent line, in a style of rich on a terminal."""
        with _unstopped():
            if not self.on_terminal:
                print(text, file=self.stream, flush=True)
                return
            from rich.text import Text

            self._console().print(Text(text, style), soft_wrap=True)

    def fitted(self, parts: Sequence[str]) -> str:
        """Joins parts of a line; on a terminal that is too narrow, each gets its own line."""
        whole = " · ".join(parts)
        if not self.on_terminal or len(whole) <= self._console().width:
            return whole
        return "\n  ".join(parts)

    def draw(
        self, text: str, done: float | None = None, rows: Sequence[Sequence[str]] = ()
    ) -> None:
        """Draws the view, on a terminal.

        Args:
            text: A line.
            done: Share of the work that is done, shown as a bar before the text.
            rows: Rows of a table under it, the first one the header; cells that begin with `BEST`
                are green. A row of one cell is a line below the table.
        """
        if not self.on_terminal:
            return
        from rich.console import Group
        from rich.constrain import Constrain
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, 1))
        room = min(_BAR, self._console().width - 2 - len(text) - 1)
        is_wanted = done is not None and room >= _SHORTEST
        bar = [ProgressBar(1.0, min(done or 0.0, 1.0), width=room)] if is_wanted else []
        line.add_row(*bar, Text(text, no_wrap=True, overflow="ellipsis"))
        table = Table.grid(padding=(0, 2))
        for number, row in enumerate(row for row in rows if len(row) > 1):
            table.add_row(*(Text(cell, _style(cell, number)) for cell in row))
        below = [Text(row[0]) for row in rows if len(row) == 1]
        whole = Group(line, *([table] if table.rows else []), *below)
        with _unstopped():
            # After a line of the full width, the "^C" of a terminal would start another one.
            self._view().update(Constrain(whole, self._console().width - 2), refresh=True)

    def close(self) -> None:
        """Removes the view; the cursor is then at the start of an empty line."""
        if self._live is not None:
            atexit.unregister(self.close)
            with _unstopped():
                self._live.stop()
            self._live = None

    def _console(self) -> Any:
        from rich.console import Console

        return Console(file=self.stream) if self._live is None else self._live.console

    def _view(self) -> Any:
        if self._live is None:
            from rich.live import Live

            # No drawing thread, since runs are forked from this process. A killed process leaves
            # the cursor as it is, so it stays visible.
            self._live = Live(
                console=self._console(),
                auto_refresh=False,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()
            atexit.register(self.close)  # If an error ends the program.
            self._live.console.show_cursor(True)
        return self._live


class Meter:
    """Shows how much is done, the speed and, if the total is known, the time left.

    On a terminal, it shows a bar, and a line when all is done; otherwise a line every few seconds,
    and so nothing for work that takes less time.

    Args:
        unit: What is counted, such as "images".
        total: The total number, if it is known.
        label: The work that is done on them.
    """

    def __init__(self, unit: str, total: int | None = None, label: str = ""):
        self.display = Display()
        self._unit, self._total, self._label = unit, total, label
        self._started = self._said_at = time.monotonic()
        self._done = 0

    def add(self, number: int) -> None:
        """Adds the number of items done since the last call."""
        self._done += number
        now, ends = time.monotonic(), self._done == self._total
        if self.display.on_terminal and not ends:
            self.display.draw(self._text(now), self._done / self._total if self._total else None)
        elif self.display.on_terminal or now - self._said_at >= _EVERY:
            self._said_at = now
            self.display.close()
            self.display.say(self._text(now))

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields the items, and counts them."""
        for number, item in enumerate(items, start=1):
            yield item
            if not number % _AT_ONCE:
                self.add(_AT_ONCE)

    def _text(self, now: float) -> str:
        speed = self._done / max(now - self._started, 1e-9)
        done, left = f"{self._done:,}", ""
        if self._total is not None:
            done += f"/{self._total:,}"
            left = f" · {format_duration((self._total - self._done) / speed)} left"
        what = f"{self._label}: " if self._label else ""
        return f"{what}{done} {self._unit} · {speed:,.0f} {self._unit}/s{left}"


@contextlib.contextmanager
def stage(what: str) -> Iterator[None]:
    """Reports the start of a stage and, unless it fails, its duration."""
    display, started = Display(), time.monotonic()
    display.say(f"{what} …")
    yield
    display.say(f"{what}: {time.monotonic() - started:.1f} s")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a line for each row, with columns as wide as their longest text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{c:<{w}}" for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]


def significant(number: float) -> float:
    """Returns a number to six significant digits, which distinguish small task weights."""
    return float(f"{number:.6g}")


def short(number: float) -> str:
    """Returns a number to three significant digits: `0.123`, `1230`."""
    return f"{float(f'{number:.3g}'):g}"


def counted(number: int, what: str) -> str:
    """Returns a number of things in words: `1 run`, `2,000 runs`."""
    return f"{number:,} {what}" + "s" * (number != 1)


def suggestion(given: Iterable[str], names: Sequence[str]) -> str:
    """Returns a sentence, after a space, with the known name closest to the first unknown one.

    Args:
        given: Names that were given.
        names: The known names.
    """
    unknown = next((name for name in given if name not in names), None)
    close = difflib.get_close_matches(str(unknown), names, n=1)
    return f" Did you mean {close[0]!r}?" if unknown is not None and close else ""


def format_duration(seconds: float) -> str:
    """Returns minutes and seconds, such as `1:05`, after the hours if there are any.

    From 100 hours on, it returns days.
    """
    if seconds >= 100 * 3600:
        return f"{seconds / 86400:,.0f} days"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _style(cell: str, row: int) -> str:
    return "bold" if row == 0 else "green" if cell.startswith(BEST) else ""


@contextlib.contextmanager
def _unstopped() -> Iterator[None]:
    """Ignores errors of a log on a full disk, which must not stop the work."""
    with contextlib.suppress(OSError):
        yield
