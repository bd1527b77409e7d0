"""The HParams records of a single run."""

import json
from types import SimpleNamespace

from tensorboard.plugins.hparams import plugin_data_pb2

from mtk.experiment import hparams
from tests.analysis.test_hparams import events_of


def test_run_writes_its_settings_and_test_metrics(tmp_path):
    settings = {
        "experiment.Optimization.learning_rate": "0.1",
        "experiment.run.combiner": "@combiners.PCGrad",
        "experiment.Numerics.jit_compile": "False",
        "module of combiners.PCGrad": "mtk.combiners.pcgrad",
        "f.long": "x" * 1000,
    }
    tasks = {"tasks": {"left": {"loss": 0.5, "accuracy": None}}}
    result = {"status": "finished", "selected_step": 7, "test": tasks, "train": tasks}
    folder = SimpleNamespace(settings=settings, tensorboard=tmp_path)
    hparams.write(folder, result)
    # Written twice, as by a run that was killed.
    hparams.write(folder, json.loads(json.dumps(result)))
    found = events_of(tmp_path / "hparams")
    assert [value.tag for _, value in found] == [
        "_hparams_/experiment",
        "_hparams_/session_start_info",
        "test/left/loss",
        "train/left/loss",
        "_hparams_/session_end_info",
    ]
    assert {step for step, _ in found} == {7}
    table, start, end = (
        plugin_data_pb2.HParamsPluginData.FromString(found[n][1].metadata.plugin_data.content)
        for n in (0, 1, -1)
    )
    tags = [info.name.tag for info in table.experiment.metric_infos]
    assert tags == ["test/left/loss", "train/left/loss"]
    values = start.session_start_info.hparams
    assert set(values) == set(settings) - {"module of combiners.PCGrad", "f.long"}
    assert values["experiment.Optimization.learning_rate"].number_value == 0.1
    assert values["experiment.run.combiner"].string_value == "@combiners.PCGrad"
    assert values["experiment.Numerics.jit_compile"].bool_value is False
    assert end.session_end_info.status == 1


def test_diverged_run_has_the_status_failure(tmp_path):
    result = {"status": "diverged", "selected_step": None, "validation": {"tasks": {"left": {}}}}
    hparams.write(SimpleNamespace(settings={}, tensorboard=tmp_path), result)
    *_, (_, end) = events_of(tmp_path / "hparams")
    content = end.metadata.plugin_data.content
    assert plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info.status == 2
