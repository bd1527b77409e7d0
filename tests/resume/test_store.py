import errno
import hashlib
import json
import os
from types import SimpleNamespace

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from mtk import checkpoints
from mtk.checkpoints import AppendOnlyFiles, AsyncCheckpointer, DamagedError, Snapshot, Store


@pytest.fixture
def store(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    append_only_arguments = AppendOnlyFiles(
        tmp_path, tmp_path / "metrics.jsonl", tmp_path / "tensorboard"
    )
    return Store(tmp_path / "checkpoints", append_only_arguments, keep=2)


def snapshot(step, **others):
    return Snapshot(step, {"0000 a/b": np.full((2, 3), step, np.float32)}, {"at": step}, **others)


def append_only_arguments(store):
    """Returns the arguments of a snapshot for the present append-only files."""
    lengths = json.loads(json.dumps(store.growing.lengths()))
    length = store.growing.record_length(lengths)
    return {"lengths": lengths, "record": store.growing.record_hash(length)}


def all_names(store):
    return sorted(path.name for path in store.folder.iterdir())


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint32", "uint8", "bool"])
def test_snapshot_round_trip(tmp_path, dtype):
    draw = np.random.default_rng(0)
    arrays = {f"{i:04} v": draw.integers(0, 200, (i, 3)).astype(dtype) for i in range(3)}
    state = {"inf": float("inf"), "third": 1 / 3, "none": None, "names": ["ä", ""]}
    Snapshot(7, arrays, state, {"metrics.jsonl": 5}).save(tmp_path)
    found = Snapshot.load(tmp_path)
    assert (found.step, found.state, found.lengths) == (7, state, {"metrics.jsonl": 5})
    assert list(found.variables) == list(arrays)
    for name, array in arrays.items():
        assert found.variables[name].dtype == array.dtype
        np.testing.assert_array_equal(found.variables[name], array)


def test_variables_round_trip_in_every_dtype(tmp_path):
    def model():
        keras.utils.set_random_seed(1)
        inputs = keras.Input((3,))
        hidden = keras.layers.Dense(2, dtype="bfloat16", name=None)(inputs)
        made = keras.Model(inputs, keras.layers.Dropout(0.5)(hidden))
        made.compile(keras.optimizers.Adam(), "mse", metrics=["mae"])
        made.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
        return made

    one, other = model(), model()
    one.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    values = checkpoints.values(one)
    assert any(array.dtype == ml_dtypes.bfloat16 for array in values.values())
    Snapshot(1, values, {}).save(tmp_path)
    # Names of layers have other numbers in the other model.
    checkpoints.assign(other, Snapshot.load(tmp_path).variables)
    for (name, value), found in zip(
        values.items(), checkpoints.values(other).values(), strict=True
    ):
        np.testing.assert_array_equal(value, found, err_msg=name)


def test_variables_of_another_model_are_refused_without_changes():
    def model(units):
        made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, name="d")])
        made.compile("sgd", "mse")
        return made

    one = model(2)
    before = checkpoints.values(one)
    with pytest.raises(ValueError, match=r"Only in the model: .*d/kernel \(3, 2\)"):
        checkpoints.assign(one, checkpoints.values(model(4)))
    for name, value in checkpoints.values(one).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("saved", [13, [13], [4, 4, 5]])
def test_metric_counts_are_kept_on_another_number_of_replicas(saved):
    parts = [tf.Variable(-1), tf.Variable(-1)]
    number = SimpleNamespace(
        path="count", shape=(), synchronization="on_read", aggregation="sum", value=None
    )
    model = SimpleNamespace(
        variables=[],
        optimizer=SimpleNamespace(variables=[]),
        metrics=[SimpleNamespace(variables=[number])],
        distribute_strategy=SimpleNamespace(
            num_replicas_in_sync=2, experimental_local_results=lambda _: parts
        ),
    )
    checkpoints.assign(model, {"0000 count": np.array(saved, "int32")})
    assert sum(int(part.numpy()) for part in parts) == 13


def test_last_checkpoints_are_kept(store):
    for step in range(5):
        store.write(snapshot(step))
    assert all_names(store) == ["000004-step-3", "000005-step-4"]
    assert store.newest().step == 4


def test_checkpoint_numbers_may_exceed_their_digits(store):
    (store.folder / "999999-step-1").mkdir()
    store.write(snapshot(2))
    assert all_names(store) == ["1000000-step-2", "999999-step-1"]
    assert store.newest().step == 2


