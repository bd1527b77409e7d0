"""Short ways to train, for the tests of the application."""

import json

from mtk import combiners, experiment


def fit(model, batches, *used, epochs=2, **arguments):
    return model.fit(
        batches,
        validation_data=batches,
        epochs=epochs,
        callbacks=list(used),
        verbose=0,
        **arguments,
    )


def start(workload, run_dir, **arguments):
    settings = {
        "combiner": combiners.PCGrad,
        "learning_rate": 0.1,
        "batch_size": 64,
        "steps": 10,
        "evaluate_every": 4,
        "log_every": 2,
    }
    return experiment.run(workload, run_dir, **{**settings, **arguments})


def read_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
