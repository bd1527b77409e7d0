"""Labels of the test split from a separate file, if the data have none."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtk import records
from mtk.data import bounded
from mtk.errors import StudyError

_LARGEST = 1 << 32
# Errors raised for a file that is not an archive of arrays.
_DAMAGE = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_labels(path: str | Path, batches: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Returns the batches of the test split with the labels of a file.

    Args:
        path: An `.npz` file with an array for each task, by its name: the labels of the test
            examples in their order.
        batches: `(inputs, {task: labels}, ...)`; the labels are replaced.
        names: Names of the tasks.

    Raises:
        StudyError: If the file does not fit the test split.
    """
    arrays = _read(Path(path))
    if {*arrays} != {*names}:
        raise _wrong(path, f"it has labels of {sorted(arrays)}, but the tasks are {sorted(names)}")
    if any(not isinstance(each[1], Mapping) for each in batches):
        raise _wrong(path, "labels can be read from a file only if all tasks share their examples")
    sizes = [len(next(iter(each[1].values()))) for each in batches]
    for name, array in arrays.items():
        here = np.asarray(batches[0][1][name])
        if len(array) != sum(sizes) or array.shape[1:] != here.shape[1:]:
            raise _wrong(
                path,
                f"the labels of {name!r} have the shape {array.shape}; expected "
                f"{(sum(sizes), *here.shape[1:])}",
            )
        if not np.can_cast(array.dtype, here.dtype, "same_kind"):
            raise _wrong(
                path, f"the labels of {name!r} have the dtype {array.dtype}; expected {here.dtype}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _wrong(path, f"the labels of {name!r} are not all finite")
    ends = np.cumsum([0, *sizes])
    return [
        (each[0], _cut(arrays, each[1], start, end), *each[2:])
        for each, start, end in zip(batches, ends[:-1], ends[1:], strict=True)
    ]


def _cut(
    arrays: Mapping[str, np.ndarray], like: Mapping[str, Any], start: int, end: int
) -> dict[str, np.ndarray]:
    return {n: a[start:end].astype(np.asarray(like[n]).dtype) for n, a in arrays.items()}


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with records.opened(path, _LARGEST) as file:
            return bounded.read_npz(file, most=_LARGEST, name=path.name)
    except FileNotFoundError:
        raise _wrong(path, "it does not exist") from None
    except _DAMAGE as error:
        raise _wrong(path, f"it is not an archive of arrays ({error})") from None


def _wrong(path: str | Path, reason: str) -> StudyError:
    return StudyError(
        f"The label file {str(path)!r} cannot be used: {reason}. No read was spent. Save one "
        "array for each task, in the order of the test split: numpy.savez(file, **labels)."
    )
