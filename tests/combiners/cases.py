"""Every combiner with its properties: a combiner is tested if it is in this list."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mtk import combiners


@dataclass(frozen=True)
class Case:
    """One combiner and its properties.

    Attributes:
        make: Returns a new combiner.
        mean_scale: K equal gradients g give the direction g.
        deterministic: It does not draw random numbers.
        homogeneous: Scaling all gradients scales the result.
        non_conflicting: The result conflicts with no gradient.
        symmetric: No task has a special role; permuting the tasks permutes the weights.
    """

    name: str
    make: Callable[[], combiners.Combiner]
    mean_scale: bool = True
    deterministic: bool = True
    homogeneous: bool = True
    non_conflicting: bool = False
    symmetric: bool = True


FEATURES = "representation"
CASES = [
    Case("static", lambda: combiners.StaticWeights()),
    Case("proportional", lambda: combiners.ProportionalSampling()),
    Case("rlw", lambda: combiners.RLW(seed=3), deterministic=False),
    Case("rlw dirichlet", lambda: combiners.RLW("dirichlet"), deterministic=False),
    Case("rlw gradients", lambda: combiners.RLW(seed=3, weighs_heads=False), deterministic=False),
    Case("uncertainty", lambda: combiners.UncertaintyWeights()),
    Case("dwa", lambda: combiners.DWA(steps_per_epoch=2)),
    Case("famo", lambda: combiners.FAMO()),
    Case("imtl_l", lambda: combiners.IMTLL()),
    Case("si", lambda: combiners.ScaleInvariant()),
    Case("gls", lambda: combiners.GLS()),
    # The references are measured in the first step.
    Case("stch", lambda: combiners.STCH(1, mu=0.5, warm_up_epochs=0)),
    Case("tchebycheff", lambda: combiners.Tchebycheff()),
    Case("pbi", lambda: combiners.PBI()),
    Case("cosmos", lambda: combiners.COSMOS()),
    Case("uwso", lambda: combiners.UWSO()),
    Case("softadapt", lambda: combiners.SoftAdapt(10.0, window=2)),
    Case("softadapt loss", lambda: combiners.SoftAdapt(10.0, 2, "loss_weighted")),
    Case("softadapt normalized", lambda: combiners.SoftAdapt(10.0, 2, "normalized")),
    Case("imtl_g", lambda: combiners.IMTLG()),
    Case("imtl", lambda: combiners.IMTL()),
    Case("gradnorm", lambda: combiners.GradNorm(at="parameters")),
    Case("mgda", lambda: combiners.MGDA(), non_conflicting=True),
    Case("mgda l2", lambda: combiners.MGDA("l2")),
    Case("mgda loss", lambda: combiners.MGDA("loss")),
    Case("mgda loss+", lambda: combiners.MGDA("loss+")),
    Case("pcgrad", lambda: combiners.PCGrad(seed=1), deterministic=False),
    Case("gradvac", lambda: combiners.GradVac(), deterministic=False),
    Case("gradvac layer", lambda: combiners.GradVac(groups="layer"), deterministic=False),
    Case("graddrop", lambda: combiners.GradDrop(), deterministic=False),
    Case("graddrop leak", lambda: combiners.GradDrop(leak=0.3, seed=2), deterministic=False),
    Case("cagrad", lambda: combiners.CAGrad()),
    Case("cagrad wide", lambda: combiners.CAGrad(c=1.5), non_conflicting=True),
    Case("nash", lambda: combiners.NashMTL(), False, homogeneous=False, non_conflicting=True),
    Case("nash unclipped", lambda: combiners.NashMTL(max_norm=0.0), False, non_conflicting=True),
    Case("nash mean", lambda: combiners.NashMTL("mean"), non_conflicting=True),
    Case(
        "nash paper",
        lambda: combiners.NashMTL("paper"),
        False,
        homogeneous=False,
        non_conflicting=True,
    ),
    Case("aligned", lambda: combiners.AlignedMTL()),
    Case("upgrad", lambda: combiners.UPGrad(), non_conflicting=True),
    Case("dualproj", lambda: combiners.DualProj(), non_conflicting=True),
    Case("config", lambda: combiners.ConFIG(), non_conflicting=True),
    Case("ign", lambda: combiners.IGN()),
    Case("fairgrad", lambda: combiners.FairGrad(), non_conflicting=True),
    Case("fairgrad 5", lambda: combiners.FairGrad(5.0), non_conflicting=True),
    Case("fairgrad paper", lambda: combiners.FairGrad(scale="paper"), False, homogeneous=False),
    Case("mgda-ub", lambda: combiners.MGDA(at=FEATURES), non_conflicting=True),
    Case("imtl_g features", lambda: combiners.IMTLG(at=FEATURES, update_every=3)),
    Case("cr-mogm", lambda: combiners.CRMOGM(combiners.MGDA())),
    Case("cr-mogm losses", lambda: combiners.CRMOGM(combiners.DWA(steps_per_epoch=2), 0.5)),
    Case("warm-up", lambda: combiners.WarmUp(combiners.MGDA(), 2)),
    Case("warm-up famo", lambda: combiners.WarmUp(combiners.FAMO(), 1)),
    Case("subset", lambda: combiners.TaskSubset(combiners.UPGrad(), 4), deterministic=False),
    Case("subset losses", lambda: combiners.TaskSubset(combiners.GLS(), 2), deterministic=False),
    Case("every", lambda: combiners.Every(combiners.UPGrad(), 3), non_conflicting=True),
    Case("every cr-mogm", lambda: combiners.Every(combiners.CRMOGM(combiners.MGDA()), 2)),
    Case("unit", lambda: combiners.UnitGradients(combiners.MGDA())),
    Case("unit upgrad", lambda: combiners.UnitGradients(combiners.UPGrad()), non_conflicting=True),
    Case("per layer", lambda: combiners.PerLayer(combiners.UPGrad())),
    Case("db-mtl", lambda: combiners.DBMTL()),
    Case("db-mtl newest", lambda: combiners.DBMTL(beta=0.0)),
    Case("moco", lambda: combiners.MoCo(), homogeneous=False),
    Case("modo", lambda: combiners.MoDo(), homogeneous=False),
    Case("sdmgrad", lambda: combiners.SDMGrad()),
    Case("auto-lambda", lambda: combiners.AutoLambda(0.1)),
    Case("moml", lambda: combiners.MOML(0.1)),
    Case("forum", lambda: combiners.FORUM(learning_rate=0.1)),
    Case("m-config", lambda: combiners.MConFIG(), symmetric=False),
    Case("excess", lambda: combiners.ExcessMTL(1, 0.5)),
    Case("metabalance", lambda: combiners.MetaBalance(), symmetric=False),
    Case("encodec", lambda: combiners.EnCodecBalancer(at="parameters")),
    Case("encodec features", lambda: combiners.EnCodecBalancer()),
    Case("encodec fixed", lambda: combiners.EnCodecBalancer(None, 1.0), False, homogeneous=False),
    Case("graddrop features", lambda: combiners.GradDrop(at=FEATURES), deterministic=False),
]
BY_NAME = {case.name: case for case in CASES}


def with_update_every(case: Case, steps: int) -> combiners.Combiner:
    """Returns the combiner of a case, with `update_every=steps` if it has that argument."""
    combiner = case.make()
    if "update_every" not in combiner.get_config() or combiner.changes_gradients:
        return combiner
    return type(combiner).from_config({**combiner.get_config(), "update_every": steps})


class Outcome(NamedTuple):
    direction: np.ndarray
    weights: np.ndarray


class Runner:
    """A combiner for K tasks, traced once; each call starts from its initial state.

    The P numbers of a row of the Jacobian are the gradients of a matrix and of a vector.
    """

    def __init__(self, case: Case, num_tasks: int, jit: bool = False, eager: bool = False):
        self.combiner = case.make()
        self.combiner.bind([f"task{k}" for k in range(num_tasks)], ["one/kernel", "two/kernel"])
        width = max(12, 3 * num_tasks // 2)  # As in `samples.jacobian`.
        self.combiner.bind_shapes({"one/kernel": (2, 3), "two/kernel": (width - 6,)})
        self.combiner.build(num_tasks)
        self.initial = [variable.numpy() for variable in self.combiner.variables]
        # Traced as in the trainer.
        graph = tf.function(self._step, autograph=False, jit_compile=jit)
        self.step = self._step if eager else graph

    def _step(self, rows: tf.Tensor, losses: tf.Tensor, present: tf.Tensor) -> tuple:
        split = [tf.reshape(rows[:, :6], (-1, 2, 3)), rows[:, 6:]]
        gradients, weights = self.combiner(split, losses, present, tf.cast(present, tf.float32))
        return tf.concat([tf.reshape(gradient, (-1,)) for gradient in gradients], 0), weights

    def __call__(
        self,
        jacobian: np.ndarray,
        losses: np.ndarray | None = None,
        present: np.ndarray | None = None,
        steps: int = 1,
    ) -> Outcome:
        self.restart()
        return [self.again(jacobian, losses, present) for _ in range(steps)][-1]

    def restart(self) -> None:
        """Resets the combiner to its initial state."""
        for variable, value in zip(self.combiner.variables, self.initial, strict=True):
            variable.assign(value)

    def again(
        self,
        jacobian: np.ndarray,
        losses: np.ndarray | None = None,
        present: np.ndarray | None = None,
    ) -> Outcome:
        """Takes one more step from the current state."""
        number = len(jacobian)
        losses = np.ones(number, np.float32) if losses is None else losses
        present = np.ones(number, bool) if present is None else present
        rows = tf.constant(jacobian, tf.float32)
        direction, weights = self.step(rows, tf.constant(losses), tf.constant(present))
        return Outcome(direction.numpy(), weights.numpy())


@functools.cache
def runner(name: str, num_tasks: int) -> Runner:
    """Returns the runner of a case, which is traced once per session."""
    return Runner(BY_NAME[name], num_tasks)
