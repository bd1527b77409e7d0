"""What a model of `mtk` keeps beside the network."""

from typing import Any

import keras


class OwnState(keras.layers.Layer):
    """A layer for the sake of its variables: files of the model hold them.

    A file of weights that a plain Keras model has saved holds none of them, and leaves them as
    they are.
    """

    def load_own_variables(self, store: Any) -> None:
        if store.keys():
            super().load_own_variables(store)
