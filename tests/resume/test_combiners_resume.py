"""Every combiner resumes in the middle of an epoch, with dropout, augmentation and momentum."""

import keras
import numpy as np
import pytest
from crashes import CrashError, crash

from mtk import MultiTaskModel, checkpoints, combiners
from mtk.callbacks.monitored import monitor_of
from mtk.experiment import Checkpoints, Logging, Optimization, Training
from mtk.experiment.building import Built
from mtk.experiment.loop import Loop
from mtk.experiment.plan import make_plan
from mtk.experiment.preemption import Preemption
from mtk.experiment.run_folder import RunFolder
from tests.combiners.cases import BY_NAME, with_update_every
from tests.quick import some

# It learns weights with its own optimizer; `test_save_and_load_state` covers all combiners.
QUICK = ("gradnorm",)


def combiner_of(name):
    # Other tests use GradNorm at all parameters.
    return combiners.GradNorm() if name == "gradnorm" else with_update_every(BY_NAME[name], 4)


class Session:
    """Trains one model, which is traced once, repeatedly from its initial state."""

    def __init__(self, data, combiner):
        keras.utils.set_random_seed(0)
        self.data = data
        self.plan = make_plan(data, 48, Training(steps=11, evaluate_every=4))
        self.model = MultiTaskModel(data.network(0), data.tasks, combiner)
        self.model.compile(keras.optimizers.Adam(0.01), weight_decay=1e-4, clip_norm=1.0)
        self.model.check(data.train(48, 11, 0))
        self.model.make_train_function()
        self.first = checkpoints.values(self.model)

    def restart(self):
        """Overwrites all variables with values that are not those of the run."""
        strange = {name: np.ones_like(array) for name, array in self.first.items()}
        checkpoints.assign(self.model, strange)

    def resume(self, path):
        folder = RunFolder.claim(path, {})
        with folder:
            folder.open("", "")
            built = Built(
                self.data, self.model, self.plan, monitor_of(None, self.model), Optimization()
            )
            logging, often = Logging(measure_every=0), Checkpoints(with_update_every=0.0)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", some(BY_NAME, QUICK))
def test_resumed_training_equals_uninterrupted_training(tiny, tmp_path, monkeypatch, name):
    session = Session(tiny(), combiner_of(name))
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
