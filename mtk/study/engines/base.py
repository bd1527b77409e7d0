"""What the sweep asks of an engine."""

import abc
from pathlib import Path
from types import TracebackType
from typing import Self


class Engine(abc.ABC):
    """Does runs, each in a process of its own, several at a time.

    An engine keeps nothing that matters: what has become of a run stands in the study folder, so
    that losing an engine loses nothing. It is a context; at the end of it no run is at work.
    """

    @property
    @abc.abstractmethod
    def slots(self) -> int:
        """How many runs may be at work at a time."""

    @abc.abstractmethod
    def start(self, folder: Path, run: str) -> None:
        """Starts a run.

        Args:
            folder: The study folder.
            run: Hash of the run.
        """

    @abc.abstractmethod
    def wait(self, seconds: float) -> list[str]:
        """Waits until a run stops, but no longer than so many seconds.

        Returns:
            The runs that have stopped. How they did stands in the study folder.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """Asks every run at work to write a checkpoint and stop."""

    @abc.abstractmethod
    def kill(self) -> None:
        """Ends every run at work at once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
