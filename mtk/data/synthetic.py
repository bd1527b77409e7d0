"""Synthetic data in place of missing data, so that a dry run needs no download."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

Data = TypeVar("Data")

_MISSING: ContextVar[list[str] | None] = ContextVar("missing data", default=None)


@contextlib.contextmanager
def where_missing() -> Iterator[None]:
    """Makes dataset loaders return synthetic data where the real data are missing."""
    token = _MISSING.set([])
    try:
        yield
    finally:
        _MISSING.reset(token)


def missing() -> list[str]:
    """Returns messages about the data replaced since `where_missing` was entered."""
    return list(_MISSING.get() or ())


def instead(error: Exception, make: Callable[[], Data]) -> Data:
    """Returns synthetic data inside `where_missing`; raises elsewhere.

    Args:
        error: The error about the missing data.
        make: Makes data of the same shapes and types.

    Raises:
        Exception: The error.
    """
    found = _MISSING.get()
    if found is None:
        raise error
    found.append(str(error))
    return make()


def repeated(example: np.ndarray, number: int) -> np.ndarray:
    """Returns an array of `number` copies of an example, with the memory of one."""
    return np.broadcast_to(example, (number, *example.shape))


def is_repeated(array: Any) -> bool:
    """Whether an array was made as by `repeated`; False for tensors."""
    if not isinstance(array, np.ndarray):
        return False
    return bool(array.ndim and array.strides[0] == 0 and len(array) > 1)
