"""Checks, before any work, that an output file or folder does not replace files of others.

A file only replaces a file. A folder only replaces an empty one, or one with a list of its files,
`mtk-files.json`: files that are not on the list belong to others.
"""

import contextlib
import itertools
import json
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mtk import resources
from mtk.errors import StudyError

# Type of a parameter that is read: commands check that it exists before importing TensorFlow.
InputPath = str
MARKER = "mtk-files.json"
UNFINISHED = "unfinished."  # prefix of folders that are being written
_MOST_NAMED = 3
# Files that show the kind of a folder; the first existing one decides. A search is a study too.
_KINDS = {
    "a run": "checkpoints",
    "a bench": "bench.json",
    "a leaderboard": "reads.jsonl",
    "a search": "search.json",
    "a study": "study.json",
}


def check_file(path: str | Path) -> Path:
    """Checks, before any work, that a file can be written.

    Args:
        path: The file. A link is followed: its target is written, and the link stays.

    Returns:
        The file that is written; its parent folders may still be missing.

    Raises:
        ValueError: If something else exists, or the parent folder cannot be written.
    """
    target = file_target(path)
    check_writable(target.parent)
    return target


def check_folder(path: str | Path) -> Path:
    """Checks, before any work, that a folder can be written at `path`.

    Args:
        path: The folder. A link is followed: its target is replaced, and the link stays.

    Returns:
        The folder that is written; its parent folders may still be missing.

    Raises:
        ValueError: If something exists that this package has not written, or that cannot be moved,
            or the parent folder cannot be written.
    """
    target = folder_target(path)
    check_writable(target.parent)
    return target


def destination(folder: str) -> Path:
    """Returns the path of a folder to prepare, with `~` and links followed.

    Raises:
        ValueError: If a new folder cannot be created there. A folder with contents is not checked.
    """
    path = Path(os.path.realpath(Path(folder).expanduser()))
    if not path.name:
        raise ValueError(f"{folder!r} is the root folder. Give a new or an empty folder.")
    if not path.is_dir() or not any(path.iterdir()):
        check_folder(path)
    return path


def check_writable(folder: Path) -> None:
    """Checks that a folder, or its first existing parent, can be written.

    Free space is not checked: a full disk may have space later.

    Raises:
        ValueError: If it cannot.
    """
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    try:
        # Writing is tried, since not every folder with this permission can be written.
        tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=there).cleanup()
    except OSError as error:
        if resources.is_full(error):
            return
        raise ValueError(
            f"{str(there)!r} is not a writable folder ({error.strerror}); nothing was changed. "
            "Give another path."
        ) from error


def check_unused(path: Path, state: str = "is not empty") -> None:
    """Checks that a run folder can be created at `path`, or is empty.

    Args:
        path: The folder.
        state: Description of a folder with contents, for the message.

    Raises:
        ValueError: If it cannot be created, or is not empty.
    """
    if path.is_symlink() and not path.exists():
        raise ValueError(
            f"The run folder {str(path)!r} is a broken symbolic link. Give a new folder."
        )
    if path.exists() and (not path.is_dir() or _holds_files(path)):
        raise ValueError(
            f"The run folder {str(path)!r} {state}, but has no run of this version. Nothing was "
            "changed. Give a new folder: --run_dir=PATH."
        )
    try:
        check_writable(path)
    except ValueError as error:
        raise ValueError(
            f"The run folder {str(path)!r} cannot be created: {error} Set it with --run_dir=PATH."
        ) from error


def check_kind(folder: Path, *kinds: str) -> None:
    """Checks that a folder does not belong to another command.

    Args:
        folder: The folder, which may still be missing.
        kinds: Allowed contents, such as "a study"; the expected one first.

    Raises:
        StudyError: If it holds something else.
    """
    found = next((kind for kind, name in _KINDS.items() if os.path.lexists(folder / name)), "")
    if found and found not in kinds:
        raise StudyError(f"{str(folder)!r} contains {found}, not {kinds[0]}. Give another folder.")


def check_no_links(paths: Iterable[Path]) -> None:
    """Checks that no path is a link: in a folder of others, a link may lead anywhere.

    Args:
        paths: The contents of a folder to which more will be written.

    Raises:
        ValueError: If one is a link.
    """
    for path in paths:
        if path.is_symlink():
            raise ValueError(
                f"{str(path)!r} is a symbolic link, whose target would be written; nothing was "
                "changed. Replace the link by its target, or give another folder."
            )


