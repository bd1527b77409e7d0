"""Plans the runs of a comparison."""

import difflib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mtk import atomic, combiners, places
from mtk.combiners import Combiner
from mtk.combiners.arguments import arguments
from mtk.comparison.look import Look
from mtk.config.types import required
from mtk.display import significant
from mtk.study.folder import StudyFolder
from mtk.study.spec import Study, bindings

STATIC = "static weights"
SINGLE = "single task: "
FIRST_SEED = 0  # Seed of the selecting runs, and of the measurements before them.
_WEIGHTS = "combiners.StaticWeights.weights"
RATE = "experiment.Optimization.learning_rate"
_FOLDER = "methods"  # folder of the runs' configurations in the study folder
_EXPORT = 3.0  # approximate seconds for the end of a run
_STEP = 10.0**0.5  # factor between learning rates


# Label, class and arguments of a method.
Method: TypeAlias = tuple[str, type[Combiner], dict[str, Any]]


class Size(NamedTuple):
    """The size of a comparison.

    Attributes:
        weightings: Number of static weightings.
        rates: Number of learning rates for each configuration.
        seeds: Number of fresh seeds with which the selected models are measured.
    """

    weightings: int
    rates: int
    seeds: int


# From the recommended size to the smallest one that can give an answer.
SIZES = (Size(9, 3, 5), Size(9, 3, 3), Size(5, 3, 3), Size(5, 1, 3), Size(3, 1, 2))


def method_of(given: Any) -> Method:
    """Returns the label, the class and the arguments of a method.

    Args:
        given: The name of a class in `mtk.combiners`, a combiner class, or a combiner.

    Raises:
        ValueError: If it is none of them.
    """
    if isinstance(given, str):
        return method_of(_named(given))
    if isinstance(given, type) and issubclass(given, Combiner):
        if needed := required(given):
            example = ", ".join(f"{name}=..." for name in needed)
            raise ValueError(
                f"The method {given.__name__} needs the arguments {needed}. Give an object "
                f"instead of its name: {given.__name__}({example})."
            )
        return given.__name__, given, {}
    if isinstance(given, Combiner):
        return _method_of_object(given)
    raise ValueError(
        "A method must be 'static', the name of a combiner such as 'PCGrad', its class, or an "
        f"object. Received: {given!r}"
    )


def _named(name: str) -> type[Combiner]:
    known = {name.lower(): name for name in combiners.__all__ if _is_method(name)}
    found = known.get(name.lower().replace("-", "").replace("_", "").replace(" ", ""))
    if found is None:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f" Did you mean {known[close[0]]!r}?" if close else ""
        raise ValueError(f"Unknown method {name!r}.{hint} Known methods: {sorted(known.values())}")
    return getattr(combiners, found)


def _method_of_object(given: Combiner) -> Method:
    """Returns the method of a combiner, with those of its arguments that are not the defaults."""
    own = given.whole_config()
    # The file that describes a method has Python values instead of NumPy scalars and arrays.
    numpy = {k: v.tolist() for k, v in own.items() if isinstance(v, (np.generic, np.ndarray))}
    # If a method wraps another one, its configuration holds the inner one as a dict.
    inner = {k: each for k in own if isinstance(each := getattr(given, k, None), Combiner)}
    usual = arguments(type(given))
    changed = {k: v for k, v in {**own, **numpy, **inner}.items() if k in usual and usual[k] != v}
    texts = {k: method_of(v)[0] if k in inner else repr(v) for k, v in changed.items()}
    odd = [k for k, v in changed.items() if k not in inner and "'class_name':" in repr(v)]
    if odd:
        raise ValueError(
            f"The arguments {odd} of {type(given).__name__} are objects, which a config "
            "file cannot represent. Define a subclass that creates them, at the top level of a "
            "module, and give that class."
        )
    words = "".join(f", {name}={text}" for name, text in texts.items())
    return f"{type(given).__name__}{words}", type(given), changed


def is_static(given: Any) -> bool:
    """Returns whether an entry of `methods` is static weights, which are always trained."""
    if isinstance(given, combiners.StaticWeights):
        return given.is_static
    names = ("static", "staticweights", "static_weights")
    return given is combiners.StaticWeights or str(given).lower() in names


def _is_method(name: str) -> bool:
    found = getattr(combiners, name)
    return isinstance(found, type) and "Combiner" not in name and name != "Combined"


