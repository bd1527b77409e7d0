"""How long runs take, as far as it is known."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from mtk.study.expansion import Run


class Estimate:
    """Expects a run to take as long as those of its method did, or else as any did.

    Args:
        seconds: What completed runs took, by hash.
        runs: All runs.
        expected: What is taken before any run is completed; None if nothing is known.
    """

    def __init__(
        self, seconds: Mapping[str, float], runs: Sequence[Run], expected: float | None = None
    ):
        self.expected = expected
        self.measured: dict[str, list[float]] = {}
        for run in runs:
            if run.hash in seconds:
                self.add(run, seconds[run.hash])

    def add(self, run: Run, seconds: float) -> None:
        """Adds what a completed run took."""
        self.measured.setdefault(run.method, []).append(seconds)

    def of(self, run: Run) -> float | None:
        """Returns the seconds that a run is expected to take, or None."""
        own = self.measured.get(run.method)
        found = own or [second for each in self.measured.values() for second in each]
        return fmean(found) if found else self.expected

    def total(self, runs: Sequence[Run], slots: int) -> float | None:
        """Returns the seconds that several runs take, so many at a time, or None."""
        each = [self.of(run) for run in runs]
        known = [seconds for seconds in each if seconds is not None]
        if len(known) < len(each):
            return None
        return sum(known) / min(slots, max(len(known), 1))
