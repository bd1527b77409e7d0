"""A separate program that loads a SavedModel with TensorFlow only.

    python foreign.py SAVED_MODEL INPUTS.npz OUTPUTS.npz

Importing this package or Keras, or reading a pickle, is an error here.
"""

import importlib.abc
import importlib.machinery
import pickle
import sys

FORBIDDEN = ("mtk", "keras", "tf_keras")


class Refuse(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """TensorFlow may search for Keras, but not import it."""

    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] in FORBIDDEN:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is not installed here")

    def exec_module(self, module):
        raise ImportError


def refuse(*_, **__):
    raise RuntimeError("a pickle was read")


def main(saved_model, inputs, outputs):
    sys.meta_path.insert(0, Refuse())
    import numpy as np
    import tensorflow as tf

    pickle.load = pickle.loads = pickle.Unpickler = refuse
    serve = tf.saved_model.load(saved_model).signatures["serving_default"]
    with np.load(inputs) as named:
        found = serve(**{name: tf.constant(named[name]) for name in named.files})
    np.savez(outputs, **{name: value.numpy() for name, value in found.items()})
    assert not set(FORBIDDEN) & set(sys.modules)


if __name__ == "__main__":
    main(*sys.argv[1:])