def test_linked_file_is_not_changed_later(store, tmp_path):
    weights = tmp_path / "weights"
    for step, text in enumerate(["one", "two"]):
        aside = tmp_path / "aside"
        aside.write_text(text)
        aside.replace(weights)
        store.write(snapshot(step, files={"weights": weights}))
    texts = [p.read_text() for p in sorted(store.folder.glob("*/weights"))]
    assert texts == ["one", "two"]


@pytest.mark.parametrize("name", ["variables.npz", "state.json", "SHA256SUMS"])
def test_changed_bytes_are_detected(tmp_path, name):
    snapshot(3).save(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(DamagedError):
            Snapshot.load(tmp_path)
    path.write_bytes(content)
    assert Snapshot.load(tmp_path).step == 3


def keep_lines(kept):
    def change(folder):
        lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
        (folder / "SHA256SUMS").write_text("".join(lines[i] for i in kept))

    return change


def listed(name, content):
    """Adds a file to the list, with its correct checksum."""

    def change(folder):
        with (folder / "SHA256SUMS").open("a") as file:
            file.write(f"{hashlib.sha256(content).hexdigest()}  {name}\n")

    return change


@pytest.mark.parametrize(
    "change",
    [
        keep_lines([]),
        keep_lines([0]),
        keep_lines([1, 2]),
        keep_lines([0, 2]),
        lambda folder: (folder / "SHA256SUMS").unlink(),
        lambda folder: (folder / "more.weights.h5").write_text("not written by the run"),
        lambda folder: (folder / "selected.weights.h5").unlink(),
        lambda folder: os.mkfifo(folder / "pipe"),
        listed("../weights", b"weights"),
    ],
)
def test_files_must_match_the_list_of_checksums(tmp_path, change):
    (tmp_path / "weights").write_text("weights")
    (tmp_path / "one").mkdir()
    snapshot(3, files={"selected.weights.h5": tmp_path / "weights"}).save(tmp_path / "one")
    assert Snapshot.load(tmp_path / "one").step == 3
    change(tmp_path / "one")
    with pytest.raises(DamagedError):
        Snapshot.load(tmp_path / "one")


def test_state_is_read_without_variables_and_checked(tmp_path):
    snapshot(3).save(tmp_path)
    (tmp_path / "variables.npz").unlink()  # The large file is not read.
    assert checkpoints.read_without_variables(tmp_path).state == {"at": 3}
    for content in ((tmp_path / "state.json").read_text().replace("3", "4"), "{", ""):
        (tmp_path / "state.json").write_text(content)
        with pytest.raises(DamagedError, match=r"checksum of state\.json"):
            checkpoints.read_without_variables(tmp_path)


def test_failed_write_keeps_earlier_checkpoints(store, monkeypatch):
    store.write(snapshot(1))

    def full(*arguments, **others):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(OSError, match="No space left"):
            store.write(snapshot(2))
    assert all_names(store) == ["000001-step-1"]
    assert store.newest().step == 1


def test_async_checkpointer_reports_a_failure_once(store, monkeypatch):
    writer = AsyncCheckpointer(store)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write", lambda snapshot: (_ for _ in ()).throw(OSError("full")))
        writer.submit(snapshot(1))
        with pytest.raises(OSError, match="full"):
            writer.wait()
    writer.wait()
    writer.submit(snapshot(2))
    writer.close()
    assert store.newest().step == 2


def test_append_only_files_are_truncated(store, tmp_path):
    record, curves = tmp_path / "metrics.jsonl", tmp_path / "tensorboard" / "train"
    curves.mkdir(parents=True)
    record.write_text("one\n")
    (curves / "events.out.tfevents.1").write_text("12")
    noted = append_only_arguments(store)
    lengths = noted["lengths"]
    record.write_text("one\ntwo\nthr")
    (curves / "events.out.tfevents.1").write_text("1234")
    (curves / "events.out.tfevents.2").write_text("5")
    store.growing.check(*noted.values())
    store.growing.cut(lengths)
    assert record.read_text() == "one\n"
    assert {p.name: p.read_text() for p in curves.iterdir()} == {"events.out.tfevents.1": "12"}
    record.write_text("one")
    with pytest.raises(
        ValueError, match=r"metrics\.jsonl' has 3 bytes, but had 4.*Restore the complete"
    ):
        store.growing.check(*noted.values())
    store.growing.cut({})
    assert not record.exists()


def test_other_files_beside_the_curves_are_kept(store, tmp_path):
    theirs = ["notes.md", "train/notes.md", "events.out.tfevents.1.host.profile-empty"]
    theirs += ["plugins/profile/one/host.xplane.pb", "plugins/profile/one/events.out.tfevents.1"]
    ours = [f"{split}/events.out.tfevents.1" for split in ("train", "validation", "test")]
    for name in theirs + ours:
        path = tmp_path / "tensorboard" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    assert store.growing.lengths().keys() == {f"tensorboard/{name}" for name in ours}
    store.growing.cut({})
    left = [path for path in (tmp_path / "tensorboard").rglob("*") if path.is_file()]
    assert {str(p.relative_to(tmp_path / "tensorboard")): p.read_text() for p in left} == {
        name: name for name in theirs
    }


@pytest.mark.parametrize("appended", ["", "three\n"])
def test_changed_log_is_refused_without_changes(store, tmp_path, appended):
    record = tmp_path / "metrics.jsonl"
    for step, text in enumerate(['{"value": 0.125}\n', '{"value": 0.125}\n{"value": 0.5}\n']):
        record.write_text(text)
        store.write(snapshot(step, **append_only_arguments(store)))
    for place in range(len(text)):
        for changed in (text[:place] + "7" + text[place + 1 :], text[:place] + text[place + 1 :]):
            record.write_text(changed + appended)
            if record.read_text().startswith(text):
                continue
            before = content(tmp_path)
            with pytest.raises(ValueError, match=r"metrics\.jsonl.*Restore the complete log"):
                store.newest()
            assert content(tmp_path) == before
    record.write_text(text + appended)
    assert store.newest().step == 1


def test_hash_of_the_log_is_that_of_its_bytes(store, tmp_path):
    """The hash is updated as the file grows."""
    record, written = tmp_path / "metrics.jsonl", b""
    assert append_only_arguments(store)["record"] == hashlib.sha256(b"").hexdigest()
    for number in range(20):
        written += bytes(range(number))
        record.write_bytes(written)
        assert append_only_arguments(store)["record"] == hashlib.sha256(written).hexdigest()
    for part in (0, 5, len(written)):  # As in a process that resumes the run.
        lengths = {"metrics.jsonl": part}
        store.growing.check(lengths, hashlib.sha256(written[:part]).hexdigest())
        store.growing.cut({"metrics.jsonl": len(written)})
        assert append_only_arguments(store)["record"] == hashlib.sha256(written).hexdigest()


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_truncated_curves_give_a_warning(store, tmp_path, cut):
    events = tmp_path / "tensorboard" / "train" / "events.out.tfevents.1"
    events.parent.mkdir(parents=True)
    events.write_text("1234")
    lengths = store.growing.lengths()
    events.write_text("1234"[:cut])
    with pytest.warns(UserWarning, match=r"missing or truncated: \['tensorboard/train/events"):
        store.growing.cut(lengths)


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("left", [None, "", "one\ntw"])
@pytest.mark.parametrize("damaged", [False, True])
def test_lost_log_is_refused_without_changes(store, tmp_path, left, damaged):
    record = tmp_path / "metrics.jsonl"
    for step, text in enumerate(["one\ntwo\n", "one\ntwo\nthree\n"]):
        record.write_text(text)
        store.write(snapshot(step, **append_only_arguments(store)))
    if damaged:  # The checkpoint before it expects a longer log, too.
        (store.folder / "000002-step-1" / "state.json").unlink()
    record.unlink() if left is None else record.write_text(left)
    (store.folder / "unfinished.x").mkdir()
    before = content(tmp_path)
    state = "is missing" if left is None else f"has {len(left)} bytes"
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{state}, but had {8 if damaged else 14}"):
            store.newest()
    assert content(tmp_path) == before
    record.write_text("one\ntwo\nthree\n")
    if damaged:
        with pytest.warns(UserWarning, match="2-step-1 is damaged: .* resumes after step 0"):
            assert store.newest().step == 0
    else:
        assert store.newest().step == 1


def test_damaged_checkpoints_are_kept_until_forget_damaged(store):
    for step in range(2):
        store.write(snapshot(step))
    for _ in range(2):  # Twice, so that names could clash.
        for path in store.folder.glob("0*"):
            (path / "state.json").unlink()
        with pytest.warns(UserWarning, match="is kept as damaged"):
            assert store.newest() is None
        store.write(snapshot(7))
    aside = [f"damaged.00000{n}" for n in (1, 2, 3)]
    assert [name.partition("-")[0] for name in all_names(store)] == ["000004", *aside]
    assert store.newest().step == 7
    assert len(all_names(store)) == 4
    store.forget_damaged()
    assert all_names(store) == ["000004-step-7"]


def test_keep_is_checked(tmp_path):
    with pytest.raises(ValueError, match="`keep`"):
        Store(tmp_path, AppendOnlyFiles(tmp_path, tmp_path / "a", tmp_path / "b"), keep=0)
