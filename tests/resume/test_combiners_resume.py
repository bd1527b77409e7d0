"""Every combiner, with dropout, augmentation and momentum, taken up in the middle of an epoch."""

import keras
import numpy as np
import pytest
from crashes import CrashError, crash

from mtk import MultiTaskModel, checkpoints, combiners
from mtk.callbacks.monitored import monitor_of
from mtk.experiment import Checkpoints, Logging, Training
from mtk.experiment.building import Built
from mtk.experiment.loop import Loop
from mtk.experiment.plan import make_plan
from mtk.experiment.preemption import Preemption
from mtk.experiment.run_folder import RunFolder

FEATURES = "representation"
STATEFUL = {
    "uncertainty": lambda: combiners.UncertaintyWeights(),
    "rlw": lambda: combiners.RLW(seed=3),
    "dwa": lambda: combiners.DWA(steps_per_epoch=3),
    "famo": lambda: combiners.FAMO(),
    "imtl": lambda: combiners.IMTL(update_every=4),
    "gradnorm": lambda: combiners.GradNorm(),
    "gradvac": lambda: combiners.GradVac(beta=0.5),
    "pcgrad": lambda: combiners.PCGrad(seed=1, update_every=4),
    "graddrop": lambda: combiners.GradDrop(at=FEATURES),
    "mgda": lambda: combiners.MGDA(at=FEATURES, update_every=4),
}
OTHERS = {
    "static": lambda: combiners.StaticWeights({"left": 0.3, "right": 0.7}),
    "proportional": lambda: combiners.ProportionalSampling(),
    "imtl_l": lambda: combiners.IMTLL(),
    "imtl_g": lambda: combiners.IMTLG(update_every=4),
    "cagrad": lambda: combiners.CAGrad(update_every=4),
    "nash": lambda: combiners.NashMTL(update_every=4),
    "aligned": lambda: combiners.AlignedMTL(update_every=4),
    "upgrad": lambda: combiners.UPGrad(update_every=4),
}
# Each keeps another kind of state.
QUICK = ("rlw", "gradnorm")
CASES = [
    pytest.param(name, marks=() if name in QUICK else (pytest.mark.slow,))
    for name in [*STATEFUL, *OTHERS]
]


class Session:
    """Trains one model, traced once, again and again from its first state."""

    def __init__(self, data, combiner):
        keras.utils.set_random_seed(0)
        self.data = data
        self.plan = make_plan(data, 64, Training(steps=11, evaluate_every=4))
        self.model = MultiTaskModel(data.network(0), data.tasks, combiner)
        self.model.compile(keras.optimizers.Adam(0.01), weight_decay=1e-4, clip_norm=1.0)
        self.model.check(data.train(64, 11, 0))
        self.model.make_train_function()
        self.first = checkpoints.values(self.model)

    def restart(self):
        """Forgets everything, and fills the variables with what is not the run's."""
        strange = {name: np.ones_like(array) for name, array in self.first.items()}
        checkpoints.assign(self.model, strange)

    def go_on(self, path):
        folder = RunFolder.claim(path, {})
        with folder:
            folder.open("", "")
            built = Built(self.data, self.model, self.plan, monitor_of(None, self.model))
            logging, often = Logging(measure_every=0), Checkpoints(every=0.0)
            loop = Loop(built, folder, Preemption(), logging, often)
            try:
                position = loop.checkpointing.restore(self.model)
                if position.step == 0:
                    checkpoints.assign(self.model, self.first)
                loop.train(position)
            finally:
                loop.checkpointing.close()
        selection = loop.watchers.selection.get_state()
        return checkpoints.values(self.model), folder.metrics.read_bytes(), selection


@pytest.mark.parametrize("name", CASES)
def test_resumed_equals_undisturbed(tiny, tmp_path, monkeypatch, name):
    session = Session(tiny(), {**STATEFUL, **OTHERS}[name]())
    values, record, selection = session.go_on(tmp_path / "undisturbed")
    for step in (6, 10):
        crash(monkeypatch, step)
        with pytest.raises(CrashError):
            session.go_on(tmp_path / "run")
        session.restart()
    resumed, resumed_record, resumed_selection = session.go_on(tmp_path / "run")
    assert resumed_record == record
    assert resumed_selection == selection
    assert list(resumed) == list(values)
    for path, value in values.items():
        np.testing.assert_array_equal(resumed[path], value, err_msg=path)
