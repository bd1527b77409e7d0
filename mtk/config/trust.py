"""Restricts configurations from others to names that only train a model.

A configuration is a program: its imports are executed, and so is every function that it calls.
"""

import inspect
from typing import Any

from mtk.config.source import ConfigError, Line

_PACKAGES = ("mtk", "keras")
# Functions and classes of a run. None of them writes files or reads another configuration.
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
# Only their classes: some functions there load objects that a file names.
_CLASSES = tuple(
    f"keras.src.{name}"
    for name in ("initializers", "losses", "metrics", "optimizers", "regularizers")
)
_REMEDY = (
    "A configuration can run any code, and this one came with the network. If you trust its "
    "author, add --trust; otherwise give your own configuration with --gin_file."
)


def check_import(module: str, line: Line) -> None:
    """Raises an error if configurations from others may not import a module.

    Args:
        module: Name of the module.
        line: The line of the import.

    Raises:
        ConfigError: With the location and what to do.
    """
    if module.split(".")[0] not in _PACKAGES:
        raise ConfigError(
            f"The configuration imports {module!r}, which is not allowed. {_REMEDY}\n  {line.where}"
        )


def check_target(target: Any, line: Line) -> None:
    """Raises an error if a function or class is not part of a run.

    Through the attributes of modules, a configuration could reach everything that they import.

    Args:
        target: The function or class.
        line: The line that names it.

    Raises:
        ConfigError: With the location and what to do.
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
    """Raises an error if a value is a run itself, which would train and write to any path.

    Args:
        target: The function or class.
        line: The line that names it.

    Raises:
        ConfigError: With the location and what to do.
    """
    if (target.__module__, target.__qualname__) == ("mtk.experiment", "run"):
        raise ConfigError(
            f"The configuration starts a run, which is not allowed. {_REMEDY}\n  {line.where}"
        )


def _is_in(module: str | None, packages: tuple[str, ...]) -> bool:
    return module is not None and any(f"{module}.".startswith(f"{each}.") for each in packages)
