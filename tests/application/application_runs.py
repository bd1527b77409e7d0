"""Helpers that start short runs, for the tests of the application."""

import json
from dataclasses import fields

from mtk import combiners, config, experiment
from mtk.experiment.options import GROUPS


def fit(model, batches, *used, epochs=2, **arguments):
    return model.fit(
        batches,
        validation_data=batches,
        epochs=epochs,
        callbacks=list(used),
        verbose=0,
        **arguments,
    )


def grouped(combiner=combiners.PCGrad, **settings):
    """Returns the arguments of `experiment.run`, given fields of its groups by name."""
    found = {"combiner": combiner}
    for kind in GROUPS:
        own = {f.name: settings.pop(f.name) for f in fields(kind) if f.name in settings}
        if own:
            found[kind.__name__.lower()] = kind(**own)
    assert not settings
    return found


SHORT = {
    "learning_rate": 0.1,
    "batch_size": 64,
    "steps": 10,
    "evaluate_every": 4,
    "log_every": 2,
}


def start(workload, run_dir, **settings):
    return experiment.run(workload, run_dir, **grouped(**{**SHORT, **settings}))


def describe(workload, timed=None, **settings):
    arguments = grouped(**{**SHORT, **settings})
    del arguments["logging"]
    return experiment.describe(workload, **arguments, batch_size=timed)


def described():
    """Returns the description of a run with the current configuration."""
    own = {"given": ("run_dir",), "instead": experiment.describe}
    return config.bound(experiment.run, **own)()


def read_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
