"""Writes study folders of synthetic runs, without training."""

import hashlib
import json
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np


@dataclass
class Run:
    """One synthetic run.

    Attributes:
        method: Its label.
        combiner: Class of its combiner.
        weight: Static weight of the first task that gives the same losses.
        rate: Learning rate.
        gain: By how much all losses are smaller than those of static weights.
    """

    method: str = "static_weights"
    combiner: str = "StaticWeights"
    weight: float = 0.5
    rate: float = 0.1
    decay: float = 0.0
    gain: float = 0.0
    seed: int = 0
    layers: int = 3
    stage: str | None = None
    status: str = "finished"
    tasks: tuple[str, ...] = ("left", "right")
    extra: dict = field(default_factory=dict)

    @property
    def name(self):
        return (
            f"{self.method}-{self.weight:g}-{self.rate:g}-{self.decay:g}-{self.layers}-{self.seed}"
        )

    @property
    def hash(self):
        """The name of the run's folder."""
        return hashlib.sha256(self.name.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def losses(run, generator, noise):
    """Losses on a convex front, larger away from a rate of 0.1, smaller with more layers."""
    penalty = 0.15 * np.log10(run.rate / 0.1) ** 2 + 50 * abs(run.decay - 1e-3)
    shares = np.linspace(run.weight, 1 - run.weight, len(run.tasks))
    base = 0.3 + (1 - shares) ** 2 + penalty - run.gain + 0.9 / run.layers
    return base + generator.normal(0, noise, len(run.tasks))


def metrics(run, values):
    tasks = {
        task: {"accuracy": float(np.exp(-loss)), "loss": float(loss)}
        for task, loss in zip(run.tasks, values, strict=True)
    }
    return {"loss": float(np.mean(values)), "tasks": tasks}


def method(run):
    """Returns a run's record of its method."""
    static = run.combiner == "StaticWeights"
    shares = np.linspace(run.weight, 1 - run.weight, len(run.tasks))
    weights = dict(zip(run.tasks, shares / shares.sum(), strict=True))
    return {
        "combiner": run.combiner,
        "static": static,
        "task_weights": weights if static else None,
        "directions": {task: {"loss": "min", "accuracy": "max"} for task in run.tasks},
        "parameters": 1000 * run.layers,
    }


def settings(run):
    """Returns a run's record of its configuration."""
    weights = {"left": run.weight, "right": 1 - run.weight}
    own = {"weights": repr(weights)} if run.combiner == "StaticWeights" else {"name": "None"}
    return {
        "experiment.Optimization.batch_size": "256",
        "experiment.run.combiner": f"@combiners.{run.combiner}",
        "experiment.Training.epochs": "10",
        "experiment.Optimization.learning_rate": repr(run.rate),
        "experiment.Training.seed": repr(run.seed),
        "experiment.Optimization.weight_decay": repr(run.decay),
        "experiment.run.workload": "@synthetic.Synthetic",
        "synthetic.Synthetic.num_layers": repr(run.layers),
        "module of @synthetic.Synthetic": "synthetic.Synthetic",
        **{f"combiners.{run.combiner}.{name}": text for name, text in own.items()},
    }


def record(folder, **texts):
    """Adds settings to a run's record of its configuration."""
    path = folder / "checkpoints" / "run.json"
    about = json.loads(path.read_text())
    about["settings"] |= texts
    path.write_text(json.dumps(about))


def write_run(
    folder: Path, run: Run, noise: float = 0.01, evaluations: int = 6, recorded: bool = True
):
    folder.mkdir(parents=True)
    generator = np.random.default_rng(zlib.crc32(run.name.encode("utf-8", "backslashreplace")))
    if recorded:
        (folder / "checkpoints").mkdir()
        about = {"settings": settings(run), "files": {}}
        (folder / "checkpoints" / "run.json").write_text(json.dumps(about))
    manifest = {"seed": run.seed, "versions": {}}
    if recorded:
        manifest["method"] = method(run)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    validation = losses(run, generator, noise)
    result = {"status": run.status, "steps": 100 * evaluations, "selected_step": 500, **run.extra}
    result["validation"] = metrics(run, validation)
    if run.status == "finished":
        result["test"] = metrics(run, validation + generator.normal(0, noise / 2, len(run.tasks)))
        result["train"] = metrics(run, validation - 0.05)
    (folder / "metrics.jsonl").write_text(
        "".join(
            json.dumps(
                {"step": 100 * (n + 1), "split": "train", "task": t, "name": "weight", "value": w}
            )
            + "\n"
            for n in range(evaluations)
            for t, w in zip(run.tasks, drifting(run, n), strict=True)
        )
    )
    (folder / "result.json").write_text(json.dumps(result))


def drifting(run, number):
    if run.combiner == "StaticWeights":
        return np.full(len(run.tasks), 1 / len(run.tasks))
    first = 0.5 + (run.weight - 0.5) * (1 - np.exp(-number / 2))
    others = len(run.tasks) - 1
    return [first] + [(1 - first) / max(others, 1)] * others


def listed_bindings(run):
    """Returns the bindings in the list of a study, for a run that recorded none itself."""
    own = {"combiners.StaticWeights.weights": {"left": run.weight, "right": 1 - run.weight}}
    shared = {
        "experiment.Optimization.learning_rate": run.rate,
        "experiment.Optimization.weight_decay": run.decay,
    }
    return {**shared, **(own if run.combiner == "StaticWeights" else {})}


def write_study(
    folder: Path,
    runs: list[Run],
    noise: float = 0.01,
    name: str = "synthetic",
    recorded: bool = True,
):
    folder.mkdir(parents=True)
    listed = []
    for run in runs:
        known = {} if recorded else listed_bindings(run)
        about = {"hash": run.hash, "method": run.method, "seed": run.seed, "bindings": known}
        listed.append({**about, **({"stage": run.stage} if run.stage else {})})
        write_run(folder / "runs" / run.hash, run, noise, recorded=recorded)
    (folder / "study.json").write_text(json.dumps({"name": name, "runs": listed}))
    return folder


RATES = (0.01, 0.1, 1.0)
WEIGHTS = tuple(np.round(np.linspace(0.1, 0.9, 9), 1).tolist())


def grid(seeds=(0,), gain=0.0, weights=WEIGHTS, rates=RATES, decays=(0.0,), layers=(3,)):
    """Nine static weightings and three methods at each learning rate; `gain` is that of PCGrad."""
    static = [{"weight": weight} for weight in weights]
    methods = [
        {"method": "pcgrad", "combiner": "PCGrad", "weight": 0.45, "gain": gain},
        {"method": "mgda", "combiner": "MGDA", "weight": 0.75, "gain": -0.02},
        {"method": "gradnorm", "combiner": "GradNorm", "weight": 0.55},
    ]
    return [
        Run(**kind, rate=rate, decay=decay, layers=size, seed=seed)
        for kind in static + methods
        for rate in rates
        for decay in decays
        for size in layers
        for seed in seeds
    ]


def two_stages(seeds=(1, 2, 3), **changes):
    """The grid as a first stage, and the models with the best learning rate at fresh seeds."""
    first = [replace(run, stage="select") for run in grid(**changes)]
    best = [run for run in first if run.rate == 0.1]
    return first + [replace(run, stage="measure", seed=seed) for run in best for seed in seeds]
