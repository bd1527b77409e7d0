"""Writes checkpoints in the background during training."""

from concurrent.futures import Future, ThreadPoolExecutor

from mtk.checkpoints.snapshot import Snapshot
from mtk.checkpoints.store import Store


class AsyncCheckpointer:
    """Writes one snapshot at a time in a background thread.

    Args:
        store: The store to write to.
    """

    def __init__(self, store: Store):
        self.store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._future: Future[None] | None = None

    def submit(self, snapshot: Snapshot) -> None:
        """Starts to write a snapshot after the previous one is complete.

        Raises:
            OSError: If the previous one could not be written; this one is then not started.
        """
        self.wait()
        self._future = self._pool.submit(self.store.write, snapshot)

    def wait(self) -> None:
        """Waits until the last snapshot is complete.

        Raises:
            OSError: If it could not be written. Raised only once.
        """
        future, self._future = self._future, None
        if future is not None:
            future.result()

    def close(self) -> None:
        """Waits until the last snapshot is complete or has failed, and ends the thread."""
        self._pool.shutdown()

    def poll(self) -> None:
        """As `wait`, but returns immediately if the snapshot is not complete yet."""
        if self._future is not None and self._future.done():
            self.wait()
