import re
from pathlib import Path

import numpy as np
import pytest

from mtk.callbacks import TaskBoard

STATUS = Path("/proc/self/status")


def resident():
    """The memory of this process in KiB."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", STATUS.read_text())[1])


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="reads the Linux kernel's account")
def test_curves_leave_nothing_behind_in_memory(tmp_path):
    board = TaskBoard(tmp_path)
    values = np.random.default_rng(0).uniform(size=8_000)
    for step, value in enumerate(values[:2_000]):  # What is allocated once is allocated now.
        board.write("train", {"loss": value}, step)
    before = resident()
    for step, value in enumerate(values[2_000:], start=2_000):
        board.write("train", {"loss": value}, step)
    # Python numbers in the place of arrays would leave 1.4 KiB each.
    assert resident() - before < 0.5 * 6_000
