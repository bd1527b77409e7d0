"""Checks the names in a configuration by reading source files, before any import."""

import sys
from pathlib import Path
from typing import Any

from mtk.config import check, names
from mtk.config.source import Line, did_you_mean


class EarlyChecker(check.Checker):
    """Processes a configuration without importing its modules.

    Every error that it reports is real. It only knows the modules of `mtk` and plain types;
    `check.Checker` finds the other errors once TensorFlow is imported.

    Args:
        needs_data: Whether files and folders that parameters name must exist.
    """

    def __init__(self, needs_data: bool = False):
        super().__init__()
        self.needs_data = needs_data

    def copy(self) -> "EarlyChecker":
        other = super().copy()
        assert isinstance(other, EarlyChecker)
        other.needs_data = self.needs_data
        return other

    def add_import(self, module: str, bound_name: str, whole: bool, line: Line) -> None:
        top = module.split(".")[0]
        if top not in sys.modules and names.spec(top) is None:
            check.no_module(top, (), line)
        parts = module.split(".") if top == "mtk" else []
        for end in range(2, len(parts) + 1):
            if names.spec(".".join(parts[:end])) is None:
                parent = ".".join(parts[: end - 1])
                check.no_module(".".join(parts[:end]), names.children(parent), line)
        self.imported.add(module)
        self._symbols[bound_name] = top if whole else module

    def add_target(self, selector: str, line: Line) -> names.Name | None:
        first, *rest = selector.split(".")
        if first not in self._symbols:
            check.not_imported(first, self._symbols, line)
        try:
            found = names.look_up(self._symbols[first], rest)
        except names.NoSuchNameError as error:
            similar = did_you_mean(error.name, error.known)
            check.fail(line, f"{error.owner!r} has no {error.name!r}.{similar}")
        if found is not None and not found.qualname:
            package, _, name = found.module.rpartition(".")
            classes = [n for n in names.public(package) if n[0].isupper()] if package else ()
            similar = did_you_mean(name, classes)
            check.fail(line, f"{selector!r} is not a function or class, but a module.{similar}")
        return found

    def _module(self, target: names.Name | None) -> str:
        return target.module if target else ""

    def _check_parameter(self, target: Any, selector: str, name: str, line: Line) -> None:
        known = target.parameters if target else None
        if known is not None and name not in known:
            check.no_parameter(selector, name, known, line)

    def _check_type(self, bound: check.Bound) -> None:
        """Checks files and plain types; other types are only known after the imports."""
        value = self.value(bound)
        hints = dict(bound.target.hints) if bound.target else {}
        self._check_hint(hints.get(bound.parameter, Any), value, bound)
        is_input = self.needs_data and bound.target and bound.parameter in bound.target.inputs
        if is_input and isinstance(value, str) and not Path(value).expanduser().exists():
            line = self.origin(bound)[-1]
            check.fail(
                line, f"The file or folder {value!r} given for {bound.parameter!r} does not exist."
            )
