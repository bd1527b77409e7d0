"""Studies as read by the backend of TensorBoard's HParams plugin."""

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from mtk import analysis
from tests.analysis.synthetic import grid, write_study


@pytest.fixture
def table(tmp_path):
    runs = grid(weights=(0.3, 0.7), rates=(0.1, 1.0))
    runs[-1].status = "diverged"
    return analysis.load(write_study(tmp_path / "study", runs))


def events_of(folder):
    """Returns step and value of each event in the single event file of a folder."""
    (path,) = folder.iterdir()
    loader = LegacyEventFileLoader(str(path))
    return [(event.step, value) for event in loader.Load() for value in event.summary.value]


def sessions(folder, table):
    """Returns the sessions that the tab shows, by run."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    request = RequestContext()
    metadata = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(
        request, "", True, metadata, context.hparams_from_data_provider(request, "", limit=None)
    )
    metrics = [c for c in table if c.startswith(("train/", "validation/", "test/"))]
    columns = [
        api_pb2.ColParams(metric=api_pb2.MetricName(tag=metric), include_in_result=True)
        for metric in metrics
    ]
    columns += [
        api_pb2.ColParams(hparam=info.name, include_in_result=True)
        for info in experiment.hparam_infos
    ]
    query = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=1000, allowed_statuses=[0, 1, 2, 3], col_params=columns
    )
    answer = list_session_groups.Handler(request, context, "", query)
    return experiment, answer.run().session_groups


def test_tab_shows_every_run_with_its_values(table, tmp_path):
    analysis.write_hparams(table, tmp_path / "board")
    analysis.write_hparams(table, tmp_path / "board")  # Writing again adds no duplicates.
    experiment, groups = sessions(tmp_path / "board", table)
    names = {info.name for info in experiment.hparam_infos}
    assert {"run", "method", "seed", "experiment.Optimization.learning_rate"} <= names
    tags = [info.name.tag for info in experiment.metric_infos]
    assert [tag.startswith("test/") for tag in tags] == sorted(
        (tag.startswith("test/") for tag in tags), reverse=True
    )
    assert len(groups) == len(table)
    rows = table.set_index("run")
    for group in groups:
        (session,) = group.sessions
        row = rows.loc[group.hparams["run"].string_value]
        assert group.hparams["method"].string_value == row["method"]
        rate = group.hparams["experiment.Optimization.learning_rate"].number_value
        assert rate == row["experiment.Optimization.learning_rate"]
        found = {value.name.tag: value.value for value in session.metric_values}
        assert found["validation/left/loss"] == pytest.approx(row["validation/left/loss"])
        finished = row["status"] == "finished"
        assert session.status == (api_pb2.STATUS_SUCCESS if finished else api_pb2.STATUS_FAILURE)
        assert ("test/left/loss" in found) == finished
