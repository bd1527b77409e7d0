"""The plan of a comparison, decided once and kept in its study folder."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mtk import atomic, records
from mtk.comparison import planning, sent
from mtk.comparison.look import Look
from mtk.comparison.planning import Method, Size
from mtk.errors import DamagedError, StudyError
from mtk.study import StudyFolder
from mtk.study.engines import Engine
from mtk.study.sweeping import Sweep

_FILE = Path("methods", "plan.json")
# The first arguments of a plan, which must be the same in all calls with one folder.
_SAME = ("model or other data", "`epochs`", "`batch_size`", "`monitor`")


@dataclass(frozen=True)
class Budget:
    """The budget of a comparison.

    Attributes:
        seconds: Approximate total time.
        steps: Steps per run.
        evaluations: Evaluations per run.
        slots: Number of runs in parallel.
        rates: Number of given learning rates; None for that of the size.
        seeds: Given number of fresh seeds; None for that of the size.
        searches: Whether learning rates are searched.
    """

    seconds: float
    steps: int
    evaluations: int
    slots: int
    rates: int | None
    seeds: int | None
    searches: bool

    def size(self, look: Look, methods: int, each: float | None = None) -> tuple[Size, float]:
        """Returns the largest size that fits, or the smallest one, and its seconds.

        Args:
            look: Properties of the model.
            methods: Number of methods.
            each: Seconds per run, if known; by default estimated from `look`.
        """
        expected = 0.0
        for size in planning.SIZES:
            size = size if self.seeds is None else size._replace(seeds=self.seeds)
            rates = (size.rates if self.rates is None else self.rates) + self.searches
            counts = planning.runs_of(look, methods, size, rates)
            total = planning.seconds(look, counts, self.steps, self.evaluations)
            expected = (total if each is None else sum(counts) * each) / self.slots
            if expected <= self.seconds:
                break
        return size, expected


@dataclass(frozen=True)
class Plan:
    """The runs of a comparison.

    Attributes:
        arguments: Arguments of the call, as JSON values; a call with others makes another plan.
        look: Properties of the model.
        size: Size of the comparison, once it is decided.
        learning_rates: Learning rates by label, once they are found.
        codes: Identifiers of each method's code, by label, which change if the code is edited.
    """

    arguments: Sequence[Any]
    look: Look
    size: Size | None = None
    learning_rates: Mapping[str, Sequence[float]] | None = None
    codes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def written(
        cls, out: Path, arguments: Sequence[Any], codes: Mapping[str, str] = MappingProxyType({})
    ) -> "Plan | None":
        """Returns the plan of an earlier call with these arguments, or None.

        A call that ended before its first run has left no plan.

        Args:
            out: The study folder.
            arguments: As `Plan.arguments`.
            codes: As `Plan.codes`.

        Raises:
            StudyError: If that call had inputs that lead to other runs.
        """
        planning.check_own(out)
        if not StudyFolder(out).list.is_file():
            return None
        if not (found := _read(out)):
            raise StudyError(
                f"{str(out)!r} contains a study that is not a comparison. Give another folder: "
                "`out=`."
            )
        given = json.loads(json.dumps(arguments))
        parts = zip(_SAME, found["arguments"], given, strict=False)
        if others := [name for name, before, now in parts if before != now]:
            raise StudyError(
                f"{str(out)!r} contains a comparison with another {' and '.join(others)}. Give "
                "another folder: `out=`."
            )
        before = found["codes"]
        if edited := [label for label in codes if before.get(label, codes[label]) != codes[label]]:
            raise StudyError(
                f"The code of {' and '.join(edited)} has changed since the runs in {str(out)!r} "
                "were made. Give another folder, `out=`, or rename the class."
            )
        if found["arguments"] != given:
            return None
        look = Look(**found["look"])
        return cls(arguments, look, Size(*found["size"]), found["learning_rates"], codes)

    def write(self, out: Path) -> None:
        """Writes the plan into the study folder."""
        before = _read(out)
        content = {
            "arguments": self.arguments,
            "look": self.look._asdict(),
            "size": self.size,
            "learning_rates": self.learning_rates,
            "codes": {**before.get("codes", {}), **self.codes},
        }
        if json.loads(json.dumps(content)) != before:
            atomic.write_json(out / _FILE, records.with_digest(content))


@dataclass(frozen=True)
class Trainer:
    """Executes the runs of a comparison.

    Attributes:
        out: The study folder.
        key: The return value of `Given.key`.
        methods: Methods as returned by `planning.method_of`.
        settings: Arguments of `mtk.experiment.run`.
        engine: Factory of the engine that executes the runs.
        build: The return value of `sent.packed`; None if the runs have the function themselves.
        data: The three splits.
    """

    out: Path
    key: str
    methods: Sequence[Method]
    settings: Mapping[str, Any]
    engine: Callable[[], Engine]
    build: bytes | None
    data: Any

    @property
    def labels(self) -> list[str]:
        """Labels of static weights and of the methods."""
        return [planning.STATIC, *(label for label, _, _ in self.methods)]

    def sweep(self, plan: Plan, searching: bool = False) -> None:
        """Executes the runs that are not complete yet.

        Args:
            plan: The plan, which is written without learning rates that are still searched.
            searching: As in `planning.study_of`.

        Raises:
            RuntimeError: If a signal stopped it, or some runs failed.
        """
        assert plan.size is not None
        assert plan.learning_rates is not None
        about = (self.key, plan.look, self.methods, plan.size, plan.learning_rates)
        study = planning.study_of(self.out, *about, self.settings, searching)
        if self.build is not None:
            sent.write(self.out, self.key, self.build, self.data)
        (dataclasses.replace(plan, learning_rates=None) if searching else plan).write(self.out)
        code = Sweep(study, self.out, retry_failed=True).go(self.engine())
        if code == 75:
            raise RuntimeError("The comparison was stopped. Repeat the same call to continue.")
        if code:
            raise RuntimeError(
                f"Some runs have failed; see their logs in {self.out / 'logs'}. Repeat the same "
                "call to retry them; remove methods that fail again from `methods`."
            )

    def seconds_of_a_run(self) -> float:
        """Returns the mean time of the runs so far."""
        each = StudyFolder(self.out).run_log.seconds()
        return sum(each.values()) / len(each)


def untrained_losses(out: Path) -> Mapping[str, float]:
    """Returns the losses of the untrained network by task, or {} if unknown."""
    found = _read(out)
    return dict(found["look"]["losses"]) if found else {}


def _read(out: Path) -> dict[str, Any]:
    """Returns the content of the plan in a study folder; {} if there is none.

    Raises:
        StudyError: If it is damaged.
    """
    file = out / _FILE
    if not os.path.lexists(file):
        return {}
    try:
        return records.whole(file)
    except DamagedError as error:
        raise StudyError(
            f"{str(file)!r} is damaged: {error}. Nothing was changed. Restore a copy, or give "
            "another folder: `out=`."
        ) from error
