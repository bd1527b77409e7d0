"""No public function of the package takes more than nine arguments."""

import ast
from pathlib import Path

import mtk

MOST = 9
# Constructors hold configurations: gin and Python code name each of their fields.
CONSTRUCTORS = ("__init__", "__new__")
OTHERS = {
    "compile",  # Keras' own has nine; all are forwarded.
    "compare",  # Runs a whole study; its arguments are given by name.
}


def number_of_arguments(function):
    given = function.args
    every = (*given.posonlyargs, *given.args, *given.kwonlyargs)
    return len([arg for arg in every if arg.arg not in ("self", "cls")])


def test_public_functions_take_few_arguments():
    many = []
    for path in Path(mtk.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and number_of_arguments(node) > MOST:
                many.append(node.name)
    assert {*many} - {*CONSTRUCTORS} == OTHERS
