"""Finds the configuration lines that an error message refers to."""

import re
from typing import Any

from mtk import errors
from mtk.config.check import Checker

SURE = 2


def explained(error: Exception, checker: Checker) -> str:
    """Returns an error's message, with the configuration lines that it refers to.

    Args:
        error: An error raised inside a configured function; gin has added the names of the
            functions to its message, the innermost first.
        checker: The checker that has processed the configuration.
    """
    message, *calls = errors.message(error).split("\n  In call to configurable ")
    names = [name[1] for call in calls if (name := re.match(r"'(.+?)'", call))]
    # The root function sees the errors of all its arguments, so there only certain matches count.
    innermost, needed = (names[0], 1) if len(names) > 1 else ("", SURE)
    scores = {
        key: score(key[2], checker.value(binding), message)
        for key, binding in checker.bindings.items()
        if names and (not innermost or key[1].rpartition(".")[2] == innermost)
    }
    most = max([needed, *scores.values()])
    places = [
        line.where
        for key, found in scores.items()
        for line in checker.origin(checker.bindings[key])
        if found == most
    ]
    if innermost and not places:
        places = [f"in {innermost}"]
    elif names and not places:
        places = _only_place(message, checker)
    return "\n  ".join([message, *places])


def _only_place(message: str, checker: Checker) -> list[str]:
    """Returns the line that binds the value a message has received, if there is only one."""
    _, told, received = message.rpartition("eceived:")
    found = [
        bound
        for bound in checker.bindings.values()
        if told and score("", checker.value(bound), received)
    ]
    return [line.where for line in checker.origin(found[0])] if len(found) == 1 else []


def score(parameter: str, value: Any, message: str) -> int:
    """Scores how much of a binding an error's message mentions.

    Args:
        parameter: Name of the parameter; empty to search only for the value.
        value: Its value, a literal or a reference.
        message: The message.

    Returns:
        One for the parameter's name and one for its value; `SURE` also for a string in quotes.
    """
    # A suggestion contains names that were not given.
    message = re.sub(r"Did you mean [^?]*\?", "", message)
    named = parameter != "" and _mentions(message, parameter)
    if isinstance(value, str) and len(value) > 1 and repr(value) in message:
        return SURE + named
    # None and booleans are too frequent as values, and as words, to be evidence on their own.
    telling = named or not (value is None or isinstance(value, bool))
    return named + (telling and str(value) != "" and _mentions(message, str(value)))


def _mentions(message: str, text: str) -> bool:
    """Whether a text occurs in the message by itself, not as part of a word or a number."""
    alone = rf"(?<![\w.])(?<!\d,){re.escape(text)}(?!\w|\.\w|,\d)"
    return bool(re.search(alone, message))
