"""Fingerprints of runs, for many kinds of workload arguments."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import math
import pathlib
import subprocess
import sys
import textwrap
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from application_runs import start

from mtk import config, experiment
from mtk.experiment import Training, fingerprint
from mtk.experiment.contents import UnidentifiedError, identified


class Digits:
    """A workload's factory in one module."""

    class Nested:
        class Deep:
            pass

    class Other:
        class Deep:
            pass

    def __init__(self, size=1):
        self.size = size

    def __repr__(self):
        return "Digits"

    def __call__(self):
        return self.size

    def build(self):
        return self.size

    def other(self):
        return self.size

    @classmethod
    def of_class(cls):
        return cls

    @staticmethod
    def static():
        return 1


class Child(Digits):
    pass


class Slotted:
    __slots__ = ("size",)

    def __init__(self, size):
        self.size = size


@dataclasses.dataclass
class Data:
    size: int
    parts: list = dataclasses.field(default_factory=list)


Point = collections.namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def work(size=1, extra=None):
    return size


def made(value, other=None):
    def inner():
        return value, other

    return inner


def made_otherwise(value):
    def inner():
        return value + 1

    return inner


def defaulting(value):
    def inner(size=value, *, more=value):
        return size, more

    return inner


def decorated(level):
    @functools.wraps(work)
    def inner():
        return work(level)

    return inner


def local_class(value, base=object):
    class Local(base):
        size = value

        def build(self):
            return value, super().__init__()

    return Local


def recursive(value):
    def inner(n):
        return inner(n - 1) if n else value

    return inner


@functools.cache
def cached():
    return 1


def cached_inside(value):
    @functools.cache
    def inner():
        return value

    return inner


def self_referencing(value):
    held = [value]
    held.append(held)
    return made(held)


def generated(seed):
    return np.random.default_rng(seed)


def layered(units):
    keras.utils.clear_session()
    keras.utils.set_random_seed(units)
    layer = keras.layers.Dense(2, name="dense")
    layer.build((3,))
    return layer


