"""Registers the classes of `mtk` with Keras for loading files, once both are imported.

`keras.saving.load_model` finds a class by the name under which its module has registered it, and
in safe mode it imports no module itself. The modules of `mtk` are imported late, since TensorFlow
takes seconds. So those with registered classes are imported right after Keras, or, if a module of
`mtk` imports Keras, right after that module.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_REGISTERING = ("losses", "metrics", "tasks", "combiners", "models", "trainer")


def register() -> None:
    """Imports the modules with registered classes now if Keras is imported, else right after it."""
    if "keras" in sys.modules:
        _import_registering()
    else:
        sys.meta_path.insert(0, _Finder())


def _import_registering() -> None:
    for name in _REGISTERING:
        importlib.import_module(f"mtk.{name}")


class _Finder(MetaPathFinder):
    """Finds Keras and the modules of `mtk` as usual, and detects when they have been imported."""

    def __init__(self) -> None:
        self._importing = 0

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras" and fullname.rpartition(".")[0] != "mtk":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._watch(spec.loader)
        return spec

    def _watch(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            self._importing += 1
            try:
                execute(module)
            finally:
                self._importing -= 1
            self._imported()

        loader.exec_module = exec_module

    def _imported(self) -> None:
        """Registers when no module is partially imported, since others could not import from it."""
        if self._importing == 0 and "keras" in sys.modules and self in sys.meta_path:
            sys.meta_path.remove(self)
            _import_registering()
