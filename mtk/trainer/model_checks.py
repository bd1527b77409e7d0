"""Checks of a model's class and of its network when a `MultiTaskModel` is made."""

import warnings

import keras

# Methods of a model that `fit`, `evaluate` and `predict` call.
HOOKS = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics")

# What programs call; a network's own may prepare the data, as KerasHub's with a preprocessor do.
_ENTRIES = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")


def check_class(model: type[keras.Model], base: type[keras.Model]) -> None:
    """Raises a TypeError if a subclass overrides a method that training does not call.

    Args:
        model: The class of the model.
        base: `MultiTaskModel`.
    """
    if model.compute_loss is not base.compute_loss:
        raise TypeError(
            f"{model.__name__} overrides `compute_loss`, which a multi-task model "
            "never calls because every task has its own loss. Give the loss to `mtk.Task`, and "
            "additional losses to `add_loss` in a layer of the network."
        )
    if model.call is not base.call:
        raise TypeError(
            f"{model.__name__} overrides `call`, but training calls `network` "
            "directly. Move the code of `call` into the network, or into `train_step`, "
            "`test_step` and `predict_step`."
        )


def check_network(network: keras.Model) -> None:
    """Raises a TypeError if this is not a model, and warns of its methods that are not called.

    Args:
        network: Argument of `MultiTaskModel`.
    """
    if not isinstance(network, keras.Model):
        raise TypeError(
            f"`network` must be a Keras model. Received: {network!r}. If this is a function "
            "that creates a model, call it: MultiTaskModel(build())."
        )
    for names, advice in (
        (HOOKS, "Put them into a subclass of MultiTaskModel."),
        (_ENTRIES, "If they prepare the data, prepare them before: the network reads them as is."),
    ):
        own = [n for n in names if getattr(type(network), n) is not getattr(keras.Model, n)]
        if own:
            warnings.warn(
                f"{type(network).__name__} overrides {own}, which a MultiTaskModel around it does "
                f"not call. {advice}",
                stacklevel=3,
            )
