"""Errors of the other workers when one is lost."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

EXIT_STATUS = 4  # of a process that has lost another worker

# Errors of TensorFlow when a peer's connection breaks or its heartbeat stops. Others, such as
# "internal", may have other causes, but then do not mention collective operations.
_SIGNS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_REASON = re.compile(r".*(?:unhealthy|heartbeat|reset by peer|closed|refused|aborted by).*", re.I)


class PeerLostError(RuntimeError):
    """Another worker is lost, so that the joint training cannot continue."""


@contextlib.contextmanager
def peers_watched(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns TensorFlow's errors about a lost worker into a `PeerLostError`.

    TensorFlow detects a process that has ended at once, by its connection, and one that hangs after
    some ten seconds, by its heartbeat; the operation that waits for it then raises an error.

    Args:
        strategy: The strategy; unless it has several workers, errors pass unchanged.

    Raises:
        PeerLostError: If another worker is lost inside the context.
    """
    try:
        yield
    except tf.errors.OpError as error:
        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        if not several or not (isinstance(error, _SIGNS) or "ollective" in error.message):
            raise
        reason = _REASON.search(error.message)
        raise PeerLostError(
            "Another worker has ended or does not respond any more, so this worker ends too. "
            "See the output of the other worker for the reason. Start all workers again with the "
            "same command." + (f"\nTensorFlow says: {reason[0].strip()}" if reason else "")
        ) from error
