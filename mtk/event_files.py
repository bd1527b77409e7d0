"""The names of TensorBoard's event files, which it reads in alphabetical order.

TensorFlow puts the time at the beginning of a name: `events.out.tfevents.<seconds>.<host>...`.
If a clock was set back, a new file would be read before older ones, which scrambles the curves.
"""

import re
import time
from pathlib import Path

_NAME = re.compile(r"(events\.out\.tfevents\.)(\d{10})(\D.*)")
_MOVED = re.compile(r"(?<=events\.out\.tfevents\.)(\d{10}\+)+")


def put_in_order(folder: Path) -> None:
    """Renames the event files of a folder so that a new one is read after them.

    Nothing is done if the clock was not set back. Files of one second are named by a counter
    without leading zeros, which sorts 10 before 9: an earlier one of this second is renamed too.

    Args:
        folder: The folder; it may be missing.
    """
    now = int(time.time())
    found = [match for path in folder.glob("events*") if (match := _NAME.fullmatch(path.name))]
    if not any(int(match[2]) >= now for match in found):
        return
    for match in found:
        if int(match[2]) >= now - 1:
            (folder / match[0]).rename(folder / f"{match[1]}{now - 1:010}+{match[2]}{match[3]}")


def original_name(name: str) -> str:
    """Returns the name that TensorFlow gave to a file before any renaming."""
    return _MOVED.sub("", name)
