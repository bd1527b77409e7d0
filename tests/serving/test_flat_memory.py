import re
from pathlib import Path

import numpy as np
import pytest

from mtk.callbacks import TaskBoard

STATUS = Path("/proc/self/status")


def resident():
    """Returns the resident memory of this process in KiB."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", STATUS.read_text())[1])


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="reads the Linux kernel's account")
def test_task_board_does_not_leak_memory(tmp_path):
    board = TaskBoard(tmp_path)
    values = np.random.default_rng(0).uniform(size=8_000)
    for step, value in enumerate(values[:2_000]):  # A warm-up for what is allocated once.
        board.write("train", {"loss": value}, step)
    before = resident()
    for step, value in enumerate(values[2_000:], start=2_000):
        board.write("train", {"loss": value}, step)
    # Python numbers instead of arrays would leak 1.4 KiB each.
    assert resident() - before < 0.5 * 6_000
