"""What a model of `mtk` keeps beside the network."""

from typing import Any

import keras


class OwnState(keras.layers.Layer):
    """A layer for the sake of its variables: files of the model hold them.

    A file without any leaves them as they are, such as one of a plain Keras model; and what is in a
    file for another kind of combiner, or for one that is not built yet, is left.
    """

    def load_own_variables(self, store: Any) -> None:
        if store.keys() and (self._trainable_variables or self._non_trainable_variables):
            super().load_own_variables(store)
