"""Ways to share on census incomes: shared bottom, MMoE, CGC, PLE and DSelect-k of one size.

    python docs/examples/adult_sharing.py adult.data.gz

Tasks, inputs and the fifth of the rows that is held out are those of `adult.py`; the comparison is
that of `ways_to_share.py`. The shared bottom's front has nine weightings. Prints, at last, how the
tasks use the experts of a network.
"""

import adult
import numpy as np
import ways_to_share

from mtk.models import sharing

TASKS = ["income", "never_married"]


def gates(comparison: ways_to_share.Comparison, train: ways_to_share.Rows, name: str) -> str:
    """Returns the mean gates of each task, layer by layer, in words.

    Args:
        comparison: What is compared.
        train: What the network learns from.
        name: Which network.
    """
    network = comparison.trained(name, 0.003, np.array([0.5, 0.5]), 0, train)
    watch = sharing.ExpertUtilization(train.inputs, batch_size=4096)
    watch.set_model(network)
    watch.on_train_begin()
    found: dict[str, list[str]] = {}
    for gate, value in watch.values().items():
        found.setdefault(gate.rpartition("_gate_")[0], []).append(f"{value:.2f}")
    return "; ".join(f"{gate}: {' '.join(values)}" for gate, values in found.items())


def main() -> None:
    """Reads the file that the user names, and compares."""
    given = ways_to_share.arguments(__doc__, parameters=40_000, epochs=8)
    inputs, labels, sizes = adult.read(given.file)
    rows = ways_to_share.Rows(inputs, {n: y.astype("float32") for n, y in labels.items()})
    columns = sharing.Columns(len(adult.NUMBERS), sizes)
    comparison = ways_to_share.Comparison(columns, TASKS, given.parameters, given.epochs)
    first = np.array([0.5, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
    ways_to_share.run(comparison, rows, np.stack([first, 1 - first], axis=1), given.seeds)
    train = rows.split()[1]
    for name in ("MMoE", "CGC", "PLE", "DSelect-k"):
        print(f"gates of {name}: {gates(comparison, train, name)}", flush=True)


if __name__ == "__main__":
    main()
