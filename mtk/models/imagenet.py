"""ImageNet weights for a ResNet-50."""

import re
from pathlib import Path

import keras

FETCHED = "imagenet"


def load_imagenet(network: keras.Model, weights: str) -> None:
    """Loads the weights of `keras.applications.ResNet50` into a network with `resnet50`.

    Args:
        network: The network; layers outside of the trunk are unchanged.
        weights: "imagenet" lets Keras download the weights, or use its cache; otherwise a file of
            that model without its classifier, such as
            `resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5`, or one saved by Keras
            (`.weights.h5`).

    Raises:
        ValueError: If the file is missing or invalid, it cannot be downloaded, or the trunk has
            other widths or another number of blocks.
    """
    source = _source(weights)
    wanted, held = _trunk(source), _trunk(network)
    for name in {**wanted, **held}:
        if _shapes(wanted, name) != _shapes(held, name):
            raise ValueError(
                f"ImageNet weights fit only the full-size ResNet-50; layer {name!r} of this "
                f"network has weights of the shapes {_shapes(held, name)} instead of "
                f"{_shapes(wanted, name)}. Use the default `blocks` and `widths` and three "
                "channels, or no `weights`."
            )
    for name, layer in wanted.items():
        held[name].set_weights(layer.get_weights())


def _trunk(network: keras.Model) -> dict[str, keras.Layer]:
    layers = {layer.name: layer for layer in network.layers if layer.weights}
    return {name: layer for name, layer in layers.items() if re.match(r"conv\d_", name)}


def _shapes(layers: dict[str, keras.Layer], name: str) -> list[tuple[int, ...]]:
    return [tuple(v.shape) for v in layers[name].weights] if name in layers else []


def _source(weights: str) -> keras.Model:
    fetched = weights == FETCHED
    path = Path(weights).expanduser()
    if not fetched and not path.is_file():
        raise ValueError(
            f"There is no file with ResNet-50 weights at {path}. Give a file, 'imagenet' to let "
            "Keras download them, or None to train from scratch."
        )
    try:
        return keras.applications.ResNet50(
            include_top=False, weights=weights if fetched else str(path)
        )
    except Exception as error:  # Keras raises bare exceptions if it cannot download.
        if fetched:
            raise ValueError(
                f"Keras could not download the ImageNet weights of ResNet-50: {error}. Without "
                "internet access, set `weights` to a file that was downloaded elsewhere, "
                "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5, or None to train from "
                "scratch."
            ) from error
        raise ValueError(
            f"{path} does not contain the weights of keras.applications.ResNet50 without its "
            f"classifier (include_top=False): {error}"
        ) from error
