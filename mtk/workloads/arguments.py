"""Checks arguments of workloads before data are read, and Keras names its own."""

from collections.abc import Sequence


def check_rates(**rates: float) -> None:
    """Raises a ValueError for a rate of dropout, or another share, that is out of range."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"`{name}` is a share, from 0 to below 1. Received: {name}={rate}")


def check_sizes(**sizes: int | Sequence[int]) -> None:
    """Raises a ValueError for a number, or one of several, that is below 1."""
    for name, size in sizes.items():
        if min([size] if isinstance(size, int) else size) < 1:
            raise ValueError(f"`{name}` is 1 or more. Received: {name}={size}")


def check_data_seed(data_seed: int) -> None:
    """Raises a ValueError for a seed that is negative."""
    if data_seed < 0:
        raise ValueError(f"`data_seed` is 0 or more. Received: data_seed={data_seed}")
