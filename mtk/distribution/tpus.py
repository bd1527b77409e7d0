"""Training on TPUs."""

import tensorflow as tf


def tpu(name: str = "local") -> tf.distribute.Strategy:
    """Returns a strategy that splits each batch over the cores of a TPU.

    Written to TensorFlow's documented rules but never run, for lack of a TPU. On a machine with
    one, `--dry_run` is the first check. How the rules are followed:

    * Training batches, and each replica's part, have one static shape. Only the last batch of an
      evaluation is smaller; `TPUStrategy` pads it itself.
    * A step is compiled by XLA as a whole, and nothing in it runs on the host. Batches are made and
      metrics are read outside of it.
    * Solvers are bounded loops, and compute in float32 where TensorFlow sees a TPU.

    Args:
        name: Name, zone-local or full, or address of the TPU; "local" for that of a TPU VM.

    Raises:
        ValueError: If there is no such TPU.
    """
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"The TPU {name!r} cannot be used from here. On a TPU VM its name is 'local', and "
            f"the package tensorflow-tpu must be installed. TensorFlow says: {_first_line(error)}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
