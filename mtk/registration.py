"""Makes Keras know the classes of `mtk` in files as soon as both are imported.

`keras.saving.load_model` finds a class by the name under which its module has registered it, and
in safe mode it imports no module itself. The modules of `mtk` are imported late, since TensorFlow
takes seconds: so those with registered classes are imported right after Keras.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_REGISTERING = ("losses", "metrics", "tasks", "combiners", "models", "trainer")


def register() -> None:
    """Imports what registers classes now if Keras is imported, and else right after it."""
    if "keras" in sys.modules:
        _import_registering()
    else:
        sys.meta_path.insert(0, _KerasFinder())


def _import_registering() -> None:
    for name in _REGISTERING:
        importlib.import_module(f"mtk.{name}")


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Finds Keras as ever, once, and has its loader call back."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _CallingLoader(spec.loader)
        return spec


class _CallingLoader(importlib.abc.Loader):
    """Loads as another loader does, and then imports what registers classes.

    Args:
        loader: The other loader.
    """

    def __init__(self, loader: Any):
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _import_registering()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)
