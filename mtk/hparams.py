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
# One and the same name, so that writing again replaces what was written.
_FILE = "events.out.tfevents.0.hparams"


@dataclass(frozen=True)
class Session:
    """A run as the tab shows it.

    Attributes:
        identity: Tells it from all others.
        values: Its hyper-parameters by name.
        metrics: What it reached, by name.
        status: How it ended, as in a run's `result.json`.
        step: Where the metrics were measured.
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
    """Returns what gives the tab's table its columns, in this order.

    Args:
        values: Names of the hyper-parameters.
        metrics: Names of the metrics.
    """
    return summary_v2.hparams_config_pb(
        [summary_v2.HParam(name) for name in values],
        [summary_v2.Metric(name) for name in metrics],
        time_created_secs=0.0,
    )


def write(folder: Path, summaries: Sequence[Summary], step: int = 0) -> None:
    """Writes a file of events; one of an earlier call is replaced.

    Args:
        folder: Where to write.
        summaries: What the events hold.
        step: Of the events.
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
