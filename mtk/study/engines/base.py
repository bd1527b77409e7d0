"""What the sweep asks of an engine."""

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Self


class Engine(abc.ABC):
    """Does runs, each in a separate process, several at a time.

    An engine keeps no state that matters: the state of each run is in the study folder, so losing
    an engine loses nothing. It is a context manager; no run outlives it.
    """

    @property
    @abc.abstractmethod
    def slots(self) -> int:
        """How many runs may be running at a time."""

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
        """Asks every running run to write a checkpoint and stop."""

    @abc.abstractmethod
    def kill(self) -> None:
        """Ends every running run at once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def made(factory: Callable[[], Engine]) -> Engine:
    """Returns the engine that a factory makes.

    Raises:
        ValueError: If it is no factory of one.
    """
    found = factory() if callable(factory) else None
    if isinstance(found, Engine):
        return found
    raise ValueError(
        "`engine` must be a class such as mtk.study.engines.Ray, or a function that returns an "
        f"Engine, such as lambda: mtk.study.engines.Ray(cores=2). Received: {factory!r}, which "
        f"returns {found!r}"
    )


def threads(number: int) -> dict[str, str]:
    """Returns the environment of a run that has so many cores: each thread pool is that large."""
    pools = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys(pools, str(max(1, number)))
