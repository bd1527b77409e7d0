"""Several processes that train one model."""

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

    All of them are started with the same command; the variable `TF_CONFIG` tells each of them who
    they are. Every process computes on all of its GPUs, or else on its CPU.

    TensorFlow's servers ask nobody who he is and listen on all interfaces, whatever address
    `TF_CONFIG` gives: only the other workers should be able to reach the port.

    Args:
        timeout: Seconds to wait for the other processes.

    Raises:
        ValueError: If `TF_CONFIG` is missing or wrong, TensorFlow has started already, or a
            process does not come.
    """
    if not timeout > 0:
        raise ValueError(f"`timeout` is a positive number of seconds. Received: {timeout}")
    cluster = read_cluster(os.environ.get("TF_CONFIG"))
    await_peers(cluster, timeout)
    try:
        with _limited(timeout):
            return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ValueError(
            "TensorFlow has started without the other workers. Call `multi_worker` before anything "
            f"else uses TensorFlow. It says: {error}"
        ) from error


@contextlib.contextmanager
def _limited(timeout: float) -> Iterator[None]:
    """Ends the process if what is inside takes too long: TensorFlow cannot be interrupted there."""

    def give_up() -> None:
        print(
            f"error: All workers have answered, but one was lost before TensorFlow connected "
            f"them within {timeout:g} s. Start all workers again with the same command.",
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
    """The processes that train together, for what they must decide and know alike.

    Every method is a joint operation: all workers call it, in the same order. With one worker it
    costs nothing.

    Args:
        strategy: The strategy that they train with.

    Attributes:
        number: How many there are.
        index: Number of this one.
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
        """Whether this process writes and prints what the run leaves behind."""
        return self.index == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Returns for each flag whether it is set on any worker.

        What depends on clocks, signals or files is decided by it, so that all do it at one step.
        """
        if self.number == 1:
            return flags
        found = self._sum(tf.constant([int(flag) for flag in flags]))
        return tuple(bool(number) for number in found.numpy())

    def from_chief(self, data: bytes) -> bytes:
        """Returns the chief's `data`; what others give is not read."""
        if self.number == 1:
            return data
        own = data if self.is_chief else b""
        # Collectives know 32-bit integers, but no bytes.
        size = int(self._sum(tf.constant([len(own)], tf.int64)).numpy()[0])
        # One word more, because TensorFlow crashes where it sums nothing.
        words = np.zeros(size // 4 + 1, np.int32)
        words.view(np.uint8)[: len(own)] = np.frombuffer(own, np.uint8)
        return self._sum(tf.constant(words)).numpy().tobytes()[:size]

    def gathered(self, data: bytes) -> list[bytes]:
        """Returns what each worker gives, in their order; all of them give as many bytes."""
        if self.number == 1:
            return [data]
        words = np.zeros((self.number, len(data) // 4 + 1), np.int32)
        words[self.index].view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        return [row.tobytes()[: len(data)] for row in self._sum(tf.constant(words)).numpy()]

    def wait(self) -> None:
        """Returns when all workers have come here."""
        self.any(False)

    def _sum_of_replicas(self, values: tf.Tensor) -> tf.Tensor:
        """Sums what each worker gives, from its first replica."""

        def of_first() -> tf.Tensor:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            first = tf.equal(replica % (self.strategy.num_replicas_in_sync // self.number), 0)
            return tf.where(first, values, tf.zeros_like(values))

        return self.strategy.reduce(
            tf.distribute.ReduceOp.SUM, self.strategy.run(of_first), axis=None
        )
