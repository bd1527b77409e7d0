"""Values of a grid as statements of a configuration."""

from collections.abc import Mapping
from typing import Any

from mtk.errors import StudyError

_PLAIN = (bool, int, float, str, type(None))


def statements(bindings: Mapping[str, Any]) -> list[str]:
    """Returns gin statements, one for each binding.

    Args:
        bindings: Values by name; a text that begins with `@` or `%` is a reference or a macro.

    Raises:
        StudyError: If a value has no form in a configuration.
    """
    return [f"{name} = {_text(name, value)}" for name, value in bindings.items()]


def _text(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{key!r}: {_text(name, item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_text(name, item) for item in value)
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{comma})"
    if not isinstance(value, _PLAIN):
        raise StudyError(
            f"{name!r} has a value that is no number, text, list or dict: {value!r}. Write a "
            "reference as a text, such as '@keras.optimizers.Adam'."
        )
    return value if isinstance(value, str) and value[:1] in ("@", "%") else repr(value)
