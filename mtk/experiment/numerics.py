"""In what a run computes, and how exactly it can be repeated."""

import contextlib
from collections.abc import Iterator
from typing import Literal, get_args

import keras
import tensorflow as tf

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


@contextlib.contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Builds the layers made inside under a dtype policy, and restores Keras' own afterwards.

    Args:
        precision: Name of the policy.

    Raises:
        ValueError: If it is unknown.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"`precision` is one of {get_args(Precision)}. Received: {precision!r}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def set_up(seed: int, deterministic: bool) -> None:
    """Seeds what draws numbers, and makes operations repeatable to the bit if asked to.

    Without `deterministic` some operations (sums by several threads, on GPUs most of them) add up
    in any order. TensorFlow cannot leave the deterministic mode again in one process.

    Args:
        seed: Of Python, NumPy and Keras.
        deterministic: Whether to use only operations that give the same bits in every run.
    """
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
