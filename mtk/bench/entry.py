"""Does the whole budget of one entry: the cost of a static run, tuning, measuring."""

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtk import atomic, places, records
from mtk.bench.card import METHODS, STATIC_RUN, Card, check_label
from mtk.config import names
from mtk.errors import StudyError
from mtk.search import search
from mtk.search.spec import METHOD
from mtk.study import Study, StudyFolder, sweep
from mtk.study.engines import Engine, Local


class BenchFolder:
    """A folder with a study folder for each entry of a card.

    `bench.json` identifies the card; `static_run/` is a study of one run, which measures the cost
    of a static run on this machine; `methods/` has the configurations of methods given as classes.

    Args:
        path: The folder.
        card: The card.
        folders: Where to search for the files of the card, before the working directory.

    Raises:
        StudyError: If the folder belongs to another card.
    """

    def __init__(self, path: str | Path, card: Card, folders: Sequence[str | Path] = ()):
        self.path, self.card, self.folders = Path(path), card, list(folders)
        self.hash = card.hash(folders)
        places.check_kind(self.path, "a bench")
        known = self.path / "bench.json"
        try:
            found = records.json_object(known) if known.exists() else {"hash": self.hash}
        except records.DamagedError as error:
            raise StudyError(
                f"{str(known)!r} is damaged: {error}. If the folder belongs to this card, "
                "remove this file and run the same command again."
            ) from error
        if found.get("hash") != self.hash:
            raise StudyError(
                f"{str(self.path)!r} belongs to another card, or {card.name!r} was changed "
                "later. Give another --bench_dir, or restore the card."
            )

    def entry(self, label: str) -> StudyFolder:
        """Returns the study folder of an entry."""
        return StudyFolder(self.path / label)

    def begin(self) -> None:
        """Creates the folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "bench.json").exists():
            about = {"card": self.card.name, "hash": self.hash}
            atomic.write_json(self.path / "bench.json", about)

    def method(self, given: str) -> tuple[str, list[str]]:
        """Returns the label and the gin files of a method.

        Args:
            given: A label of the card, a gin file, or a class: a name in `mtk.combiners`, or
                `my_package.my_module:Name`.

        Raises:
            StudyError: If it is none of these.
        """
        if given == METHOD or given in self.card.methods:
            return given, self.card.files(given)
        label, lines = named(self.card, given)
        if not lines:
            return label, self.card.files(given)
        file = self.path / METHODS / f"{label}.gin"
        text = "\n".join(["from __gin__ import dynamic_registration", *lines, ""])
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return label, [str(file.absolute())]

    def static_seconds(self) -> float | None:
        """Returns the CPU seconds of a static run; None if they are not measured yet."""
        return sum(StudyFolder(self.path / STATIC_RUN).run_log.cpu_seconds().values()) or None

    def measure_static_run(self, engine: Callable[[], Engine]) -> int:
        """Does a run of static weights, unless it is done; returns the exit code of a sweep."""
        asked = self.card.search(METHOD)
        point = asked.first_point
        study = Study(
            name=f"{self.card.name} static run",
            configs=self.card.configs,
            methods={METHOD: ()},
            settings=asked.settings,
            grid={name: [value] for name, value in point.items()},
            fresh_seeds=0,
            baseline=METHOD,
            weights=self.card.weights,
        )
        code = sweep(study, self.path / STATIC_RUN, engine, self.folders)
        if code == 0:
            self._check_data()
        return code

    def _check_data(self) -> None:
        runs = (self.path / STATIC_RUN / "runs").iterdir()
        found = next((data_of(run) for run in runs if (run / "result.json").exists()), {})
        check_data(self.card, found, "These data")


def named(card: Card, given: str) -> tuple[str, list[str]]:
    """Returns the label of a method that is not on the card, and lines that name its class.

    Args:
        card: The card.
        given: See `BenchFolder.method`; for a gin file, no lines are returned.

    Raises:
        StudyError: If it is not a method.
    """
    module, _, name = given.rpartition(":")
    is_file = given.endswith(".gin")
    label = Path(given).stem if is_file else name
    check_label(label)
    if is_file:
        return label, []
    if not module and not _is_combiner(name):
        raise StudyError(
            f"{given!r} is not a method. Give one of the card's methods, "
            f"{', '.join([METHOD, *card.methods])}, a class in mtk.combiners, MODULE:NAME, or a "
            ".gin file."
        )
    lines = [f"import {module}" if module else "from mtk import combiners"]
    reference = f"@{module or 'combiners'}.{name}"
    return label, [*lines, "from mtk import experiment", f"experiment.run.combiner = {reference}"]


def _is_combiner(name: str) -> bool:
    with contextlib.suppress(names.NoSuchNameError):
        return names.look_up("mtk.combiners", [name]) is not None
    return False


def data_of(run: Path) -> dict[str, str]:
    """Returns the fingerprint of a run's data."""
    found = records.json_object(run / "result.json").get("data")
    return found if isinstance(found, dict) else {}


