"""The module of a SavedModel that reads the cells of a table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk.data.tables import Numbers, Target


class ServedCells(tf.Module):
    """Maps cells to predictions in the signature `serving_default`.

    A text that was not in the table is mapped to an extra category, which was never trained.

    Args:
        network: A network of the table.
        numbers: The numeric columns that it reads.
        texts: Known texts of each text column that it reads.
        inputs: TensorFlow's name of each column that it reads.
        targets: Its targets.
    """

    def __init__(
        self,
        network: keras.Model,
        numbers: Numbers,
        texts: Mapping[str, Sequence[str]],
        inputs: Mapping[str, str],
        targets: Mapping[str, Target],
    ):
        super().__init__(name="cells")
        self._network, self._scale, self._targets = network, numbers.scale, dict(targets)
        self._numbers = [inputs[name] for name in numbers.names]
        self._flagged = np.array(numbers.flagged, "int32")
        self._texts = {inputs[name]: _places(known) for name, known in texts.items()}
        self.variables_of_network = [variable.value for variable in network.variables]

    def signatures(self) -> dict[str, Callable[..., Any]]:
        """Returns the functions of the SavedModel by name."""
        columns = {
            **dict.fromkeys(self._numbers, tf.float64),
            **dict.fromkeys(self._texts, tf.string),
        }
        specs = {name: tf.TensorSpec((None,), dtype, name) for name, dtype in columns.items()}
        return {"serving_default": tf.function(self.predict, input_signature=[specs])}

    def predict(self, cells: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Predicts rows of a table.

        Args:
            cells: Vectors `(B,)` by column: float64, NaN where a number is missing, or strings.

        Returns:
            By target, numbers in the original unit `(B,)` float64, the probability of a text
            `(B,)`, or those of several `(B, texts)`.
        """
        inputs = {
            name: places.lookup(tf.strings.strip(cells[name]))
            for name, places in self._texts.items()
        }
        if self._numbers:
            values = tf.stack([cells[name] for name in self._numbers], axis=1)
            missing = tf.math.is_nan(values)
            scaled = (values - self._scale.mean) / self._scale.deviation
            scaled = tf.where(missing, 0.0, tf.cast(scaled, tf.float32))
            flags = tf.gather(tf.cast(missing, tf.float32), self._flagged, axis=1)
            inputs["numbers"] = tf.concat([scaled, flags], axis=1)
        outputs = self._network(inputs, training=False)
        return {name: _told(outputs[name], target) for name, target in self._targets.items()}


def _places(texts: Sequence[str]) -> tf.lookup.StaticHashTable:
    """Returns a lookup table of the indices of texts; other texts get the next index."""
    places = tf.range(len(texts), dtype=tf.int32)
    known = tf.lookup.KeyValueTensorInitializer(tf.constant(texts), places)
    return tf.lookup.StaticHashTable(known, default_value=len(texts))


def _told(output: tf.Tensor, target: Target) -> tf.Tensor:
    if target.outputs > 1:
        return tf.nn.softmax(output)
    if target.scale is None:
        return tf.sigmoid(output)[:, 0]
    return tf.cast(output[:, 0], tf.float64) * target.scale.deviation + target.scale.mean
