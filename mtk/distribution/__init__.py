"""Distribution strategies: the devices and processes of a training."""

from mtk.distribution.cluster import Cluster, read_cluster
from mtk.distribution.local import mirrored, single
from mtk.distribution.losses import EXIT_STATUS, PeerLostError, peers_watched
from mtk.distribution.tpus import tpu
from mtk.distribution.workers import Workers, multi_worker

__all__ = [
    "EXIT_STATUS",
    "Cluster",
    "PeerLostError",
    "Workers",
    "mirrored",
    "multi_worker",
    "peers_watched",
    "read_cluster",
    "single",
    "tpu",
]
