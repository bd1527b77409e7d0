"""Optional dependencies of parts of `mtk`."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from mtk.errors import StudyError

_ROOT = Path(__file__).parents[1]


def command(extra: str) -> str:
    """Returns the command that installs an extra of `mtk`, which is not on a package index.

    Args:
        extra: Name of the extra in `setup.cfg`.
    """
    in_clone = (_ROOT / "setup.cfg").is_file()
    if in_clone and Path.cwd() != _ROOT:
        return f"pip install -e '{_ROOT}[{extra}]'"
    return f"pip install -e '.[{extra}]'" + ("" if in_clone else " in a clone of mtk")


def check(what: str, extra: str, packages: Sequence[str], needed: str = "reading results") -> None:
    """Checks that packages are installed.

    Args:
        what: What needs the packages, as the start of a sentence.
        extra: The extra of `mtk` that contains them.
        packages: Names of modules, which are not imported.
        needed: Their purpose, in words.

    Raises:
        StudyError: If one is missing.
    """
    if not all(importlib.util.find_spec(name) for name in packages):
        raise StudyError(f"{what} needs {needed}: {command(extra)}")
