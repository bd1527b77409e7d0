"""What a multi-task model learns of its network and its batches before it trains."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.combiners import Combiner
from mtk.gradients import Way, choose
from mtk.tasks import Task
from mtk.trainer import batches, discovery, splitting
from mtk.trainer import step as steps
from mtk.trainer import structure as structures
from mtk.trainer.compiled import CompiledModel
from mtk.trainer.micro_batches import check_divisible


class InspectedModel(CompiledModel):
    """A compiled model that knows which of its variables are shared.

    Attributes:
        tasks: The K tasks.
        task_names: Their names.
        combiner: What merges their gradients.
        gradients: How to compute per-task gradients.
        shared_by_user: What the user said is shared, by name.
        heads_by_user: What the user said belongs to heads, by name.
        representation: Name of the layer whose output the heads read, or None.
    """

    tasks: list[Task]
    task_names: list[str]
    combiner: Combiner
    gradients: Way
    shared_by_user: Sequence[str] | None
    heads_by_user: Mapping[str, Sequence[str]] | None
    representation: str | None
    _structure: structures.Structure | None = None
    _spec: Any = None

    def _build_combiner(self) -> None:
        """Makes the combiner's state; before `fit`, as replicas cannot make mirrored variables."""
        # State that goes by layers is sized by all of them, whatever is trained later.
        self.combiner.bind(self.task_names, [v.path for v in self.network.variables])
        if not self.combiner.built:
            self.combiner.build(len(self.tasks))
        self.built = True

    @property
    def structure(self) -> structures.Structure:
        """Which variables are shared, and which belong to heads.

        Raises:
            ValueError: If the model has not seen a batch yet.
        """
        if self._structure is None:
            if self._spec is None:
                raise ValueError(
                    "Which variables are shared is read off a forward pass, and the model has not "
                    "seen a batch yet. Call `model.inspect(batch_or_dataset)` first, or `fit`."
                )
            self._structure = self._find_structure()
        return self._structure

    def inspect(self, data: Any) -> structures.Structure:
        """Reads the network's structure off a batch, or off the batches of a dataset.

        `fit` does so by itself; call it before a training loop of your own.
        """
        self._maybe_symbolic_build(data_batch=data)
        return self.structure

    def _find_structure(self) -> structures.Structure:
        found = discovery.trace(self.network, self.tasks, self._spec, self.representation)
        found = structures.override(found, self.network, self.shared_by_user, self.heads_by_user)
        self.combiner.bind(self.task_names, [v.path for v in found.shared])
        return found

    def check(self, data: Any) -> None:
        """Raises what the first step on such batches would raise, before anything is trained.

        Args:
            data: A batch, or a dataset of batches.

        Raises:
            ValueError: If batches, outputs, the number of replicas, or the place or way of
                gradients do not fit.
        """
        found = self.inspect(data)
        splitting.check_even(self._spec, self.distribute_strategy.num_replicas_in_sync)
        parts = self.micro_batches * self.distribute_strategy.num_replicas_in_sync
        for spec in tf.nest.flatten(self._spec) if self.micro_batches > 1 else ():
            check_divisible(spec.shape[0], parts)
        choose(self.gradients, len(self.tasks), found.shared_input)
        steps.watched(self, found.shared_input)
        if self.combiner.at not in ("parameters", "representation") and len(self.tasks) > 1:
            found.layer_variables(self.combiner.at)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Learns the form of the batches and builds what is not built; Keras calls it."""
        if iterator is not None:
            splitting.split_iterator(iterator, self.distribute_strategy)
        data = data_batch if iterator is None else iterator._distributed_dataset
        spec = getattr(data, "element_spec", None)
        if spec is None:
            spec = tf.nest.map_structure(tf.type_spec_from_value, batches.without_nones(data))
        self._spec = tf.nest.map_structure(batches.of_one_replica, spec)
        if not self.network.built:
            inputs = tf.nest.map_structure(
                lambda s: keras.KerasTensor(s.shape, s.dtype.name), batches.inputs_of(self._spec)
            )
            with self.distribute_strategy.scope():
                self.network(inputs)
                self._build_combiner()
