"""Which steps take the gradient of each task."""

import contextlib
from collections.abc import Iterator

from mtk.combiners import Combiner


class GradientSchedule:
    """Tells which steps take the gradient of each task.

    Methods that read task gradients say at which steps they take them, as every `update_every`; all
    others take them only for diagnostics.

    Attributes:
        diagnostics_every: Steps between two that take task gradients for diagnostics alone, where
            the combiner does not read them; None for never.
    """

    def __init__(self) -> None:
        self.diagnostics_every: int | None = None
        self._now: bool | None = None

    def at(self, step: int, combiner: Combiner, has_shared: bool) -> bool:
        """Returns whether a step, counted from zero, takes task gradients.

        For diagnostics it does so only where the tasks share variables.
        """
        if combiner.reads != "losses":
            return combiner.takes_gradients_at(step)
        every = self.diagnostics_every
        return has_shared and every is not None and (step + 1) % every == 0

    def now(self, combiner: Combiner) -> bool:
        """Returns whether the step that is being traced takes task gradients.

        Outside of `fit`, a step does so where the combiner reads them.
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
