"""Multi-task training for Keras: models, methods to combine task gradients, and fair comparisons.

The parts are imported when they are first used (PEP 562), because TensorFlow takes seconds.
"""

import importlib
from typing import Any

from mtk import registration

_MODULES = (
    "analysis",
    "bench",
    "callbacks",
    "checkpoints",
    "combiners",
    "comparison",
    "config",
    "data",
    "decoding",
    "distribution",
    "experiment",
    "export",
    "gradients",
    "losses",
    "metrics",
    "models",
    "schedules",
    "search",
    "tasks",
    "trainer",
    "workloads",
)
# Classes and functions by the module that has them.
_NAMES = {
    "MultiTaskModel": "trainer",
    "Task": "tasks",
    "compare": "comparison",
    "front": "fronts",
    "gramian": "gramians",
    "per_example_gramian": "gramians",
}

__all__ = [*_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"mtk.{_NAMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"mtk.{name}")
    raise AttributeError(f"module 'mtk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


registration.register()
