"""Writes checkpoints beside the training."""

from concurrent.futures import Future, ThreadPoolExecutor

from mtk.checkpoints.snapshot import Snapshot
from mtk.checkpoints.store import Store


class AsyncCheckpointer:
    """Writes one snapshot at a time in a thread of its own.

    Args:
        store: Where to.
    """

    def __init__(self, store: Store):
        self.store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._future: Future[None] | None = None

    def submit(self, snapshot: Snapshot) -> None:
        """Begins to write a snapshot, when the one before is done.

        Raises:
            OSError: If the one before could not be written; this one is not begun.
        """
        self.wait()
        self._future = self._pool.submit(self.store.write, snapshot)

    def wait(self) -> None:
        """Waits until nothing is being written.

        Raises:
            OSError: If the last snapshot could not be written. Raised once.
        """
        future, self._future = self._future, None
        if future is not None:
            future.result()

    def close(self) -> None:
        """Waits until nothing is being written, well or not, and ends the thread."""
        self._pool.shutdown()

    def poll(self) -> None:
        """As `wait`, without waiting for what is not done yet."""
        if self._future is not None and self._future.done():
            self.wait()
