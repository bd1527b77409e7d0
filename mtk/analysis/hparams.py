"""A study in TensorBoard's HParams tab."""

import hashlib
from pathlib import Path

import pandas as pd
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata, plugin_data_pb2, summary_v2
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS, STATUS_UNKNOWN
from tensorboard.summary.writer.record_writer import RecordWriter

from mtk.analysis import objectives
from mtk.analysis.repeats import varying

_STATUS = {"finished": STATUS_SUCCESS, "unfinished": STATUS_UNKNOWN, "missing": STATUS_UNKNOWN}
# One and the same name, so that writing again replaces what was written.
_FILE = "events.out.tfevents.0.hparams"


def write_hparams(table: pd.DataFrame, folder: str | Path) -> None:
    """Writes what `tensorboard --logdir FOLDER` shows in its HParams tab.

    A session for each run, failed ones included: its method, seed and every parameter that varies,
    and its metrics at the selected step (train at the last one).

    Args:
        table: As `load` makes it.
        folder: Where to write; `<folder>/<study>/<run>/` for each run. Files of an earlier
            call are replaced.
    """
    folder = Path(folder)
    names = ["method", "seed", *varying(table)]
    metrics = [column for column in table if objectives.is_metric(column)]
    config = summary_v2.hparams_config_pb(
        [summary_v2.HParam(name) for name in names],
        [summary_v2.Metric(name) for name in metrics],
        time_created_secs=0.0,
    )
    _write(folder, [config])
    for row in table.to_dict("records"):
        values = {name: _plain(row[name]) for name in names if pd.notna(row[name])}
        identity = f"{row['study']}/{row['run']}"
        start = summary_v2.hparams_pb(
            values, trial_id=hashlib.sha256(identity.encode()).hexdigest(), start_time_secs=0.0
        )
        known = [name for name in metrics if pd.notna(row[name])]
        scalars = [Summary.Value(tag=name, simple_value=row[name]) for name in known]
        step = row["selected_step"] if pd.notna(row["selected_step"]) else 0
        _write(folder / identity, [start, Summary(value=scalars), _end(row["status"])], int(step))


def _plain(value: object) -> object:
    return value.item() if hasattr(value, "item") else value


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


def _write(folder: Path, summaries: list[Summary], step: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _FILE).open("wb") as file:
        records = RecordWriter(file)
        records.write(Event(file_version="brain.Event:2").SerializeToString())
        for summary in summaries:
            records.write(Event(step=step, summary=summary).SerializeToString())
        records.flush()
