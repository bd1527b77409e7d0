"""The state of a network as values: captures what a forward pass writes before it is written."""

import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from mtk.replicas import all_reduce

# Any odd number spreads replicas over the seeds; this one is 2^32 divided by the golden ratio.
_SEED_STRIDE = 0x9E3779B9

Values: TypeAlias = dict[int, tf.Tensor]  # By `id` of the variable.


class Change(NamedTuple):
    """A variable with its value before a step and after it, the same on all replicas."""

    variable: keras.Variable | tf.Variable
    before: tf.Tensor
    after: tf.Tensor

    def write(self, accepted: tf.Tensor | None) -> None:
        """Assigns the new value, or the old one if the step is not accepted; None if it is."""
        value = self.after if accepted is None else tf.where(accepted, self.after, self.before)
        self.variable.assign(value)


@dataclass
class WrittenInPlace:
    """Variables of a network and its losses that a forward pass writes in place.

    Attributes:
        raw: Variables unknown to Keras.
        inside: Variables that inner graphs of the network were found to write, by `id`. A graph
            that has been traced writes them again without notice.
    """

    raw: list[tf.Variable] = field(default_factory=list)
    inside: dict[int, keras.Variable] = field(default_factory=dict)


class PassScope(keras.StatelessScope):
    """A scope in which Keras variables are not written: their new values are stored instead.

    A write in an inner graph (a loop over time steps, a conditional, a `tf.function` of a layer)
    cannot be captured as a value. There, variables are read and written in place, and `State`
    restores them if a pass must not have an effect.

    No gradient flows through a write. If a layer writes its trainable variables, such as spectral
    normalization, gradients are with respect to the written value, a source.

    Args:
        state: The state that it belongs to.
        carried: Values that replace those of variables.
        tape: Tape to watch written trainable variables, if gradients are wanted.
    """

    def __init__(self, state: "State", carried: Values, tape: tf.GradientTape | None):
        super().__init__(collect_losses=True, initialize_variables=False)
        self.state, self.tape = state, tape
        self.state_mapping = dict(carried)
        self.written: dict[int, keras.Variable] = {}
        self.sources: dict[int, list[tf.Tensor]] = {}
        self.graph = _graph()

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        if variable._value is None and self.state.makes_seeds and is_seed(variable):
            # Keras' global seed, created by the first layer that uses it. Keras creates variables
            # on leaving a scope.
            self.__exit__()
            with keras.StatelessScope():
                pass
            self.__enter__()
        if _graph() is not self.graph:
            self._put_in_place(variable)
        value = self.state_mapping.get(id(variable))
        return self.state.shifted(variable, 1) if value is None and is_seed(variable) else value

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        variable, value = update
        value = tf.cast(value, variable.dtype)
        if _graph() is not self.graph:
            self.state.note_inside(variable, self.graph)
            self._put_in_place(variable)
        if id(variable) in self.state.known.inside:
            variable._direct_assign(self.state.shifted(variable, -1, value))
            return
        self.state.note(variable)
        # As in a plain step, where a later read gives the variable, not the computed tensor.
        # Without a tape, the graph still shows that a trainable variable is reached.
        if not variable.trainable or self.tape is not None:
            value = tf.stop_gradient(value)
        if variable.trainable and self.tape is not None:
            self.tape.watch(value)
            self.sources.setdefault(id(variable), []).append(value)
        self.written[id(variable)] = variable
        self.state_mapping[id(variable)] = value

    def _put_in_place(self, variable: keras.Variable) -> None:
        """Writes a stored value, before the inner graph that reads the variable runs."""
        key = id(variable)
        value = self.state_mapping.pop(key, None)
        if value is not None:
            self.written.pop(key, None)
            self.state.note_inside(variable, self.graph)
            with _outside(self.graph):
                variable._direct_assign(self.state.shifted(variable, -1, value))

    def values(self) -> Values:
        """Returns the values that were written within the scope."""
        return {key: self.state_mapping[key] for key in self.written}

    def changes(self) -> list[Change]:
        """Returns what was written within the scope, unreduced."""
        before, after = self.state.before, self.state_mapping
        return [Change(v, before[key], after[key]) for key, v in self.written.items()]


