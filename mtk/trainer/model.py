"""The Keras model that trains several tasks at once."""

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk import compiled_tasks, sharing
from mtk.combiners import Combiner, StaticWeights
from mtk.compiled_tasks import CompiledTasks, by_column
from mtk.directions import set_modes
from mtk.distribution import splitting
from mtk.gradients import GradientStrategy, choose
from mtk.held import Held
from mtk.replicas import number_of_replicas
from mtk.sharing.layer_calls import all_layers
from mtk.task_metrics import TaskMetrics, global_values
from mtk.tasks import Task, check_tasks
from mtk.trainer import (
    batch,
    combine,
    compile_args,
    conditional,
    forward,
    loss_checks,
    model_checks,
    step,
    structure,
    total_loss,
    unbuilt,
    update,
)
from mtk.trainer.compile_args import CompileArgs, OnNonfinite
from mtk.trainer.loop import Logs, Loop
from mtk.trainer.notes import StepNotes
from mtk.trainer.schedule import GradientSchedule
from mtk.trainer.spec import StepSpec
from mtk.trainer.state import State, WrittenInPlace, written_in_place


def _of(part: str, *names: str) -> list[Any]:
    """Returns properties of a model that delegate to a part of it."""

    def read(name: str) -> Any:
        own = f"`{name}` of `{part}`."
        return property(lambda model: getattr(getattr(model, part), name), doc=own)

    return [read(name) for name in names]


