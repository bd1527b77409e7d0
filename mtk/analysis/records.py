"""Reads files that a hand or a crash may have damaged."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What is larger is no number that anything was counted or measured with.
_MOST = {int: 2**63 - 1, float: sys.float_info.max}
_NAMES = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


class DamagedError(ValueError):
    """A file that is there and does not hold what it should, with the reason."""


def text(path: Path) -> str:
    """Returns what a file says.

    Raises:
        DamagedError: If there is no such file, or it cannot be read as text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DamagedError(f"{path.name} is no text") from None


def json_object(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
        DamagedError: If there is no such file, or it holds something else.
    """
    given = text(path)
    try:
        content = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path.name} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise DamagedError(f"{path.name} holds no JSON object")
    return content


def entry(content: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """Returns an entry of an object, None if it is absent or null.

    Args:
        content: The object.
        name: Of the entry.
        kind: The type that is expected; `float` stands for any finite number.
        where: What the object is, in words.

    Raises:
        DamagedError: If the entry has another type.
    """
    value = content.get(name)
    if value is not None and not _is_a(kind, value):
        raise DamagedError(f"{where}: {name!r} is {value!r:.60}, {_NAMES[kind]} was expected")
    return value


def _is_a(kind: type, value: Any) -> bool:
    allowed: Any = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or isinstance(value, bool):
        return False
    return kind not in _MOST or abs(value) <= _MOST[kind]
