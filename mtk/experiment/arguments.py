"""Checks numbers that a run is given, before anything is built."""

import math

_SEEDS = 2**32  # What NumPy takes.
COUNTS = ("batch_size", "evaluate_every", "micro_batches", "patience")  # Besides the length.


def check(
    learning_rate: float,
    seed: int,
    epochs: int | None,
    steps: int | None,
    **counts: int | None,
) -> None:
    """Checks arguments of `mtk.experiment.run` by themselves.

    Args:
        learning_rate: As of a run.
        seed: As of a run.
        epochs: As of a run.
        steps: As of a run.
        counts: Those of `COUNTS`.

    Raises:
        ValueError: If one is out of range, or not exactly one of `epochs` and `steps` is given.
    """
    if not 0 < learning_rate < math.inf:
        raise ValueError(
            "The learning rate is a positive number, or the loss does not fall. "
            f"Received: learning_rate={learning_rate}"
        )
    if not 0 <= seed < _SEEDS:
        raise ValueError(f"`seed` is a whole number from 0 to {_SEEDS - 1}. Received: seed={seed}")
    if (epochs is None) == (steps is None):
        raise ValueError(
            "The length of a run is given by `epochs` or by `steps`, one of them. "
            f"Received: epochs={epochs}, steps={steps}. Set the other to None."
        )
    for name, number in {**counts, "epochs": epochs, "steps": steps}.items():
        if number is not None and number < 1:
            raise ValueError(f"`{name}` is 1 or more. Received: {name}={number}")
