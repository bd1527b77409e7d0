"""Constructor arguments of a combiner class."""

import inspect
from typing import Any


def arguments(combiner: type) -> dict[str, Any]:
    """Returns a class's arguments, with those passed to its bases and the defaults, except `name`.

    The default of a required argument is `inspect.Parameter.empty`.
    """
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found: dict[str, Any] = {}
    for each in combiner.__mro__:
        if "__init__" not in vars(each):
            continue
        parameters = inspect.signature(each).parameters.values()
        for own in (p for p in parameters if p.kind in kinds and p.name != "name"):
            found.setdefault(own.name, own.default)
        if all(p.kind != inspect.Parameter.VAR_KEYWORD for p in parameters):
            break
    return found
