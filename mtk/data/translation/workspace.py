"""The folder that a preparation works in, and goes on in after it was killed."""

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtk import atomic

_PLAN = "plan.json"


@contextlib.contextmanager
def workspace(folder: Path, plan: Mapping[str, Any]) -> Iterator[Path]:
    """Opens the folder for this process alone.

    Args:
        folder: New, or left behind by a preparation of the same plan.
        plan: What is prepared, from what.

    Yields:
        The folder.

    Raises:
        ValueError: If another process works there, or the folder belongs to another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"Another process is preparing in {str(folder)!r}. Wait until it ends."
            ) from error
        path = folder / _PLAN
        if path.exists():
            check_same(json.loads(path.read_text(encoding="utf-8")), plan, folder)
        else:
            atomic.write_json(path, plan)
        yield folder


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Checks that a folder belongs to what is wanted.

    Raises:
        ValueError: If it does not, with the differences.
    """
    wanted = json.loads(json.dumps(wanted))  # As a file gives it: lists, no tuples.
    different = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    if different:
        changes = "\n".join(
            f"  {key}: {found.get(key)} there, {wanted.get(key)} now" for key in different
        )
        raise ValueError(
            f"{str(folder)!r} was made from something else:\n{changes}\n"
            "Remove it to begin anew, or name another folder."
        )
