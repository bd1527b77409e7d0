"""Names and parameters found by parsing sources equal those found by importing them."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import mtk
from mtk import config
from mtk.config import names
from tests.quick import noted

CONFIGS = Path(__file__).parents[2] / "configs"
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(mtk.__path__, "mtk.")
    if not module.name.rpartition(".")[2].startswith("_")
)


def public(module):
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


def public_of(name):
    return [(name, *each) for each in public(importlib.import_module(name)).items()]


def test_public_names_and_parameters_equal_those_of_the_import():
    everything = [each for name in MODULES for each in public_of(name)]
    assert len(everything) > len(MODULES)
    for name, shown, value in everything:
        found = names.look_up(name, [shown])
        if found is None or not callable(value) or inspect.ismodule(value):
            continue
        with noted(module=name, name=shown):
            assert getattr(importlib.import_module(found.module), found.qualname) is value
            assert found.qualname == value.__qualname__
            if found.parameters is not None:
                assert list(found.parameters) == list(inspect.signature(value).parameters)


def test_most_bound_names_of_configs_are_known():
    """A parser that knows no name would pass the other tests."""
    for module, name in (
        ("mtk.experiment", "run"),
        ("mtk.study", "Study"),
        ("mtk.combiners", "PCGrad"),
        ("mtk.workloads.multi_digits", "MultiDigits"),
        ("mtk.workloads.translation", "Translation"),
        ("mtk.data.translation.preparation", "prepare"),
        ("mtk.data.translation.readers", "LineFiles"),
        ("mtk.data.translation.filters", "Filters"),
        ("mtk.schedules", "StepDecay"),
    ):
        found = names.look_up(module, [name])
        assert found is not None
        assert found.parameters, name


@pytest.mark.parametrize("name", ["mtk.combiners", "mtk.experiment", "mtk.workloads.multi_digits"])
def test_unknown_name(name):
    with pytest.raises(names.NoSuchNameError) as caught:
        names.look_up(name, ["nothing"])
    assert {*caught.value.known} >= {*public(importlib.import_module(name))}


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.gin")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path):
    bases = {
        "combiners": ["translation_cldr.gin", "multi_digits.gin"],
        "architectures": ["multi_digits.gin"],
        "strategies": ["multi_digits.gin"],
        "engines": ["studies/multi_digits.gin"],
    }
    files = [*(CONFIGS / base for base in bases.get(path.parent.name, ())), path]
    draft = config.read_names(files)
    needed = {"data_dir", "folder"} & {*draft.checker.macros}
    draft = draft.overlaid([f"{macro} = 'somewhere'" for macro in needed])
    draft.finish()
    assert draft.imported


def test_names_of_other_packages_are_not_checked():
    assert names.look_up("keras.optimizers", ["NoSuchOptimizer"]) is None
