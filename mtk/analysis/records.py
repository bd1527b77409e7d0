"""Reads files that a hand or a crash may have damaged."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAMES = {float: "a number", str: "a text", list: "a list", dict: "an object"}


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
    try:
        content = json.loads(text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DamagedError(f"{path.name} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise DamagedError(f"{path.name} holds no JSON object")
    return content


def entry(content: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """Returns an entry of an object, None if it is absent or null.

    Args:
        content: The object.
        name: Of the entry.
        kind: The type that is expected; `float` stands for any number.
        where: What the object is, in words.

    Raises:
        DamagedError: If the entry has another type.
    """
    value = content.get(name)
    allowed = (int, float) if kind is float else kind
    if value is not None and (not isinstance(value, allowed) or isinstance(value, bool)):
        raise DamagedError(f"{where}: {name!r} is {value!r}, {_NAMES[kind]} was expected")
    return value
