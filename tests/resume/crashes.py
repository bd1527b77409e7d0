"""Helpers for runs that crash."""

import tensorflow as tf

from mtk.experiment.checkpointing import Checkpointing
from mtk.workloads import MultiDigits


class CrashError(BaseException):
    """An exception that no code of a run handles."""


class AugmentedDigits(MultiDigits):
    """Digits with noise that is drawn in each step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._augment = add_noise


def add_noise(batch, key):
    images, labels = batch
    return images + 0.1 * tf.random.stateless_normal(tf.shape(images), key), labels


def crash(monkeypatch, step, moment="stepped", owner=Checkpointing):
    """Makes the next run crash at `step`, before the method `moment` of `owner`."""
    original = getattr(owner, moment)

    def crashing(self, *arguments):
        if self.step == step:
            monkeypatch.setattr(owner, moment, original)
            raise CrashError
        original(self, *arguments)

    monkeypatch.setattr(owner, moment, crashing)


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("0*"))
