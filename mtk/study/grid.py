"""Expands a study into its runs."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mtk import config
from mtk.errors import StudyError
from mtk.study.spec import Axis, Study, bindings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Spec = TypeVar("Spec", bound="DataclassInstance")
_DIGITS = 16
_SETTINGS = "settings of the study"
# Pauses are not part of the identity of a run.
_PAUSES = ("experiment.Checkpoints.pause_at", "experiment.Checkpoints.keep_pauses")


@dataclass(frozen=True, eq=False)
class Run:
    """One run of a study.

    Attributes:
        hash: Hash of the configuration; equal for equivalent configurations written differently.
        method: Label of its method.
        seed: Its seed.
        point: Its point of the grid: values by name.
        settings: Bindings of the study for every run.
        lines: Its configuration.
        role: Its purpose, if the method does not tell it: "replay".
        stage: "select" or "measure" in a study of two stages.
    """

    hash: str
    method: str
    seed: int
    point: dict[str, Any]
    settings: Mapping[str, Any]
    lines: tuple[config.Line, ...]
    role: str | None = None
    stage: str | None = None

    @property
    def selects(self) -> bool:
        """Whether its validation may select a model: runs of the second stage only measure."""
        return self.stage != "measure"

    @property
    def text(self) -> str:
        """Its configuration as one text, which can be parsed on its own."""
        return config.as_text(self.lines)

    @property
    def entry(self) -> dict[str, Any]:
        """Its entry in the study's list of runs."""
        about = {"hash": self.hash, "method": self.method, "seed": self.seed}
        role = {"role": self.role} if self.role else {}
        stage = {"stage": self.stage} if self.stage else {}
        return {**about, **role, **stage, "bindings": {**self.settings, **self.point}}


def refuse_run_settings(names: config.Draft, settings: str) -> None:
    """Raises an error for arguments of `mtk.experiment` in a file whose runs would not read them.

    Args:
        names: The file's names.
        settings: The parameter that passes such arguments to all runs, as written in the file.

    Raises:
        ConfigError: With the first such line.
    """
    names.refuse(
        "mtk.experiment",
        "The runs do not read this binding. Put it into one of the files of `configs`, or into "
        f"{settings}, such as {{'experiment.Training.epochs': 10}}.",
    )


