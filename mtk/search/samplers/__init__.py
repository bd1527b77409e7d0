"""Samplers: each proposes the points of a search in `ask`, and is told their results."""

from mtk.search.samplers.base import Sampler, Trial
from mtk.search.samplers.bisection import Bisection
from mtk.search.samplers.optuna import Optuna
from mtk.search.samplers.spread import Random, Sobol
from mtk.search.samplers.two_stage import TwoStage

__all__ = ["Bisection", "Optuna", "Random", "Sampler", "Sobol", "Trial", "TwoStage"]