ARRAY = np.arange(6.0)
# Each entry returns values that differ from each other, and are equal when made twice.
KINDS = {
    "functions": lambda: [work, made, Digits, Child, math.sin, len, np.sin, np.cos, cached],
    "closures of one function": lambda: [made(1), made(2), made("1"), made(1.0), made(None)],
    "closures of two functions": lambda: [made(1), made_otherwise(1)],
    "closures over functions": lambda: [made(made(1)), made(made(2)), made(work), made(made)],
    "closures over containers": lambda: [
        *(made([1]), made((1,)), made({1}), made({"a": 1}), made({"a": 2}), made([1, [2]])),
        *(made({1, 2, 3}), made(frozenset({1, 2, 3})), made([])),
    ],
    "closures over arrays": lambda: [
        *(made(ARRAY), made(ARRAY + 1), made(ARRAY.astype("float32")), made(ARRAY.reshape(2, 3))),
        *(made(ARRAY[::-1]), made(np.array(["a", None], object)), made(np.float32(1))),
    ],
    "closures over tensors": lambda: [
        *(made(tf.constant([1.0, 2])), made(tf.constant([1.0, 3])), made(tf.Variable([1.0, 2]))),
        *(made(keras.Variable([1.0, 2])), made(tf.float32), made(tf.float64)),
    ],
    "defaults": lambda: [defaulting(1), defaulting(2)],
    "lambdas": lambda: [lambda: 1, lambda: 2, lambda: work(1), lambda: work(2), lambda x: 1],
    "lambdas in lambdas": lambda: [lambda: lambda: 1, lambda: lambda: 2],
    "partials": lambda: [
        *(functools.partial(work, 1), functools.partial(work, 2), functools.partial(work)),
        *(functools.partial(work, size=1), functools.partial(work, extra=1)),
        *(functools.partial(made(1)), functools.partial(made(2))),
        functools.partial(work, extra=made(1)),
        functools.partial(work, extra=made(2)),
    ],
    "nested classes": lambda: [Digits.Nested, Digits.Nested.Deep, Digits.Other.Deep, Digits.Other],
    "local classes": lambda: [
        *(local_class(1), local_class(2), local_class(1, Digits), local_class(1, Child)),
        *(type("Digits", (object,), {"size": 1}), type("Digits", (object,), {"size": 2})),
    ],
    "instances with one repr": lambda: [Digits(1), Digits(2), Child(1), Digits(Digits(1))],
    "instances with slots": lambda: [Slotted(1), Slotted(2)],
    "methods": lambda: [
        *(Digits(1).build, Digits(2).build, Digits(1).other, Child(1).build, Digits.of_class),
        *(Child.of_class, Digits.static, Digits.build, [1].append, [2].append, "a".join, str.upper),
    ],
    "decorated": lambda: [decorated(1), decorated(2), work],
    "cached": lambda: [cached_inside(1), cached_inside(2)],
    "recursive": lambda: [recursive(1), recursive(2), self_referencing(1), self_referencing(2)],
    "data": lambda: [Data(1), Data(2), Data(1, [1]), Point(1, 2), Point(1, 3), Colour.RED],
    "enumerations": lambda: [Colour.RED, Colour.BLUE, 1],
    "library types": lambda: [
        *(pathlib.Path("a"), pathlib.Path("b"), "a", datetime.date(2020, 1, 1)),
        *(datetime.date(2020, 1, 2), decimal.Decimal("1.0"), decimal.Decimal("1.00")),
        *(fractions.Fraction(1, 2), range(3), range(4), slice(1, 2), np.dtype("int8")),
        *(collections.OrderedDict(a=1), collections.Counter("a"), collections.deque([1])),
        *(generated(1), generated(2), keras, np),
    ],
    "of Keras": lambda: [
        *(keras.losses.MeanSquaredError(), keras.losses.Huber(0.5), keras.losses.Huber(0.6)),
        *(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2), keras.initializers.Constant(2)),
        *(keras.initializers.Constant(3), keras.regularizers.L2(0.1), keras.regularizers.L2(0.2)),
        *(made(layered(1)), made(layered(2))),
    ],
    "plain": lambda: [1, 1.0, True, "1", b"1", None, ..., (), [], {}, -0.0, math.inf, 1j],
}


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprints_are_equal_only_for_equal_values(kind):
    texts = [identified(value) for value in KINDS[kind]()]
    assert texts == [identified(value) for value in KINDS[kind]()]
    assert len(set(texts)) == len(texts), "\n".join(sorted(texts))


@pytest.mark.parametrize("value", [0.1, 256, "auto", None, (10, 20), True, ("a",), {"a": 1}, [1]])
def test_plain_values_are_written_as_repr(value):
    assert identified(value) == repr(value)


def test_module_level_names_are_written_with_their_module():
    assert identified(work) == f"{__name__}.work"
    assert identified(Digits.Nested.Deep) == f"{__name__}.Digits.Nested.Deep"


def generator():
    yield 1


UNKNOWN = {
    "lock": threading.Lock,
    "generator": generator,
    "file": lambda: pathlib.Path(__file__).open(),  # noqa: SIM115
    "object": lambda: tf.data.Dataset.range(3).map(lambda x: x + 1),
    "module's frame": lambda: sys._getframe(),
}


@pytest.mark.parametrize("kind", UNKNOWN)
@pytest.mark.parametrize(
    "hold", [made, lambda v: functools.partial(work, v), lambda v: Digits([v]).build, local_class]
)
def test_indistinguishable_objects_raise(kind, hold):
    with pytest.raises(UnidentifiedError, match="two objects of .* cannot be distinguished"):
        identified(hold(UNKNOWN[kind]()))


