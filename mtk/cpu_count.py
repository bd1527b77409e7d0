"""How many cores there are to work with."""

import os


def available() -> int:
    """Returns the number of cores that this process may use, which can be fewer than all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
