"""Ways to share on the assays of Tox21: shared bottom, MMoE, CGC, PLE and DSelect-k of one size.

    pip install rdkit
    python docs/examples/tox21_sharing.py tox21.csv.gz

Tasks and inputs are those of `tox21.py`; the comparison is that of `ways_to_share.py`. The shared
bottom is trained with equal weights, and with weights drawn near them.
"""

import numpy as np
import tox21
import ways_to_share

from mtk.models import sharing


def main() -> None:
    """Reads the file that the user names, and compares."""
    given = ways_to_share.arguments(__doc__, parameters=600_000, epochs=10)
    smiles, labels = tox21.read(given.file)
    bits, readable = tox21.fingerprints(smiles)
    rows = ways_to_share.Rows({"numbers": bits}, {n: y[readable] for n, y in labels.items()})
    comparison = ways_to_share.Comparison(
        sharing.Columns(tox21.BITS), list(labels), given.parameters, given.epochs
    )
    equal = np.full((1, len(labels)), 1 / len(labels))
    drawn = np.random.default_rng(0).dirichlet(np.full(len(labels), 5.0), size=4)
    ways_to_share.run(comparison, rows, np.concatenate([equal, drawn]), given.seeds)


if __name__ == "__main__":
    main()
