"""A file of labels for data whose test labels are withheld."""

import numpy as np
import pytest
from benches import labels_of

from mtk.bench.labels import read_labels
from mtk.errors import StudyError


@pytest.fixture
def batches(workload):
    return [(None, {n: y * 0 for n, y in each.items()}) for each in labels_of(workload)]


@pytest.fixture
def arrays(workload):
    every = labels_of(workload)
    return {name: np.concatenate([each[name] for each in every]) for name in ("left", "right")}


def test_labels_of_the_file_replace_the_dummy_labels(batches, arrays, workload, tmp_path):
    np.savez(tmp_path / "labels.npz", **arrays)
    found = read_labels(tmp_path / "labels.npz", batches, ["left", "right"])
    for (_, labels), expected in zip(found, labels_of(workload), strict=True):
        for name, own in expected.items():
            assert labels[name].dtype == own.dtype
            np.testing.assert_array_equal(labels[name], own)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: {**a, "left": a["left"][:-1]}, r"shape \(358,\); expected \(359,\)"),
        (lambda a: {**a, "left": a["left"][:, None]}, r"shape \(359, 1\)"),
        (lambda a: {"left": a["left"]}, r"labels of \['left'\]"),
        (lambda a: {**a, "up": a["left"]}, "'up'"),
        (lambda a: {**a, "left": a["left"].astype(str)}, "the dtype .*; expected"),
        (lambda a: {**a, "left": a["left"] + 0.5}, "float64"),
        (lambda a: {**a, "left": a["left"].astype(object)}, "not an archive of arrays"),
    ],
)
def test_file_that_does_not_match_the_data_raises(batches, arrays, tmp_path, change, named):
    np.savez(tmp_path / "labels.npz", **change(arrays))
    with pytest.raises(StudyError, match=named) as caught:
        read_labels(tmp_path / "labels.npz", batches, ["left", "right"])
    assert "No read was spent" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04...", b"left,right"])
def test_missing_or_invalid_file_raises(batches, tmp_path, content):
    path = tmp_path / "labels.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match="cannot be used"):
        read_labels(path, batches, ["left", "right"])
