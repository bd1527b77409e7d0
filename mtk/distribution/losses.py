"""What happens to the other workers when one is lost."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

EXIT_STATUS = 4  # of a process that has lost another worker


class PeerLostError(RuntimeError):
    """Another worker has gone: training together cannot go on."""


# What TensorFlow raises when a peer's connection breaks, its heartbeat stops, or the collective
# operations were ended for such a reason.
_SIGNS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


@contextlib.contextmanager
def peers_watched(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns TensorFlow's errors about a lost worker into one that says so.

    TensorFlow notices a process that ended at once, by its connection, and one that hangs after
    some ten seconds, by its heartbeat; the next collective operation then raises an error.

    Args:
        strategy: The strategy; with a single worker, errors pass unchanged.

    Raises:
        PeerLostError: If another worker is lost inside the context.
    """
    try:
        yield
    except _SIGNS as error:
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        raise PeerLostError(
            "Another worker has ended or does not answer any more, so this one ends, too. Its own "
            "output may say why. Start all workers again with the same command.\n"
            f"TensorFlow says: {error.message.splitlines()[0]}"
        ) from error
