"""Passes the inputs of a comparison in a file to runs in processes not forked from this one."""

import os
import pickle
import sys
from multiprocessing import spawn
from pathlib import Path
from types import ModuleType
from typing import Any

from mtk import atomic
from mtk.comparison.code import is_installed
from mtk.study.engines import Engine, Here, Local, Ray
from mtk.study.worker import STUDY_DIR

_FOLDER = "methods"
# Data that a new process needs to import the program's module, without process-specific data.
_PREPARATION = ("sys_path", "dir", "orig_dir", "init_main_from_name", "init_main_from_path")


def is_needed(engine: Engine) -> bool:
    """Whether an engine executes runs in processes that do not share this one's memory."""
    return not isinstance(engine, Here) and not (isinstance(engine, Local) and engine.forks)


def packed(build: Any, engine: Engine) -> bytes:
    """Returns a pickled model function for other processes: its name, and on Ray its modules too.

    Args:
        build: The function.
        engine: The engine that executes the runs.

    Raises:
        ValueError: If another process cannot import it, or would call `mtk.compare` again.
    """
    if isinstance(engine, Ray):
        from ray import cloudpickle

        for module in _own_modules(sys.modules.get(getattr(build, "__module__", ""))):
            cloudpickle.register_pickle_by_value(module)
        return cloudpickle.dumps(build)
    main = sys.modules["__main__"]
    _check_guarded(getattr(main, "__file__", None))
    name = getattr(build, "__qualname__", repr(build))
    try:
        if getattr(build, "__module__", None) == "__main__" and not hasattr(main, "__file__"):
            raise ValueError("it is defined in an interactive session")
        return pickle.dumps(build)
    except (ValueError, AttributeError, TypeError, pickle.PicklingError) as error:
        raise ValueError(
            f"Runs in separate processes import `build`, but {name!r} cannot be imported: "
            f"{error}. Define it with `def` at the top level of a module, or run in this process: "
            "engine=mtk.study.engines.Here."
        ) from error


def _check_guarded(file: str | None) -> None:
    """Raises a ValueError for a program without a main guard, which would run when imported."""
    program = Path(file or "")
    if program.suffix != ".py" or not program.is_file():
        return
    if "__name__" not in program.read_text(encoding="utf-8", errors="replace"):
        raise ValueError(
            f"Runs in separate processes import {program.name!r}, which would call "
            '`mtk.compare` again. Put the call under `if __name__ == "__main__":`, or run in this '
            "process: engine=mtk.study.engines.Here."
        )


def _own_modules(module: ModuleType | None) -> list[ModuleType]:
    """Returns a module and all other modules from its import folder."""
    file = getattr(module, "__file__", None)
    if module is None or file is None or is_installed(file):
        return []
    name = module.__spec__.name if module.__spec__ else ""
    folder = Path(file).resolve().parents[name.count(".") + Path(file).match("__init__.py")]
    known = {each: getattr(each, "__file__", None) for each in sys.modules.values()}
    return [
        each
        for each, path in known.items()
        if path and not is_installed(path) and folder in Path(path).resolve().parents
    ]


def write(out: Path, key: str, build: bytes, data: Any) -> None:
    """Writes the inputs of a comparison into its study folder.

    Args:
        out: The study folder.
        key: The return value of `Given.key`.
        build: The return value of `packed`.
        data: The three splits.
    """
    file = out / _FOLDER / f"{key}.pickle"
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    about = spawn.get_preparation_data("mtk")
    with atomic.replacing(file) as unfinished, unfinished.open("wb") as stream:
        pickle.dump({name: about[name] for name in _PREPARATION if name in about}, stream)
        pickle.dump(build, stream)
        pickle.dump(data, stream, protocol=5)


def read(key: str) -> tuple[Any, Any] | None:
    """Returns the model's function and the splits that were written for this run's study.

    Args:
        key: The return value of `Given.key`.

    Returns:
        The function and the splits; None if nothing was written.

    Raises:
        ValueError: If the function cannot be imported.
    """
    file = Path(os.environ.get(STUDY_DIR, ""), _FOLDER, f"{key}.pickle")
    if STUDY_DIR not in os.environ or not file.is_file():
        return None
    with file.open("rb") as stream:
        preparation = pickle.load(stream)
        try:
            spawn.prepare(preparation)
            build = pickle.loads(pickle.load(stream))
        except (ImportError, AttributeError) as error:
            raise ValueError(f"`build` of this comparison cannot be imported: {error}") from error
        return build, pickle.load(stream)
