"""Files for TensorBoard's HParams tab, written without TensorFlow."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata, plugin_data_pb2, summary_v2
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS, STATUS_UNKNOWN
from tensorboard.summary.writer.record_writer import RecordWriter

_STATUS = {"finished": STATUS_SUCCESS, "unfinished": STATUS_UNKNOWN, "pending": STATUS_UNKNOWN}
# A fixed name, so that writing again replaces the file.
_FILE = "events.out.tfevents.0.hparams"


@dataclass(frozen=True)
class Session:
    """A run in the tab.

    Attributes:
        identity: Identifier of the run.
        values: Its hyperparameters by name.
        metrics: Its results by name.
        status: How it ended, as in a run's `result.json`.
        step: The step at which the metrics were measured.
    """

    identity: str
    values: Mapping[str, str | float | bool]
    metrics: Mapping[str, float]
    status: str
    step: int = 0

    @property
    def summaries(self) -> list[Summary]:
        trial = hashlib.sha256(self.identity.encode()).hexdigest()
        start = summary_v2.hparams_pb(dict(self.values), trial_id=trial, start_time_secs=0.0)
        scalars = [Summary.Value(tag=name, simple_value=x) for name, x in self.metrics.items()]
        return [start, Summary(value=scalars), _end(self.status)]


def table(values: Sequence[str], metrics: Sequence[str]) -> Summary:
    """Returns the summary that defines the columns of the tab's table, in this order.

    Args:
        values: Names of the hyperparameters.
        metrics: Names of the metrics.
    """
    return summary_v2.hparams_config_pb(
        [summary_v2.HParam(name) for name in values],
        [summary_v2.Metric(name) for name in metrics],
        time_created_secs=0.0,
    )


def write(folder: Path, summaries: Sequence[Summary], step: int = 0) -> None:
    """Writes an event file, which replaces that of an earlier call.

    Args:
        folder: Output folder.
        summaries: Contents of the events.
        step: Step of the events.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _FILE).open("wb") as file:
        records = RecordWriter(file)
        records.write(Event(file_version="brain.Event:2").SerializeToString())
        for summary in summaries:
            records.write(Event(step=step, summary=summary).SerializeToString())
        records.flush()


def _end(status: str) -> Summary:
    info = plugin_data_pb2.SessionEndInfo(status=_STATUS.get(status, STATUS_FAILURE))
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    return Summary(
        value=[
            Summary.Value(
                tag=metadata.SESSION_END_INFO_TAG,
                metadata=metadata.create_summary_metadata(data),
                tensor=metadata.NULL_TENSOR,
            )
        ]
    )
