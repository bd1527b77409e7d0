"""The page of the commands, from their own help."""

import contextlib
import importlib
import io

COMMANDS = (
    "train",
    "sweep",
    "search",
    "bench",
    "report",
    "evaluate",
    "translate",
    "prepare",
    "list",
)

_HEAD = """\
# Commands

`mtk COMMAND` and `python -m mtk.COMMAND` are the same. If its input is wrong, a command ends with
exit code 2 and one message on standard error, and writes nothing.
"""


def pages() -> dict[str, str]:
    """Returns the text of the page by its path in the folder of the site."""
    parts = [f"## mtk {name}\n\n```text\n{help_of(name)}\n```\n" for name in COMMANDS]
    return {"reference/commands.md": "\n".join([_HEAD, *parts])}


def help_of(command: str) -> str:
    """Returns what `--help` prints.

    Args:
        command: One of `COMMANDS`.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        importlib.import_module(f"mtk.{command}").main(["--help"])
    return printed.getvalue().strip()
