"""Strategies for the devices of one machine."""

import tensorflow as tf

from mtk.display import counted
from mtk.ranges import check_count


def single() -> tf.distribute.Strategy:
    """Returns the strategy for one device: TensorFlow's default."""
    return tf.distribute.get_strategy()


def mirrored(replicas: int | None = None) -> tf.distribute.Strategy:
    """Returns a strategy that splits each batch over the devices of this machine.

    Args:
        replicas: Number of devices: the first GPUs, or, without a GPU, as many logical CPU devices.
            By default all GPUs, or one CPU device.

    Raises:
        ValueError: If there are fewer GPUs, or if TensorFlow has been initialized with too few
            logical CPU devices, whose number is then fixed.
    """
    if replicas is not None:
        check_count(replicas=replicas)
    gpus = tf.config.list_physical_devices("GPU")
    if replicas is None:
        replicas = max(1, len(gpus))
    if gpus and len(gpus) < replicas:
        raise ValueError(
            f"{replicas} replicas need {replicas} GPUs, but this machine has {len(gpus)}."
        )
    if not gpus:
        _split_cpu(replicas)
    kind = "GPU" if gpus else "CPU"
    return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(replicas)])


def _split_cpu(replicas: int) -> None:
    """Configures that many logical CPU devices, unless they exist."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    configured = tf.config.get_logical_device_configuration(cpu) or []
    if max(1, len(configured)) >= replicas:
        return
    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(replicas)]
    try:
        tf.config.set_logical_device_configuration(cpu, parts)
    except RuntimeError as error:
        there = counted(max(1, len(configured)), "logical CPU device")
        raise ValueError(
            f"TensorFlow has already started with {there}, too few for {replicas} replicas. "
            "Call `mirrored` before anything else uses TensorFlow."
        ) from error
