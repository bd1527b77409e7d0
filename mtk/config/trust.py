"""What the configuration of somebody else may name: nothing that does more than train a model.

A configuration is a program: what it imports runs, and so does every function that it calls.
"""

import inspect
from typing import Any

from mtk.config.source import ConfigError, Line

_PACKAGES = ("mtk", "keras")
# Functions and classes of a run. None of them writes, or reads another configuration.
_OF_A_RUN = tuple(
    f"mtk.{name}"
    for name in (
        "combiners",
        "data.translation.batches",
        "data.translation.cldr",
        "data.translation.opening",
        "distribution",
        "losses",
        "metrics",
        "models",
        "schedules",
        "task_metrics",
        "tasks",
        "workloads",
    )
)
_EXPERIMENT = {"run", "Sharing", "Optimization", "Training", "Numerics", "Logging", "Checkpoints"}
# Their classes, that is: some functions there load what a file names.
_CLASSES = tuple(
    f"keras.src.{name}"
    for name in ("initializers", "losses", "metrics", "optimizers", "regularizers")
)
_REMEDY = (
    "A configuration can run any code, and this one came with the network. If you trust its "
    "author, add --trust; otherwise give your own configuration with --gin_file."
)


def check_import(module: str, line: Line) -> None:
    """Raises an error if a module is not one that others may have imported.

    Args:
        module: Its name.
        line: Where it is imported.

    Raises:
        ConfigError: With the place and what to do.
    """
    if module.split(".")[0] not in _PACKAGES:
        raise ConfigError(
            f"The configuration imports {module!r}, which is not allowed. {_REMEDY}\n  {line.where}"
        )


def check_target(target: Any, line: Line) -> None:
    """Raises an error if a function or class is not one of a run.

    By the attributes of modules a configuration could reach whatever these have imported.

    Args:
        target: The function or class.
        line: Where it is named.

    Raises:
        ConfigError: With the place and what to do.
    """
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", "")
    is_keras = inspect.isclass(target) and _is_in(module, _CLASSES)
    is_run = module == "mtk.experiment" and name in _EXPERIMENT
    if not (is_keras or is_run or _is_in(module, _OF_A_RUN)):
        named = f"{module}.{name}" if module else repr(target)
        raise ConfigError(
            f"The configuration uses {named!r}, which is not allowed. {_REMEDY}\n  {line.where}"
        )


def check_value(target: Any, line: Line) -> None:
    """Raises an error if a value stands for a run: it would train, and write where it likes.

    Args:
        target: The function or class.
        line: Where it is named.

    Raises:
        ConfigError: With the place and what to do.
    """
    if (target.__module__, target.__qualname__) == ("mtk.experiment", "run"):
        raise ConfigError(
            f"The configuration starts a run, which is not allowed. {_REMEDY}\n  {line.where}"
        )


def _is_in(module: str | None, packages: tuple[str, ...]) -> bool:
    return module is not None and any(f"{module}.".startswith(f"{each}.") for each in packages)
