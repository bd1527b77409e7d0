"""Waits until all workers are reachable, before TensorFlow connects to them.

TensorFlow itself waits for an hour, without any message.
"""

import logging
import socket
import time
from collections.abc import Iterable

from mtk.distribution.cluster import Cluster

_log = logging.getLogger(__name__)
_PAUSE = 0.2  # seconds between two attempts
_SILENT = 10.0  # seconds before the user is told which workers are missing


def await_peers(cluster: Cluster, timeout: float) -> None:
    """Waits until every other worker answers at its address.

    Each worker listens at its own port meanwhile. One that has reached all others continues, and
    TensorFlow's server, which answers as well, takes over its port.

    Args:
        cluster: The workers.
        timeout: Seconds to wait.

    Raises:
        ValueError: If this worker's port is taken, or a worker is missing after the timeout.
    """
    deadline = time.monotonic() + timeout
    told_at = time.monotonic() + min(_SILENT, timeout / 2)
    missing = [i for i in range(len(cluster.addresses)) if i != cluster.index]
    with _listening(cluster):
        while missing:
            missing = [i for i in missing if not _answers(cluster.addresses[i])]
            now = time.monotonic()
            if missing and now > deadline:
                raise ValueError(
                    f"No response from {_names(cluster, missing)} after {timeout:g} s. Start "
                    "every worker with the same command and cluster, each with its own index in "
                    "TF_CONFIG, and check whether one of them has failed. To wait longer, set "
                    "distribution.multi_worker.timeout (seconds)."
                )
            if missing and now > told_at:
                _log.warning("Waiting for %s.", _names(cluster, missing))
                told_at = deadline
            if missing:
                time.sleep(_PAUSE)


def _names(cluster: Cluster, indices: Iterable[int]) -> str:
    return ", ".join(f"worker {i} ({cluster.addresses[i]})" for i in indices)


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listening(cluster: Cluster) -> socket.socket:
    """Opens this worker's port on every interface, as TensorFlow will."""
    own = cluster.addresses[cluster.index]
    # No connection is accepted: peers only need to connect, which the kernel handles.
    waiting = len(cluster.addresses) + 16
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", _parts(own)[1]),
                family=socket.AF_INET6,
                backlog=waiting,
                dualstack_ipv6=True,
            )
        return socket.create_server(("", _parts(own)[1]), backlog=waiting)
    except OSError as error:
        raise ValueError(
            f"Worker {cluster.index} cannot listen at its address {own}: {error.strerror}. "
            "Another process, perhaps a worker with the same index, may use it. End that process, "
            "or change the port in the TF_CONFIG of every worker."
        ) from error


def _answers(address: str) -> bool:
    try:
        with socket.create_connection(_parts(address), timeout=1.0):
            return True
    except OSError:
        return False
