"""One study in one setting, prepared for reading."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mtk.analysis import completeness, objectives
from mtk.analysis.candidate import Candidates, candidates
from mtk.analysis.compute import with_cost
from mtk.analysis.measurement import STATIC
from mtk.analysis.objectives import Spaces
from mtk.analysis.repeats import checked, configurations, with_setting


@dataclass(frozen=True)
class View:
    """What is fairly compared: runs of one study, of one size and length.

    Attributes:
        title: The study, and the setting if there are several.
        table: Its runs, as `load` makes them.
        found: Its configurations, as `configurations` makes them.
        spaces: Sets of objectives by name.
        unknown: Metrics of which nobody said whether more or less is better.
    """

    title: str
    table: pd.DataFrame
    found: pd.DataFrame
    spaces: Spaces
    unknown: Sequence[str]

    @property
    def tasks(self) -> list[str]:
        return objectives.tasks(self.table)

    @property
    def methods(self) -> list[str]:
        """All methods but static weights and single-task runs, in the order of the study."""
        rows = self.found[self.found["role"].isin(["method", "replay"])]
        return list(dict.fromkeys(rows["method"]))

    def of(self, method: str) -> pd.DataFrame:
        """Returns the configurations of a method, or of the static weights."""
        if method == STATIC:
            return self.found[self.found["role"] == "baseline"]
        return self.found[
            (self.found["method"] == method) & self.found["role"].isin(["method", "replay"])
        ]

    def runs(self, method: str) -> pd.DataFrame:
        """Returns the runs of a method, or of the static weights."""
        own = self.of(method)
        return self.table[
            self.table["configuration"].isin(own["configuration"])
            & self.table["role"].isin(own["role"])
            & self.table["method"].isin(own["method"])
        ]

    def candidates(self, method: str, space: str) -> Candidates:
        """Returns the comparable configurations of a method; `rows` counts within `of(method)`."""
        return candidates(self.of(method), self.spaces[space])


def views(
    table: pd.DataFrame,
    higher: Iterable[str] = (),
    lower: Iterable[str] = (),
    costs: Mapping[str, float] | None = None,
) -> list[View]:
    """Returns a view for each study and setting of a table.

    Args:
        table: As `load` makes it.
        higher: Names of metrics of which more is better, if the runs do not tell.
        lower: Names of metrics of which less is better, if the runs do not tell.
        costs: Relative cost of a step by method, in place of the measured one.
    """
    found = []
    for study, runs in checked(table).groupby("study", sort=False):
        settings = with_setting(runs)["setting"]
        # A run that left no configuration behind stands with each setting's runs to be counted.
        lost = (runs["status"] != "finished") & (settings == "")
        names = list(dict.fromkeys(settings[~lost])) or [""]
        for number, name in enumerate(names):
            own = with_cost(runs[((settings == name) & ~lost) | (lost & (number == 0))], costs)
            compared = completeness.compared(own)
            own = own[[c for c in own if c in compared or not objectives.is_metric(c)]]
            title = f"{study} ({name})" if len(names) > 1 else str(study)
            sets, unknown = objectives.spaces(own, higher, lower)
            found.append(View(title, own, configurations(own), sets, unknown))
    return found