class Grid:
    """Creates the runs of a study and checks every binding.

    Args:
        study: The study.
        folders: Where to search for its files, in this order, before the working directory.
    """

    def __init__(self, study: Study, folders: Sequence[str | Path] = ()):
        self.study = study
        self.folders = [Path(folder) for folder in folders]
        self._drafts: dict[str, config.Draft] = {}

    def runs(self) -> list[Run]:
        """Returns all runs except those that depend on the results of others.

        Two runs may be equal; see `distinct`.

        Raises:
            StudyError: If a file is missing, or a binding has an unknown name or a wrong value.
        """
        return [
            self.run(method, point, seed)
            for method in self.study.methods
            for point in points(self.study.grids(method))
            for seed in self.study.seeds
        ]

    def run(
        self,
        method: str,
        point: dict[str, Any],
        seed: int,
        label: str | None = None,
        role: str | None = None,
    ) -> Run:
        """Returns one run.

        Args:
            method: Label of the method whose configuration it has.
            point: Its point of the grid.
            seed: Its seed.
            label: Its own label; by default that of the method.
            role: See `Run`.

        Raises:
            StudyError: See `runs`.
        """
        with self._named_in_errors():
            own = bindings({**point, "seed": seed})
            draft = self._draft(method).overlaid(own, origin=f"grid of {method}")
            _finish(draft)
        self._check_numbers(draft, label or method, own)
        said = {**draft.bindings(), **draft.modules()}
        for name in _PAUSES:
            said.pop(name, None)
        known = json.dumps(sorted(said.items()))
        digest = hashlib.sha256(known.encode()).hexdigest()[:_DIGITS]
        about = (self.study.settings, tuple(draft.lines), role, self._stage(seed))
        return Run(digest, label or method, seed, point, *about)

    def _stage(self, seed: int) -> str | None:
        if not self.study.fresh_seeds:
            return None
        return "measure" if seed in self.study.second_stage else "select"

    def _check_numbers(self, draft: config.Draft, method: str, own: Sequence[str]) -> None:
        from mtk import experiment  # Takes seconds, and is not needed to read a study.

        try:
            experiment.check_bound(draft)
        except ValueError as error:
            raise StudyError(
                f"{error}\n  grid of {method}: {', '.join(own)}\n  in the study {self.study.name!r}"
            ) from None

    def check_names(self, needs_data: bool = False) -> None:
        """Finds missing files and misspelled names, without importing the modules.

        Args:
            needs_data: Whether the data that the runs read must exist.

        Raises:
            StudyError: See `runs`.
        """
        for method in self.study.methods:
            point = next(points(self.study.grids(method)))
            with self._named_in_errors():
                own = bindings({**point, "seed": self.study.seeds[0]})
                draft = self._read(method, lambda files: config.read_names(files, needs_data))
                _finish(draft.overlaid(own, origin=f"grid of {method}"))

    @contextlib.contextmanager
    def _named_in_errors(self) -> Iterator[None]:
        try:
            yield
        except config.ConfigError as error:
            raise StudyError(f"{error}\n  in the study {self.study.name!r}") from None

    def unread(self) -> list[str]:
        """Returns a sentence for each parameter of a grid that a method's runs do not read."""
        from mtk import experiment  # Takes seconds, and is not needed to read a study.

        found = []
        for method in self.study.methods:
            point = next(points(self.study.grids(method)))
            unmet = self._draft(method).overlaid(bindings(point)).unmet(experiment.run)
            found += [
                f"{method} does not read {name}, so its runs are the same for every value."
                for name in point
                if name in unmet
            ]
        return found

    def check_reads(self, method: str, weights: str) -> None:
        """Checks that the runs of a method read the task weights that are given to them.

        Otherwise they train with another combiner, whose results would be called static weights.

        Args:
            method: Label of the method.
            weights: Parameter that takes `{task: weight}`.

        Raises:
            StudyError: If they do not read it.
        """
        from mtk import experiment  # Takes seconds, and is not needed to read a study.

        given = next((p for p in points(self.study.grids(method)) if weights in p), {})
        draft = self._draft(method).overlaid(bindings(given))
        if weights in draft.unmet(experiment.run):
            combiner = draft.bindings().get("experiment.run.combiner", "another combiner")
            raise StudyError(
                f"The runs of {method} would not read {weights}, the task weights to search: they "
                f"train with {combiner}. Remove the line `experiment.run.combiner = ...` from the "
                "files of `configs`, or set `weights` to the parameter that takes the task weights."
                f"\n  in {self.study.name!r}"
            )

    def _draft(self, method: str) -> config.Draft:
        """Returns the configuration of a method, which is read only once."""
        if method not in self._drafts:
            self._drafts[method] = self._read(method, config.Draft.read)
        return self._drafts[method]

    def _read(self, method: str, read: Callable[[Sequence[Path]], config.Draft]) -> config.Draft:
        files = [self._find(file) for file in self.study.files(method)]
        return read(files).overlaid(bindings(self.study.settings), origin=_SETTINGS)

    def _find(self, file: str) -> Path:
        return _beside(file, self.folders) or Path(file)


def beside_includes(spec: Spec, folders: Sequence[Path], included: Sequence[Path]) -> Spec:
    """Returns a study whose relative file names can be resolved from another folder.

    File names in an included file are relative to that file, but names are searched next to the
    including file. So names that are found nowhere else are replaced by paths next to the include.

    Args:
        spec: A study, a search or a card.
        folders: Where its files are searched, before the working directory.
        included: Folders of the files that it was read from, including included files.
    """

    def found(given: Any) -> Any:
        if isinstance(given, Mapping):
            return {label: found(value) for label, value in given.items()}
        if isinstance(given, (list, tuple)):
            return [found(value) for value in given]
        if not isinstance(given, str) or _beside(given, folders) or config.find(given).is_file():
            return given
        return str(_beside(given, included) or given)

    fields = {field.name for field in dataclasses.fields(spec)} & {"configs", "methods", "files"}
    return dataclasses.replace(spec, **{name: found(getattr(spec, name)) for name in fields})


def _beside(file: str, folders: Sequence[Path]) -> Path | None:
    places = (folder / file for folder in folders)
    return next((place for place in places if place.is_file()), None)


def _finish(draft: config.Draft) -> None:
    own_folder = "Each run of a study has its own folder. Leave `run_dir` out."
    draft.refuse("mtk.experiment", own_folder, parameter="run_dir")
    draft.finish()


def points(axes: Sequence[tuple[Axis, Sequence[Any]]]) -> Iterator[dict[str, Any]]:
    """Yields the points of a grid: the product of its axes, the last one changing fastest."""
    for values in itertools.product(*(values for _, values in axes)):
        point: dict[str, Any] = {}
        for (axis, _), value in zip(axes, values, strict=True):
            point.update({axis: value} if isinstance(axis, str) else zip(axis, value, strict=True))
        yield point


def distinct(runs: Sequence[Run]) -> tuple[list[Run], list[tuple[Run, Run]]]:
    """Returns the first of each set of equal runs, and the others, each paired with the first."""
    first: dict[str, Run] = {}
    again = [(run, first[run.hash]) for run in runs if first.setdefault(run.hash, run) is not run]
    return list(first.values()), again
