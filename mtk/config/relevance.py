"""Whether an error's message speaks of a binding."""

import re
from typing import Any

SURE = 2


def score(parameter: str, value: Any, message: str) -> int:
    """Tells how much of a binding an error's message mentions.

    Args:
        parameter: Name of the parameter; empty to look for the value alone.
        value: What it is bound to, a literal or a reference.
        message: The message.

    Returns:
        One for the parameter's name and one for its value; `SURE` also for a text in quotes.
    """
    named = parameter != "" and _mentions(message, parameter)
    if isinstance(value, str) and len(value) > 1 and repr(value) in message:
        return SURE + named
    # None and switches are too frequent as values, and as words, to tell anything alone.
    telling = named or not (value is None or isinstance(value, bool))
    return named + (telling and str(value) != "" and _mentions(message, str(value)))


def _mentions(message: str, text: str) -> bool:
    """Whether a text stands in the message by itself, not as a part of a word or a number."""
    return bool(re.search(rf"(?<![\w.]){re.escape(text)}(?!\w|\.\w)", message))
