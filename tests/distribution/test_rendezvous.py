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


def test_alone_nobody_is_awaited():
    await_peers(Cluster(free_addresses(1), 0), timeout=0.1)


@pytest.mark.parametrize("late", [0, 2])
def test_all_go_on_when_the_last_has_come(late):
    addresses = free_addresses(3)
    met = []

    def come(index):
        await_peers(Cluster(addresses, index), timeout=600.0)
        met.append(index)
        # TensorFlow's server takes over the port, and answers those who still look.
        servers.append(listening(addresses[index]))

    servers = []
    threads = [threading.Thread(target=come, args=(i,)) for i in range(3) if i != late]
    for thread in threads:
        thread.start()
    for i in range(3):
        if i != late:
            until(lambda i=i: rendezvous._answers(addresses[i]))
    assert not met
    come(late)
    for thread in threads:
        thread.join(600.0)
    for server in servers:
        server.close()
    assert sorted(met) == [0, 1, 2]


def test_who_does_not_come_is_named():
    addresses = free_addresses(3)
    with listening(addresses[1]), pytest.raises(ValueError, match="from worker 2") as caught:
        await_peers(Cluster(addresses, 0), timeout=0.5)
    assert addresses[2] in str(caught.value)
    assert addresses[1] not in str(caught.value)


def test_a_taken_port_is_named():
    addresses = free_addresses(2)
    with (
        listening(addresses[0]),
        pytest.raises(ValueError, match="cannot listen.*in use") as caught,
    ):
        await_peers(Cluster(addresses, 0), timeout=0.5)
    assert addresses[0] in str(caught.value)