class State:
    """The state that the forward passes of a step read and write.

    Every pass starts from the current variables, so that

    * each sub-batch is normalized separately, and moving statistics are updated once per step, with
      the mean over the sub-batches;
    * a second pass over the same batch draws the same dropout masks and changes nothing;
    * replicas draw different dropout masks: each adds its index to the seeds it reads.

    Seeds and metrics are carried from pass to pass.

    Args:
        metric_variables: Variables of metrics.
        written_in_place: Variables that a pass writes in place; newly found ones are added.
        replica: Index of this replica, an integer or a scalar tensor.
        makes_seeds: Whether a seed first used in a pass becomes a variable at once.
    """

    def __init__(
        self,
        metric_variables: Sequence[keras.Variable] = (),
        written_in_place: WrittenInPlace | None = None,
        replica: int | tf.Tensor = 0,
        makes_seeds: bool = False,
    ):
        self.makes_seeds = makes_seeds
        self.offset = None if isinstance(replica, int) and not replica else replica
        self.going_on = {id(v) for v in metric_variables}
        self.known = WrittenInPlace() if written_in_place is None else written_in_place
        self.variables: dict[int, keras.Variable] = {}
        self.before: Values = {}
        inside = [(v._value, self._goes_on(v)) for v in self.known.inside.values()]
        known = [*((v, False) for v in self.known.raw), *inside]
        self.in_place = [(v, _read(v), goes_on) for v, goes_on in known]

    def scope(self, carried: Values, tape: tf.GradientTape | None = None) -> PassScope:
        """Returns a scope for a pass in which `carried` variables have these values."""
        return PassScope(self, carried, tape)

    def shifted(
        self, seed: keras.Variable, sign: int, value: tf.Tensor | None = None
    ) -> tf.Tensor | None:
        """Returns a seed as read by this replica (`sign` 1), or as stored (-1)."""
        if self.offset is None or not is_seed(seed):
            return value
        value = _read(seed._value) if value is None else value
        offset = tf.cast(self.offset, tf.int64) * (_SEED_STRIDE * sign)
        return tf.stack([value[0] + tf.cast(offset, value.dtype), value[1]])

    def note(self, variable: keras.Variable) -> None:
        """Records the value of a variable before the step."""
        if id(variable) not in self.before:
            self.variables[id(variable)] = variable
            # A variable that is being built has only an initial value yet.
            built = variable._value is not None
            self.before[id(variable)] = _read(variable._value) if built else variable.value

    def note_inside(self, variable: keras.Variable, graph: Any) -> None:
        """Records the value of a variable that an inner graph is about to write.

        It is read in `graph`, the step's graph; None if the step runs eagerly.
        """
        if id(variable) not in self.known.inside:
            self.known.inside[id(variable)] = variable
            before = self.before.pop(id(variable), None)
            if before is None:
                with _outside(graph):
                    before = _read(variable._value)
            self.in_place.append((variable._value, before, self._goes_on(variable)))

    def starting(self, variables: Sequence[keras.Variable]) -> Values:
        """Returns the values carried from pass to pass, including those of unwritten `variables`.

        They are the values before the step.
        """
        for variable in variables:
            self.note(variable)
        found = self.going_on_from(self.before)
        return {key: self.shifted(self.variables[key], 1, found[key]) for key in found}

    def of_examples(self, written: Values, carried: Values, size: int | tf.Tensor) -> Values:
        """Returns what a pass wrote, except to layers' metrics by padding of an empty batch."""
        kept = {key: carried.get(key, self.before[key]) for key in written if key in self.going_on}
        return {**written, **{key: tf.where(size > 0, written[key], kept[key]) for key in kept}}

    def _goes_on(self, variable: keras.Variable) -> bool:
        return id(variable) in self.going_on or is_seed(variable)

    def going_on_from(self, values: Values) -> Values:
        """Returns those of `values` that the next pass starts from: seeds and metrics."""
        return {key: value for key, value in values.items() if self._goes_on(self.variables[key])}

    def merge(self, passes: Sequence[Values], shares: Sequence[tf.Tensor] | None) -> Values:
        """Averages the statistics that several passes wrote; takes the last value of others.

        Args:
            passes: Values that each pass wrote.
            shares: For each, the fraction of its examples on this replica, which weighs statistics;
                None for all.
        """
        merged: Values = {}
        for key in {key: None for values in passes for key in values}:
            found = [(values[key], i) for i, values in enumerate(passes) if key in values]
            if not self.is_statistic(key):
                merged[key] = found[-1][0]
                continue
            each = [value if shares is None else of_share(value, shares[i]) for value, i in found]
            merged[key] = tf.add_n(each) / len(each)
        return merged

    def is_statistic(self, key: int) -> bool:
        """Whether a variable is averaged over passes and replicas."""
        variable = self.variables[key]
        return tf.as_dtype(variable.dtype).is_floating and not self._goes_on(variable)

    def rewind(self, everything: bool = True) -> None:
        """Restores what was written in place: everything, or what is not carried between passes."""
        for variable, value, goes_on in self.in_place:
            if everything or not goes_on:
                variable.assign(value)

    def changes(self, values: Values, in_parts: bool) -> list[Change]:
        """Returns the changes of a step, equal on all replicas except for metrics.

        Args:
            values: Values that the passes of this replica wrote.
            in_parts: Whether statistics are those of one replica's share only.
        """
        found = []
        for key, value in values.items():
            variable = self.variables[key]
            if in_parts and self.is_statistic(key):
                value = all_reduce(value)
            found.append(Change(variable, self.before[key], self.shifted(variable, -1, value)))
        return found


