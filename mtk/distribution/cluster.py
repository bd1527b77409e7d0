"""The cluster of processes that train together, from `TF_CONFIG`."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_EXAMPLE = (
    'For the first of two workers: TF_CONFIG=\'{"cluster": {"worker": ["host-a:2222", '
    '"host-b:2222"]}, "task": {"type": "worker", "index": 0}}\''
)
_ADDRESS = re.compile(r"(?P<host>[^\s:]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_JOBS = ("chief", "worker")  # in the order of their indices


@dataclass(frozen=True)
class Cluster:
    """The workers of a run, and the index of this process.

    Attributes:
        addresses: `host:port` of each worker, the chief's first.
        index: Index of this process among them; the chief has 0.
    """

    addresses: tuple[str, ...]
    index: int


def read_cluster(text: str | None) -> Cluster:
    """Parses the content of the environment variable `TF_CONFIG`.

    Args:
        text: The content; None if the variable is not set.

    Returns:
        The cluster. A task "chief", if there is one, comes before the workers.

    Raises:
        ValueError: If anything in it is missing, malformed, unknown, duplicate or out of range.
    """
    given = _parsed(text)
    jobs = _jobs(given.get("cluster"))
    task = given.get("task")
    if not isinstance(task, dict) or task.get("type") not in jobs:
        raise _malformed(f"its task must be one of the cluster's {list(jobs)}; it is {task!r}")
    index = str(task.get("index"))
    own = jobs[task["type"]]
    if not index.isdecimal() or int(index) >= len(own):
        raise _malformed(
            f"the index of a task '{task['type']}' must lie in 0 ... {len(own) - 1}; it is "
            f"{task.get('index')!r}"
        )
    chiefs = len(jobs.get("chief", []))
    before = chiefs if task["type"] == "worker" else 0
    return Cluster(tuple(a for name in _JOBS for a in jobs.get(name, [])), before + int(index))


def _malformed(problem: str) -> ValueError:
    return ValueError(f"The environment variable TF_CONFIG is malformed: {problem}.\n{_EXAMPLE}")


def _parsed(text: str | None) -> Mapping[str, Any]:
    if not text or not text.strip():
        raise ValueError(
            "Training with several workers needs the environment variable TF_CONFIG, which "
            "lists all workers; it is not set.\n"
            f"{_EXAMPLE}"
        )
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise _malformed(f"it is not valid JSON, at character {error.pos}: {error.msg}") from None
    if not isinstance(given, dict):
        raise _malformed("it must be an object with 'cluster' and 'task'")
    return given


def _jobs(cluster: Any) -> dict[str, list[str]]:
    """Returns the checked addresses of each job."""
    if not isinstance(cluster, dict) or not any(cluster.get(name) for name in _JOBS):
        raise _malformed("its cluster must list the addresses of the workers")
    unknown = sorted(set(cluster) - set(_JOBS))
    if unknown:
        raise _malformed(f"supported tasks are {list(_JOBS)}, not {unknown}")
    jobs = {name: cluster[name] for name in _JOBS if cluster.get(name)}
    for name, addresses in jobs.items():
        if not isinstance(addresses, list):
            raise _malformed(f"the addresses of '{name}' must be a list; they are {addresses!r}")
        for address in addresses:
            _check_address(address)
    if len(jobs.get("chief", [])) > 1:
        raise _malformed(f"it can have at most one chief, but it lists {jobs['chief']}")
    every = [address for addresses in jobs.values() for address in addresses]
    twice = sorted({address for address in every if every.count(address) > 1})
    if twice:
        raise _malformed(f"several workers have the same address, {twice}; each needs its own")
    return jobs


def _check_address(address: Any) -> None:
    found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if found is None or not 0 < int(found["port"]) < 1 << 16:
        raise _malformed(f"an address must be 'host:port'; it lists {address!r}")
