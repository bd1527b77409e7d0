"""Candidates from plain numbers."""

import numpy as np

from mtk.analysis import Candidates


def models(test, validation=None, seeds=1, groups=None):
    test = np.asarray(test, float)
    number = len(test)
    return Candidates(
        test if validation is None else np.asarray(validation, float),
        test,
        np.full(number, seeds),
        np.arange(number) if groups is None else np.asarray(groups),
        np.arange(number),
    )