@keras.saving.register_keras_serializable("mtk")
class MultiTaskModel(keras.Model):
    """Trains one network on several tasks, with a combiner that merges their gradients.

    Compile, fit, evaluate, predict, save and load it as any Keras model. The tasks are given here,
    or `compile` makes one for each output, as in Keras. Batches have one of the forms of
    `mtk.trainer.batch.parse`. In the logs a task's loss and metrics have the task's name as a
    prefix; `loss` is the mean of the task losses for tasks given here, and Keras' loss for tasks of
    `compile`, whatever the combiner minimizes.

    A subclass may define `train_step`, `test_step`, `predict_step`, `compute_metrics` and `metrics`
    as in Keras; `fit` calls them and logs what they return. It cannot define `compute_loss`: the
    losses belong to the tasks.

    Args:
        network: A Keras model whose output is `{task name: prediction}`, or a list in the order of
            the tasks. If every example belongs to one task, it may be one tensor for all tasks.
        tasks: The K tasks; None leaves them to `compile`.
        combiner: How to merge the task gradients. Equal static weights by default. One that is used
            by another model is copied, without its state.
        gradients: How to compute per-task gradients; see `mtk.gradients.choose`.
        shared: Layers, names of layers or variables that the tasks share. Found automatically; see
            `structure` for the result.
        heads: Dict from task name to layers, names of layers or variables of its head; as `shared`.
        representation: The layer (or its name) whose output the heads read. Found automatically;
            used only by combiners with `at="representation"`.
        name: Name of the model.

    Raises:
        ValueError: If there are no tasks or two with the same name, or an argument is unknown.
        TypeError: If `network` is not a model, or a subclass defines `compute_loss` or `call`.

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

    The same with Keras' arguments of `compile`:

    ```python
    model = mtk.MultiTaskModel(network, combiner=mtk.combiners.PCGrad())
    model.compile("adam", loss={"a": "mse", "b": "binary_crossentropy"}, metrics={"b": ["AUC"]})
    ```
    """

    optimizer: keras.optimizers.Optimizer
    compile_args: CompileArgs
    train_function: Callable[[Any], Logs] | None
    test_function: Callable[[Any], Logs] | None
    _structure: sharing.Structure | None = None
    _spec = Held(None)
    _is_observing = False
    _has_shown_metrics = False  # Whether metrics have received example labels, without a graph.
    _has_built_inside = False
    tasks, task_names, loss_weights = _of("_by_output", "tasks", "task_names", "loss_weights")

    def __init__(
        self,
        network: keras.Model,
        tasks: Sequence[Task] | None = None,
        combiner: Combiner | None = None,
        gradients: GradientStrategy = "auto",
        shared: Sequence[Any] | None = None,
        heads: Mapping[str, Sequence[Any]] | None = None,
        representation: str | keras.Layer | None = None,
        name: str | None = None,
    ):
        model_checks.check_class(type(self), MultiTaskModel)
        model_checks.check_network(network)
        super().__init__(name=name)
        choose(gradients, 1, shared_input=False)
        if network.built:
            unbuilt.build_inside(network)
        self.network = network
        self.built = network.built  # Its weights can be read from a file before `compile`.
        if combiner is not None and not isinstance(combiner, Combiner):
            raise ValueError(
                "`combiner` must be an object, such as mtk.combiners.PCGrad(). Received: "
                f"{combiner!r}"
            )
        self.combiner = StaticWeights() if combiner is None else combiner.claimed()
        self.gradients = gradients
        self.gradient_schedule = GradientSchedule()
        self.task_metrics = TaskMetrics([])
        self._given = sharing.Given(shared, heads, representation)
        self._in_place: WrittenInPlace | None = None
        self._policies: tuple[str, ...] = ()
        self._trained: list[int] = []
        self._train_loop: Loop | None = None
        self.compile_args = CompileArgs()
        self._compiles_tasks = tasks is None
        self._by_output = CompiledTasks([], [])
        self._class_weight: Any = None
        self._callbacks: Any = None
        self._is_pending = False  # Whether the tasks are known only from the first batch.
        if tasks is not None:
            tasks = check_tasks(tasks)
            self._take_tasks(CompiledTasks(tasks, [task.name for task in tasks]))
            self.loss = {task.name: task.loss for task in tasks}

    def __setattr__(self, name: str, value: Any) -> None:
        is_traced = name in ("network", "combiner", "gradients")
        if is_traced and getattr(self, "train_function", None) is not None:
            raise AttributeError(
                f"`{name}` of a model that has trained cannot be changed because traced steps "
                "contain it. Create a new model, such as MultiTaskModel(model.network, "
                "combiner=...); with the same network, `compile(model.optimizer, ...)` keeps the "
                "optimizer's state."
            )
        super().__setattr__(name, value)

    def _take_tasks(self, found: CompiledTasks) -> None:
        check_tasks(found.tasks)
        if self.tasks and found.task_names != self.task_names:
            raise ValueError(
                f"The model was already compiled for the tasks {self.task_names}, and its state "
                f"belongs to them. Create a new model for other tasks. Received: {found.task_names}"
            )
        if not self.tasks:
            self._tracker.unlock()  # A call builds the model, which may have no tasks yet.
            self.notes = StepNotes(len(found.tasks))
        self._by_output = found
        # Keras does not prefix the metrics of a network's only output.
        prefixed = not self._compiles_tasks or len(found.outputs) > 1
        self.task_metrics = TaskMetrics(self.tasks, self.loss_weights, prefixed)
        self._structure = None  # The new analysis passes the first labels to the new metrics.
        if self.network.built:
            self._build_combiner()

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int | str = 1,
        jit_compile: bool | str = False,
        auto_scale_loss: bool = True,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        micro_batches: int = 1,
        on_nonfinite: OnNonfinite = "stop",
    ) -> None:
        """Configures the model for training.

        Args:
            optimizer: As in Keras.
            loss: As in Keras, if the model was made without tasks, like the next three:
                `{output: loss}`, a list in the order of the outputs, or one for all; for nested
                outputs in their structure, or as `{"a/b": loss}`. Each output with a loss becomes a
                task, and sample weights act as in Keras.
            loss_weights: `{output: weight}`, or a list. Each task's loss is multiplied by its
                weight times K before the combiner: equal weights, the mean of K gradients, then
                give Keras' step, and other combiners keep its scale. A task of weight zero is
                absent for the combiner, and K is the number of the others.
            metrics: `{output: metrics}`, or a list.
            weighted_metrics: `{output: metrics}`, or a list.
            run_eagerly: As in Keras.
            steps_per_execution: As in Keras; or `"auto"`, which is ten on one device for a network
                of less than a million parameters, whose step is short relative to the overhead
                between steps.
            jit_compile: Whether to compile with XLA, or `"auto"`: Keras decides, but never on
                several devices. Requires a single device; dropout draws other masks than without
                XLA.
            auto_scale_loss: Whether to use a `LossScaleOptimizer` if the network, or a layer of it,
                computes in `mixed_float16`. It skips steps with infinite or NaN gradients and
                lowers the scale.
            weight_decay: Coupled L2: `weight_decay` times the variable is added to its gradient,
                before clipping. (That of Keras optimizers is decoupled.)
            clip_norm: Largest global norm of the combined gradient, or None.
            micro_batches: Number of sequential passes into which a replica's part of each batch is
                divided, to save memory. The step is that of the whole batch, but batch norm
                normalizes each micro-batch, values that layers write are averaged over them (as
                over replicas), and a step that needs the losses or the features' Gramian before its
                backward pass runs the forward pass twice.
            on_nonfinite: What to do with a step whose losses or gradient are infinite or NaN:
                `"stop"` takes it and records its number, which ends training with
                `mtk.callbacks.TerminateOnNonFinite`; `"skip"` changes nothing but counts it, and
                100 skipped steps in a row end training too, since nothing is trained any more.

        Raises:
            ValueError: If a number is out of range; if losses or metrics are given here and to
                tasks, or to neither, or do not match the outputs; if the model was made outside of
                the strategy's scope; if, with several replicas, the optimizer clips (it would clip
                each replica's part), CPU devices are to use XLA or several steps per execution, or
                synchronized batch norm is combined with micro-batches.
        """
        given = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics}
        given["weighted_metrics"] = weighted_metrics
        compiled_tasks.check_given(self._compiles_tasks, given)
        arguments = CompileArgs(weight_decay, clip_norm, micro_batches, on_nonfinite)
        if self._distribute_strategy is None and tf.distribute.has_strategy():
            raise ValueError(
                "The model was created outside of the strategy's scope but is compiled inside, "
                "so its variables would not match those of the optimizer. Create the network and "
                "the model inside `strategy.scope()` too."
            )
        several = self.distribute_strategy.num_replicas_in_sync > 1
        if steps_per_execution == "auto":
            short = self.network.built and self.network.count_params() < 1_000_000
            steps_per_execution = 10 if short and not (run_eagerly or several) else 1
        if jit_compile == "auto" and several:
            jit_compile = False
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=False,  # Decided by the network, not by this model's policy.
        )
        compile_args.check_optimizer(self.optimizer)
        if auto_scale_loss:
            self.optimizer = compile_args.with_loss_scale(self.optimizer, self.network)
        compile_args.check_replicas(
            self.distribute_strategy,
            self.network,
            self.optimizer,
            self.jit_compile,
            micro_batches,
            1 if run_eagerly else self.steps_per_execution,
        )
        self.compile_args = arguments
        self._in_place = None  # Other losses may hold other variables.
        self._has_shown_metrics = False
        self._compiled = Held(given)  # Keras would log metrics found in it twice.
        if self._compiles_tasks:
            self.loss = loss
            self._is_pending = not compiled_tasks.tells_outputs(self.network, loss)
            if not self._is_pending:
                self._compile_tasks(compiled_tasks.symbolic_outputs(self.network))

    def _compile_tasks(self, outputs: Any) -> None:
        """Makes tasks from the arguments of `compile`; `outputs` is None if losses define them."""
        given = self._compiled.value
        self._take_tasks(compiled_tasks.compiled_tasks(self.network, **given, outputs=outputs))
        self._is_pending = False
        set_modes(self._callbacks, self)  # For a `fit` that has begun.

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does.

        `class_weight` is `{task: {class: weight}}`, and for one task also `{class: weight}`; it
        replaces that of the tasks, and multiplies sample weights. Callbacks with `mode="auto"`,
        such as `EarlyStopping(monitor="val_a_auc")`, get the direction of the monitored metric, if
        its class defines it.

        NaN labels of a task without missing labels raise an error that names the task: at once for
        arrays; for datasets, and for custom losses, which may skip NaN, at the end of the first
        epoch with a nonfinite loss.
        """
        given = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs).arguments
        del given["self"]
        self._weigh_classes(given.pop("class_weight", None))
        self._callbacks = given.get("callbacks")
        set_modes(self._callbacks, self)
        labels, weights = self._labels_of(given.get("y"), given.get("sample_weight"))
        given["y"], given["sample_weight"] = labels, weights
        split = given.get("validation_data")
        if isinstance(split, (tuple, list)) and len(split) in (2, 3):
            given["validation_data"] = (split[0], *self._labels_of(*split[1:]))
        given["callbacks"] = loss_checks.with_callbacks(given, lambda: self._by_output)
        try:
            return super().fit(**given)
        finally:
            self._callbacks = None

    def _labels_of(self, y: Any, sample_weight: Any = None) -> tuple[Any, Any]:
        """Returns labels, and weights of all tasks; raises a ValueError if they do not match."""
        if not self.tasks:
            return y, sample_weight
        y, weights = (by_column(part, self.task_names) for part in (y, sample_weight))
        return y, self._by_output.completed(y, weights)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Evaluates as `keras.Model.evaluate` does; `sample_weight` may omit tasks.

        Losses and metrics of a task without any label are NaN.
        """
        if not kwargs.get("_use_cached_eval_dataset"):  # Otherwise `fit` has checked them.
            y, sample_weight = self._labels_of(y, sample_weight)
        logs = super().evaluate(
            x, y, batch_size, verbose, sample_weight, steps, callbacks, return_dict=True, **kwargs
        )
        logs = self.task_metrics.of_labelled(logs)
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Takes a step, as `keras.Model.train_on_batch` does; `class_weight` as in `fit`."""
        self._weigh_classes(class_weight)
        return super().train_on_batch(x, y, sample_weight, return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Predicts one batch, as `keras.Model.predict_on_batch` does."""
        return super().predict_on_batch(splitting.split_batch(x, self.distribute_strategy))

    def _weigh_classes(self, class_weight: Any) -> None:
        if self.tasks:
            self._by_output.weighed(class_weight)  # Which checks them.
        if class_weight != self._class_weight:
            self._class_weight, self.train_function = class_weight, None

    def train_step(self, data: Any) -> Logs:
        """Runs a training step on a batch; in a replica, on its part of the global batch.

        Args:
            data: A batch in one of the forms of `mtk.trainer.batch.parse`.

        Returns:
            Losses, metrics and task weights by name.
        """
        spec = self.step_spec()
        result = step.compute(spec, data)
        self.apply(spec, result)
        return self._logs(result.logs)

    def test_step(self, data: Any) -> Logs:
        """Evaluates one batch; in a replica, its part of the global batch."""
        sub_batches = self._parse(data)
        passed, penalty = forward.infer(self.network, self.tasks, sub_batches)
        inputs = batch.all_inputs(sub_batches)
        logs = self._logs(self._observe(inputs, passed, penalty))
        return self.task_metrics.without_weights(logs)

    def _parse(self, data: Any) -> list[batch.SubBatch]:
        """Returns the sub-batches of a batch, without labels and weights of other outputs."""
        return batch.parse(self._by_output.of_tasks(data), self.task_names)

    def predict_step(self, data: Any) -> Any:
        if isinstance(data, Mapping) and any(isinstance(part, tuple) for part in data.values()):
            raise ValueError(
                "`predict` takes only inputs. Received a sub-batch for each task, {task: (x, "
                "y)}: pass the x of one task."
            )
        return self(data[0] if isinstance(data, (tuple, list)) else data, training=False)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.network(conditional.at_preference(self.network, inputs), training=training)

    def step_spec(self) -> StepSpec:
        """Returns the specification of a step, for `step.compute`."""
        if self._in_place is None:
            losses = [task.loss for task in self.tasks]
            self._in_place = written_in_place([self.network, *all_layers(self.network), *losses])
        weights, combiner = self.loss_weights, self._combiner_in_effect()
        return StepSpec(
            network=self.network,
            tasks=self._by_output.weighed(self._class_weight),
            combiner=combiner,
            # A task of weight zero counts as absent, also in the number of tasks.
            loss_factors=weights and [w * sum(each != 0 for each in weights) for w in weights],
            structure=lambda: self.structure,
            strategy=self.gradients,
            per_task=self.gradient_schedule.now(combiner),
            arguments=self.compile_args,
            parse=self._parse,
            loss_scale=compile_args.loss_scale(getattr(self, "optimizer", None)),
            dense=self.jit_compile,
            observe=self._observe,
            metric_variables=[v for metric in self.metrics for v in metric.variables],
            written_in_place=self._in_place,
        )

    def _combiner_in_effect(self) -> Combiner:
        names = self.task_names
        return combine.in_effect(self.combiner, self.network, names, lambda: self.structure)

    def apply(self, spec: StepSpec, result: step.StepResult) -> None:
        """Applies the result of a step to the model; in a replica, to its copies of the variables.

        Args:
            spec: The step.
            result: The return value of `step.compute` for it.
        """
        skips = self.skips_steps
        update.apply(result, self.optimizer, skips)
        if spec.combiner.needs_post_update_loss:
            update.after_step(spec, result, skips)
        self.task_metrics.update_weights(result.task_weights, result.finite if skips else None)
        stops = self.compile_args.on_nonfinite == "stop"
        self.notes.take(result, self.optimizer.iterations, skips, stops)

    def compute_metrics(
        self,
        x: Any,
        y: Mapping[str, Any],
        y_pred: Mapping[str, Any],
        sample_weight: Mapping[str, Any] | None = None,
    ) -> Logs:
        """Updates the tasks' metrics; a subclass may update others and return more.

        Args:
            x: Inputs of the network; a list of them for tasks with their own inputs.
            y: Labels of each task that has any, by task name, with zeros for missing ones.
            y_pred: Predictions by task name.
            sample_weight: Label weights by task name, zero where a label is missing; None if none
                is missing and all weights are equal.
        """
        del x
        self.task_metrics.update(y, y_pred, sample_weight or {})
        return self.get_metrics_result()

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Returns one loss for all tasks, as in Keras, for custom training steps.

        It is the weighted sum of the task losses (their mean, for tasks given to the model) plus
        the losses of layers and regularizers. `train_step` does not call it. In a replica its value
        is that of the global batch, and its gradient that of this replica's part; the optimizer
        sums the gradients.

        Args:
            x: Ignored.
            y: Labels, in one of the forms of `mtk.trainer.batch.parse`.
            y_pred: Outputs of the network.
            sample_weight: As in a batch.
            training: Whether class weights apply.
        """
        del x
        (part,) = self._parse((y_pred, y, sample_weight))
        tasks = self._by_output.weighed(self._class_weight)
        weights = self.loss_weights or [1 / len(part.labels)] * len(tasks)
        found = forward.task_elements(tasks, part, y_pred, training)
        return total_loss.of_batch(tasks, weights, part, found, self.losses)

    def _observe(
        self,
        inputs: Any,
        passed: Sequence[forward.TaskPass],
        penalty: tf.Tensor,
        whole: Sequence[forward.TaskPass] | None = None,
    ) -> Logs:
        """Updates the metrics with a pass; returns the logs of an overridden `compute_metrics`."""
        whole = forward.of_all_replicas(passed) if whole is None else whole
        self.task_metrics.mean.update_state(penalty, batch.size(inputs))
        self.task_metrics.update_losses(self.tasks, passed, whole)
        found = zip(self.task_names, (task.elements for task in passed), strict=True)
        each = {name: elements for name, elements in found if elements is not None}
        y = {name: elements.labels for name, elements in each.items()}
        y_pred = {name: elements.predictions for name, elements in each.items()}
        weights = {n: None if e.labelled is None else e.weights for n, e in each.items()}
        if type(self).compute_metrics is MultiTaskModel.compute_metrics:
            self.task_metrics.update(y, y_pred, weights)
            return {}
        self._is_observing = True
        try:
            return dict(self.compute_metrics(inputs, y, y_pred, weights))
        finally:
            self._is_observing = False

    def _logs(self, own: Logs) -> Logs:
        """Returns logs of an overridden `compute_metrics`, or all metrics, over all replicas."""
        if own and number_of_replicas() == 1:
            return own
        known = self.get_metrics_result()
        return {name: known.get(name, value) for name, value in own.items()} if own else known

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics of the tasks, of the model itself, and of layers."""
        # Metrics of nested models belong to their own training, as do the network's if it has one.
        trains = type(self.network).train_step is not keras.Model.train_step
        # In the network's order: of several with the same name, Keras logs the last.
        every = [*all_layers(self.network), *all_layers(self)]
        layers = [x for x in every if not isinstance(x, keras.Model)]
        layers += [] if trains else [self.network]
        others = [*self._metrics, *(m for layer in layers for m in layer._metrics)]
        own = self.task_metrics.of_training() if self.tasks else []
        return list({id(m): m for m in [*own, *others]}.values())

    def get_metrics_result(self) -> Logs:
        """Returns the values of all metrics; in a replica, over all replicas."""
        if number_of_replicas() == 1 or self._is_observing:
            found = super().get_metrics_result()
        else:
            with keras.StatelessScope(global_values(self.metrics)):
                found = super().get_metrics_result()
        if self._compiles_tasks and len(self.tasks) == 1:
            # As in Keras, which logs no losses by output if there is only one.
            found.pop(self.task_metrics.losses[0].name)
        return found

    def _flatten_metrics_in_order(self, logs: Logs) -> Any:
        """Returns logs as a list, for `train_on_batch`: as in Keras, without task weights."""
        return super()._flatten_metrics_in_order(self.task_metrics.without_weights(logs))

    @property
    def skips_steps(self) -> bool:
        """Whether nonfinite steps are skipped."""
        skips = self.compile_args.on_nonfinite == "skip"
        return skips or compile_args.skips_overflow(self.optimizer)

    # Records of the last step; see `StepNotes`.
    last_weights, last_gramian, last_measured = _of(
        "notes", "last_weights", "last_gramian", "last_measured"
    )
    nonfinite_step, nonfinite_tasks, skipped_steps, skipped_in_a_row = _of(
        "notes", "nonfinite_step", "nonfinite_tasks", "skipped_steps", "skipped_in_a_row"
    )

    @property
    def structure(self) -> sharing.Structure:
        """The shared variables, and those of each head.

        Raises:
            ValueError: If the model has not seen a batch yet.
        """
        if self._structure is None:
            found = structure.find(
                self.network,
                self.task_names,
                self._spec.value,
                self._run_forward,
                self._given,
                self.run_eagerly,
            )
            self._make_variables()
            self._structure = structure.chosen(found, self._given, self.combiner)
        return self._structure

    def _run_forward(self, data: Any, tape: tf.GradientTape | None) -> sharing.TaskLosses:
        """Runs a forward pass without side effects, for the analysis."""
        sub_batches, state = self._parse(data), State()
        observe = functools.partial(self._observe, batch.all_inputs(sub_batches))
        passed = forward.run(
            self.network, self.tasks, sub_batches, state, tape=tape, observe=observe
        )
        state.rewind()
        losses = [task.total for task in passed.tasks]
        return sharing.TaskLosses(losses, passed.sources, batch.is_shared_input(sub_batches))

    def inspect(self, data: Any) -> sharing.Structure:
        """Finds the network's structure from a batch, or from a dataset of batches.

        `fit` does so automatically; call it before a custom training loop.

        Raises:
            ValueError: If the model has no tasks yet, or batches or outputs do not match.
        """
        if not (self.tasks or self.compiled):
            raise ValueError(
                "The tasks are defined by `compile`, which has not been called. Call "
                "`compile(optimizer, loss)` first, or give `tasks` to the model."
            )
        self._maybe_symbolic_build(data_batch=data)
        return self.structure

    def check(self, data: Any) -> None:
        """Raises the errors that a first step on such batches would raise, without training.

        Args:
            data: A batch, or a dataset of batches.

        Raises:
            ValueError: If batches, outputs, the number of replicas, or the place or strategy of
                gradients are incompatible.
        """
        found = self.inspect(data)
        replicas = self.distribute_strategy.num_replicas_in_sync
        splitting.check_even(self._spec.value, replicas)
        number = self.compile_args.micro_batches * self.combiner.batch_parts
        each = [spec for spec in tf.nest.flatten(self._spec.value) if spec is not None]
        for spec in each if number > 1 else ():
            size = spec.shape[0]
            batch.check_divisible(size and size // replicas, number)
        conditional.check(self.network, self.combiner, batch.inputs_of(self._spec.value))
        step.checked(self.step_spec(), found.shared_input)

    def _build_combiner(self) -> None:
        """Builds the combiner before `fit`, since replicas cannot create mirrored variables."""
        # State per layer is created for all layers, whatever is trained later.
        self.combiner.bind(self.task_names, [v.path for v in self.network.variables])
        self.combiner.bind_shapes({v.path: v.shape for v in self.network.trainable_variables})
        self.combiner.bind_losses({task.name: task.loss for task in self.tasks})
        if not self.combiner.built:
            self.combiner.build(len(self.tasks))
        self.built = True

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Stores the spec of the batches and builds what is unbuilt; called by Keras."""
        if iterator is not None:
            splitting.split_iterator(iterator, self.distribute_strategy)
            data_batch = iterator._distributed_dataset
        # Keras would convert its dicts to tracked ones, about which networks warn.
        self._spec = Held(batch.spec_of(data_batch))
        # A call, such as that of `predict`, builds only the network.
        if not (self.network.built and self.combiner.built) or self._is_pending:
            with self.distribute_strategy.scope():
                self._build_network()
        if not (self.run_eagerly or self._has_built_inside):
            self._has_built_inside = True  # Once: some layers are never called.
            unbuilt.build_inside(self.network, unbuilt.symbolic_inputs(self._spec.value))
        self._build_metrics()

    def _build_network(self) -> None:
        """Builds the network by a call, and what depends on its variables and outputs."""
        if self.run_eagerly:
            inputs = batch.inputs_of(self._examples())
        else:
            inputs = unbuilt.symbolic_inputs(self._spec.value)
        outputs = unbuilt.build(self.network, inputs)
        if self._is_pending:
            self._compile_tasks(tf.nest.map_structure(unbuilt.without_history, outputs))
        else:
            self._build_combiner()

    def _build_metrics(self) -> None:
        """Passes the first labels to metrics that may only then create their variables."""
        own = type(self).compute_metrics is not MultiTaskModel.compute_metrics
        shows = own or self.task_metrics.build_late
        # What is named wrongly is an error with methods that read only losses, too.
        is_named = any(part is not None for part in self._given)
        if (shows or is_named) and not self.run_eagerly:
            # The analysis passes labels to them. In a step, replicas cannot create variables.
            _ = self.structure
        elif shows and not self._has_shown_metrics:
            self._run_forward(self._examples(), None)
            self._make_variables()
            self._has_shown_metrics = True

    def _make_variables(self) -> None:
        """Makes the variables of metrics that were built in a stateless scope."""
        with self.distribute_strategy.scope(), keras.StatelessScope():
            pass  # Keras makes them on leaving a scope.

    def _examples(self) -> Any:
        """Returns a random batch, for a network that may run only eagerly."""
        return sharing.examples(self._spec.value, len(self.tasks) or 1, np.random.default_rng(0))

    def make_train_function(self, force: bool = False) -> None:
        """Makes the function that `fit` runs; called by Keras."""
        self._check_scope()
        with self.distribute_strategy.scope():
            if not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
        self.notes.forget_divergence()
        self._forget_unquantized()
        trained = [id(variable) for variable in self.network.trainable_variables]
        if self.train_function is not None and not force:
            if trained != self._trained and not self.run_eagerly:
                warnings.warn(
                    f"{combine.RECOMPILE} Until then the same variables train on.", stacklevel=2
                )
            return
        self._trained = trained
        if self._structure is not None and not self._structure.covers(self.network):
            # The set of trainable variables has changed since the model was last compiled.
            self._structure = None
        loop = self._train_loop = self._loop(self.train_step, self.gradient_schedule.tracing)
        self.train_function = lambda iterator: loop.run(iterator, self._next_steps())

    def make_test_function(self, force: bool = False) -> None:
        """Makes the function that `evaluate` runs; called by Keras."""
        self._check_scope()
        self._forget_unquantized()
        if self.test_function is not None and not force:
            return
        loop = self._loop(self.test_step)
        self.test_function = lambda iterator: loop.run(iterator, [None] * self.steps_per_execution)

    def _check_scope(self) -> None:
        """Raises a ValueError for variables created outside of the strategy's scope."""
        if self._distribute_strategy is None:
            return
        parts = {"the network": self.network, "the combiner": self.combiner}
        parts |= {f"the metric '{metric.name}'": metric for metric in self.metrics}
        parts["the optimizer"] = self.optimizer
        compile_args.check_scope(self._distribute_strategy, parts)

    def make_predict_function(self, force: bool = False) -> None:
        """Makes the function that `predict` runs; called by Keras."""
        self._forget_unquantized()
        super().make_predict_function(force)

    def _forget_unquantized(self) -> None:
        """Drops functions traced before the network was quantized, as Keras does for its own."""
        policies = tuple(layer.dtype_policy.name for layer in all_layers(self.network))
        if policies != self._policies:
            self._policies = policies
            self.train_function = self.test_function = self.predict_function = None

    def _loop(self, step_function: Callable[[Any], Logs], *tracing: Any) -> Loop:
        strategy = self.distribute_strategy
        plain = MultiTaskModel
        own = any(getattr(type(self), n) is not getattr(plain, n) for n in model_checks.HOOKS)
        return Loop(strategy, step_function, self.jit_compile, self.run_eagerly, own, *tracing)

    def _next_steps(self) -> list[bool]:
        """Returns which of the next steps compute task gradients."""
        schedule = self.gradient_schedule
        first = self.combiner.next_step(int(self.optimizer.iterations.numpy()))
        steps = range(first, first + self.steps_per_execution)
        asks = self.combiner.reads != "losses" or schedule.diagnostics_every is not None
        # The structure is found here, not in the step: a replica cannot trace another function.
        asks = asks or not self.combiner.scales_whole_losses
        has_shared = asks and bool(self.structure.shared)
        combiner = self._combiner_in_effect()
        return [schedule.at(number, combiner, has_shared) for number in steps]

    def step_graph(self, data: tf.data.Dataset) -> tf.Graph:
        """Returns the graph of the next training step on such batches; no step is taken.

        Args:
            data: Batches, of the global size.
        """
        self.inspect(data)
        self.make_train_function()
        assert self._train_loop is not None
        batches = self.distribute_strategy.experimental_distribute_dataset(data)
        return self._train_loop.graph(iter(batches), self._next_steps())

    @property
    def tracings(self) -> int:
        """Number of tracings of a training step so far."""
        return 0 if self._train_loop is None else self._train_loop.tracings

    # Attributes of a Keras model that are those of the network.
    layers, inputs, outputs, input, output, input_shape, output_shape, output_names = _of(
        "network",
        *("layers", "inputs", "outputs", "input", "output", "input_shape", "output_shape"),
        "output_names",
    )
    get_layer, summary, count_params, compute_output_shape, export = _of(
        "network", "get_layer", "summary", "count_params", "compute_output_shape", "export"
    )

    @property
    def weights(self) -> list[keras.Variable]:
        """Weights of the network and of a subclass, without the combiner's and `StepNotes`'."""
        parts: list[keras.Layer] = [self.combiner, *([self.notes] if self.tasks else [])]
        own = {id(variable) for part in parts for variable in part.variables}
        return [variable for variable in super().weights if id(variable) not in own]

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves the model to a file `*.keras`, as `keras.Model.save` does.

        Raises:
            ValueError: If the file ends in `.h5` or `.hdf5`: the old format does not keep all that
                `compile` was given.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "Keras' old format `.h5` does not keep all that `compile` was given, so the file "
                "could not be loaded. Save to `*.keras`, or the network alone by "
                "`model.network.save`, or weights to `*.weights.h5` by `model.save_weights`. "
                f"Received: {filepath}"
            )
        super().save(filepath, *args, **kwargs)

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if config:
            config.update(dataclasses.asdict(self.compile_args))
            config["auto_scale_loss"] = compile_args.skips_overflow(self.optimizer)
            given = dict(self._compiled.value)
            one_for_all = self.tasks and not isinstance(given["loss"], (Mapping, list, tuple))
            if self._compiles_tasks and one_for_all and not self._by_output.paths:
                # A network loaded from the file may not define its outputs.
                given["loss"] = {task.name: task.loss for task in self.tasks}
            config.update(keras.saving.serialize_keras_object(given))
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "network": serialize(self.network),
            "tasks": None if self._compiles_tasks else [serialize(task) for task in self.tasks],
            "combiner": serialize(self.combiner),
            "gradients": self.gradients,
            **sharing.names(self._given._asdict()),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MultiTaskModel":
        def restore(part: Any) -> Any:
            return keras.saving.deserialize_keras_object(part, custom_objects=custom_objects)

        tasks = config["tasks"] and [restore(task) for task in config["tasks"]]
        parts = {name: restore(config[name]) for name in ("network", "combiner")}
        return cls(**{**config, "tasks": tasks, **parts})
