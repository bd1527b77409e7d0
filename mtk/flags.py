"""Command-line flags of commands that read a configuration."""

import argparse
import difflib
import errno
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mtk import places, streams

_SHOWN = 60  # characters of a path or a number that is too long


class Parser(argparse.ArgumentParser):
    """Parses the flags of a command, and reports errors in one line.

    Args:
        command: Name of the command's module.
        description: What the command does.
        epilog: Examples and exit codes, shown verbatim.
    """

    def __init__(self, command: str, description: str | None, epilog: str):
        super().__init__(
            prog=f"python -m {command}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        message = re.sub(rf"(\S{{{_SHOWN}}})\S{{{_SHOWN},}}", r"\1...", message)
        _, _, unknown = message.partition("unrecognized arguments: ")
        flag = unknown.split("=")[0].split(" ")[0]
        near = difflib.get_close_matches(flag, list(self._option_string_actions), n=1)
        similar = f". Did you mean {near[0]}?" if near else ""
        if not similar and not message.startswith("argument --"):
            similar = f". See {self.prog} --help"
        print(f"error: {message}{similar}", file=sys.stderr)
        sys.exit(2)


def parser(command: str, description: str | None, epilog: str) -> Parser:
    """Returns a parser of the flags for a configuration; the command adds its own flags.

    Args:
        command: Name of the command's module.
        description: What the command does.
        epilog: Examples and exit codes, shown verbatim.
    """
    made = Parser(command, description, epilog)
    ran = (
        "config file (it can run any code): a path, or the name of a config shipped with mtk; "
        "later files override earlier ones"
    )
    for flag, metavar, kind, text in (
        ("--gin_file", "FILE", path, ran),
        ("--gin_bindings", "'NAME = VALUE'", str, "binding that overrides the files"),
    ):
        made.add_argument(flag, metavar=metavar, type=kind, action="append", default=[], help=text)
    again = "short form of --gin_bindings, e.g. --gin.experiment.Training.epochs=3"
    made.add_argument("--gin.NAME", dest="_", metavar="VALUE", help=again)
    shown = "show the traceback of an error"
    made.add_argument("--traceback", action="store_true", help=shown)
    return made


def path(text: str) -> str:
    """Reads a path for a flag; shells do not expand the `~` in `--flag=~/folder`.

    Raises:
        argparse.ArgumentTypeError: If the text is not a valid path.
    """
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected a path. Received: {text!r}")
    text = os.path.expanduser(text)  # noqa: PTH111  It leaves the rest of the path alone.
    if text.startswith("~"):
        raise argparse.ArgumentTypeError(
            f"there is no user with the name at the start of {text!r}. Write the path in full"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        known = sys.getfilesystemencoding()
        remedy = (
            "Rename the file or folder"
            if known == "utf-8"
            else f"Set PYTHONUTF8=1: file names are {known} here"
        )
        raise argparse.ArgumentTypeError(
            f"{text!r} is not UTF-8, but TensorFlow can only write UTF-8 names. {remedy}"
        ) from error
    parts = Path(text).parts
    for number, part in enumerate(parts):
        if part == ".." and not (above := Path(*parts[:number])).exists():
            raise argparse.ArgumentTypeError(
                f"{text!r} leads through {str(above)!r}, which does not exist. Leave that part out"
            )
    try:
        Path(text).lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise argparse.ArgumentTypeError(
                f"expected a shorter path. Received: {text[:_SHOWN]!r}... ({len(text):,} "
                "characters)"
            ) from error
    return text


def folder(text: str) -> str:
    """Reads the path of an existing or new folder for a flag.

    Raises:
        argparse.ArgumentTypeError: If it is a file, or the text is not a valid path.
    """
    text = path(text)
    place = Path(text)
    file = next((p for p in (place, *place.absolute().parents) if p.exists()), place)
    if file.exists() and not file.is_dir():
        raise argparse.ArgumentTypeError(
            f"{str(file)!r} is a file, but {text!r} must be a folder. Give another path"
        )
    return text


def as_folder(name: str, given: Any) -> Path:
    """Returns the path of an existing or new folder that a program has given.

    Args:
        name: Name of the argument.
        given: The path.

    Raises:
        ValueError: If it is not a path, is a file, or cannot be written and holds no study.
    """
    try:
        found = Path(folder(os.fspath(given)))
    except (argparse.ArgumentTypeError, TypeError) as error:
        said = "" if "Received" in str(error) else f" Received: {given!r:.90}"
        raise ValueError(f"`{name}` must be the path of a folder: {error}.{said}") from None
    if not (found / "study.json").exists():  # A completed study is only shown.
        places.check_writable(found)
    return found


def file(text: str) -> str:
    """Reads the path of an existing or new file for a flag.

    Raises:
        argparse.ArgumentTypeError: If it is a folder, or the text is not a valid path.
    """
    text = path(text)
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder, not a file. Give a file")
    return text


def positive(text: str) -> int:
    """Reads a positive integer for a flag.

    Raises:
        argparse.ArgumentTypeError: If the text has another form.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer, 1 or more. Received: {text!r}")
    return int(text)


def number(text: str) -> float:
    """Reads a finite number for a flag.

    Raises:
        argparse.ArgumentTypeError: If the text has another form.
    """
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        needed = "a finite number, below 1.8e308" if math.isinf(found) else "a number"
        raise argparse.ArgumentTypeError(f"expected {needed}. Received: {text!r}")
    return found


def class_name(text: str) -> str:
    """Reads the name of a class, `PCGrad` or `my_package.my_module:PCGrad`, for a flag.

    Raises:
        argparse.ArgumentTypeError: If the text has another form.
    """
    if not text.isidentifier() and ":" not in text:
        raise argparse.ArgumentTypeError(
            f"expected the name of a class, without parentheses. Received: {text!r}"
        )
    return text if text.isidentifier() else importable(text)


def importable(text: str) -> str:
    """Reads the name of an object in a module, `my_package.my_module:name`, for a flag.

    Raises:
        argparse.ArgumentTypeError: If it has another form.
    """
    module, colon, name = text.partition(":")
    if not (colon and name.isidentifier() and all(p.isidentifier() for p in module.split("."))):
        raise argparse.ArgumentTypeError(
            "expected a module and a name in it, such as my_package.my_module:make. Received: "
            f"{text!r}"
        )
    return text


def window(text: str) -> tuple[int, int]:
    """Reads a window of steps, such as `10:20`, for a flag.

    Raises:
        argparse.ArgumentTypeError: If it is not a window.
    """
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal()) or not 1 <= int(first) <= int(last):
        raise argparse.ArgumentTypeError(
            "expected the first and the last step, counted from 1, such as 10:20. Received: "
            f"{text!r}"
        )
    return int(first), int(last)


def parse(
    parser: argparse.ArgumentParser, given: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
    """Returns the flags, and all bindings: those of `--gin.NAME VALUE`, or `=VALUE`, come last."""
    bound, others, rest = [], [], list(given)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--gin."):
            others.append(flag)
        elif "=" in flag:
            bound.append(flag)
        elif rest and not rest[0].startswith("--"):
            bound.append(f"{flag}={rest.pop(0)}")
        else:
            parser.error(f"{flag} needs a value, as in {flag}=VALUE")
    flags = parser.parse_args(others)
    return flags, flags.gin_bindings + [flag[6:].replace("=", " = ", 1) for flag in bound]


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Ends the program with the exit code of a command.

    It is 75 if Ctrl-C ends it, and 1 if the output cannot be written: its reader has closed it, or
    a disk is full.
    """
    streams.prepare()
    streams.shorten_warnings()
    try:
        Path.cwd()
    except FileNotFoundError:
        print(
            "error: The working directory does not exist any more. Change to another one.",
            file=sys.stderr,
        )
        sys.exit(2)
    try:
        try:
            code = main()
        finally:
            sys.stdout.flush()
    except streams.OutputError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno != errno.EPIPE:
            reason = error.__cause__.strerror
            print(f"error: the output cannot be written: {reason}", file=sys.stderr)
        # Otherwise Python tries to write the rest at exit, and reports an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:  # Before a handler is installed, or in a short command.
        print("\nstopped" if sys.stderr.isatty() else "stopped", file=sys.stderr)  # After "^C".
        code = 75
    sys.exit(code)