def check_data(card: Card, found: dict[str, str], what: str) -> None:
    """Checks that data match the fingerprint on a card, if it has one.

    Args:
        card: The card.
        found: The fingerprint of the data.
        what: The owner of the data, in words.

    Raises:
        StudyError: If they differ.
    """
    if card.data and dict(card.data) != found:
        raise StudyError(
            f"{what} are not those of the card {card.name!r}. Use the data that the card names; "
            "or, for your own task, put their fingerprint into a card with another name.\n"
            f"Expected: {json.dumps(dict(card.data))}\n"
            f"Received: {json.dumps(found)}"
        )


def run(
    card: Card,
    method: str,
    bench_dir: str | Path,
    engine: Callable[[], Engine] = Local,
    folders: Sequence[str | Path] = (),
    retry_failed: bool = False,
) -> int:
    """Runs the whole budget of a method, or what is left of it.

    A static run is measured first, since its CPU seconds are the unit of the budget. Then the
    method is tuned (static weights by `mtk.search`), and the models of its front on validation,
    five at most, are run with five fresh seeds. Tests stay sealed.

    Args:
        card: The task.
        method: A method as in `BenchFolder.method`; "static_weights" is entry 0.
        bench_dir: Output folder.
        engine: Factory of the engine that does the runs.
        folders: Where to search for the files of the card, before the working directory.
        retry_failed: Whether to repeat failed runs.

    Returns:
        0 if all runs are done, 1 if runs have failed, 75 if it was stopped; the same call then
        continues.

    Raises:
        StudyError: If the card, method or data are invalid, or the budget is smaller than one run.
    """
    folder = BenchFolder(bench_dir, card, folders)
    label, files = folder.method(method)
    folder.begin()
    code = folder.measure_static_run(engine)
    if code:
        return code
    unit = folder.static_seconds()
    budget = None if label == METHOD or unit is None else card.configurations * unit
    place, given = folder.entry(label).path, (engine, folders, retry_failed)
    found = search(card.search(label, files, budget), place, *given)
    if found.exit_code == 75:
        return found.exit_code
    _check_budget(folder.entry(label), label, budget)
    if not found.chosen:
        return 1
    confirmed = card.search(label, files, confirmed=len(found.trials))
    done = search(confirmed, place, *given)
    print(done)
    return max(found.exit_code, done.exit_code)


def _check_budget(entry: StudyFolder, label: str, budget: float | None) -> None:
    spent = entry.run_log.cpu_seconds()
    least = min(spent.values(), default=0.0)
    if budget is not None and least > budget and not math.isclose(least, budget):
        raise StudyError(
            f"The budget of {budget:.1f} CPU seconds is smaller than one run of {label}, which "
            f"took {least:.1f}. This method is too expensive for this card; raise `configurations` "
            "in your own card."
        )


def costs(entry: StudyFolder, listed: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns the costs of an entry: configurations, CPU seconds of tuning and of measuring.

    Args:
        entry: Its study folder.
        listed: The study's list of its runs.
    """
    spent = entry.run_log.cpu_seconds()
    measuring = [run["hash"] for run in listed if run.get("stage") == "measure"]
    tuning = [run["hash"] for run in listed if run["hash"] not in measuring]
    return {
        "configurations": len(tuning),
        "tuning_cpu_seconds": round(sum(spent.get(run, 0.0) for run in tuning), 3),
        "measuring_cpu_seconds": round(sum(spent.get(run, 0.0) for run in measuring), 3),
    }
