"""The file of predictions: round trip, and errors for foreign or damaged files."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from mtk import predictions
from mtk.predictions import Collector, Predictions


def collected(batches, **given):
    collector = Collector(**given)
    for each in batches:
        collector.add(each if collector.wants else None)
    return collector.predictions


@pytest.mark.parametrize("shapes", [[(32, 3), (7, 3)], [(32, 5, 9), (32, 8, 9), (1, 2, 9)], [(4,)]])
def test_predictions_round_trip(shapes):
    generator = np.random.default_rng(0)
    batches = [{n: generator.normal(size=s).astype("f4") for n in ("a", "ä b/c")} for s in shapes]
    file = io.BytesIO()
    predictions.save(file, collected(batches))
    found = predictions.read(io.BytesIO(file.getvalue()))
    assert found.every == 1
    for name in ("a", "ä b/c"):
        pairs = zip(found.parts[name], batches, strict=True)
        assert all(np.array_equal(part, batch[name]) for part, batch in pairs)


@pytest.mark.parametrize("number", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("most", [10, 25, 80])
def test_large_predictions_are_subsampled_to_every_nth_batch(number, most):
    batches = [{"a": np.full((2, 5), n, "f4")} for n in range(number)]
    found = collected(batches, most=most)
    kept = [int(part[0, 0]) for part in found.parts["a"]]
    assert kept == list(range(0, number, found.every))
    assert 10 * len(kept) <= most
    assert found.every == 1 or 10 * len(range(0, number, found.every // 2)) > most


def test_too_large_batch_raises():
    with pytest.raises(ValueError, match="more than 9 predictions"):
        collected([{"a": np.zeros((2, 5))}], most=9)


def unpickled():
    raise AssertionError("A pickle was loaded.")


class MaliciousPickle:
    """Calls a function when it is unpickled."""

    def __reduce__(self):
        return unpickled, ()


def archive(**changes):
    arrays = {
        "names": np.array(["a"]),
        "every": np.array([1]),
        "values0": np.zeros(6, "f4"),
        "shapes0": np.array([[2, 3]]),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **{**arrays, **changes})
    return file.getvalue()


def replaced(name, content):
    """Returns an archive with one member replaced."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive())) as old, zipfile.ZipFile(file, "w") as new:
        for each in old.namelist():
            new.writestr(each, content if each == name else old.read(each))
    return file.getvalue()


def header(shape, dtype="<f4"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


BAD = {
    "nothing": b"",
    "a text": b"accuracy 1.0",
    "cut off": archive()[:-40],
    "a pickle": pickle.dumps(MaliciousPickle()),
    "objects": replaced("values0.npy", header((1,), "|O") + pickle.dumps(MaliciousPickle())),
    "a header that promises more": replaced("values0.npy", header((1 << 40,))),
    "a negative shape": replaced("values0.npy", header((-3,))),
    "other values than shapes": archive(shapes0=np.array([[2, 4]])),
    "negative shapes": archive(shapes0=np.array([[-2, -3]])),
    "shapes that overflow": archive(shapes0=np.array([[32, 1 << 62, 1 << 62, 8]])),
    "a batch that is too large": archive(shapes0=np.array([[6, 1]]), values0=np.zeros(6, "f4"),
                                         every=np.array([0])),
    "more examples than a batch has": archive(shapes0=np.array([[33]]), values0=np.zeros(33, "f4")),
    "flat shapes": archive(shapes0=np.array([6])),
    "whole numbers": archive(values0=np.zeros(6, "i4")),
    "a task without values": archive(names=np.array(["a", "b"])),
    "a task twice": archive(names=np.array(["a", "a"]), values1=np.zeros(6, "f4"),
                            shapes1=np.array([[2, 3]])),
    "no task": archive(names=np.array([], str)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_other_content_raises(name):
    with pytest.raises(ValueError, match="expected"):
        predictions.read(io.BytesIO(BAD[name]))


def test_flipped_bytes_raise_value_error_or_are_read():
    whole = archive()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 255
        try:
            found = predictions.read(io.BytesIO(bytes(changed)))
        except ValueError:
            continue
        assert isinstance(found, Predictions)
