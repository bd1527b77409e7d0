"""Texts of other people, made fit to be shown anywhere: on a page, in a figure, in a table."""

import hashlib

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
