"""Facts needed to repeat a run: versions, commit, seed, host and command."""

import datetime
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tensorflow as tf

import mtk
from mtk import atomic, records
from mtk.callbacks.throughput import in_words

_PACKAGES = ("mtk", "tensorflow", "keras", "numpy", "gin-config", "tensorboard")


def begin(
    path: Path, seed: int, first_step: int = 0, about: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Writes the manifest, or adds a session to an existing one.

    Each process is a session. The facts of the first one are at the top; later sessions list those
    that have changed. A damaged file is set aside with a warning, and a new one is started.

    Args:
        path: The file.
        seed: Seed of the run.
        first_step: The optimizer step that the session starts from.
        about: Facts of the run by name: which variables are shared, its method, and its data.
    """
    facts = {**_facts(), **about}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    session: dict[str, Any] = {"first_step": first_step, "started": now, "command": sys.orig_argv}
    content = {"seed": seed, **facts, "command": sys.orig_argv, "sessions": [session]}
    if earlier := _read(path):
        changed = {name: fact for name, fact in facts.items() if earlier.get(name) != fact}
        earlier["sessions"].append({**session, **changed})
        content = earlier
    elif path.exists():
        path.replace(path.with_name(f"damaged.{path.name}"))
    atomic.write_json(path, content)


def end(path: Path, throughput: dict[str, Any]) -> None:
    """Adds the throughput of the current session, which ends.

    Args:
        path: The file.
        throughput: The throughput.
    """
    if content := _read(path):
        content["sessions"][-1]["throughput"] = throughput
        atomic.write_json(path, content)


def speed(path: Path) -> str:
    """Returns the throughput of the last session in words; empty if it is unknown.

    Args:
        path: The file.
    """
    content = _read(path)
    measured = content["sessions"][-1].get("throughput") if content else None
    return in_words(measured) if measured else ""


def _read(path: Path) -> dict[str, Any] | None:
    """Returns the content of the file; None if it is missing or, with a warning, damaged."""
    if not path.exists():
        return None
    try:
        content = records.json_object(path)
        dict(content["sessions"][-1])
    except (ValueError, TypeError, LookupError) as error:
        # The run can continue without it: it only records how the run was started.
        warnings.warn(f"The manifest {str(path)!r} is damaged: {error}.", stacklevel=3)
        return None
    return content


def _facts() -> dict[str, Any]:
    commit, dirty = _commit()
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "commit": commit,
        "uncommitted_changes": dirty,
        "host": {
            "name": platform.node(),
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "devices": [device.name for device in tf.config.list_logical_devices()],
            "gpus": [_name(gpu) for gpu in tf.config.list_physical_devices("GPU")],
        },
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Returns the processor's name, if the system reports it."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _name(gpu: Any) -> str:
    details: dict[str, Any] = tf.config.experimental.get_device_details(gpu)
    return str(details.get("device_name", gpu.name))


def _commit() -> tuple[str | None, bool | None]:
    """Returns the commit of the package's sources, and whether they differ from it.

    Both are None unless the sources are in their own git checkout.
    """
    root = Path(mtk.__file__).parent.parent
    head = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    if not head:
        return None, None
    return head, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))


def _git(root: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
