"""Outputs in nested structures, such as `{"a": {"b": ...}}`, by names such as "a/b"."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Path: TypeAlias = tuple[Any, ...]  # Keys and numbers.


def nested_paths(outputs: Any) -> dict[str, Path]:
    """Returns the path of each output by its name; empty if the outputs are not nested.

    As in Keras, a name has the keys of the path; outputs in a list are named after their layers.

    Args:
        outputs: Symbolic outputs of a network.
    """
    leaves = _leaves(outputs)
    if all(len(path) <= 1 for path in leaves):
        return {}
    found: dict[str, Path] = {}
    for path, leaf in leaves.items():
        layer = getattr(getattr(leaf, "_keras_history", None), "operation", None)
        keys = (*path[:-1], layer.name) if layer and isinstance(path[-1], int) else path
        name = "/".join(map(str, keys))
        found["/".join(map(str, path)) if name in found else name] = path
    return found


def at(structure: Any, path: Path) -> Any:
    """Returns the part of a structure at a path, or None."""
    for key in path:
        is_there = (
            key in structure
            if isinstance(structure, Mapping)
            else isinstance(structure, (list, tuple)) and key in range(len(structure))
        )
        if not is_there:
            return None
        structure = structure[key]
    return structure


def by_name(part: Any, paths: Mapping[str, Path]) -> Any:
    """Returns labels or weights, given in the structure of nested outputs, by output name.

    Args:
        part: The labels or weights; returned unchanged if they are not nested.
        paths: The result of `nested_paths`.
    """
    if not paths or not _is_nested(part):
        return part
    if isinstance(part, Mapping) and set(part) <= set(paths):
        return part
    found = {name: at(part, path) for name, path in paths.items()}
    return {name: own for name, own in found.items() if own is not None}


def argument_by_name(what: str, given: Any, outputs: Any, paths: Mapping[str, Path]) -> Any:
    """Returns an argument of `compile` as a dict by the names of nested outputs.

    Args:
        what: Name of the argument.
        given: The argument in the structure of the outputs, some of which may be left out, or by
            their names. A single value for all outputs is returned unchanged.
        outputs: Symbolic outputs of the network.
        paths: The result of `nested_paths`.

    Raises:
        ValueError: If it has another form.
    """
    if not paths or not _is_nested(given):
        return given
    if isinstance(given, Mapping) and set(given) <= set(paths):
        return given
    names = {path: name for name, path in paths.items()}
    return {names[path]: own for path, own in _along(what, given, outputs, ()).items()}


def _along(what: str, given: Any, outputs: Any, path: Path) -> dict[Path, Any]:
    """Returns the given value of each output, by its path."""
    if given is None or not _is_nested(outputs):
        return {path: given} if not _is_nested(outputs) else {}
    of_one = isinstance(outputs, Mapping)
    fits = isinstance(given, Mapping) if of_one else isinstance(given, (list, tuple))
    keys = list(given) if fits and of_one else list(range(len(given))) if fits else []
    if not fits or not set(keys) <= set(outputs if of_one else range(len(outputs))):
        place = "/".join(map(str, path))
        raise ValueError(
            f"`{what}` must have the structure of the network's outputs, "
            f"{_form(outputs)}{f' at {place!r}' if path else ''}, or be a dict by their names, "
            f"such as 'a/b' for {{'a': {{'b': ...}}}}. Received: {given!r}"
        )
    return {p: o for k in keys for p, o in _along(what, given[k], outputs[k], (*path, k)).items()}


def _leaves(structure: Any, path: Path = ()) -> dict[Path, Any]:
    if not _is_nested(structure):
        return {path: structure}
    of_keys = isinstance(structure, Mapping)
    items = structure.items() if of_keys else enumerate(structure)
    return {p: leaf for key, own in items for p, leaf in _leaves(own, (*path, key)).items()}


def _form(outputs: Any) -> str:
    if isinstance(outputs, Mapping):
        return "{" + ", ".join(f"{k!r}: {_form(own)}" for k, own in outputs.items()) + "}"
    if isinstance(outputs, (list, tuple)):
        return "[" + ", ".join(map(_form, outputs)) + "]"
    return "..."


def _is_nested(part: Any) -> bool:
    return isinstance(part, (Mapping, list, tuple))