def weightings(look: Look, number: int) -> list[dict[str, float]]:
    """Returns static weights, each with a sum of one.

    For two tasks, equally spaced weights. For more: equal weights, weights inversely proportional
    to the untrained network's losses, three times the weight for one task at a time, and then
    random draws from the simplex. If one loss outweighs another, the spaced, tripled and random
    weights are for losses in units of the untrained network's, since otherwise nearly all of them
    would train only the task with the larger loss; equal weights and their geometric mean with the
    inverse losses (the root of the inverse) are then included too. The compiled weights of the
    model and those added by the caller come last.

    Args:
        look: Properties of the model.
        number: Number of weightings, not counting those of the model and the caller.
    """
    names = look.tasks
    losses = np.array([look.losses[name] for name in names])
    usable = np.isfinite(losses) & (losses > 0)
    inverse = np.divide(1.0, losses, out=np.ones(len(names)), where=usable)
    equal = np.ones(len(names))
    unit, halfway = (equal, []) if look.outweighing is None else (inverse, [inverse**0.5])
    if len(names) == 2:
        shares = np.linspace(0.0, 1.0, number + 2)[1:-1]
        every = [unit * (share, 1.0 - share) for share in shares]
        every += [*halfway, equal] if halfway else []
    else:
        up = [unit * np.where(np.arange(len(names)) == k, 3.0, 1.0) for k in range(len(names))]
        found = [equal, inverse, *halfway, *up]
        rng = np.random.default_rng(0)
        drawn = rng.dirichlet(equal, max(0, number - len(found)))
        every = [*found, *(unit * drawn)][: max(number, 3)]
    if look.loss_weights is not None:
        every.append(np.array(look.loss_weights))
    every += [np.array(each) for each in look.added]
    found = [
        {name: significant(w) for name, w in zip(names, weights / weights.sum(), strict=True)}
        for weights in every
    ]
    return [weights for place, weights in enumerate(found) if weights not in found[:place]]


