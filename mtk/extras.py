"""How to install what a part of `mtk` needs."""

from pathlib import Path

_ROOT = Path(__file__).parents[1]


def command(extra: str) -> str:
    """Returns the command that installs an extra of `mtk`, which is on no package index.

    Args:
        extra: Its name in `setup.cfg`.
    """
    in_clone = (_ROOT / "setup.cfg").is_file()
    if in_clone and Path.cwd() != _ROOT:
        return f"pip install -e '{_ROOT}[{extra}]'"
    return f"pip install -e '.[{extra}]'" + ("" if in_clone else " in a clone of mtk")
