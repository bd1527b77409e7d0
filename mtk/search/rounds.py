"""The points that a search has requested, stored in its folder."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtk import atomic, records
from mtk.errors import StudyError
from mtk.search.space import Point
from mtk.study import StudyFolder


class Rounds:
    """The points of each round of a search, written before its runs start and never changed.

    Several searches may work on one folder: the first to write a round decides it.

    Args:
        folder: The study folder.
        record: The values that identify the search.

    Raises:
        StudyError: If the folder holds another search, or a study, or its record is damaged.
    """

    def __init__(self, folder: StudyFolder, record: dict[str, Any]):
        self.path = folder.path / "search.json"
        self._folder = folder
        self._record = json.loads(json.dumps(record))
        self._read()

    def get(self, number: int, ask: Callable[[], Sequence[Point]]) -> list[Point]:
        """Returns the points of a round.

        Args:
            number: Number of the round, from 0.
            ask: Function that is called if the points were not requested yet.
        """
        rounds = self._read()
        if number < len(rounds):
            return rounds[number]
        points = list(ask())
        (self._folder.path / "leases").mkdir(parents=True, exist_ok=True)
        with self._folder.alone():
            rounds = self._read()
            if number < len(rounds):
                return rounds[number]
            content = {"search": self._record, "rounds": [*rounds, points]}
            atomic.write_json(self.path, records.with_digest(content))
        return json.loads(json.dumps(points))  # In the form that another search reads.

    def _read(self) -> list[list[Point]]:
        if not self.path.exists():
            if self._folder.list.exists():
                raise StudyError(
                    f"{str(self._folder.path)!r} contains a study that is not a search. Give "
                    "another folder."
                )
            return []
        try:
            content = records.whole(self.path)
        except records.DamagedError as error:
            raise StudyError(
                f"{str(self.path)!r} is damaged: {error}. Remove it and study.json; the search "
                "writes both again without repeating finished runs."
            ) from error
        self._check(self.path, content["search"])
        rounds: list[list[Point]] = content["rounds"]
        return rounds

    def _check(self, path: Path, found: dict[str, Any]) -> None:
        if found == self._record:
            return
        every = dict.fromkeys([*self._record, *found])
        names = [name for name in every if found.get(name) != self._record.get(name)]
        raise StudyError(
            f"{str(path)!r} belongs to a search with another {' and '.join(names) or 'goal'}. "
            "Give another folder, or restore the earlier search: only the budget may change."
        )
