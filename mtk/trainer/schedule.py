"""Schedules which steps compute per-task gradients."""

import contextlib
from collections.abc import Iterator

from mtk.combiners import Combiner


class GradientSchedule:
    """Determines which steps compute per-task gradients.

    Methods that read task gradients define the steps, such as every `update_every`; for all others
    they are computed only for diagnostics.

    Attributes:
        diagnostics_every: Number of steps between those that compute task gradients only for
            diagnostics, if the combiner does not read them; None for never.
    """

    def __init__(self) -> None:
        self.diagnostics_every: int | None = None
        self._now: bool | None = None

    def at(self, step: int, combiner: Combiner, has_shared: bool) -> bool:
        """Returns whether a step, counted from zero, computes task gradients.

        For diagnostics it does so only if the tasks share variables.
        """
        if combiner.reads != "losses":
            return combiner.takes_gradients_at(step)
        every = self.diagnostics_every
        return has_shared and every is not None and (step + 1) % every == 0

    def now(self, combiner: Combiner) -> bool:
        """Returns whether the step being traced computes task gradients.

        Outside of `fit`, a step does so if the combiner reads them.
        """
        return combiner.reads != "losses" if self._now is None else self._now

    @contextlib.contextmanager
    def tracing(self, per_task: bool) -> Iterator[None]:
        """Within this context, `now` is `per_task`."""
        before, self._now = self._now, per_task
        try:
            yield
        finally:
            self._now = before
