"""Training on TPUs."""

import tensorflow as tf


def tpu(name: str = "local") -> tf.distribute.Strategy:
    """Returns a strategy that splits each batch over the cores of a TPU.

    Written to TensorFlow's documented rules and not run: no TPU was at hand. `--dry_run` on a
    machine with one is the first check. What these rules ask for holds as follows: batches to
    train on have one static shape, since data sets of this package drop no and pad no batch;
    nothing inside a step runs on the host; steps are compiled by XLA, hence a combiner's solver
    is a bounded loop, in float32.

    Args:
        name: Name, zone-local or full, or address of the TPU; "local" for the one of a TPU VM.

    Raises:
        ValueError: If there is no such TPU.
    """
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"No TPU {name!r} can be used from here. On a TPU VM its name is 'local', and the "
            f"package tensorflow-tpu must be installed. TensorFlow says: {_first_line(error)}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
