"""Makes untrusted text safe to display on a page, in a figure or in a table."""

import hashlib
import re

# Longer names are shortened for display.
_LONGEST_NAME = 100
# Digits of the hash that distinguishes shortened names.
_DIGITS = 8


def printable(text: str) -> str:
    r"""Returns a text with unprintable characters written as escapes, such as `\x00`.

    Terminals, XML and encodings cannot handle control characters, lone surrogates, directional
    marks and the like.

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
    """Returns a text shortened to at most `most` characters.

    The end that is cut off is replaced by eight digits of the text's hash, so that different texts
    stay different.

    Args:
        text: The text.
        most: Largest number of characters, above ten.
    """
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{text[: most - _DIGITS - 2]}… {digest[:_DIGITS]}"


def name(text: str) -> str:
    """Returns the name of a task, a metric, a method or a study for display."""
    return short(printable(text))


def sentence(text: str, most: int = 500) -> str:
    """Returns a remark or a reason as one line of at most `most` characters."""
    return short(printable(" ".join(text.split())), most)


class FileNames:
    """Makes unique names, also on file systems that ignore case.

    Args:
        allowed: Characters allowed besides ASCII letters and digits; all others become `_`.
    """

    def __init__(self, allowed: str = ""):
        self._others = re.compile(rf"[^A-Za-z0-9{re.escape(allowed)}]+")
        self._used: set[str] = set()

    def make(self, text: str) -> str:
        """Returns a unique name for a text: at most 100 characters, plus a number if needed."""
        base = self._others.sub("_", text)[:_LONGEST_NAME].strip("_.") or "unnamed"
        name, number = base, 2
        while name.lower() in self._used:
            name, number = f"{base}_{number}", number + 1
        self._used.add(name.lower())
        return name