def rates(look: Look, given: Sequence[float] | str | None, number: int) -> list[float]:
    """Returns the learning rates to try first; by default around that of the model.

    Args:
        look: Properties of the model.
        given: Learning rates for the mean of the losses, or "search".
        number: Number of learning rates, if none are given.
    """
    if given is not None and not isinstance(given, str):
        return [float(rate) for rate in given]
    centre = look.learning_rate * (look.scale if look.is_linear else 1)
    exponents = range(-(number // 2), number - number // 2)
    return [float(f"{centre * _STEP**exponent:.3g}") for exponent in exponents]


def widened(tried: Sequence[float], best: float | None) -> list[float]:
    """Returns the learning rates, extended by one beyond the end at which the best one lies.

    Args:
        tried: The learning rates.
        best: The best of them; None if no run with any of them has finished.
    """
    ordered = sorted(tried)
    if best is None or best == ordered[0]:
        ordered.insert(0, float(f"{ordered[0] / _STEP:.3g}"))
    if best == max(tried):
        ordered.append(float(f"{ordered[-1] * _STEP:.3g}"))
    return ordered


def around(tried: Sequence[float], best: float | None) -> list[float]:
    """Returns the best learning rate and its neighbours; see `widened`."""
    ordered = sorted(tried)
    place = 0 if best is None else ordered.index(best)
    return ordered[max(0, place - 1) : place + 2]


def runs_of(look: Look, methods: int, size: Size, number_of_rates: int) -> tuple[int, int]:
    """Returns the approximate maximum number of runs of static weights, and of the methods."""
    static = len(weightings(look, size.weightings)) + len(look.tasks)
    return static * (number_of_rates + size.seeds), methods * (number_of_rates + 2 * size.seeds)


def seconds(look: Look, counts: tuple[int, int], steps: int, evaluations: int) -> float:
    """Returns the approximate total time of sequential runs."""
    common = look.start + evaluations * look.evaluation + _EXPORT
    each = [common + steps * step for step in look.step]
    return counts[0] * each[0] + counts[1] * each[1]


def study_of(
    out: Path,
    key: str,
    look: Look,
    methods: Sequence[Method],
    size: Size,
    learning_rates: Mapping[str, Sequence[float]],
    settings: Mapping[str, Any],
    searching: bool = False,
) -> Study:
    """Writes the configurations of a comparison, and returns its study.

    The study keeps the original name of its folder. An existing one with fewer methods is extended.

    Args:
        out: The study folder.
        key: The return value of `Given.key`.
        look: Properties of the model.
        methods: Methods as returned by `method_of`.
        size: Size of the comparison.
        learning_rates: Learning rates by label.
        settings: Common settings of all runs, by the name that a configuration binds.
        searching: Whether to search for learning rates only: with equal weights, no single tasks
            and no fresh seeds.

    Raises:
        ValueError: If two methods have the same label, or the folder contains something else.
    """
    folder = out.resolve() / _FOLDER
    texts = {folder / "common.gin": [*_BASE, *bindings(_settings(key, settings))]}
    files = {STATIC: str(folder / "static.gin")}
    texts[folder / "static.gin"] = _overlay(combiners.StaticWeights, {})
    for label, kind, own in methods:
        if label in files:
            raise ValueError(f"Two methods have the name {label!r}. Leave one of them out.")
        path = folder / f"{_digest(label)}.gin"
        files[label], texts[path] = str(path), _overlay(kind, own)
    grids: dict[str, dict[Any, Any]] = {
        label: {RATE: tuple(learning_rates[label])} for label in files
    }
    grids[STATIC][_WEIGHTS] = tuple(_static(look, size, searching))
    for task in () if searching else look.tasks:
        alone = {name: float(name == task) for name in look.tasks}
        files[SINGLE + task] = files[STATIC]
        grids[SINGLE + task] = {_WEIGHTS: (alone,), RATE: grids[STATIC][RATE]}
    found = StudyFolder(out)
    study = Study(
        name=found.name or out.resolve().name,
        configs=(str(folder / "common.gin"),),
        methods=files,
        method_grids=grids,
        seeds=(FIRST_SEED,),
        fresh_seeds=0 if searching else size.seeds,
        baseline=STATIC,
    )
    check_own(out)
    found.listed(study)
    folder.mkdir(parents=True, exist_ok=True)
    for path, lines in texts.items():
        text = "\n".join(lines) + "\n"
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue  # Results can be shown without write access.
        with atomic.replacing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return study


def check_own(out: Path) -> None:
    """Checks that no other files in a study folder would be overwritten.

    Raises:
        ValueError: If the folder belongs to another command, or has no name.
    """
    folder = out / _FOLDER
    places.check_kind(out, "a study")
    # A call that ended before its first run leaves its configurations or an empty folder.
    is_own = StudyFolder(out).list.exists() or (folder / "common.gin").is_file()
    if os.path.lexists(folder) and not (is_own or _is_empty(folder)):
        raise ValueError(f"{str(folder)!r} is not part of a study. Give another folder: `out=`.")
    if not out.resolve().name:
        raise ValueError(f"{str(out)!r} is the root folder. Give a new folder: `out=`.")


def _is_empty(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(entry.name.startswith(places.UNFINISHED) for entry in folder.iterdir())


def _static(look: Look, size: Size, searching: bool) -> list[dict[str, float]]:
    found = weightings(look, size.weightings)
    return [min(found, key=lambda weights: max(weights.values()))] if searching else found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


_BASE = (
    "# Settings of all runs of this comparison; written by `mtk.compare`.",
    "include 'base.gin'",
    "from mtk.comparison import given",
    "experiment.run.workload = @given.workload",
    "experiment.Optimization.optimizer = @given.optimizer",
)


def _settings(key: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {**settings, "given.workload.key": key, "given.optimizer.key": key}


def _overlay(kind: type[Combiner], arguments: Mapping[str, Any]) -> list[str]:
    selector, imports, bound = _configured(kind, arguments)
    return [
        *imports,
        "from mtk import experiment",
        f"experiment.run.combiner = @{selector}",
        *bound,
    ]


def _configured(
    kind: type[Combiner], arguments: Mapping[str, Any]
) -> tuple[str, list[str], list[str]]:
    """Returns a combiner's name in a configuration, the imports, and its bindings."""
    known = getattr(combiners, kind.__name__, None) is kind
    module = "combiners" if known else kind.__module__
    selector = f"{module}.{kind.__qualname__}"
    imports = ["from mtk import combiners" if known else f"import {module}"]
    values, inner = dict(arguments), []
    for name, value in arguments.items():
        if isinstance(value, Combiner):
            own, more, bound = _configured(*method_of(value)[1:])
            values[name] = f"@{own}()"
            imports += [line for line in more if line not in imports]
            inner += bound
    return selector, imports, [*bindings({f"{selector}.{k}": v for k, v in values.items()}), *inner]
