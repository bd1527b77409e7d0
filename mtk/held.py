"""References to layers and metrics that Keras does not track."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Held:
    """Wraps a value so that Keras does not track a layer or metric in it as a part of its owner."""

    value: Any