def test_error_names_the_argument_and_the_captured_variable(tmp_path):
    with pytest.raises(
        ValueError, match=r"(?s)`workload` has no stable fingerprint.*'value' in it.*lock.*partial"
    ):
        start(made(threading.Lock()), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_fingerprints_are_equal_in_another_process(tmp_path):
    values = "[made({'b': ARRAY, 'a': {3, 1, 2}}), made(made(1)), local_class(2), lambda: work(3)]"
    program = f"""
        import sys
        sys.path[:0] = {[str(pathlib.Path(__file__).parent)]!r}
        from test_run_fingerprint import *
        print([identified(value) for value in {values}])
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    command = [sys.executable, str(tmp_path / "program.py")]
    first, again = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert first == again != ""


def given(tiny, **held):
    def workload():
        assert held is not None
        return tiny()

    return workload


@pytest.mark.slow
def test_other_closure_in_the_same_folder_raises(tiny, tmp_path):
    start(given(tiny, size=1), tmp_path / "run", steps=1)
    assert start(given(tiny, size=1), tmp_path / "run", steps=1)["status"] == "finished"
    with pytest.raises(ValueError, match=r"(?s)another configuration.*experiment\.run\.workload"):
        start(given(tiny, size=2), tmp_path / "run", steps=1)


@pytest.fixture
def two_modules(tmp_path, monkeypatch):
    """Two packages whose modules `work` define a class `Digits`."""
    for package, size in (("first_pkg", 1), ("second_pkg", 2)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "work.py").write_text(
            "from mtk.workloads import Workload\nclass Digits(Workload):\n"
            f"    def __init__(self, size={size}):\n        self.size = size\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield ("first_pkg", "second_pkg")
    config.parse()


def parsed(package, write, name="w"):
    text = (
        f"from __gin__ import dynamic_registration\nfrom mtk import experiment\n"
        f"from {package} import work\nexperiment.run.workload = @work.Digits\n"
        "work.Digits.size = 3\n"
    )
    config.parse([write(text, f"{package}.gin")])
    return fingerprint.settings(experiment.run, {"training": Training(epochs=1)})


def test_classes_of_the_same_name_in_two_modules_differ(two_modules, write):
    one, other = (parsed(package, write) for package in two_modules)
    assert fingerprint.difference(one, parsed(two_modules[0], write)) == ""
    assert fingerprint.difference(one, other).splitlines() == [
        "  module of @work.Digits: first_pkg.work.Digits in the folder, second_pkg.work.Digits now",
        "  module of work.Digits: first_pkg.work.Digits in the folder, second_pkg.work.Digits now",
    ]


def test_bindings_of_two_modules_in_one_configuration_differ(two_modules, write):
    text = (
        "from __gin__ import dynamic_registration\n"
        "from first_pkg import work as a\nfrom second_pkg import work as b\n"
        "a.Digits.size = {}\nb.Digits.size = {}\n"
    )
    found = []
    for number, sizes in enumerate(((1, 2), (3, 2), (1, 3))):
        config.parse([write(text.format(*sizes), f"{number}.gin")])
        found.append(config.bindings())
    assert len({str(sorted(each.items())) for each in found}) == 3


def test_argument_given_in_python_differs_from_the_configured_one(two_modules, write):
    import first_pkg.work
    import second_pkg.work

    def text(value):
        return fingerprint.settings(experiment.run, {"workload": value})["experiment.run.workload"]

    parsed("first_pkg", write)
    values = (first_pkg.work.Digits, second_pkg.work.Digits, made(1), made(2))
    texts = [text(value) for value in values]
    assert texts[0] == "@work.Digits"
    assert len(set(texts)) == 4
    by_gin = config.values(experiment.run)["workload"]
    assert text(by_gin) == texts[0]


def test_groups_are_recorded_field_by_field(two_modules, write):
    parsed("first_pkg", write)
    given = {"training": Training(epochs=2), "checkpoints": experiment.Checkpoints(every=1.0)}
    found = fingerprint.settings(experiment.run, given)
    assert found["experiment.Training.epochs"] == "2"
    assert found["experiment.Checkpoints.every"] == "1.0"
    assert "experiment.run.training" not in found
