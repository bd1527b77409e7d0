"""Texts of other people, made fit to be shown anywhere: on a page, in a figure, in a table."""

import hashlib
import re

# Longer names are shown shortened.
_LONGEST_NAME = 100
# Of the hash that keeps shortened names apart.
_DIGITS = 8


def printable(text: str) -> str:
    r"""Returns a text with everything that has no glyph written as an escape, such as `\x00`.

    Control characters, lone surrogates, marks of direction and the like are what terminals, XML
    and encodings stumble over.

    Example:
    >>> printable("a\tb")
    'a\\tb'
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def short(text: str, most: int = _LONGEST_NAME) -> str:
    """Returns a text of at most so many characters.

    What is cut off is replaced by eight digits of the text's hash: two different texts stay
    different.

    Args:
        text: The text.
        most: Number of characters, above ten.
    """
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{text[: most - _DIGITS - 2]}… {digest[:_DIGITS]}"


def name(text: str) -> str:
    """Returns the name of a task, a metric, a method or a study as it is shown."""
    return short(printable(text))


def sentence(text: str, most: int = 500) -> str:
    """Returns a remark or a reason as one line of at most so many characters."""
    return short(printable(" ".join(text.split())), most)


class FileNames:
    """Makes names, each once, also where a file system takes `A` for `a`.

    Args:
        allowed: Characters beside ASCII's letters and digits; all others become `_`.
    """

    def __init__(self, allowed: str = ""):
        self._others = re.compile(rf"[^A-Za-z0-9{re.escape(allowed)}]+")
        self._used: set[str] = set()

    def make(self, text: str) -> str:
        """Returns a name for a text: at most 100 characters, and a number if needed."""
        base = self._others.sub("_", text)[:_LONGEST_NAME].strip("_.") or "unnamed"
        name, number = base, 2
        while name.lower() in self._used:
            name, number = f"{base}_{number}", number + 1
        self._used.add(name.lower())
        return name
