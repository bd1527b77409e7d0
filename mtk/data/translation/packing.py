"""Tokenizes a split on all cores, in chunks."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent import futures
from multiprocessing import connection
from pathlib import Path

from mtk import resources
from mtk.data.translation.chunks import tokenized
from mtk.data.translation.filters import Filters
from mtk.data.translation.readers.base import RawPair
from mtk.data.translation.vocabulary import Vocabulary


class Packers:
    """Processes that tokenize, as a context manager.

    Args:
        vocabulary: File of the vocabulary.
        filters: The filters of pairs.
        processes: Number of processes; the number of cores by default.
    """

    def __init__(self, vocabulary: Path, filters: Filters, processes: int | None = None):
        self.processes = processes or resources.cpu_count()
        # A new interpreter each, which holds only what it needs.
        self._pool = futures.ProcessPoolExecutor(
            self.processes,
            multiprocessing.get_context("spawn"),
            _Packer.start,
            (vocabulary, filters),
        )

    def __enter__(self) -> "Packers":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def pack(
        self, pairs: Iterator[RawPair], folder: Path, size: int, held_out: bool
    ) -> Iterator[int]:
        """Writes the missing chunks of a split.

        Args:
            pairs: Pairs of the split.
            folder: Folder of its chunks: `00000000.npz`, ...
            size: Number of pairs per chunk.
            held_out: Whether the split is for evaluation.

        Yields:
            The number of pairs tokenized since the last yield.

        Raises:
            OSError: If a chunk cannot be written, or a process was lost.
        """
        waiting: dict[futures.Future[None], int] = {}
        try:
            for number, chunk in enumerate(_chunks(pairs, size)):
                path = folder / f"{number:08}.npz"
                if path.exists():
                    continue
                with _no_interrupts():  # A process may be started, which inherits the mask.
                    submitted = self._pool.submit(_Packer.pack, chunk, path, held_out)
                waiting[submitted] = len(chunk)
                # Just enough to keep all busy, so that memory does not grow with the text.
                if len(waiting) > 2 * self.processes:
                    yield from _finished(waiting)
            while waiting:
                yield from _finished(waiting)
        except futures.process.BrokenProcessPool as error:
            raise OSError(
                "A tokenizing process ended unexpectedly, possibly for lack of memory. "
                "Finished work is kept: run the same command again with smaller chunks or fewer "
                "processes."
            ) from error


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Blocks SIGINT; permanently in processes started meanwhile, which the parent ends.

    A terminal sends it to all processes, and a starting one could not yet ignore it itself.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _chunks(pairs: Iterator[RawPair], size: int) -> Iterator[list[RawPair]]:
    return iter(lambda: list(itertools.islice(pairs, size)), [])


def _finished(waiting: dict["futures.Future[None]", int]) -> Iterator[int]:
    done, _ = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
    for future in done:
        future.result()
        yield waiting.pop(future)


class _Packer:
    """State of one process, kept from chunk to chunk."""

    vocabulary: Vocabulary
    filters: Filters

    @classmethod
    def start(cls, vocabulary: Path, filters: Filters) -> None:
        cls.vocabulary, cls.filters = Vocabulary.load(vocabulary), filters
        threading.Thread(target=_end_with_parent, daemon=True).start()

    @classmethod
    def pack(cls, pairs: list[RawPair], path: Path, held_out: bool) -> None:
        tokenized(pairs, cls.vocabulary, cls.filters, held_out).save(path)


def _end_with_parent() -> None:
    """Ends this process if the parent is killed; otherwise it would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        with contextlib.suppress(OSError):
            connection.wait([parent.sentinel])
        os._exit(1)
