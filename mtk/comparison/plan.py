"""How much a comparison tries, decided once and kept in its study folder."""

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
# The first arguments of a plan, which all calls with one folder have in common.
_SAME = ("model or other data", "`epochs`", "`batch_size`", "`monitor`")


@dataclass(frozen=True)
class Budget:
    """What a comparison may take.

    Attributes:
        seconds: In all, about.
        steps: Of a run.
        evaluations: Of a run.
        slots: Runs at a time.
        rates: Learning rates that are given; None for as many as the size says.
        seeds: Fresh seeds that are given; likewise.
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
        """Returns the largest size that fits, or the least, and how many seconds it takes.

        Args:
            look: The model.
            methods: How many are compared.
            each: Seconds of a run, where that is known; by default those of the look.
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
    """What a comparison trains.

    Attributes:
        arguments: What it was called with, as JSON can hold it: another call makes another plan.
        look: The model.
        size: How much is tried, once it is decided.
        learning_rates: By label, once they are found.
        codes: What tells the code of each method from that before an edit, by label.
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

        A call that ended before its first run had none.

        Args:
            out: The study folder.
            arguments: As `Plan.arguments`.
            codes: As `Plan.codes`.

        Raises:
            StudyError: If that call had what makes other runs.
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
    """Does the runs of a comparison.

    Attributes:
        out: The study folder.
        key: As `Given.key` returned it.
        methods: As `planning.method_of` returns them.
        settings: Arguments of `mtk.experiment.run`.
        engine: Factory of what does the runs.
        build: As `sent.packed` returned it; None where the runs know the function themselves.
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
        """Of static weights and the methods."""
        return [planning.STATIC, *(label for label, _, _ in self.methods)]

    def sweep(self, plan: Plan, searching: bool = False) -> None:
        """Does the runs that are not done yet.

        Args:
            plan: The plan, which is written but for learning rates that are still searched.
            searching: As in `planning.study_of`.

        Raises:
            RuntimeError: If a signal has stopped it, or some runs have failed.
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
        """Returns how long a run took so far, on average."""
        each = StudyFolder(self.out).run_log.seconds()
        return sum(each.values()) / len(each)


def untrained_losses(out: Path) -> Mapping[str, float]:
    """Returns the losses of the untrained network by task, or {} where they are not known."""
    found = _read(out)
    return dict(found["look"]["losses"]) if found else {}


def _read(out: Path) -> dict[str, Any]:
    """Returns what the plan of a study folder says; nothing if there is none.

    Raises:
        StudyError: If it is not as it was written.
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
