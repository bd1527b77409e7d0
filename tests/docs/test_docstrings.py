"""The examples in docstrings run and print what they state."""

import doctest
import importlib

import keras
import pytest

from tests.docs import pages

# Modules are found by path: those of clusters import packages that may be missing.
MODULES = [
    ".".join(path.relative_to(pages.ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((pages.ROOT / "mtk").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_run(name):
    module = importlib.import_module(name)
    package = importlib.import_module(name.rpartition(".")[0])
    # An example may use all that its package exports.
    exported = {each: getattr(package, each) for each in package.__all__}
    done = doctest.testmod(module, extraglobs={"keras": keras, **exported})
    assert done.attempted
    assert not done.failed
