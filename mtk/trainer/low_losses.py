"""Losses below the bounds that a method was told."""

import warnings
from collections.abc import Mapping
from typing import Any

import keras

from mtk.combiners.log_losses import LogLosses
from mtk.sharing.layer_calls import all_layers


class WarnOfLowLosses(keras.callbacks.Callback):
    """Warns once in a `fit`, at the end of an epoch, of losses below a method's bounds."""

    _has_warned = False

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Looks at what the model's combiner, or one inside of it, has seen."""
        del epoch, logs
        if self._has_warned:
            return
        for layer in all_layers(self.model):
            seen = getattr(layer, "log_losses", None)
            if isinstance(seen, LogLosses) and (text := seen.warning()):
                warnings.warn(text, stacklevel=2)
                self._has_warned = True
