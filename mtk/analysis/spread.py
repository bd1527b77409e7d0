"""How far apart results lie for reasons that are no method's merit: seeds and sparse grids."""

import numpy as np

from mtk.analysis.candidate import Candidates
from mtk.analysis.leading import lead

# Random sub-grids where the static weights are not known.
_SPLITS = 20


def over_seeds(
    method: Candidates,
    static: Candidates,
    scale: np.ndarray,
    noise: np.ndarray,
    level: float,
    draws: int = 1000,
) -> tuple[float, float]:
    """Returns an interval of the lead over the seeds, by a residual bootstrap.

    Each draw gives every configuration, the front's too, a new mean: its own plus the mean of as
    many residuals as it had seeds, drawn from all repeated configurations. Then selection starts
    anew. A lead is a maximum, and noise makes maxima larger: where the draws lie above the lead on
    average, they are moved down by that much.

    Args:
        method: The method's configurations.
        static: The static weightings.
        scale: As in `lead`.
        noise: Residuals `(R, 2 K)`, of validation and then of test.
        level: Confidence, such as 0.95.
        draws: Number of draws.

    Reference:
        Efron & Tibshirani, *An Introduction to the Bootstrap* (1993), chapters 9, 10 and 13.
    """
    generator = np.random.default_rng(0)
    observed = lead(method, static, scale).amount
    leads = np.array(
        [
            lead(_redrawn(method, noise, generator), _redrawn(static, noise, generator), scale)[0]
            for _ in range(draws)
        ]
    )
    real = leads[np.isfinite(leads)]
    optimism = max(0.0, float(real.mean()) - observed) if len(real) else 0.0
    tail = (1 - level) / 2
    low, high = np.quantile(leads, [tail, 1 - tail], method="nearest") - optimism
    return float(low), float(high)


def _redrawn(models: Candidates, noise: np.ndarray, generator: np.random.Generator) -> Candidates:
    """Returns the models as other seeds might have made them."""
    number = models.seeds
    drawn = noise[generator.integers(0, len(noise), number.sum())]
    starts = np.cumsum(number) - number
    means = np.add.reduceat(drawn, starts, axis=0) / number[:, None]
    return models.shifted(*np.split(means, 2, axis=1))


def over_grids(static: Candidates, scale: np.ndarray, size: int) -> np.ndarray:
    """Returns how far static weightings themselves lie beyond the front of the other ones.

    One weighting after the other is held out, with as many of its configurations as the method had,
    and treated as if it were a method. What remains, sparse as it is, plays the front. Where
    the weights are not known, random configurations are held out.

    Args:
        static: The static weightings.
        scale: As in `lead`.
        size: Configurations of the method.

    Returns:
        The leads. A weighting that only extends the front, as the outermost ones do, says nothing
        and is left out.
    """
    generator = np.random.default_rng(0)
    groups = [np.flatnonzero(static.groups == group) for group in np.unique(static.groups)]
    if len(groups) < 3:
        most = min(size, len(static) // 3)
        groups = [generator.permutation(len(static))[:most] for _ in range(_SPLITS)] if most else []
    leads = []
    for group in groups:
        held = generator.permutation(group)[:size]
        rest = np.setdiff1d(np.arange(len(static)), group)
        leads.append(lead(static[held], static[rest], scale).amount)
    return np.array([amount for amount in leads if np.isfinite(amount)])
