"""Points proposed by Optuna."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mtk import extras
from mtk.errors import StudyError
from mtk.ranges import check_choice
from mtk.search.goals import Front, Goal
from mtk.search.samplers.base import Sampler
from mtk.search.space import Point, Space

if TYPE_CHECKING:
    import optuna

_STARTUP = 10  # Optuna's default.
Model = Literal["tpe", "gp"]


class Optuna(Sampler):
    """Uses Optuna, with one objective for each task.

    Weights are coordinates between 0 and 1, as in `Space.point`. For a goal other than the front
    there is one objective: the goal's value of each single trial. A trial without losses counts as
    the worst one in each task. Optuna keeps no state between proposals: all trials are told again.

    Args:
        space: The search space.
        goal: The goal; the front by default.
        budget: Approximate number of trials.
        seed: Seed of the random draws.
        startup: Number of initial random trials; by default ten, as in Optuna, but at most a third
            of the budget.
        model: `"tpe"`: tree-structured Parzen estimators. `"gp"`: Gaussian processes and their
            expected hypervolume improvement, which need PyTorch; trials that are proposed together
            count as the worst one until their results are known.

    Raises:
        StudyError: If Optuna, or PyTorch for `"gp"`, is not installed.
        ValueError: If the model is unknown.

    Reference:
        Akiba et al., *Optuna* (2019); for several objectives Ozaki et al., *Multiobjective
        tree-structured Parzen estimator* (2022).
    """

    def __init__(
        self,
        space: Space,
        goal: Goal | None = None,
        budget: int = 1,
        seed: int = 0,
        startup: int | None = None,
        model: Model = "tpe",
    ):
        super().__init__(space, goal, budget, seed)
        check_choice(Model, model=model)
        extras.check("The sampler Optuna", "search", ("optuna",), "an additional package")
        if model == "gp" and not find_spec("torch"):
            raise StudyError("Optuna's Gaussian processes need PyTorch: pip install torch")
        self.model = model
        self.startup = min(_STARTUP, max(1, budget // 3)) if startup is None else startup

    def propose(self, number: int) -> list[Point]:
        """Returns the points that Optuna proposes."""
        with _silent():
            study, axes, asked = self._study(), self._axes(), []
            known = self._objectives()
            for _ in range(number):
                trial = study.ask(axes)
                asked.append(trial.params)
                if self.model == "gp" and len(known):
                    study.tell(trial, known.max(0).tolist())
        return [self._point(params) for params in asked]

    def _study(self) -> "optuna.Study":
        """Returns an Optuna study with all trials."""
        import optuna

        # Seeded by the number of trials, so that a proposal does not depend on when it is made.
        seed = int(np.random.default_rng([self.seed, len(self.trials)]).integers(2**32))
        about: dict[str, Any] = {"n_startup_trials": self.startup, "seed": seed}
        sampler: optuna.samplers.BaseSampler = (
            optuna.samplers.GPSampler(**about)
            if self.model == "gp"
            else optuna.samplers.TPESampler(**about, constant_liar=True)
        )
        objectives, axes = self._objectives(), self._axes()
        directions = ["minimize"] * objectives.shape[1]
        study = optuna.create_study(directions=directions, sampler=sampler)
        for trial, values in zip(self.trials, objectives.tolist(), strict=False):
            params = self._params(trial.point)
            told = {"params": params, "distributions": axes, "values": values}
            study.add_trial(optuna.trial.create_trial(**told))
        return study

    def _objectives(self) -> np.ndarray:
        """Returns the values to minimize, one row per trial; empty if no trial has losses."""
        seen = self.seen(self.finished)
        known = seen.losses
        if self.finished and not isinstance(self.goal, Front):
            value = self.goal.value(seen)
            known = np.array([[-value(row[None])] for row in seen.losses])
        if not self.finished:
            return known
        rows = np.tile(known.max(0), (len(self.trials), 1))
        rows[[trial.losses is not None for trial in self.trials]] = known
        return rows

    @property
    def _scaled(self) -> list[str]:
        """Names of the coordinates: those of the weights, then those of numeric parameters."""
        numbers = range(1, len(self.space.tasks)) if self.space.weights else ()
        cuts = [f"weights, {number}" for number in numbers]
        return [*cuts, *self.space.log_uniform, *self.space.uniform]

    def _axes(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        choices = self.space.choices.items()
        return {
            **{name: FloatDistribution(0.0, 1.0) for name in self._scaled},
            **{name: CategoricalDistribution([*range(len(v))]) for name, v in choices},
        }

    def _point(self, params: Mapping[str, Any]) -> Point:
        choices = self.space.choices.items()
        places = [params[name] for name in self._scaled]
        places += [(params[name] + 0.5) / len(values) for name, values in choices]
        return self.space.point(np.array(places))

    def _params(self, point: Mapping[str, Any]) -> dict[str, Any]:
        space = self.space
        rest = 1 - len(space.tasks) * space.least_weight
        weights = space.weights_of(point) if space.weights else np.zeros(0)
        cuts = np.cumsum((weights - space.least_weight) / rest)[:-1]
        # Single-task points lie outside, and values are rounded.
        places = np.clip([*cuts, *space.coordinates(point)], 0.0, 1.0)
        chosen = {name: list(v).index(point[name]) for name, v in space.choices.items()}
        return {**dict(zip(self._scaled, places.tolist(), strict=True)), **chosen}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Suppresses Optuna's messages about each new study and about experimental features."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)
