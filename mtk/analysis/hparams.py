"""A study in TensorBoard's HParams tab."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata, plugin_data_pb2, summary_v2
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS, STATUS_UNKNOWN
from tensorboard.summary.writer.record_writer import RecordWriter

from mtk.analysis import objectives, plain_text
from mtk.analysis.file_names import FileNames
from mtk.analysis.repeats import varying
from mtk.analysis.schema import SPLITS
from mtk.analysis.weights import static_weights

_STATUS = {"finished": STATUS_SUCCESS, "unfinished": STATUS_UNKNOWN, "missing": STATUS_UNKNOWN}
# One and the same name, so that writing again replaces what was written.
_FILE = "events.out.tfevents.0.hparams"
# More weights are no name for a run.
_MOST_TASKS = 4
_LONGEST = 200


def write_hparams(table: pd.DataFrame, folder: str | Path) -> None:
    """Writes what `tensorboard --logdir FOLDER` shows in its HParams tab.

    A session for each run, failed ones included: its method, seed and every parameter that varies,
    and its metrics at the selected step (train at the last one), those in test first.

    Args:
        table: As `load` makes it.
        folder: Where to write: a folder for each study, and in it one for each run, called by its
            method, its static weights, and what varies. Files of an earlier call are replaced.
    """
    folder = Path(folder)
    names = ["run", "method", "seed", *varying(table)]
    metrics = [column for column in table if objectives.is_metric(column)]
    metrics.sort(key=lambda column: SPLITS[::-1].index(column.partition("/")[0]))
    folders = _folders(table)
    config = summary_v2.hparams_config_pb(
        [summary_v2.HParam(name) for name in names],
        [summary_v2.Metric(name) for name in metrics],
        time_created_secs=0.0,
    )
    _write(folder, [config])
    for row, own in zip(table.to_dict("records"), folders, strict=True):
        values = {name: _plain(row[name]) for name in names if pd.notna(row[name])}
        identity = f"{row['study']}/{row['run']}"
        start = summary_v2.hparams_pb(
            values, trial_id=hashlib.sha256(identity.encode()).hexdigest(), start_time_secs=0.0
        )
        known = [name for name in metrics if pd.notna(row[name])]
        scalars = [Summary.Value(tag=name, simple_value=row[name]) for name in known]
        step = row["selected_step"] if pd.notna(row["selected_step"]) else 0
        _write(folder / own, [start, Summary(value=scalars), _end(row["status"])], int(step))


def _folders(table: pd.DataFrame) -> list[str]:
    """Returns the folder of each run, `<study>/<run>`, made of what tells it from the others."""
    studies, own = FileNames(), {}
    for study, runs in table.groupby("study", sort=False):
        names = FileNames("=.,+-")
        place = studies.make(str(study))
        knobs = varying(runs)
        for index, row in runs.iterrows():
            own[index] = f"{place}/{names.make(_words(row.to_dict(), knobs))}"
    return [own[index] for index in table.index]


def _words(row: Mapping[Any, Any], knobs: list[str]) -> str:
    weights = static_weights(row) or {}
    shares = "-".join(f"{share:.3g}" for share in weights.values())
    told = (".weights", "experiment.run.combiner")  # By the method, and by the shares.
    known = [name for name in knobs if pd.notna(row[name]) and not name.endswith(told)]
    parts = [str(row["method"]), shares if len(weights) <= _MOST_TASKS else ""]
    parts += [f"{name.rpartition('.')[2]}={row[name]}" for name in known]
    parts.append(f"seed={row['seed']:.0f}" if pd.notna(row["seed"]) else "")
    return ",".join(filter(None, parts))


def _plain(value: object) -> object:
    if isinstance(value, str):
        return plain_text.short(value, _LONGEST)
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
