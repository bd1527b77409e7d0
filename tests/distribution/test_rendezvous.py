import socket
import threading

import pytest

from mtk.distribution import rendezvous
from mtk.distribution.cluster import Cluster
from mtk.distribution.rendezvous import await_peers
from tests.distribution.starting import free_addresses
from tests.waiting import until


def listening(address):
    return socket.create_server(("", int(address.rpartition(":")[2])))


def test_single_worker_does_not_wait():
    await_peers(Cluster(free_addresses(1), 0), timeout=0.1)


@pytest.mark.parametrize("late", [0, 2])
def test_workers_wait_for_the_last_one(late):
    addresses = free_addresses(3)
    met = []

    def start_worker(index):
        await_peers(Cluster(addresses, index), timeout=600.0)
        met.append(index)
        # Like TensorFlow's server, take over the port and answer the peers that still connect.
        servers.append(listening(addresses[index]))

    servers = []
    threads = [threading.Thread(target=start_worker, args=(i,)) for i in range(3) if i != late]
    for thread in threads:
        thread.start()
    for i in range(3):
        if i != late:
            until(lambda i=i: rendezvous._answers(addresses[i]))
    assert not met
    start_worker(late)
    for thread in threads:
        thread.join(600.0)
    for server in servers:
        server.close()
    assert sorted(met) == [0, 1, 2]


def test_missing_worker_is_named():
    addresses = free_addresses(3)
    with listening(addresses[1]), pytest.raises(ValueError, match="from worker 2") as caught:
        await_peers(Cluster(addresses, 0), timeout=0.5)
    assert addresses[2] in str(caught.value)
    assert addresses[1] not in str(caught.value)


def test_port_in_use_is_named():
    addresses = free_addresses(2)
    with (
        listening(addresses[0]),
        pytest.raises(ValueError, match="cannot listen.*in use") as caught,
    ):
        await_peers(Cluster(addresses, 0), timeout=0.5)
    assert addresses[0] in str(caught.value)
