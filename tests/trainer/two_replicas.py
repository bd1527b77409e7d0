"""Runs all default tests of two replicas in one process, because starting one takes long.

python -m tests.trainer.two_replicas FOLDER
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import mtk
from tests.trainer import against_jacobian, replicated

# The slow tests cover all combiners, forms of batches and networks.
KINDS = ("pcgrad",)
NETWORKS = ("synchronized_batch_norm",)
STEPS = 20


def main(folder: Path) -> None:
    strategy = mtk.distribution.mirrored(2)
    replicated.main(strategy, STEPS, str(folder / "2.npz"), list(KINDS))
    found = against_jacobian.on_replicas(strategy, NETWORKS, "unrolled")
    (folder / "jacobian.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