def of_share(value: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Returns a replica's contribution to a mean over examples of which it has this share."""
    # A replica without examples may have a mean of NaN.
    return tf.where(share > 0, value * tf.cast(share, value.dtype), tf.zeros_like(value))


def is_seed(variable: keras.Variable) -> bool:
    """Whether a variable is the state of a `keras.random.SeedGenerator`, by its name."""
    return variable.name == "seed_generator_state"


def written_in_place(owners: Sequence[Any]) -> WrittenInPlace:
    """Finds the `tf.Variable`s of layers and losses, also inside lists, dicts and modules.

    A function holds the variables of its closure and globals.

    Args:
        owners: Layers, and losses as objects or functions.
    """
    found: dict[int, tf.Variable] = {}
    seen: dict[int, Any] = {}
    pending = list(owners)
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        if isinstance(part, tf.Variable):
            found[id(part)] = part
        else:
            pending.extend(_held(part))
    return WrittenInPlace(list(found.values()))


def _held(part: Any) -> Iterable[Any]:
    if isinstance(part, Mapping):
        return part.values()
    if isinstance(part, (list, tuple, set)):
        return part
    if isinstance(part, (keras.Layer, keras.losses.Loss)):
        return vars(part).values()
    if isinstance(part, tf.Module):
        return part.variables
    if isinstance(part, functools.partial):
        return part.func, part.args, part.keywords
    if inspect.ismethod(part):
        return vars(part.__self__).values()
    # Not those of a library, which reach too many objects.
    if inspect.isfunction(part) and not part.__module__.startswith(("keras.", "tensorflow.")):
        taken = inspect.getclosurevars(part)
        return *taken.nonlocals.values(), *taken.globals.values()
    return ()


def _outside(graph: Any) -> AbstractContextManager:
    return tf.init_scope() if graph is None else graph.as_default()


def _graph() -> Any:
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def _read(variable: tf.Variable) -> tf.Tensor:
    # A copy: on some devices a read shares its memory with the variable.
    return tf.identity(tf.convert_to_tensor(variable))
