"""Scores submissions, and writes the leaderboard of a card."""

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from mtk import atomic, places, records
from mtk.analysis.measure import Models
from mtk.bench import ladder
from mtk.bench.card import Card
from mtk.bench.ledger import Ledger
from mtk.bench.ranking import Standing, difference, rank
from mtk.bench.received import Submission, received
from mtk.display import counted
from mtk.errors import StudyError
from mtk.search.spec import METHOD

_LARGEST = 1 << 30
_WRITTEN = ("leaderboard.json", "leaderboard.html")


class Board:
    """A folder with scores: `reads.jsonl`, `scored/`, `leaderboard.html` and `.json`.

    `scored/` has the measurements, which are not published.

    Args:
        path: The folder.
        card: The card.
        folders: Where to search for the files of the card, before the working directory.
    """

    def __init__(self, path: str | Path, card: Card, folders: Sequence[str | Path] = ()):
        self.path, self.card, self.folders = Path(path), card, list(folders)
        self.hash = card.hash(folders)
        self.ledger = Ledger(self.path)

    def score(self, submission: str | Path, labels: str | Path | None = None) -> str:
        """Scores a submission once, and writes the leaderboard.

        Args:
            submission: A folder or a `.zip` file.
            labels: File with the test labels, if the data have none.

        Returns:
            The answer, in words.

        Raises:
            StudyError: If the submission is invalid, or no read is left. Then no read is spent.
        """
        places.check_writable(self.path)
        self._check_own()
        with received(submission) as got, self.ledger.alone():
            reads = self.ledger.entries()
            known = next((r for r in reads if r["submission"] == got.hash), None)
            if known is None:
                self._check(got, reads)
                known = self._read(got, reads, labels)
            standings = self.write()
        return self._answer(known, standings)

    def write(self) -> dict[str, Standing]:
        """Writes the leaderboard, and returns the standings."""
        shown = self._shown()
        models = {name: self._models(read["scored"])[0] for name, read in shown.items()}
        standings = rank(models, self.card.delta)
        content = self._content(shown, standings)
        data, page = (self.path / name for name in _WRITTEN)
        atomic.write_json(data, content)
        with atomic.replacing(page) as aside:
            aside.write_text(_page(content), encoding="utf-8")
        return standings

    def _check_own(self) -> None:
        """Checks that the output does not replace files of others."""
        written = [self.path / name for name in _WRITTEN]
        places.check_no_links([*written, self.ledger.path, self.path / "scored"])
        for place in written:
            places.file_target(place)
        found = [place.name for place in written if place.exists()]
        if found and not self.ledger.path.exists():
            raise StudyError(
                f"{str(self.path)!r} contains {found[0]!r} but no 'reads.jsonl', so it is not a "
                "board. Nothing was changed. Give a new folder: --board_dir=PATH."
            )

    def _check(self, got: Submission, reads: Sequence[Mapping[str, Any]]) -> None:
        about, entry = got.about, got.about["entry"]
        if any(read["card"] != self.hash for read in reads):
            raise StudyError(
                f"{str(self.path)!r} is the board of another card, or {self.card.name!r} was "
                "changed after the board was started. Give another --board_dir, or restore the "
                "card."
            )
        if about["card"]["hash"] != self.hash:
            raise StudyError(
                f"The submission was made for another card, or for {self.card.name!r} before it "
                "was changed. No read was spent. Run the entry again with this card."
            )
        if (tried := round(about["cost"]["configurations"])) > self.card.configurations:
            raise StudyError(
                f"The submission tried {counted(tried, 'configuration')}, but the card allows "
                f"{self.card.configurations}. No read was spent. Run the entry with mtk bench run."
            )
        spent = sum(read["entry"] == entry for read in reads)
        if not reads and entry != METHOD:
            raise StudyError(
                "A board must start with entry 0, tuned static weights. Run and score it "
                f"first: mtk bench run --method={METHOD}. No read was spent."
            )
        if entry == METHOD and spent:
            raise StudyError(
                "Entry 0 was already scored, and all other entries are compared with it. No "
                "read was spent. For another entry 0, start another board."
            )
        if spent >= self.card.reads:
            raise StudyError(
                f"{entry!r} has no reads left: all {self.card.reads} reads that the card allows "
                "were spent. Nothing was scored, and the leaderboard stays as it is."
            )

    def _read(
        self, got: Submission, reads: Sequence[Mapping[str, Any]], labels: str | Path | None
    ) -> dict[str, Any]:
        """Measures a submission, and records the read."""
        from mtk.bench.scoring import scorer_of

        scorer = scorer_of(self.card, self.folders, labels)
        if got.about["data"] != scorer.data:
            raise StudyError(
                "The submission used different data from those here. No read was spent.\n"
                f"Expected: {json.dumps(scorer.data)}\n"
                f"Received: {json.dumps(got.about['data'])}"
            )
        models, every = scorer.score(got)
        self._check_comparable(got, models, every, reads)
        digest = self._keep(models, every, got.about)
        improved = self._improves(got.about["entry"], models)
        return self.ledger.add(
            {
                "card": self.hash,
                "entry": got.about["entry"],
                "submission": got.hash,
                "scored": digest,
                "improved": improved,
            }
        )

    def _check_comparable(
        self, got: Submission, models: Models, every: int, reads: Sequence[Mapping[str, Any]]
    ) -> None:
        seeds = [run["seed"] for run in got.about["models"][0]["runs"]]
        if not reads:
            return
        first, about = self._models(reads[0]["scored"])
        if seeds != about["seeds"]:
            raise StudyError(
                f"The submission has the seeds {seeds}, but entry 0 has {about['seeds']}. No "
                "read was spent. Run the entry with mtk bench run of this version."
            )
        if every != about["every"] or (first.examples is None) != (models.examples is None):
            raise StudyError(
                "The submission has predictions for other test examples than entry 0. No read "
                "was spent."
            )

    def _improves(self, entry: str, models: Models) -> bool:
        """Returns whether a submission is better than the shown one of its entry."""
        shown = self._shown()
        if entry not in shown:
            return True
        zero = self._models(shown[METHOD]["scored"])[0]
        before = self._models(shown[entry]["scored"])[0]
        three = {METHOD: zero, "before": before, "now": models}
        return ladder.improves(*difference(three, "now", "before"))

    def _shown(self) -> dict[str, dict[str, Any]]:
        """Returns the read that is shown for each entry: the last improvement."""
        return {read["entry"]: read for read in self.ledger.entries() if read["improved"]}

    def _keep(self, models: Models, every: int, about: Mapping[str, Any]) -> str:
        """Stores the measurements and their examples, and returns the hash of the file."""
        arrays = {"values": models.values}
        if models.examples is not None:
            arrays["examples"] = models.examples
        kept = {
            "seeds": [run["seed"] for run in about["models"][0]["runs"]],
            "every": every,
            **{name: about[name] for name in ("cost", "code")},
        }
        written = io.BytesIO()
        np.savez_compressed(written, about=np.array(json.dumps(kept)), **arrays)  # type: ignore[arg-type]
        digest = hashlib.sha256(written.getvalue()).hexdigest()
        folder = self.path / "scored"
        folder.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(folder / f"{digest}.npz") as aside:
            aside.write_bytes(written.getvalue())
        return digest

    def _models(self, digest: str) -> tuple[Models, dict[str, Any]]:
        """Returns stored measurements, with the seeds and costs."""
        path = self.path / "scored" / f"{digest}.npz"
        try:
            with records.opened(path, _LARGEST) as file:
                content = file.read()
        except OSError:
            content = b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise StudyError(
                f"{str(path)!r} is missing or was changed. Nothing was scored. Restore a copy."
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            examples = found["examples"] if "examples" in found.files else None
            return Models(found["values"], examples=examples), json.loads(str(found["about"]))

    def _content(
        self, shown: Mapping[str, Mapping[str, Any]], standings: Mapping[str, Standing]
    ) -> dict[str, Any]:
        """Returns the published values of all entries, the best first."""
        reads = [read["entry"] for read in self.ledger.entries()]
        rows = []
        for name, standing in standings.items():
            models, about = self._models(shown[name]["scored"])
            row = {"entry": name, "is_entry_0": name == METHOD, **_told(standing)}
            cost = about["cost"]
            unit = cost["static_cpu_seconds"] or float("nan")
            row["cpu_seconds"] = round(
                cost["tuning_cpu_seconds"] + cost["measuring_cpu_seconds"], 3
            )
            row["configurations"] = int(cost["configurations"])
            row["static_runs"] = round(cost["tuning_cpu_seconds"] / unit, 1)
            row["models"], row["seeds"] = models.values.shape[:2]
            row["reads"], row["reads_allowed"] = reads.count(name), self.card.reads
            rows.append(row)
        rows.sort(key=lambda row: (row["place"], -row["hypervolume"]))
        return {
            "card": self.card.name,
            "hash": self.hash,
            "metrics": {task: self.card.metric(task)[0] for task in self.card.tasks},
            "delta": self.card.delta,
            "configurations": self.card.configurations,
            "remark": self.card.remark,
            "entries": rows,
        }

    def _answer(self, read: Mapping[str, Any], standings: Mapping[str, Standing]) -> str:
        name = read["entry"]
        if not read["improved"]:
            return (
                f"{name}: not better than its earlier submission by more than the noise. The "
                "leaderboard keeps the earlier one, and no score is shown."
            )
        row = _told(standings[name])
        if read["hash"] != self._shown()[name]["hash"]:
            return (
                f"{name}: a later submission of it is better by more than the noise, and the "
                f"leaderboard shows that one: place {row['place']}."
            )
        if name == METHOD:
            volume = f"hypervolume {row['hypervolume']}, as a share of the box used for all entries"
            return f"{name} is entry 0: {volume}."
        ties = METHOD in standings[name].ties
        tie = ", a tie with entry 0" if ties else ""
        above = not ties and standings[name].place < standings[METHOD].place
        return (
            f"{name}: place {row['place']}{tie}; hypervolume {row['hypervolume']}, "
            f"{row['gain']:+g} compared with entry 0 ({row['low']:+g} to "
            f"{row['high']:+g}).{f' {self.card.remark}' if above and self.card.remark else ''}"
        )


def _told(standing: Standing) -> dict[str, Any]:
    """Returns the published values of an entry, all rounded to their noise."""
    noise = standing.noise
    return {
        "place": standing.place,
        "ties": list(standing.ties),
        "hypervolume": ladder.told(standing.value, noise),
        **{name: ladder.told(getattr(standing, name), noise) for name in ("gain", "low", "high")},
        "noise": ladder.step(noise) or None,
        "r2": ladder.told(standing.utility, standing.utility_noise),
    }


def _page(content: Mapping[str, Any]) -> str:
    """Returns the leaderboard as a self-contained page."""
    folder = resources.files("mtk.bench") / "templates"
    style = Markup((folder / "leaderboard.css").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(str(style).encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mtk.bench"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    policy = f"default-src 'none'; style-src 'sha256-{digest}'"
    template = environment.get_template("leaderboard.html")
    return template.render(**content, policy=policy, style=style, zero=METHOD)