def _holds_files(folder: Path) -> bool:
    # A process that was killed right after its start leaves an empty folder in a folder.
    # A link may lead anywhere.
    return any(
        entry.is_symlink() or not entry.is_dir() or any(entry.iterdir())
        for entry in folder.iterdir()
    )


def file_target(path: str | Path) -> Path:
    """Returns the target of a file, if it is allowed; see `check_file`.

    Raises:
        ValueError: If it is not allowed.
    """
    target = followed(path)
    if target.is_dir():
        raise ValueError(f"{str(path)!r} is a folder; nothing was changed. Give a file to write.")
    if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
        raise ValueError(
            f"{str(path)!r} is a device or a pipe; nothing was changed. Give a file to write."
        )
    _check_movable(path, target)
    return target


def folder_target(path: str | Path) -> Path:
    """Returns the target of a folder, if it is allowed; see `check_folder`.

    Raises:
        ValueError: If it is not allowed.
    """
    target = followed(path)
    if os.path.lexists(target) and not target.is_dir():
        raise ValueError(f"{str(path)!r} is a file; nothing was changed. Give a folder to write.")
    if target.is_dir():
        if Path.cwd().resolve().is_relative_to(target.resolve()):
            raise ValueError(
                f"{str(path)!r} is or contains the working directory, which cannot be replaced; "
                "nothing was changed. Give a new folder, such as one inside it."
            )
        _check_movable(path, target)
        _check_own(path, target)
    return target


def followed(path: str | Path) -> Path:
    """Returns the path itself, or the target of a link.

    Detours through another folder and back are removed, since that folder may be the one that is
    replaced, as in `report/../report`.

    Raises:
        ValueError: If it is a link that leads to itself.
    """
    target = Path(path)
    if ".." in itertools.dropwhile(lambda part: part == "..", target.parts):
        target = Path(os.path.realpath(target))
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        target.lstat()  # Raises an error for invalid names, such as too long ones.
    if target.is_symlink():
        target = Path(os.path.realpath(target))
        if target.is_symlink():
            raise ValueError(f"{str(path)!r} is a symbolic link to itself.")
    return target


def _check_movable(path: str | Path, target: Path) -> None:
    if target.exists() and (os.path.ismount(target) or str(target.resolve()) in _mounts()):
        raise ValueError(
            f"{str(path)!r} is a mount point, which cannot be replaced; nothing was changed. "
            "Give a new file or folder, such as one inside it."
        )


def _mounts() -> set[str]:
    """Returns the mount points, if the system lists them: some look like ordinary folders."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return set()
    # Spaces and the like are written as "\040".
    found = (line.split()[4].decode("unicode_escape").encode("latin-1") for line in lines)
    return set(map(os.fsdecode, found))


def _check_own(path: str | Path, folder: Path) -> None:
    """Checks that a folder contains nothing that would be lost."""
    files = contents(folder)
    if not files:
        return
    own = own_files(folder)
    if own is None:
        raise ValueError(
            f"{str(path)!r} contains {_some(files, folder)}, but no list of files ({MARKER}) "
            "written by this program; nothing was changed. Give a new or an empty folder."
        )
    strange = [file for file in files if str(file.relative_to(folder)) not in own]
    if strange:
        raise ValueError(
            f"{str(path)!r} contains {_some(strange, folder)}, which this program did not "
            "write; nothing was changed. Move it away, or give another folder."
        )


def mark(folder: Path) -> None:
    """Writes a list of the files of a folder into it, so that they can be replaced later."""
    names = [str(file.relative_to(folder)) for file in contents(folder)]
    text = json.dumps({"written by": "mtk", "files": names}, indent=1)
    (folder / MARKER).write_text(text + "\n", encoding="utf-8")


def own_files(folder: Path) -> set[str] | None:
    """Returns the files listed by `mark`, including the list; None if there is no list."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return {str(name) for name in content["files"]} | {MARKER}
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def contents(folder: Path) -> list[Path]:
    """Returns everything in a folder and its subfolders, except the subfolders themselves."""
    return sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())


def _some(files: list[Path], folder: Path) -> str:
    names = ", ".join(repr(str(file.relative_to(folder))) for file in files[:_MOST_NAMED])
    more = len(files) - _MOST_NAMED
    return f"{names} and {more} more" if more > 0 else names
