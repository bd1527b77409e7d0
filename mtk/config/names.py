"""Finds names in source files of `mtk` without importing them: TensorFlow takes seconds."""

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

_INPUT = "InputPath"
_PLAIN = re.compile(r"(int|float|str|bool|None)( \| (int|float|str|bool|None))*")
_PACKAGE = "mtk"  # Other packages may define names in ways that their source text does not show.


@dataclass(frozen=True)
class Name:
    """The object of a dotted name, as far as the sources show.

    Attributes:
        module: The module that defines it.
        qualname: Its name there; empty for the module itself.
        parameters: Parameters of a call; None if they are unknown.
        inputs: The parameters with the type `mtk.places.InputPath`.
        hints: Declared types of the parameters with a plain type, such as `int | None`.
    """

    module: str
    qualname: str = ""
    parameters: tuple[str, ...] | None = None
    inputs: tuple[str, ...] = ()
    hints: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        return self.qualname or self.module


class NoSuchNameError(LookupError):
    """A module of `mtk` lacks a name.

    Attributes:
        owner: The module.
        name: The missing name.
        known: The existing names.
    """

    def __init__(self, owner: str, name: str, known: Sequence[str]):
        super().__init__(name)
        self.owner, self.name, self.known = owner, name, known


def spec(module: str) -> ModuleSpec | None:
    """Returns the spec from which a module would be imported; None if there is none.

    Unlike `importlib.util.find_spec`, it does not import the parent packages.
    """
    parent, _, _ = module.rpartition(".")
    if not parent:
        return importlib.util.find_spec(module)
    above = spec(parent)
    if above is None or above.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(module, above.submodule_search_locations)


def children(module: str) -> list[str]:
    """Returns the names of the modules in a package."""
    found = spec(module)
    folders = found.submodule_search_locations if found else None
    paths = [path for folder in folders or () for path in Path(folder).iterdir()]
    return [path.stem for path in paths if path.suffix == ".py" or (path / "__init__.py").exists()]


def public(module: str) -> list[str]:
    """Returns the public names in a module of `mtk`."""
    return [n for n in (*_definitions(module), *children(module)) if not n.startswith("_")]


def look_up(module: str, path: Sequence[str]) -> Name | None:
    """Returns the object of a dotted name in a module; None if the sources do not show it.

    Args:
        module: The module.
        path: The parts of the name.

    Raises:
        NoSuchNameError: If a module of `mtk` certainly lacks the name.
    """
    if module.split(".")[0] != _PACKAGE:
        return None
    if not path:
        return Name(module)
    first, *rest = path
    defined = _definitions(module)
    node = defined.get(first)
    own = isinstance(node, ast.ImportFrom) and node.module == module
    if (node is None or own) and spec(f"{module}.{first}") is not None:
        return look_up(f"{module}.{first}", rest)
    if node is None:
        if "__getattr__" in defined or "*" in defined:
            return None
        raise NoSuchNameError(module, first, public(module))
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        original = next(alias.name for alias in node.names if (alias.asname or alias.name) == first)
        return look_up(node.module, [original, *rest])
    if rest or not isinstance(node, ast.FunctionDef | ast.ClassDef):
        return None
    declared = _declared(node)
    inputs = tuple(name for name, hint in declared.items() if _INPUT in hint)
    plain = {name: hint for name, hint in declared.items() if _PLAIN.fullmatch(hint)}
    hints = tuple((name, eval(hint)) for name, hint in plain.items())
    return Name(module, first, _parameters(module, node), inputs, hints)


@functools.cache
def _definitions(module: str) -> dict[str, ast.stmt]:
    """Returns the statements that define the names of a module."""
    found = spec(module)
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return {"*": ast.Pass()}
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    return {name: node for node in _statements(tree.body) for name in _named(node)}


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements(
                [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
            )


def _named(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def _parameters(module: str, node: ast.FunctionDef | ast.ClassDef) -> tuple[str, ...] | None:
    if isinstance(node, ast.ClassDef):
        return _parameters_of_class(module, node)
    given = node.args
    if node.decorator_list or given.kwarg or given.vararg:
        return None
    return tuple(arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs))


def _declared(node: ast.FunctionDef | ast.ClassDef) -> dict[str, str]:
    """Returns the declared types of a function's parameters, or of a class's fields."""
    if isinstance(node, ast.FunctionDef):
        given = node.args
        every = (*given.posonlyargs, *given.args, *given.kwonlyargs)
        return {arg.arg: ast.unparse(arg.annotation) for arg in every if arg.annotation}
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return _declared(part)
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    return {ast.unparse(field.target): ast.unparse(field.annotation) for field in fields}


def _parameters_of_class(module: str, node: ast.ClassDef) -> tuple[str, ...] | None:
    methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    if "__new__" in methods or node.keywords:
        return None
    if "__init__" in methods:
        found = _parameters(module, methods["__init__"])
        return None if found is None else found[1:]
    decorators = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
    if "dataclass" in decorators and not node.bases:
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        return tuple(field.target.id for field in fields if isinstance(field.target, ast.Name))
    if len(node.bases) != 1 or not isinstance(node.bases[0], ast.Name):
        return None
    try:
        base = look_up(module, [node.bases[0].id])
    except NoSuchNameError:  # A builtin.
        return None
    return base.parameters if base else None
