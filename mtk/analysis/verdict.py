"""Whether a method beats static weights, and what cannot be said."""

from dataclasses import dataclass

import numpy as np

from mtk.analysis.candidate import Candidates
from mtk.analysis.leading import Lead, lead, scale_of
from mtk.analysis.spread import over_grids, over_seeds

# Fewer static weightings inside the front, or fewer repeated runs, show no spread.
_FEWEST = 4
_FEWEST_RUNS = 6
# Nearer than this is a tie: what remains is rounding.
_TIE = 1e-9


@dataclass(frozen=True)
class Verdict:
    """What is known about one method against static weights.

    Attributes:
        lead: How far it lies beyond the front at most; see `Lead`.
        configurations: How many configurations the method had, and static weights.
        over_seeds: Interval of the lead over seeds, or None if too few seeds were repeated.
        over_grids: Leads of static weightings over the front of the others.
        level: Confidence of the interval.
        average: Whether means over tasks were compared, not fronts.
    """

    lead: Lead
    configurations: tuple[int, int]
    over_seeds: tuple[float, float] | None
    over_grids: np.ndarray
    level: float
    average: bool = False

    @property
    def is_beyond(self) -> bool:
        return self.lead.amount > _TIE

    @property
    def exceeds_seeds(self) -> bool | None:
        """Whether the lead is more than the seeds explain; None if that cannot be said."""
        return None if self.over_seeds is None else self.over_seeds[0] > 0

    @property
    def exceeds_grids(self) -> bool | None:
        """Whether no static weighting leads as far; None if that cannot be said."""
        if len(self.over_grids) < _FEWEST:
            return None
        return bool(self.lead.amount > self.over_grids.max())

    @property
    def unit(self) -> str:
        """What leads are a share of."""
        return "what static weights reach" if self.average else "the front's width"

    @property
    def conclusion(self) -> str:
        """One of seven short answers."""
        if not self.configurations[0]:
            return "no run to judge"
        if not self.configurations[1]:
            return "no static weights to compare with"
        if not self.is_beyond:
            return "extends the front only" if self.lead.extends else "not beyond"
        if False in (self.exceeds_seeds, self.exceeds_grids):
            return "beyond, but within the spread"
        if None in (self.exceeds_seeds, self.exceeds_grids):
            return "beyond, but nothing can be concluded"
        return "beyond"

    @property
    def words(self) -> str:
        """The conclusion with its reasons."""
        if not min(self.configurations):
            return f"{self.conclusion.capitalize()}."
        if not self.is_beyond:
            return self._behind()
        return (
            f"{self.conclusion.capitalize()}: by {_share(self.lead.amount)} of {self.unit}. "
            f"{self._seeds()} {self._grids()}"
        )

    def _behind(self) -> str:
        if self.lead.extends:
            return (
                "Extends the front only: better in some task than all static weightings, in all "
                "tasks than none. A static weighting outside the grid may do the same."
            )
        if abs(self.lead.amount) <= _TIE:
            return "Not beyond: a tie with " + (
                "the static weights."
                if self.average
                else "a static weighting, which is nowhere worse and in some task equal."
            )
        worse = (
            "its selected model is worse than that of static weights"
            if self.average
            else "even the closest of its selected models is worse in every task than a static "
            "weighting"
        )
        return f"Not beyond: {worse}, by {_share(-self.lead.amount)} of {self.unit}."

    def _seeds(self) -> str:
        if self.over_seeds is None:
            return "Too few seeds were repeated to tell whether others would say the same."
        low, high = map(_bound, self.over_seeds)
        verb = "exceeds" if self.exceeds_seeds else "does not exceed"
        return f"It {verb} the spread over seeds ({self.level:.1%} interval: {low} to {high})."

    def _grids(self) -> str:
        number = len(self.over_grids)
        if self.exceeds_grids is None:
            few = {0: "No static weighting lies", 1: "Only 1 static weighting lies"}
            lie = few.get(number, f"Only {number} static weightings lie")
            return f"{lie} inside the front: its own spread is unknown."
        reach = int((self.over_grids >= self.lead.amount).sum())
        verb = "exceeds" if self.exceeds_grids else "does not exceed"
        return (
            f"It {verb} the spread over sparse grids of weights: {reach} of {number} static "
            "weightings lie as far beyond the others."
        )


def _share(amount: float) -> str:
    """Returns a distance as a percentage that is never zero."""
    return f"{amount:.1%}" if amount >= 0.0005 else "less than 0.1%"


def _bound(amount: float) -> str:
    """Returns an end of an interval, in which a lead may be none and a zero has no sign."""
    return f"{round(amount, 3) + 0.0:.1%}" if np.isfinite(amount) else "extending the front only"


def judge(
    method: Candidates,
    static: Candidates,
    noise: np.ndarray,
    comparisons: int = 1,
    draws: int = 1000,
) -> Verdict:
    """Compares a method with static weights.

    Args:
        method: The method's configurations.
        static: The static weightings.
        noise: Residuals over seeds `(R, 2 K)`, of validation and test; no rows if there are none.
        comparisons: Methods that are compared. The confidence grows with it (Bonferroni), since
            of many methods one lies ahead by luck.
        draws: Of the bootstrap.

    Returns:
        The verdict.
    """
    level = 1 - 0.05 / max(comparisons, 1)
    sizes = (len(method), len(static))
    if not min(sizes):
        return Verdict(Lead(-np.inf, -1, 0, 0), sizes, None, np.empty(0), level)
    scale = scale_of(static)
    found = lead(method, static, scale)
    seeds = None
    if len(noise) >= _FEWEST_RUNS and found.amount > 0:
        seeds = over_seeds(method, static, scale, noise, level, draws)
    average = len(scale) == 1
    return Verdict(found, sizes, seeds, over_grids(static, scale, len(method)), level, average)
