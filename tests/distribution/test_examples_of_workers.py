"""Several replicas or workers write the same test examples, in the same order, as one device."""

import numpy as np
import pytest

from mtk import example_values
from tests.distribution.starting import CONFIGS, end_of, train, train_two

SHORT = ["--gin.experiment.Training.steps=2", "--gin.evaluate_every=2"]
SHORT += ["--gin.experiment.Numerics.deterministic=True"]
TWO = [f"--gin_file={CONFIGS / 'strategies' / 'mirrored.gin'}"]
TWO += ["--gin.distribution.mirrored.replicas=2"]


def examples(folder):
    with (folder / "test_examples.npz").open("rb") as file:
        return example_values.read(file)


@pytest.mark.slow
def test_examples_equal_those_of_one_device(tmp_path):
    started = {name: [train(*flags, *SHORT, f"--run_dir={tmp_path / name}")]
               for name, flags in {"one": [], "replicas": TWO}.items()}  # fmt: skip
    for processes in started.values():
        assert [end_of(process)[0] for process in processes] == [0]
    workers = train_two(f"--run_dir={tmp_path / 'workers'}", *SHORT)
    assert [end_of(process)[0] for process in workers] == [0, 0]
    one = examples(tmp_path / "one")
    assert len(one.names) == 4
    for name in ("replicas", "workers"):
        found = examples(tmp_path / name)
        assert (found.names == one.names).all()
        assert (found.orders == one.orders).all()
        np.testing.assert_array_equal(found.counts, one.counts)
        np.testing.assert_allclose(found.values, one.values, rtol=1e-3, atol=1e-3)
