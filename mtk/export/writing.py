"""What TensorFlow raises where files cannot be written."""

import contextlib
import errno
from collections.abc import Iterator

import tensorflow as tf

_NUMBERS = {
    tf.errors.ResourceExhaustedError: errno.ENOSPC,
    tf.errors.PermissionDeniedError: errno.EACCES,
    tf.errors.NotFoundError: errno.ENOENT,
}


@contextlib.contextmanager
def written_by_tensorflow() -> Iterator[None]:
    """Makes an OSError of an error of TensorFlow, as anything else that writes raises it."""
    try:
        yield
    except tf.errors.OpError as error:
        number = _NUMBERS.get(type(error), errno.EIO)
        first = (error.message or type(error).__name__).strip().splitlines()[0]
        raise OSError(number, first) from error
