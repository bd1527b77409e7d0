"""What every combiner shares: state and contract with the trainer."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from mtk.combiners import call_checks, weights_alone
from mtk.combiners.arguments import arguments
from mtk.display import counted


class Combined(NamedTuple):
    """What a combiner returns.

    Attributes:
        gradients: List with one tensor per shared variable, of the variable's shape: the direction
            that the optimizer descends.
        task_weights: Tensor `(K,)`, the weight that each task had in it.
    """

    gradients: list[tf.Tensor]
    task_weights: tf.Tensor


# Computes something of some examples of a batch, from features and their task gradients.
OfFeatures: TypeAlias = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], Any]
Place: TypeAlias = str | keras.Layer | Sequence[str | keras.Layer]


class FeatureMerge(NamedTuple):
    """How a combiner merges the task gradients of features, decided for the whole batch.

    Attributes:
        combine: Called with the features of some examples, tensors `(B, ...)`, and their task
            gradients, tensors `(K, B, ...)`; returns the combined ones, tensors `(B, ...)`, and
            something that adds up over the batch.
        task_weights: Called with the sum of that; returns the task weights `(K,)`.
    """

    combine: Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], tuple[list[tf.Tensor], Any]]
    task_weights: Callable[[Any], tf.Tensor]


@dataclass(frozen=True)
class Held:
    """Keeps Keras from taking a layer in an attribute for a sublayer."""

    value: Any


class OwnState(keras.layers.Layer):
    """A layer for the sake of its variables: files of the model hold them.

    A file without any leaves them as they are, such as one of a plain Keras model; and what is in a
    file for another kind of combiner, or for one that is not built yet, is left.
    """

    def load_own_variables(self, store: Any) -> None:
        if store.keys() and (self._trainable_variables or self._non_trainable_variables):
            super().load_own_variables(store)


class Combiner(OwnState):
    """Merges the gradients of K tasks into one.

    A combiner is a layer for the sake of its state: variables of a layer are tracked, saved and
    restored with the model. It computes in float32 whatever the dtype policy, because mixed
    precision would turn a gradient of 1e-9 into zero.

    It serves one model: a second one takes a copy, without state, as `model.combiner`. What its
    arguments have set is fixed when it is built, since the traced step holds it.

    Attributes:
        reads: What the trainer must supply: `"losses"` (one backward pass), `"gramian"` or
            `"gradients"` (per-task gradients).
        at: Where gradients are taken: `"parameters"` (all shared variables),
            `"representation"` (the features that the heads read), `"last_layer"` (the last shared
            layers), or a layer or its name, or several of them.
        update_every: Steps between two looks at the per-task gradients.
        weighs_heads: Whether a task's own head is scaled by the task's weight. If not, each head
            gets its own gradient divided by the number of tasks present.
        is_static: Whether the weights are the same at every step, as scalarization has them: the
            baseline of a comparison.
        batch_parts: Parts of one size into which the trainer divides each batch, whose task
            gradients the combiner compares; see `PartsCombiner`.
        draws_weights: Whether it knows its weights before the step, so that a network can read
            them, and has `next_weights`.
        weighs_examples: Whether the trainer is to weigh the losses of each example by a row of
            `next_weights` of its own, times K.
        needs_post_update_loss: Whether `after_step` wants the task losses after the update, at the
            price of a second forward pass.
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
                f"`{name}` of {type(self).__name__} cannot be changed: the steps that are traced "
                "hold it. Make a new combiner, and a new model with it."
            )
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        # Keras saves what it finds here: a layer in `at` is the network's.
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
        """Returns this combiner to the first model that asks, and a copy without state to others.

        Raises:
            ValueError: If its class lacks what makes it a method, does not say what it reads, or a
                copy would lose an argument that `get_config` does not tell.
        """
        if self._lacks:
            raise ValueError(
                f"{type(self).__name__} is no method but a base of methods: it does not define "
                f"`{self._lacks}`. Use a class of mtk.combiners, or derive one that defines it."
            )
        if getattr(self, "reads", None) not in ("losses", "gramian", "gradients"):
            raise ValueError(
                f"{type(self).__name__} does not say what it reads: set `reads` of the class to "
                '"losses", "gramian" or "gradients", or derive it from `LossCombiner` or '
                f"`GramianCombiner`. Received: {getattr(self, 'reads', None)!r}"
            )
        claimed = self.copy() if self._is_claimed else self
        claimed._is_claimed = True
        return claimed

    @property
    def _lacks(self) -> str:
        """The name of what a subclass must define, and this class does not."""
        kind = type(self)
        own = {name: getattr(kind, name, None) for name in dir(kind)}
        missing = [n for n, own in own.items() if getattr(own, "__isabstractmethod__", False)]
        return missing[0] if missing else ""

    def copy(self) -> "Combiner":
        """Returns a combiner with the same arguments and no state.

        Raises:
            ValueError: If a copy would lose an argument that `get_config` does not tell.
        """
        return type(self).from_config(self.whole_config())

    def whole_config(self) -> dict[str, Any]:
        """Returns what `get_config` does, if it tells all arguments.

        Raises:
            ValueError: If a copy would lose one.
        """
        config = self.get_config()
        lost = sorted(set(arguments(type(self))) - set(config))
        if lost:
            raise ValueError(
                f"A model needs a {type(self).__name__} of its own, and a copy would lose {lost}. "
                "Keep each argument in an attribute of its name, add them to `get_config`, or make "
                "a new combiner for each model."
            )
        return config

    def bind_losses(self, losses: Mapping[str, Any]) -> None:
        """Tells the combiner the tasks' losses, before `build`.

        Args:
            losses: By the name of the task: a `keras.losses.Loss` or a function.
        """
        del losses

    def bind(self, task_names: Sequence[str], variable_paths: Sequence[str]) -> None:
        """Tells the combiner whom it serves.

        The trainer calls it before `build`, with all variables of the network, and again whenever
        it has found which of them are shared.

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
        """Tells the combiner what may be shared, before `build`: for state of the size of it.

        Later shapes are not those of its state, and change nothing.

        Args:
            shapes: By path, the shape of each trainable variable of the network.
        """
        if not self.built:
            self.variable_shapes = {path: tuple(shape) for path, shape in shapes.items()}

    def check_number(self, num_tasks: int) -> None:
        """Checks that the state is that of so many tasks, if there is a state.

        Args:
            num_tasks: K of the model or of the step.

        Raises:
            ValueError: If the combiner was built for another number of tasks.
        """
        if self.built and num_tasks != self.num_tasks:
            raise ValueError(
                f"This {type(self).__name__} was built for "
                f"{counted(self.num_tasks, 'task')} and has their state. Make a new "
                "combiner for each model. "
                f"Received: {counted(num_tasks, 'task')}"
            )

    def build(self, num_tasks: int) -> None:
        """Creates the state for `num_tasks` tasks.

        Args:
            num_tasks: K.

        Raises:
            ValueError: If an argument of the combiner does not match the tasks.
        """
        self.num_tasks = num_tasks

    def add_state(
        self, name: str, shape: tuple[int, ...], initial: float = 0.0, dtype: str = "float32"
    ) -> keras.Variable:
        """Adds a variable that is saved with the model and equal on all replicas.

        Args:
            name: Its name, once in a combiner.
            shape: Its shape.
            initial: Value of all its elements at the start.
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
        # TensorFlow's own checkpoints hold what attributes hold, and not what is in a helper's.
        self._track_trackable(variable, name, overwrite=True)
        return variable

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
                taken out of the problem: their gradients and losses may be NaN. All, by default.
            counts: Tensor `(K,)`: labels of each task in the global batch. One each, by default.

        Returns:
            A `Combined`. Its gradients are float64 where the given ones are, and else float32.

        Raises:
            ValueError: If the combiner was built for another number of tasks, or the gradients are
                no list of tensors `(K, *variable.shape)`.
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
        """Returns weights that a method of this class has found, in float32.

        Args:
            weights: What it returned.
            shape: What it returns.
            method: Its name, for the message.

        Raises:
            ValueError: If they have another shape, or are no real numbers.
        """
        return call_checks.task_weights(weights, shape, f"{type(self).__name__}.{method}")

    def _take_shapes(self, task_gradients: Sequence[tf.Tensor], axes: int) -> None:
        """Takes paths and shapes off the first gradients, in a loop that has told nothing."""
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
        """As `__call__`, with every argument a tensor in float32, zero for absent tasks.

        Where `changes_gradients` is false, gradients in float64 stay so.
        """
        raise NotImplementedError

    @property
    def weights(self) -> weights_alone.Weights:
        """The layer's variables, as Keras has it; called, the weights for a Gramian.

        See `weights_of`: `MGDA().weights(gramian)` is `MGDA().weights_of(gramian)`.
        """
        return weights_alone.Weights(super().weights, self.weights_of)

    def weights_of(self, gramian: Any, task_losses: Any = None) -> Any:
        """Returns the weights for a Gramian, without a model: for a training loop of one's own.

        Nothing need be bound or built, and what a model knows of this combiner does not change.
        What the method remembers or draws goes on from call to call, for each number of tasks.
        A method that compares parts of a batch takes the Gramian for that of each part.

        Args:
            gramian: Array or tensor `(..., K, K)` of inner products of task gradients.
            task_losses: Array or tensor `(..., K)`, for methods that read losses. Those that read
                the Gramian, too, take ones by default.

        Returns:
            The weights `(..., K)`, float32: an array for an array, a tensor for a tensor and inside
            a `tf.function`. NaN for a Gramian that is not finite, where it is read.

        Raises:
            ValueError: If the shapes do not fit, the method needs more of a step than inner
                products and losses, or the losses that it reads are missing.
        """
        return weights_alone.find(self, gramian, task_losses)

    def gramian_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """Returns a step's weights by what is known without gradients; see `weights_of`.

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
        """What `weights_of` calls, by the number of tasks."""
        return self._without_model.value

    def merge_features(
        self,
        accumulate: Callable[[OfFeatures], Any],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> FeatureMerge:
        """Decides how to merge the task gradients of features (`at="representation"`).

        By default `call` merges them, which sees a batch that is in one piece. A method for batches
        in parts (replicas, micro-batches) defines this; see `GradDrop`.

        Args:
            accumulate: Sums over the whole batch what a function of features and their task
                gradients returns: tensors of shapes that do not depend on the examples.
            task_losses: Tensor `(K,)`.
            present: Boolean tensor `(K,)`.
            counts: Tensor `(K,)`, labels of each task in the global batch.
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
        """Whether `call` does more with the task gradients than to weigh and sum them.

        If not, the trainer may ask for the weights alone, and never make some task gradients.
        """
        return True

    @property
    def scales_whole_losses(self) -> bool:
        """Whether heads are scaled by the task weights themselves: one weighted sum of losses."""
        return self.weighs_heads and type(self).head_weights is Combiner.head_weights

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Returns what each task's own head is scaled by, `(K,)`: see `weighs_heads`.

        Args:
            task_weights: Tensor `(K,)`, this step's weights.
            present: Boolean tensor `(K,)`.
        """
        if self.weighs_heads:
            return task_weights
        mask = tf.cast(present, tf.float32)
        return tf.math.divide_no_nan(mask, tf.reduce_sum(mask))

    def next_step(self, iterations: int) -> int:
        """Returns the number of the coming step of `fit`, for `takes_gradients_at`.

        Args:
            iterations: Steps that the optimizer counted; a new one begins with zero.
        """
        return iterations

    def takes_gradients_at(self, step: int) -> bool:
        """Returns whether a step of `fit`, counted from zero, looks at the task gradients.

        Asked only where the combiner `reads` them.

        Args:
            step: The step.
        """
        return step % self.update_every == 0

    def chosen_tasks(self, present: tf.Tensor) -> tf.Tensor | None:
        """Returns the tasks whose gradients this step needs, before they are computed.

        Those of all others may be zero.

        Args:
            present: Boolean tensor `(K,)`.

        Returns:
            Integer tensor `(m,)`, or None for all tasks.
        """
        del present
        return None

    def next_weights(self, size: int | tf.Tensor) -> tf.Tensor:
        """Returns the task weights of the coming step, which a conditioned network reads.

        Asked only where `draws_weights` says so; see `mtk.models.conditioned`.

        Args:
            size: Number of examples B.

        Returns:
            Tensor `(B, K)`, rows with a sum of one.
        """
        raise NotImplementedError

    def after_step(self, before: tf.Tensor, after: tf.Tensor, present: tf.Tensor) -> None:
        """Sees the task losses `(K,)` of one batch before and after the update.

        Called only where `needs_post_update_loss` is set.

        Args:
            before: Tensor `(K,)`; zero for an absent task.
            after: Tensor `(K,)`, of the same batch.
            present: Boolean tensor `(K,)`.
        """

    def get_config(self) -> dict[str, Any]:
        """Returns each argument that the constructor keeps under its own name.

        One that is kept under another name, or is an object, needs a `get_config` that adds it.
        """
        keras_own = dir(keras.layers.Layer)  # `weights` of a layer are its variables.
        names = [name for name in arguments(type(self)) if name not in keras_own]
        kept = {name: getattr(self, name) for name in names if hasattr(self, name)}
        if "at" in kept:
            kept["at"] = _place_names(self.at)
        return {"name": self.name, **kept}

    def get_build_config(self) -> None:
        """Leaves a loaded combiner unbuilt: the model builds it when it has told it the tasks."""


def _of_present(rows: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Returns the gradients of present tasks, and zeros for the others."""
    inner = len(rows.shape) - len(present.shape)
    return tf.where(present[(..., *[None] * inner)], rows, tf.zeros((), rows.dtype))


def _place_names(place: Place) -> str | list[str]:
    """Returns a place with the names of layers, as a config can hold it."""
    if isinstance(place, keras.Layer):
        return place.name
    return place if isinstance(place, str) else [str(_place_names(part)) for part in place]
