"""The state of a network as values: what a forward pass writes is known before it is written."""

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

Values: TypeAlias = dict[int, tf.Tensor]  # By the `id` of a variable.


class Change(NamedTuple):
    """What passes have made of a variable.

    Attributes:
        variable: The variable.
        before: Its value before the step.
        after: Its value after the step, the same on all replicas.
    """

    variable: keras.Variable
    before: tf.Tensor
    after: tf.Tensor


@dataclass
class WrittenInPlace:
    """Variables of a network and its losses that a forward pass writes in place.

    Attributes:
        raw: Those that Keras does not know.
        inside: Those that inner graphs of the network were found to write, by `id`. A graph that
            was traced once writes them again without a word.
    """

    raw: list[tf.Variable] = field(default_factory=list)
    inside: dict[int, keras.Variable] = field(default_factory=dict)


class PassScope(keras.StatelessScope):
    """Within it Keras variables are not written: the values they would have are kept.

    What an inner graph writes (a loop over time steps, a conditional, a `tf.function` of a layer)
    cannot leave it as a value. Inside one, variables are read and written as ever, and `State`
    puts them back where a pass must not count.

    No gradient flows through a write. A layer may write its trainable variables too, such as
    spectral normalization: gradients are then those by the value that was written, a source.

    Args:
        state: What it belongs to.
        carried: Values that variables have in place of their own.
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
            # Keras' seed for all layers, which the first one makes that draws by it. Keras makes
            # variables where it leaves a scope.
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
        # As in a plain step, where what is read again is the variable and not what was computed.
        # Without a tape, the graph still shows that a trainable variable is reached.
        if not variable.trainable or self.tape is not None:
            value = tf.stop_gradient(value)
        if variable.trainable and self.tape is not None:
            self.tape.watch(value)
            self.sources.setdefault(id(variable), []).append(value)
        self.written[id(variable)] = variable
        self.state_mapping[id(variable)] = value

    def _put_in_place(self, variable: keras.Variable) -> None:
        """Writes a value that was kept, before the inner graph that reads the variable runs."""
        key = id(variable)
        value = self.state_mapping.pop(key, None)
        if value is not None:
            self.written.pop(key, None)
            self.state.note_inside(variable, self.graph)
            with _outside(self.graph):
                variable._direct_assign(self.state.shifted(variable, -1, value))

    def changes(self) -> list[Change]:
        """Returns what was written within the scope, as it is."""
        before, after = self.state.before, self.state_mapping
        return [Change(v, before[key], after[key]) for key, v in self.written.items()]


class State:
    """What the forward passes of a step read and write besides the batch.

    Every pass starts from the variables as they are, so that

    * each sub-batch normalizes by itself, and moving statistics take one update a step: the mean
      over the sub-batches;
    * a second pass over the same batch draws the same dropout masks and changes nothing;
    * replicas draw different dropout masks: each folds its number into the seeds it sees.

    Seeds and metrics go on from pass to pass.

    Args:
        metric_variables: Variables of metrics.
        written_in_place: Variables that a pass writes in place; more are added.
        replica: Number of this replica, an integer or a scalar tensor.
        makes_seeds: Whether a seed that a pass is the first to need becomes a variable at once.
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
        """Returns a seed as this replica sees it (1), or as it is stored (-1)."""
        if self.offset is None or not is_seed(seed):
            return value
        value = _read(seed._value) if value is None else value
        offset = tf.cast(self.offset, tf.int64) * (_SEED_STRIDE * sign)
        return tf.stack([value[0] + tf.cast(offset, value.dtype), value[1]])

    def note(self, variable: keras.Variable) -> None:
        """Keeps the value of a variable before the step."""
        if id(variable) not in self.before:
            self.variables[id(variable)] = variable
            # One that is being built has no variable yet, but an initial value.
            built = variable._value is not None
            self.before[id(variable)] = _read(variable._value) if built else variable.value

    def note_inside(self, variable: keras.Variable, graph: Any) -> None:
        """Keeps the value of a variable that an inner graph is about to write.

        It is read in `graph`, that of the step; None if the step runs eagerly.
        """
        if id(variable) not in self.known.inside:
            self.known.inside[id(variable)] = variable
            before = self.before.pop(id(variable), None)
            if before is None:
                with _outside(graph):
                    before = _read(variable._value)
            self.in_place.append((variable._value, before, self._goes_on(variable)))

    def starting(self, variables: Sequence[keras.Variable]) -> Values:
        """Returns what goes on from pass to pass, also `variables` that no pass has written yet.

        It is as it was before the step.
        """
        for variable in variables:
            self.note(variable)
        found = self.going_on_from(self.before)
        return {key: self.shifted(self.variables[key], 1, found[key]) for key in found}

    def of_examples(self, written: Values, carried: Values, size: int | tf.Tensor) -> Values:
        """Returns what a pass wrote; what metrics of layers saw in the place of no example, not."""
        kept = {key: carried.get(key, self.before[key]) for key in written if key in self.going_on}
        return {**written, **{key: tf.where(size > 0, written[key], kept[key]) for key in kept}}

    def _goes_on(self, variable: keras.Variable) -> bool:
        return id(variable) in self.going_on or is_seed(variable)

    def going_on_from(self, values: Values) -> Values:
        """Returns those of `values` from which the next pass goes on: seeds and metrics."""
        return {key: value for key, value in values.items() if self._goes_on(self.variables[key])}

    def merge(self, passes: Sequence[Values], shares: Sequence[tf.Tensor] | None) -> Values:
        """Averages what several passes wrote; of what is not a statistic, takes the last value.

        Args:
            passes: What each wrote.
            shares: For each, the part of its examples that is on this replica, by which statistics
                count; None for all.
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
        """Puts back what was written in place: everything, or what starts anew in each pass."""
        for variable, value, goes_on in self.in_place:
            if everything or not goes_on:
                variable.assign(value)

    def changes(self, values: Values, in_parts: bool) -> list[Change]:
        """Returns what a step changes, alike on all replicas but for the metrics.

        Args:
            values: What the passes of this replica wrote.
            in_parts: Whether statistics are those of one replica's share.
        """
        found = []
        for key, value in values.items():
            variable = self.variables[key]
            if in_parts and self.is_statistic(key):
                value = all_reduce(value)
            found.append(Change(variable, self.before[key], self.shifted(variable, -1, value)))
        return found


def of_share(value: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Returns a replica's part of a mean over examples of which it has this share."""
    # A replica without examples may have a mean of nothing, which is NaN.
    return tf.where(share > 0, value * tf.cast(share, value.dtype), tf.zeros_like(value))


def is_seed(variable: keras.Variable) -> bool:
    """Whether a variable is the state of a `keras.random.SeedGenerator`, which names it so."""
    return variable.name == "seed_generator_state"


def written_in_place(owners: Sequence[Any]) -> WrittenInPlace:
    """Finds the `tf.Variable`s that layers and losses hold, also in lists, dicts and modules there.

    A function holds what it takes from around it, by name.

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
    # Not what those of a library reach, which is no end of things.
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
