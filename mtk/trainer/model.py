"""The Keras model that trains several tasks at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.combiners import Combiner, StaticWeights
from mtk.gradients import Way, choose
from mtk.tasks import Task, check_tasks
from mtk.trainer import batches, forward
from mtk.trainer import step as steps
from mtk.trainer import structure as structures
from mtk.trainer.inspected import InspectedModel
from mtk.trainer.loop import Logs, Loop, StepFunction
from mtk.trainer.task_metrics import TaskMetrics


@keras.saving.register_keras_serializable("mtk")
class MultiTaskModel(InspectedModel):
    """Trains one network on several tasks, with a combiner that merges their gradients.

    Compile, fit, evaluate, predict, save and load it as any Keras model. Batches come in one of
    the forms of `mtk.trainer.batches.parse`. The logs name a task's loss and metrics after the
    task; `loss` is the mean of the task losses, whatever the combiner minimizes.

    Args:
        network: A Keras model whose output is `{task name: prediction}`. If every example belongs
            to one task, it may be one tensor for all tasks.
        tasks: The K tasks.
        combiner: How to merge the task gradients. Equal static weights by default.
        gradients: How to compute per-task gradients; see `mtk.gradients.choose`.
        shared: Layers, names of layers or variables that the tasks share. Found automatically,
            except where inner functions, conditionals or loops hide the structure.
        heads: For each task, layers, names of layers or variables of its head; as `shared`.
        representation: Name of the layer (or the layer) whose output the heads read. Found
            automatically; read only by combiners with `at="representation"`.
        name: Name of the model.

    Raises:
        ValueError: If there are no tasks or two of one name, or an argument is unknown.

    Example:
    ```python
    model = mtk.MultiTaskModel(
        network,
        tasks=[
            mtk.Task("left", "sparse_categorical_crossentropy", ["accuracy"]),
            mtk.Task("right", "sparse_categorical_crossentropy", ["accuracy"]),
        ],
        combiner=mtk.combiners.PCGrad(),
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.8))
    model.fit(train, validation_data=validation, epochs=10)
    ```
    """

    def __init__(
        self,
        network: keras.Model,
        tasks: Sequence[Task],
        combiner: Combiner | None = None,
        gradients: Way = "auto",
        shared: Sequence[Any] | None = None,
        heads: Mapping[str, Sequence[Any]] | None = None,
        representation: str | keras.Layer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        choose(gradients, 1, shared_input=False)
        self.network = network
        self.tasks = check_tasks(tasks)
        self.task_names = [task.name for task in self.tasks]
        self.combiner = StaticWeights() if combiner is None else combiner
        if not isinstance(self.combiner, Combiner):
            raise ValueError(
                f"`combiner` is an object, such as mtk.combiners.PCGrad(). Received: {combiner!r}"
            )
        self.gradients = gradients
        # By name: Keras would take layers in an attribute for sublayers.
        self.shared_by_user = structures.names(shared)
        self.heads_by_user = structures.names(heads)
        self.representation = structures.names(representation)
        self.measure_every: int | None = None
        self.task_metrics = TaskMetrics(self.tasks)
        number = len(self.tasks)
        self.train_function: Callable[[Any], Logs] | None = None
        self._train_loop: Loop | None = None
        self.test_function: Callable[[Any], Logs] | None = None
        self.last_weights = self._state("last_weights", (number,))
        self.last_gramian = self._state("last_gramian", (number, number))
        self.last_measured = self._state("last_measured", (), -1, "int64")
        self.nonfinite_step = self._state("nonfinite_step", (), -1, "int64")
        self.nonfinite_tasks = self._state("nonfinite_tasks", (number,))
        self.skipped_steps = self._state("skipped_steps", (), dtype="int64")
        self.skipped_in_a_row = self._state("skipped_in_a_row", (), dtype="int64")
        if network.built:
            self._build_combiner()

    def _state(
        self, name: str, shape: tuple[int, ...], value: float = 0.0, dtype: str = "float32"
    ) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=keras.initializers.Constant(value),
            dtype=dtype,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self.task_metrics.of_training()

    def get_metrics_result(self) -> Logs:
        return {metric.name: metric.result() for metric in self.metrics}

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.network(inputs, training=training)

    def train_step(self, data: Any) -> Logs:
        """Takes one step on a batch; in a replica, on its part of the global batch."""
        self._measured_step(data) if self.combiner.reads != "losses" else self._plain_step(data)
        return self.get_metrics_result()

    def _plain_step(self, data: Any) -> None:
        steps.training_step(self, data, measured=False)

    def _measured_step(self, data: Any) -> None:
        steps.training_step(self, data, measured=True)

    def test_step(self, data: Any) -> Logs:
        """Evaluates one batch; in a replica, its part of the global batch."""
        shares = batches.parse(data, self.task_names)
        self.task_metrics.update(forward.run(self.network, self.tasks, shares, state=None))
        return {metric.name: metric.result() for metric in self.task_metrics.of_evaluation()}

    def predict_step(self, data: Any) -> Any:
        if isinstance(data, Mapping) and any(isinstance(part, tuple) for part in data.values()):
            raise ValueError(
                "`predict` reads inputs alone. Received a share for each task, {task: (x, y)}: "
                "pass the x of one task."
            )
        return self(data[0] if isinstance(data, (tuple, list)) else data, training=False)

    def _is_measured(self, step: int) -> bool:
        """Whether the gradient of each task is taken at a step, counted from zero."""
        if self.combiner.reads == "losses":
            due = self.measure_every is not None and (step + 1) % self.measure_every == 0
            return due and bool(self.structure.shared)
        return step % self.combiner.update_every == 0

    def make_train_function(self, force: bool = False) -> None:
        """Makes the function that `fit` calls; Keras calls this."""
        self._build_optimizer()
        self._forget_divergence()
        if self.train_function is not None and not force:
            return
        if self._structure is not None and not self._structure.covers(self.network):
            # What is trainable has changed since the model was last compiled.
            self._structure = None
        loop = self._train_loop = self._loop(self.task_metrics.of_training())
        self.train_function = lambda iterator: loop.run(iterator, self._steps_to_take())

    def _steps_to_take(self) -> tuple[StepFunction, ...]:
        """Returns the steps of the next call of the train function."""
        first = int(self.optimizer.iterations.numpy())
        measured = [self._is_measured(first + i) for i in range(self.steps_per_execution)]
        if self.combiner.reads != "losses" or any(measured):
            # Here and not in the step: a replica cannot trace another function.
            _ = self.structure
        return tuple(self._measured_step if m else self._plain_step for m in measured)

    def step_graph(self, data: tf.data.Dataset) -> tf.Graph:
        """Returns the graph of the next training step on such batches; no step is taken.

        Args:
            data: Batches, of the global size.
        """
        self.inspect(data)
        self.make_train_function()
        assert self._train_loop is not None
        batches = self.distribute_strategy.experimental_distribute_dataset(data)
        return self._train_loop.graph(iter(batches), self._steps_to_take())

    def _forget_divergence(self) -> None:
        """Lets a model train again that has diverged before, with other weights or data."""
        if int(keras.ops.convert_to_numpy(self.nonfinite_step)) >= 0:
            self.nonfinite_step.assign(-1)
            self.nonfinite_tasks.assign(keras.ops.zeros_like(self.nonfinite_tasks))
            self.skipped_in_a_row.assign(0)

    @property
    def tracings(self) -> int:
        """How often a training step was traced so far."""
        return 0 if self._train_loop is None else self._train_loop.tracings

    def make_test_function(self, force: bool = False) -> None:
        """Makes the function that `evaluate` calls; Keras calls this."""
        if self.test_function is not None and not force:
            return
        loop = self._loop(self.task_metrics.of_evaluation())
        self.test_function = lambda iterator: loop.run(
            iterator, (self.test_step,) * self.steps_per_execution
        )

    def _loop(self, metrics: list[keras.metrics.Metric]) -> Loop:
        return Loop(self.distribute_strategy, metrics, self.jit_compile, self.run_eagerly)

    def export(
        self,
        filepath: str,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
    ) -> None:
        """Exports the network for inference, as Keras exports a model."""
        self.network.export(filepath, format, verbose, input_signature)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "network": serialize(self.network),
            "tasks": [serialize(task) for task in self.tasks],
            "combiner": serialize(self.combiner),
            "gradients": self.gradients,
            "shared": self.shared_by_user,
            "heads": self.heads_by_user,
            "representation": self.representation,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MultiTaskModel":
        def restore(part: Any) -> Any:
            return keras.saving.deserialize_keras_object(part, custom_objects=custom_objects)

        tasks = [restore(task) for task in config["tasks"]]
        parts = {name: restore(config[name]) for name in ("network", "combiner")}
        return cls(**{**config, "tasks": tasks, **parts})
