"""Forward and backward passes over a replica's part of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import keras
import tensorflow as tf

from mtk.trainer import forward, products
from mtk.trainer.batches import Share
from mtk.trainer.products import Linear, Product
from mtk.trainer.recording import recorded

if TYPE_CHECKING:
    from mtk.trainer.model import MultiTaskModel

Tensors = TypeVar("Tensors")
Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None
Place: TypeAlias = tuple[keras.Layer, int]


@dataclass(frozen=True, eq=False)
class Recorded:
    """A recorded forward pass over some examples of a batch.

    Attributes:
        tape: The persistent tape that recorded it.
        parts: K scalars: what these examples add to each task loss. Their sum over all passes and
            replicas is the loss; gradients are taken of the parts and summed likewise.
        stacked: The parts as one tensor `(K,)`, on the tape too.
        penalty: Its part of the regularization loss, or None.
        scale: Factor by which parts and penalty are scaled for the sake of float16, or None.
        features: Outputs of the layers where the heads begin, if the combiner asks for them.
        products: The passes through linear layers whose kernels' task gradients need not be made.
        sparse: Whether the task gradients of embeddings may leave out what no task touches.
    """

    tape: tf.GradientTape
    parts: list[tf.Tensor]
    stacked: tf.Tensor
    penalty: tf.Tensor | None
    scale: tf.Tensor | None
    features: list[tf.Tensor]
    products: list[Product]
    sparse: bool = False

    def unscaled(self, found: Sequence[Gradient]) -> list[Gradient]:
        """Removes the scale from gradients: a Gramian of scaled ones would overflow."""
        if self.scale is None:
            return list(found)
        factor = 1.0 / self.scale
        # In float32: a float16 gradient without its scale may vanish.
        dense = [None if g is None else tf.cast(tf.convert_to_tensor(g), tf.float32) for g in found]
        return [None if g is None else g * factor for g in dense]

    def scaled(self, of_features: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Brings gradients of the features back to their scale and type, to go on from there."""
        factor = 1.0 if self.scale is None else self.scale
        pairs = zip(of_features, self.features, strict=True)
        return [tf.cast(gradient * factor, feature.dtype) for gradient, feature in pairs]


class Passes(Protocol):
    """What a step knows of its batch, and how it computes what adds up over the examples.

    Attributes:
        counts: Tensor `(K,)`: labelled elements of each task in the global batch.
        present: Boolean tensor `(K,)`: which tasks have any.
        products: Layers whose kernels' task gradients need not be made.
        task_losses: Tensor `(K,)`: the task losses of the global batch.
    """

    counts: tf.Tensor
    present: tf.Tensor
    products: list[Product]

    @property
    def task_losses(self) -> tf.Tensor: ...

    def add_up(self, part: Callable[[Recorded], Tensors]) -> Tensors:
        """Returns `part(pass)`, a structure of tensors and None, summed over this replica's passes.

        Args:
            part: Computes what some examples add to a sum over the batch.
        """
        ...


@dataclass(frozen=True, eq=False)
class Setting:
    """What all passes of a step have in common.

    Attributes:
        model: The model.
        state: State to train from.
        places: Layers, and which of their calls, whose outputs the combiner asks for.
        scale: Loss scale, or None.
        micro_batches: Passes into which the examples of a replica are divided.
        linear: Layers whose kernels' Gramian may follow from two factors.
        sparse: Whether the task gradients of embeddings may leave out what no task touches.
    """

    model: "MultiTaskModel"
    state: forward.State
    places: Sequence[Place]
    scale: tf.Tensor | None
    micro_batches: int = 1
    linear: Sequence[Linear] = ()
    sparse: bool = False


class AtOnce:
    """One pass over all examples of a replica.

    Args:
        setting: What passes have in common.
        shares: The replica's part of the batch.
    """

    def __init__(self, setting: Setting, shares: Sequence[Share]):
        self.setting, self.shares = setting, shares
        self.recorded, self.passed, self.counts = record(setting, shares)
        self.products = self.recorded.products
        self.present = self.counts > 0
        self.task_losses = self._global(self.passed)

    def add_up(self, part: Callable[[Recorded], Tensors]) -> Tensors:
        return part(self.recorded)

    def changes(self) -> dict[int, tf.Tensor]:
        """Returns the network's state after the step, and tells the metrics what was seen."""
        self.setting.model.task_metrics.update(self.passed)
        return self.passed.state

    def losses_now(self) -> tf.Tensor:
        """Returns the task losses `(K,)` of the global batch with the weights of now."""
        model = self.setting.model
        return self._global(
            forward.run(model.network, model.tasks, self.shares, self.setting.state)
        )

    def _global(self, passed: forward.Losses) -> tf.Tensor:
        return all_reduce(tf.math.divide_no_nan(tf.stack(passed.sums), self.counts))


def record(
    setting: Setting,
    shares: Sequence[Share],
    counts: tf.Tensor | None = None,
    seeds: dict[int, tf.Tensor] | None = None,
) -> tuple[Recorded, forward.Losses, tf.Tensor]:
    """Runs forward under a tape and brings each task loss to the scale of the global batch.

    Args:
        setting: What passes have in common.
        shares: Some examples of the batch.
        counts: Labelled elements of each task in the global batch, `(K,)`, if they are known.
        seeds: Seeds to go on from, by index of their variable; the state's, by default.

    Returns:
        The recorded pass, its losses, and the counts.
    """
    model, scale = setting.model, setting.scale
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    places, linear = setting.places, setting.linear
    layers = {id(layer): layer for layer in [*(p[0] for p in places), *(p.layer for p in linear)]}
    with tf.GradientTape(persistent=True) as tape:
        with recorded(list(layers.values())) as calls:
            passed = forward.run(model.network, model.tasks, shares, setting.state, seeds)
        # On one device no task waits for another's forward pass.
        each = passed.counts
        if counts is None:
            with tape.stop_recording():
                counts = all_reduce(tf.stack(passed.counts))
        if replicas > 1 or setting.micro_batches > 1:
            each = tf.unstack(counts)
        parts = [tf.math.divide_no_nan(s, n) for s, n in zip(passed.sums, each, strict=True)]
        penalty = passed.regularization
        penalty = None if penalty is None else penalty / (replicas * setting.micro_batches)
        if scale is not None:
            parts = [part * scale for part in parts]
            penalty = None if penalty is None else penalty * scale
        stacked = tf.stack(parts)
    outputs = {(id(call.layer), call.number): call.outputs[0] for call in calls}
    features = [outputs[id(layer), number] for layer, number in places]
    factors = products.of_calls(linear, calls, len(model.tasks), tape)
    found = Recorded(tape, parts, stacked, penalty, scale, features, factors, setting.sparse)
    return found, passed, counts


def all_reduce(values: Tensors) -> Tensors:
    """Sums a structure of tensors over the replicas, from within a replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1 or not tf.nest.flatten(values):
        return values
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)
