"""Base class of the combiners: their state and their contract with the trainer."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from mtk.combiners import call_checks, weights_alone
from mtk.combiners.arguments import arguments
from mtk.display import counted
from mtk.held import Held


class Combined(NamedTuple):
    """The result of a combiner.

    Attributes:
        gradients: List with one tensor per shared variable, of the variable's shape: the gradient
            that the optimizer receives.
        task_weights: Tensor `(K,)`: the weight of each task in `gradients`.
    """

    gradients: list[tf.Tensor]
    task_weights: tf.Tensor


# A function of the features of some examples of a batch and of their task gradients.
OfFeatures: TypeAlias = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], Any]
Place: TypeAlias = str | keras.Layer | Sequence[str | keras.Layer]


class FeatureMerge(NamedTuple):
    """How a combiner merges the task gradients of features, as decided for the whole batch.

    Attributes:
        combine: Called with the features of some examples, tensors `(B, ...)`, and their task
            gradients, tensors `(K, B, ...)`; returns the combined ones, tensors `(B, ...)`, and a
            statistic to sum over the batch.
        task_weights: Called with the sum of that statistic; returns the task weights `(K,)`.
    """

    combine: Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], tuple[list[tf.Tensor], Any]]
    task_weights: Callable[[Any], tf.Tensor]


class OwnState(keras.layers.Layer):
    """A layer whose purpose is its variables, which are saved in the model's files.

    A file without such variables, for instance of a plain Keras model, leaves them unchanged. A
    layer without variables, or one not built yet, ignores those in the file.
    """

    def add_state(
        self, name: str, shape: tuple[int, ...], initial: float = 0.0, dtype: str = "float32"
    ) -> keras.Variable:
        """Adds a variable that is saved with the model and equal on all replicas.

        Args:
            name: Its name, unique within the layer.
            shape: Its shape.
            initial: Initial value of all elements.
            dtype: Its type, whatever the dtype policy.
        """
        variable = self.add_weight(
            name=name,
            shape=shape,
            initializer=keras.initializers.Constant(initial),
            dtype=dtype,
            trainable=False,
            aggregation="only_first_replica",
        )
        # TensorFlow checkpoints follow attributes of the layer, but not those of a helper object.
        self._track_trackable(variable, name, overwrite=True)
        return variable

    def load_own_variables(self, store: Any) -> None:
        if store.keys() and (self._trainable_variables or self._non_trainable_variables):
            super().load_own_variables(store)


class Combiner(OwnState):
    """Merges the gradients of K tasks into one.

    A combiner is a layer so that its state is tracked, saved and restored with the model. It
    computes in float32 whatever the dtype policy, because half precision would round a gradient of
    1e-9 to zero.

    It serves one model; a second model gets a copy without state as its `model.combiner`. Its
    arguments cannot be changed once it is built, since they are part of the traced step.

    Attributes:
        reads: What the trainer must supply: `"losses"` (one backward pass), `"gramian"` or
            `"gradients"` (per-task gradients).
        at: Where gradients are taken: `"parameters"` (all shared variables),
            `"representation"` (the features that the heads read), `"last_layer"` (the last shared
            layers), or a layer or its name, or several of them.
        update_every: Number of steps between computations of the per-task gradients.
        weighs_heads: Whether the gradient of a task's own head is scaled by the task's weight. If
            not, it is divided by the number of tasks present.
        is_static: Whether the weights are the same at every step, as in scalarization: the baseline
            of a comparison.
        batch_parts: Number of equal parts into which the trainer divides each batch, and whose task
            gradients the combiner compares; see `PartsCombiner`.
        draws_weights: Whether the weights are known before the step, so that a network can read
            them; `next_weights` returns them.
        weighs_examples: Whether the trainer weighs each example's losses by its own row of
            `next_weights`, times K.
        needs_post_update_loss: Whether `after_step` needs the task losses after the update, which
            costs a second forward pass.
    """

    reads: ClassVar[Literal["losses", "gramian", "gradients"]]
    weighs_heads: bool = False
    is_static: ClassVar[bool] = False
    batch_parts: ClassVar[int] = 1
    draws_weights: ClassVar[bool] = False
    weighs_examples: bool = False
    needs_post_update_loss: ClassVar[bool] = False
    update_every: int = 1
    _at = Held("parameters")
    _is_claimed = False

    def __init__(self, name: str | None = None):
        super().__init__(name=name, dtype="float32", autocast=False, trainable=False)
        self.task_names: tuple[str, ...] | None = None
        self.variable_paths: tuple[str, ...] = ()
        self.variable_shapes: dict[str, tuple[int, ...]] = {}
        self._without_model = Held({})

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "built", False) and name in arguments(type(self)):
            raise AttributeError(
                f"`{name}` of {type(self).__name__} cannot be changed because traced steps "
                "contain its value. Create a new combiner, and a new model with it."
            )
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        # Keras saves what it finds here, but a layer in `at` belongs to the network.
        return [name for name in super().__dir__() if name != "at"]

    @property
    def at(self) -> Place:
        """Where gradients are taken; see the class."""
        return self._at.value

    @at.setter
    def at(self, place: Place) -> None:
        is_one = isinstance(place, (str, keras.Layer))
        self._at = Held(place if is_one else tuple(place))

    def claimed(self) -> "Combiner":
        """Returns this combiner to the first caller, and a copy without state to later ones.

        Raises:
            ValueError: If its class does not define an abstract method, a valid `reads` or the
                weights that the trainer asks for, or a copy would lose an argument that is missing
                from `get_config`.
        """
        if self._lacks:
            raise ValueError(
                f"{type(self).__name__} is a base class, not a method: it does not define "
                f"`{self._lacks}`. Use a class from mtk.combiners, or a subclass that defines it."
            )
        if getattr(self, "reads", None) not in ("losses", "gramian", "gradients"):
            raise ValueError(
                f"{type(self).__name__} must declare what it reads: set the class attribute "
                '`reads` to "losses", "gramian" or "gradients", or derive the class from '
                f"`LossCombiner` or `GramianCombiner`. Received: {getattr(self, 'reads', None)!r}"
            )
        self._check_weights()
        claimed = self.copy() if self._is_claimed else self
        claimed._is_claimed = True
        return claimed

    def _check_weights(self) -> None:
        """Raises a ValueError if a step needs weights that only `call` could return."""
        name, is_whole = type(self).__name__, self.at == "parameters" and self.update_every == 1
        if self.reads == "losses" and not hasattr(self, "loss_independent"):
            raise ValueError(
                f"{name} reads losses, so a step asks for its weights before the backward pass. "
                "Derive it from `LossCombiner`, and define `task_weights`."
            )
        if self.reads == "gramian" and not (is_whole or hasattr(self, "cached_weights")):
            raise ValueError(
                f"{name} combines the gradients of all shared parameters in every step. Derive it "
                "from `GramianCombiner`, whose weights also apply elsewhere and to later steps. "
                f"Received: at={self.at!r}, update_every={self.update_every}"
            )

    @property
    def _lacks(self) -> str:
        """Name of an abstract member that this class does not define; empty if there is none."""
        kind = type(self)
        own = {name: getattr(kind, name, None) for name in dir(kind)}
        missing = [n for n, own in own.items() if getattr(own, "__isabstractmethod__", False)]
        return missing[0] if missing else ""

    def copy(self) -> "Combiner":
        """Returns a combiner with the same arguments and no state.

        Raises:
            ValueError: If a copy would lose an argument that is missing from `get_config`.
        """
        return type(self).from_config(self.whole_config())

    def whole_config(self) -> dict[str, Any]:
        """Returns `get_config()`, checked to contain all arguments.

        Raises:
            ValueError: If an argument is missing.
        """
        config = self.get_config()
        lost = sorted(set(arguments(type(self))) - set(config))
        if lost:
            raise ValueError(
                f"Each model needs its own {type(self).__name__}, and a copy of this one would "
                f"lose {lost}. Store each argument in an attribute of the same name, add them to "
                "`get_config`, or create a new combiner for each model."
            )
        return config

    def bind_losses(self, losses: Mapping[str, Any]) -> None:
        """Passes the tasks' losses to the combiner, before `build`.

        Args:
            losses: Dict from task name to a `keras.losses.Loss` or a function.
        """
        del losses

    def bind(self, task_names: Sequence[str], variable_paths: Sequence[str]) -> None:
        """Passes the task names and the shared variables' paths to the combiner.

        The trainer calls this before `build`, with all variables of the network, and again whenever
        it has found the shared ones.

        Args:
            task_names: The K names, in the order of every `(K,)` vector.
            variable_paths: Path of each shared variable, in the order of `task_gradients`.

        Raises:
            ValueError: If the combiner was built for another number of tasks.
        """
        self.check_number(len(task_names))
        self.task_names = tuple(task_names)
        self.variable_paths = tuple(variable_paths)

    def bind_shapes(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Passes the variables' shapes to the combiner, before `build`, for state of that size.

        Shapes passed after `build` are ignored, since the state has its shapes already.

        Args:
            shapes: Shape of each trainable variable of the network, by path.
        """
        if not self.built:
            self.variable_shapes = {path: tuple(shape) for path, shape in shapes.items()}

    def check_number(self, num_tasks: int) -> None:
        """Checks the number of tasks against that of the state, if the combiner is built.

        Args:
            num_tasks: K of the model or of the step.

        Raises:
            ValueError: If the combiner was built for another number of tasks.
        """
        if self.built and num_tasks != self.num_tasks:
            raise ValueError(
                f"This {type(self).__name__} was built for {counted(self.num_tasks, 'task')} "
                "and holds their state. Create a new combiner for each model. Received: "
                f"{counted(num_tasks, 'task')}"
            )

    def build(self, num_tasks: int) -> None:
        """Creates the state for `num_tasks` tasks.

        Args:
            num_tasks: K.

        Raises:
            ValueError: If an argument of the combiner does not match the tasks.
        """
        self.num_tasks = num_tasks

    def __call__(
        self,
        task_gradients: Sequence[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor | None = None,
        counts: tf.Tensor | None = None,
    ) -> Combined:
        """Combines one step's gradients.

        Args:
            task_gradients: List with one tensor `(K, *variable.shape)` per shared variable.
            task_losses: Tensor `(K,)`.
            present: Boolean tensor `(K,)`: which tasks had a label in the batch. The others are
                left out, and their gradients and losses may be NaN. Default: tasks with counts.
            counts: Tensor `(K,)`: labels of each task in the global batch; one by default.

        Returns:
            A `Combined`. Its gradients are float64 where the given ones are, float32 otherwise.

        Raises:
            ValueError: If the combiner was built for another number of tasks, or the gradients are
                not a list of tensors `(K, *variable.shape)`.
        """
        task_losses = tf.cast(tf.convert_to_tensor(task_losses), tf.float32)
        self.check_number(int(task_losses.shape[-1]))
        rows = call_checks.task_gradients(task_gradients, task_losses.shape)
        if not self.built:
            if not self.variable_shapes:
                self._take_shapes(rows, len(task_losses.shape))
            self.build(int(task_losses.shape[-1]))
        counts = tf.ones_like(task_losses) if counts is None else tf.cast(counts, tf.float32)
        present = counts > 0.0 if present is None else tf.cast(present, tf.bool)
        task_losses = tf.where(present, task_losses, 0.0)
        rows = [_of_present(each, present) for each in rows]
        seen = [tf.cast(each, tf.float32) for each in rows] if self.changes_gradients else rows
        combined, task_weights = super().__call__(seen, task_losses, present, counts)
        wanted = [each.shape[task_losses.shape.rank :] for each in rows]
        call_checks.combined_gradients(combined, wanted, f"{type(self).__name__}.call")
        task_weights = self.checked(task_weights, task_losses.shape[-1:], "call")
        found = [tf.cast(g, each.dtype) for g, each in zip(combined, rows, strict=True)]
        return Combined(found, task_weights)

    def checked(self, weights: Any, shape: Sequence[int | None], method: str) -> tf.Tensor:
        """Returns the weights computed by a method of this class, checked and in float32.

        Args:
            weights: The method's return value.
            shape: The expected shape.
            method: The method's name, for the error message.

        Raises:
            ValueError: If the weights have another shape, or are not floating-point numbers.
        """
        return call_checks.task_weights(weights, shape, f"{type(self).__name__}.{method}")

    def _take_shapes(self, task_gradients: Sequence[tf.Tensor], axes: int) -> None:
        """Takes paths and shapes from the first gradients, in a loop that did not bind any."""
        shapes = [tuple(each.shape[axes:]) for each in task_gradients]
        paths = self.variable_paths or tuple(map(str, range(len(shapes))))
        self.variable_paths = paths
        self.bind_shapes(dict(zip(paths, shapes, strict=False)))

    @abc.abstractmethod
    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        """Combines as `__call__`, with float32 tensors that are zero for absent tasks.

        Where `changes_gradients` is false, float64 gradients stay float64.
        """
        raise NotImplementedError

    @property
    def weights(self) -> weights_alone.Weights:
        """The layer's variables, as in Keras; when called, the task weights for a Gramian.

        See `weights_of`: `MGDA().weights(gramian)` is `MGDA().weights_of(gramian)`.
        """
        return weights_alone.Weights(super().weights, self.weights_of)

    def weights_of(self, gramian: Any, task_losses: Any = None) -> Any:
        """Returns the weights for a Gramian, without a model: for a custom training loop.

        The combiner need not be bound or built, and its state within a model does not change. The
        method's own state and random draws continue from call to call, for each number of tasks. A
        method that compares parts of a batch uses the Gramian for every part.

        Args:
            gramian: Array or tensor `(..., K, K)` of inner products of task gradients.
            task_losses: Array or tensor `(..., K)`, for methods that read losses. For methods that
                also read the Gramian they default to ones.

        Returns:
            The weights `(..., K)`, float32: an array for an array, a tensor for a tensor and inside
            a `tf.function`. NaN if the method reads the Gramian and it is not finite.

        Raises:
            ValueError: If the shapes do not match, the method needs more than inner products and
                losses, or the losses that it reads are missing.
        """
        return weights_alone.find(self, gramian, task_losses)

    def gramian_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """Returns a step's weights from the Gramian and the losses alone; see `weights_of`.

        Args:
            gramian: Tensor `(K, K)`, float32.
            task_losses: Tensor `(K,)`, float32.
            present: Boolean tensor `(K,)`.

        Returns:
            Tensor `(K,)`, float32.
        """
        raise NotImplementedError

    @property
    def without_model(self) -> dict[int, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]:
        """The functions that `weights_of` calls, by number of tasks."""
        return self._without_model.value

    def merge_features(
        self,
        accumulate: Callable[[OfFeatures], Any],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> FeatureMerge:
        """Decides how to merge the task gradients of features (`at="representation"`).

        By default `call` merges them, which requires the batch in one piece. A method that supports
        batches in parts (replicas, micro-batches) overrides this; see `GradDrop`.

        Args:
            accumulate: Sums over the whole batch the result of a function of features and their
                task gradients: tensors whose shapes do not depend on the number of examples.
            task_losses: Tensor `(K,)`.
            present: Boolean tensor `(K,)`.
            counts: Tensor `(K,)`: number of labels of each task in the global batch.
        """
        del accumulate

        def combine(
            features: Sequence[tf.Tensor], feature_gradients: Sequence[tf.Tensor]
        ) -> tuple[list[tf.Tensor], tf.Tensor]:
            del features
            return tuple(self(feature_gradients, task_losses, present, counts))

        return FeatureMerge(combine, lambda task_weights: task_weights)

    @property
    def changes_gradients(self) -> bool:
        """Whether `call` does more with the task gradients than a weighted sum.

        If not, the trainer may ask for the weights alone and need not compute all task gradients.
        """
        return True

    @property
    def scales_whole_losses(self) -> bool:
        """Whether heads are scaled by the task weights themselves: one weighted sum of losses."""
        return self.weighs_heads and type(self).head_weights is Combiner.head_weights

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Returns the factor of each task's own head, `(K,)`; see `weighs_heads`.

        Args:
            task_weights: Tensor `(K,)`, this step's weights.
            present: Boolean tensor `(K,)`.
        """
        if self.weighs_heads:
            return task_weights
        mask = tf.cast(present, tf.float32)
        return tf.math.divide_no_nan(mask, tf.reduce_sum(mask))

    def next_step(self, iterations: int) -> int:
        """Returns the index of the next step of `fit`, for `takes_gradients_at`.

        Args:
            iterations: The optimizer's `iterations`; a new optimizer starts at zero.
        """
        return iterations

    def takes_gradients_at(self, step: int) -> bool:
        """Returns whether a step of `fit`, counted from zero, computes the task gradients.

        Called only if the combiner `reads` them.

        Args:
            step: Index of the step.
        """
        return step % self.update_every == 0

    def chosen_tasks(self, present: tf.Tensor) -> tf.Tensor | None:
        """Returns the tasks whose gradients this step needs, before they are computed.

        The gradients of all other tasks may be zero.

        Args:
            present: Boolean tensor `(K,)`.

        Returns:
            Integer tensor `(m,)`, or None for all tasks.
        """
        del present
        return None

    def next_weights(self, size: int | tf.Tensor) -> tf.Tensor:
        """Returns the task weights of the next step, which a conditioned network reads.

        Called only if `draws_weights`; see `mtk.models.conditioned`.

        Args:
            size: Number of examples B.

        Returns:
            Tensor `(B, K)`, whose rows sum to one.
        """
        raise NotImplementedError

    def after_step(self, before: tf.Tensor, after: tf.Tensor, present: tf.Tensor) -> None:
        """Receives the task losses `(K,)` of one batch before and after the update.

        Called only if `needs_post_update_loss` is set.

        Args:
            before: Tensor `(K,)`; zero for an absent task.
            after: Tensor `(K,)`, of the same batch.
            present: Boolean tensor `(K,)`.
        """

    def get_config(self) -> dict[str, Any]:
        """Returns each argument that the constructor stores under its own name.

        An argument stored under another name, or an object, must be added by an override.
        """
        keras_own = dir(keras.layers.Layer)  # `weights` of a layer are its variables.
        names = [name for name in arguments(type(self)) if name not in keras_own]
        kept = {name: getattr(self, name) for name in names if hasattr(self, name)}
        if "at" in kept:
            kept["at"] = _place_names(self.at)
        return {"name": self.name, **kept}

    def get_build_config(self) -> None:
        """Leaves a loaded combiner unbuilt: the model builds it after binding the tasks."""


def _of_present(rows: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Returns the gradients of present tasks, and zeros for the others."""
    inner = len(rows.shape) - len(present.shape)
    return tf.where(present[(..., *[None] * inner)], rows, tf.zeros((), rows.dtype))


def _place_names(place: Place) -> str | list[str]:
    """Returns a place with layers replaced by their names, for a config."""
    if isinstance(place, keras.Layer):
        return place.name
    return place if isinstance(place, str) else [str(_place_names(part)) for part in place]
