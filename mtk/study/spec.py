"""What a study consists of: configurations, methods, grids and seeds."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from mtk import ranges
from mtk.errors import StudyError

Axis = str | tuple[str, ...]
Grid = Mapping[Axis, Sequence[Any]]
_SEEDS = (["seed"], ["Training", "seed"])
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Study:
    """A grid of runs.

    Every method is run at every point of `grid`, times its own grid, times the seeds. Values are
    written as in a configuration; references and macros as strings, such as
    `"@keras.optimizers.Adam"`. Several names in one axis change together: `("a", "b"): [(1, 2), (3,
    4)]` has two points.

    Attributes:
        name: Name of the study.
        configs: Gin files of every run; later files override earlier ones. Files are searched next
            to the study file, then in the working directory; names in an included file also next
            to that file.
        methods: The gin file (or files) of each method, by label, which override `configs`.
        settings: Bindings of every run, by name.
        grid: Values of parameters or macros for all methods, by name.
        method_grids: Additional grids of single methods, by label.
        seeds: Values of the macro `seed` in the first stage, which selects among all points.
        fresh_seeds: Number of seeds of the second stage, which measures: every model that
            validation selected in the first stage is run with each of them; see
            `mtk.study.reruns.measured_again`. They are the numbers after the largest of `seeds`.
            With 0 there is no second stage.
        baseline: Label of the method with which the others are compared: static weights.
        weights: Parameter of the baseline that takes `{task: weight}`, for replays.
        run_minutes: Estimated duration of one run, used until runs have been measured.
    """

    name: str
    configs: Sequence[str]
    methods: Mapping[str, str | Sequence[str]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    grid: Grid = field(default_factory=dict)
    method_grids: Mapping[str, Grid] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    fresh_seeds: int = 5
    baseline: str | None = None
    weights: str = "combiners.StaticWeights.weights"
    run_minutes: float | None = None

    def __post_init__(self) -> None:
        """Checks what can be checked without the configurations.

        Raises:
            StudyError: If an axis or the study is empty, or a label is unknown.
        """
        name = self.name if isinstance(self.name, str) else ""
        if not name.strip(" .") or "/" in name or not name.isprintable():
            raise StudyError(
                "The `name` of a study must be a valid folder name without '/'. Received: "
                f"name={self.name!r}"
            )
        for what, given in (("methods", self.methods), ("seeds", self.seeds)):
            if not given:
                raise StudyError(f"The study {self.name!r} has no {what}, so it has no runs.")
        if not all(isinstance(seed, Integral) and seed >= 0 for seed in self.seeds):
            raise StudyError(f"`seeds` must be integers, 0 or more. Received: seeds={self.seeds}")
        if len(set(self.seeds)) < len(self.seeds):
            raise StudyError(f"`seeds` must not contain duplicates. Received: seeds={self.seeds}")
        for label in self.methods:
            if not isinstance(label, str):
                raise StudyError(f"The label of a method must be a string. Received: {label!r}")
        for label in (*self.method_grids, *([] if self.baseline is None else [self.baseline])):
            self.check_method(label)
        for grid in (self.grid, *self.method_grids.values()):
            for axis, values in grid.items():
                _check_axis(axis, values)
        for method in self.methods:
            self._check_names(method)
        if type(self.fresh_seeds) is not int or self.fresh_seeds < 0:
            raise StudyError(
                "`fresh_seeds` must be a number of seeds, 0 or more. Received: "
                f"{self.fresh_seeds!r}"
            )
        if self.second_stage.stop > ranges.SEEDS:
            raise StudyError(
                "The fresh seeds follow the largest of `seeds` and must not exceed "
                f"{ranges.SEEDS - 1}. Received: seeds={self.seeds}, fresh_seeds={self.fresh_seeds}"
            )
        if self.run_minutes is not None:
            ranges.check_positive(run_minutes=self.run_minutes)

    @property
    def second_stage(self) -> range:
        """The seeds of the second stage, none of which was used for selection."""
        first = max(self.seeds) + 1
        return range(first, first + self.fresh_seeds)

    def _check_names(self, method: str) -> None:
        """Raises a StudyError if a name would have two values."""
        varied = [name for axis, _ in self.grids(method) for name in _names(axis)]
        twice = sorted({name for name in varied if varied.count(name) > 1})
        if twice:
            raise StudyError(f"Two axes of {method} set {twice[0]!r}. Leave one of them out.")
        both = [name for name in varied if name in self.settings]
        if both:
            raise StudyError(
                f"The grid of {method} and the study's settings both set {both[0]!r}. Leave it "
                "out of one of them."
            )
        seeds = [name for name in (*varied, *self.settings) if name.split(".")[-2:] in _SEEDS]
        if seeds:
            raise StudyError(
                f"The study sets {seeds[0]!r}, which its `seeds` already set. Leave it out."
            )

    def check_method(self, label: str) -> None:
        """Raises a StudyError if the study has no method of this label."""
        if label not in self.methods:
            close = difflib.get_close_matches(label, self.methods, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise StudyError(
                f"{label!r} is not a method of the study. Methods: {', '.join(self.methods)}.{hint}"
            )

    def grids(self, method: str) -> list[tuple[Axis, Sequence[Any]]]:
        """Returns all axes of a method: its own, then those of all methods."""
        own = self.method_grids.get(method, {})
        shared = {axis: values for axis, values in self.grid.items() if axis not in own}
        return [*own.items(), *shared.items()]

    def files(self, method: str) -> list[str]:
        """Returns the gin files of a method's runs."""
        overlay = self.methods[method]
        return [*self.configs, *([overlay] if isinstance(overlay, str) else overlay)]


def _names(axis: Axis) -> tuple[str, ...]:
    return (axis,) if isinstance(axis, str) else axis


def _check_axis(axis: Axis, values: Sequence[Any]) -> None:
    if isinstance(values, str) or not values:
        raise StudyError(f"The axis {axis!r} needs a list of values. Received: {values!r}")
    if isinstance(axis, str):
        nested = [v for v in values if isinstance(v, (Mapping, list, tuple))]
        if len({isinstance(value, Mapping) for value in nested}) > 1:
            raise StudyError(
                f"The axis {axis!r} mixes dicts with other sequences, so equal values cannot be "
                "recognized. Write all of its values as dicts."
            )
        return
    wrong = [v for v in values if not isinstance(v, (list, tuple)) or len(v) != len(axis)]
    if wrong:
        raise StudyError(
            f"Each value of the axis {axis!r} must be a tuple of {len(axis)}. Received: "
            f"{wrong[0]!r}"
        )


def bindings(values: Mapping[str, Any]) -> list[str]:
    """Returns gin bindings, one per line.

    Args:
        values: Values by name; a string that begins with `@` or `%` is a reference or a macro.

    Raises:
        StudyError: If a value cannot be written in a configuration.
    """
    return [f"{name} = {_text(name, value)}" for name, value in values.items()]


def _text(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{key!r}: {_text(name, item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_text(name, item) for item in value)
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{comma})"
    if not isinstance(value, _PLAIN):
        raise StudyError(
            f"{name!r} must be a number, string, list or dict. Received: {value!r}. Write a "
            "reference as a string, such as '@keras.optimizers.Adam'."
        )
    return value if isinstance(value, str) and value[:1] in ("@", "%") else repr(value)
