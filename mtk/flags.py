"""The flags of commands that a configuration drives."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


def parser(command: str, description: str | None, epilog: str) -> argparse.ArgumentParser:
    """Returns a parser of the flags that name a configuration; the command adds its own.

    Args:
        command: Name of the command's module.
        description: What the command does.
        epilog: Examples and exit codes, shown as they are.
    """
    style = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(
        f"python -m {command}", None, description, epilog, [], style, allow_abbrev=False
    )
    for flag, metavar, text in (
        ("--gin_file", "FILE", "config, which can run any code; a later file overlays the earlier"),
        ("--gin_bindings", "'NAME = VALUE'", "binding that overlays the files"),
    ):
        made.add_argument(flag, metavar=metavar, action="append", default=[], help=text)
    again = "the same: --gin.experiment.run.epochs=3"
    made.add_argument("--gin.NAME", dest="_", metavar="VALUE", help=again)
    shown = "show where in the code an error arose"
    made.add_argument("--traceback", action="store_true", help=shown)
    return made


def window(text: str) -> tuple[int, int]:
    """Reads a window of steps, such as `10:20`, for a flag.

    Raises:
        argparse.ArgumentTypeError: If it is no window.
    """
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal()) or not 1 <= int(first) <= int(last):
        raise argparse.ArgumentTypeError(
            f"give the first and the last step, counted from 1, such as 10:20. Received: {text!r}"
        )
    return int(first), int(last)


def parse(
    parser: argparse.ArgumentParser, given: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
    """Returns the flags, and all bindings: those of `--gin.NAME=VALUE` come last."""
    bound = [flag for flag in given if flag.startswith("--gin.") and "=" in flag]
    flags = parser.parse_args([flag for flag in given if flag not in bound])
    return flags, flags.gin_bindings + [flag[6:].replace("=", " = ", 1) for flag in bound]


def end_with(main: Callable[[], int]) -> NoReturn:
    """Ends the program with the exit code of a command, or 75 where Ctrl-C ends it."""
    try:
        code = main()
    except KeyboardInterrupt:  # So early that nothing heeds it yet, or in a command that is short.
        print("stopped", file=sys.stderr)
        code = 75
    sys.exit(code)
