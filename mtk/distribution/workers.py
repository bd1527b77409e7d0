"""Training of one model by several processes."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from mtk.distribution.cluster import read_cluster
from mtk.distribution.losses import EXIT_STATUS
from mtk.distribution.rendezvous import await_peers


def multi_worker(timeout: float = 300.0) -> tf.distribute.Strategy:
    """Returns a strategy that splits each batch over several processes, on one machine or many.

    All are started with the same command; the environment variable `TF_CONFIG` gives their
    addresses and the index of each. Every process uses all of its GPUs, or otherwise its CPU.

    TensorFlow's servers use no authentication and listen on all interfaces, whatever address
    `TF_CONFIG` gives: only the other workers should be able to reach the port.

    Args:
        timeout: Seconds to wait for the other processes.

    Raises:
        ValueError: If `TF_CONFIG` is missing or wrong, TensorFlow has already been initialized, or
            a process does not answer.
    """
    if not timeout > 0:
        raise ValueError(f"`timeout` must be a positive number of seconds. Received: {timeout}")
    cluster = read_cluster(os.environ.get("TF_CONFIG"))
    await_peers(cluster, timeout)
    try:
        with _limited(timeout):
            return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ValueError(
            "TensorFlow has already started without the other workers. Call `multi_worker` "
            f"before anything else uses TensorFlow. TensorFlow says: {error}"
        ) from error


@contextlib.contextmanager
def _limited(timeout: float) -> Iterator[None]:
    """Ends the process if the context takes too long, where TensorFlow cannot be interrupted."""

    def give_up() -> None:
        print(
            "error: All workers responded, but one was lost before TensorFlow connected them "
            f"within {timeout:g} s. Start all workers again with the same command.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(EXIT_STATUS)

    timer = threading.Timer(timeout, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Workers:
    """The processes that train together, for joint decisions and shared data.

    Every method is a collective operation: all workers call it, in the same order. With one worker
    it costs nothing.

    Args:
        strategy: The strategy that they train with.

    Attributes:
        number: Number of workers.
        index: Index of this worker.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        self.number, self.index = 1, 0
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            spec = resolver.cluster_spec()
            jobs = spec.jobs
            self.number = max(1, sum(spec.num_tasks(job) for job in jobs))
            self.index = resolver.task_id or 0
            if resolver.task_type == "worker" and "chief" in jobs:
                self.index += spec.num_tasks("chief")
        self._sum = tf.function(self._sum_of_replicas, autograph=False, reduce_retracing=True)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes and prints the results of the run."""
        return self.index == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Returns whether each flag is set on any worker.

        Used for decisions by clocks, signals or files, so that all workers act at the same step.
        """
        if self.number == 1:
            return flags
        found = self._sum(tf.constant([int(flag) for flag in flags]))
        return tuple(bool(number) for number in found.numpy())

    def from_chief(self, data: bytes) -> bytes:
        """Returns the chief's `data`; that of others is ignored."""
        if self.number == 1:
            return data
        own = data if self.is_chief else b""
        # Collectives support 32-bit integers, but not bytes.
        size = int(self._sum(tf.constant([len(own)], tf.int64)).numpy()[0])
        # One extra word, since TensorFlow crashes on sums of empty tensors.
        words = np.zeros(size // 4 + 1, np.int32)
        words.view(np.uint8)[: len(own)] = np.frombuffer(own, np.uint8)
        return self._sum(tf.constant(words)).numpy().tobytes()[:size]

    def gathered(self, data: bytes) -> list[bytes]:
        """Returns the `data` of each worker, in order; all must have the same length."""
        if self.number == 1:
            return [data]
        words = np.zeros((self.number, len(data) // 4 + 1), np.int32)
        words[self.index].view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        return [row.tobytes()[: len(data)] for row in self._sum(tf.constant(words)).numpy()]

    def wait(self) -> None:
        """Waits until all workers call this."""
        self.any(False)

    def _sum_of_replicas(self, values: tf.Tensor) -> tf.Tensor:
        """Sums the values of all workers, each from its first replica."""

        def of_first() -> tf.Tensor:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            first = tf.equal(replica % (self.strategy.num_replicas_in_sync // self.number), 0)
            return tf.where(first, values, tf.zeros_like(values))

        return self.strategy.reduce(
            tf.distribute.ReduceOp.SUM, self.strategy.run(of_first), axis=None
        )
