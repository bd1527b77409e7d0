"""Cooldowns at rungs, on branches off a trunk with a constant learning rate."""

from dataclasses import dataclass
from numbers import Real

from mtk.errors import StudyError
from mtk.search.space import Point

BRANCH_FROM = "experiment.Checkpoints.branch_from"
KEEP_PAUSES = "experiment.Checkpoints.keep_pauses"
_SCHEDULE = "schedules.WarmupStableDecay"


@dataclass(frozen=True)
class Cooldown:
    """A decay of the learning rate to zero at each rung, and at the end.

    A trial trains with a constant learning rate: the trunk. For a rung at step s, it pauses
    `fraction * s` steps earlier; a branch continues from there while its learning rate decays to
    zero at s. The result of the branch is that of a run of s steps, and the trial is judged by it.
    The trunk continues from its pause without repeating a step. The end of the run is a rung like
    the others.

    Attributes:
        fraction: Share of the steps up to a rung that the cooldown takes.
        shape: `"1-sqrt"` or `"linear"`; see `mtk.schedules.WarmupStableDecay`.

    Reference:
        Hägele et al., *Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations*
        (2024): one trunk with cooldowns off it stands for a run of each length. Hu et al.,
        *MiniCPM* (2024).
    """

    fraction: float = 0.2
    shape: str = "1-sqrt"

    def __post_init__(self) -> None:
        """Raises a StudyError if the fraction or the shape is invalid."""
        if not isinstance(self.fraction, Real) or not 0 < self.fraction < 1:
            raise StudyError(
                "`fraction` must be the share of the steps that a cooldown takes, between 0 "
                f"and 1. Received: {self.fraction!r}"
            )
        if self.shape not in ("1-sqrt", "linear"):
            raise StudyError(f"`shape` must be '1-sqrt' or 'linear'. Received: {self.shape!r}")

    def pause(self, end: int) -> int:
        """Returns the step at which the trunk pauses for a cooldown that ends at a step."""
        return max(1, end - max(1, round(self.fraction * end)))

    def bindings(self, begin: int, end: int) -> Point:
        """Returns the bindings of a run of this length that cools down from a step on."""
        return {
            f"{_SCHEDULE}.decay_from": begin,
            f"{_SCHEDULE}.decay_to": end,
            f"{_SCHEDULE}.shape": self.shape,
            "experiment.Training.epochs": None,
            "experiment.Training.steps": end,
        }
