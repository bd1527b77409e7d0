"""The leaderboard: known values, reads, and forged submissions."""

import hashlib
import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from benches import FOLDERS, labels_of, make_card

from mtk import predictions
from mtk.bench import Board
from mtk.bench.ledger import Ledger
from mtk.bench.received import received
from mtk.bench.scoring import scorer_of
from mtk.errors import StudyError


@pytest.fixture(scope="module")
def scorer():
    return scorer_of(make_card(), FOLDERS)


@pytest.fixture(autouse=True)
def _cached_scorer(monkeypatch, scorer):
    """The scorer reads the data once for all tests."""
    from mtk.bench import scoring

    monkeypatch.setattr(scoring, "scorer_of", lambda card, folders, labels=None: scorer)


@pytest.fixture(scope="module")
def started_board(packed, scorer, tmp_path_factory):
    """A board on which entry 0 is scored."""
    place = tmp_path_factory.mktemp("started_board")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mtk.bench.scoring.scorer_of", lambda *given: scorer)
        Board(place, make_card(), FOLDERS).score(packed["static_weights"])
    return place


@pytest.fixture
def board(started_board, bench):
    shutil.copytree(started_board, bench.place / "board")
    return bench.board()


def test_values_equal_the_accuracies_of_the_predictions(packed, scorer, workload):
    with received(packed["static_weights"]) as got:
        found, _ = scorer.score(got)
        labels = labels_of(workload)
        for n, model in enumerate(got.about["models"]):
            for s, run in enumerate(model["runs"]):
                parts = got.predictions(run["run"]).parts
                for k, task in enumerate(("left", "right")):
                    pairs = zip(parts[task], labels, strict=True)
                    right = [p.argmax(1) == y[task] for p, y in pairs]
                    accuracy = np.concatenate(right).mean()
                    assert found.values[n, s, k] == pytest.approx(-accuracy, abs=1e-6)
    # The mean over groups of examples equals the mean over all examples.
    np.testing.assert_allclose(found.examples.mean(2), found.values, atol=1e-6)


def test_leaderboard(board, bench, packed):
    assert "entry 0" in board.score(packed["static_weights"])
    # Equal to one point of entry 0's front; a point has less hypervolume than the front.
    assert "pcgrad: place 2;" in board.score(packed["pcgrad"])
    given = {**packed, "mgda": resubmission(bench, packed, "mgda", 0.536)}
    assert "mgda: place 1;" in board.score(given["mgda"])
    told = json.loads((board.path / "leaderboard.json").read_text())
    places = {row["entry"]: row["place"] for row in told["entries"]}
    assert places == {"mgda": 1, "static_weights": 2, "pcgrad": 3}
    first = told["entries"][0]
    assert first["entry"] == "mgda"
    assert first["gain"] > 0 < first["r2"]
    steps = first["gain"] / first["noise"]
    assert steps == pytest.approx(round(steps))
    page = (board.path / "leaderboard.html").read_text()
    for row in told["entries"]:
        cost = json.loads((given[row["entry"]] / "submission.json").read_text())["cost"]
        spent = cost["tuning_cpu_seconds"] + cost["measuring_cpu_seconds"]
        assert row["cpu_seconds"] == pytest.approx(spent)
        assert f'<td data-name="CPU seconds">{spent:,.0f}</td>' in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize("number", [1, 2, 6, 14, 15, 20])
def test_card_warns_about_a_barely_tuned_entry_0(number):
    remark = make_card(configurations=number).remark
    assert (f"only {max(1, number // 3)} run" in remark) == (number < 15)
    assert bool(remark) == (number < 15)


def test_place_above_a_barely_tuned_entry_0_has_a_warning(board, packed):
    few = "only 2 runs tuned"
    assert [few in board.score(packed[name]) for name in ("mgda", "pcgrad")] == [True, False]
    assert few in (board.path / "leaderboard.html").read_text()


def test_entry_0_must_be_first_and_is_scored_once(board, bench, packed, tmp_path):
    empty = Board(tmp_path / "empty", make_card(), FOLDERS)
    with pytest.raises(StudyError, match="must start with entry 0"):
        empty.score(packed["mgda"])
    assert Ledger(empty.path).entries() == []
    other = bench.submission("static_weights")  # Trained again in another folder.
    about = json.loads((other / "submission.json").read_text())
    about["cost"]["tuning_cpu_seconds"] += 1
    (other / "submission.json").write_text(json.dumps(about))
    with pytest.raises(StudyError, match="Entry 0 was already scored"):
        board.score(other)


def resubmission(bench, packed, name, number):
    """Returns a copy of a submission with another hash."""
    copy = bench.place / f"{name}{number}"
    shutil.copytree(packed[name], copy)
    about = json.loads((copy / "submission.json").read_text())
    about["cost"]["measuring_cpu_seconds"] += number
    (copy / "submission.json").write_text(json.dumps(about))
    return copy


def test_earlier_submission_does_not_get_the_answer_of_a_later_one(board, bench, packed):
    """Regression test: a later, better submission has the same entry name."""
    board.score(packed["pcgrad"])
    better = resubmission(bench, packed, "mgda", 2)
    about = json.loads((better / "submission.json").read_text())
    (better / "submission.json").write_text(json.dumps({**about, "entry": "pcgrad"}))
    told = board.score(better)
    assert "pcgrad: place 1;" in told
    assert "hypervolume" not in (said := board.score(packed["pcgrad"]))
    assert "a later submission of it is better" in said
    assert board.score(better) == told
    assert len(board.ledger.entries()) == 3


def test_number_of_reads_is_limited(board, bench, packed):
    first = board.score(packed["mgda"])
    assert board.score(packed["mgda"]) == first  # Scoring the same submission again uses no read.
    assert "not better than its earlier submission" in board.score(
        resubmission(bench, packed, "mgda", 1)
    )
    before = {p: p.read_bytes() for p in board.path.rglob("*") if p.is_file()}
    with pytest.raises(StudyError, match="no reads left: all 2 reads that the card allows"):
        board.score(resubmission(bench, packed, "mgda", 2))
    assert {p: p.read_bytes() for p in board.path.rglob("*") if p.is_file()} == before
    entries = Ledger(board.path).entries()
    assert [e["improved"] for e in entries] == [True, True, False]
    told = json.loads((board.path / "leaderboard.json").read_text())
    assert told["entries"][0]["reads"] == 2


def test_recorded_answer_is_given_after_a_crash(board, bench, packed):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Board, "write", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            board.score(packed["mgda"])
    assert "mgda: place 1;" in bench.board().score(packed["mgda"])
    assert len(Ledger(board.path).entries()) == 2


@pytest.mark.parametrize("name", ["leaderboard.html", "leaderboard.json"])
@pytest.mark.parametrize("linked", [False, True])
def test_foreign_files_in_the_board_folder_raise(bench, packed, tmp_path, name, linked):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("of others")
    (folder / name).symlink_to(file) if linked else file.rename(folder / name)
    with pytest.raises(StudyError if not linked else ValueError, match=name):
        Board(folder, bench.card, FOLDERS).score(packed["static_weights"])
    assert (folder / name).read_text() == "of others"
    assert [path.name for path in folder.iterdir()] == [name]


def test_submissions_and_boards_of_other_cards_raise(board, bench, packed, tmp_path):
    with pytest.raises(StudyError, match="made for another card"):
        Board(tmp_path / "x", make_card(delta=0.1), FOLDERS).score(packed["static_weights"])
    with pytest.raises(StudyError, match="board of another card"):
        bench.board(make_card(delta=0.1)).score(packed["mgda"])


def test_changed_scores_are_detected(board, packed):
    (kept,) = (board.path / "scored").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(StudyError, match="missing or was changed"):
        board.score(packed["mgda"])
    kept.unlink()
    with pytest.raises(StudyError, match="missing or was changed"):
        board.score(packed["mgda"])
    assert len(Ledger(board.path).entries()) == 1


def change_list(folder, change, rehash=True):
    """Changes the list; with `rehash`, file hashes are recomputed, as a forger would."""
    path = folder / "submission.json"
    about = json.loads(path.read_text())
    change(about)
    if rehash:
        for name in about["files"]:
            if (folder / name).is_file():
                about["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(about))


def first_file(folder):
    return sorted((folder / "predictions").iterdir())[0]


def put(content):
    def attack(folder):
        first_file(folder).write_bytes(content)
        change_list(folder, lambda about: None)

    return attack


def packed_predictions(parts, every=1):
    file = io.BytesIO()
    predictions.save(file, predictions.Predictions(every, parts))
    return file.getvalue()


def parts(number=359, classes=10, tasks=("left", "right"), value=0.0):
    sizes = [32] * (number // 32) + [number % 32]
    return {t: [np.full((size, classes), value, "f4") for size in sizes] for t in tasks}


def edit(**changes):
    return lambda folder: change_list(folder, lambda about: about.update(changes))


def edit_run(**changes):
    return lambda folder: change_list(
        folder, lambda about: about["models"][0]["runs"][0].update(changes)
    )


def link(folder):
    file = first_file(folder)
    target = folder.parent / "elsewhere.npz"
    shutil.move(file, target)
    file.symlink_to(target)


def link_folder(folder):
    shutil.move(folder / "predictions", folder.parent / "elsewhere")
    (folder / "predictions").symlink_to(folder.parent / "elsewhere")


def list_other_path(folder):
    (folder.parent / "secret.npz").write_bytes(b"x")
    change_list(folder, lambda about: about["files"].update({"../secret.npz": "0" * 64}))


def every_nth_batch(every, runs=None):
    """Keeps every n-th batch of the entry's own predictions, in the first `runs` runs."""

    def attack(folder):
        for file in sorted((folder / "predictions").iterdir())[:runs]:
            with file.open("rb") as opened:
                kept = predictions.read(opened).parts
            parts = {task: own[::every] for task, own in kept.items()}
            file.write_bytes(packed_predictions(parts, every))
        change_list(folder, lambda about: None)

    return attack


def copy_a_run(folder):
    runs = json.loads((folder / "submission.json").read_text())["models"][0]["runs"]
    first, *_, last = (folder / "predictions" / f"{run['run']}.npz" for run in runs)
    shutil.copy(first, last)
    change_list(folder, lambda about: None)


def of_list(text):
    return lambda folder: (folder / "submission.json").write_text(text)


ATTACKS = {
    "a flipped byte": (lambda f: first_file(f).write_bytes(b"x" + first_file(f).read_bytes()[1:]),
                       "was changed after it was packed"),
    "a changed configuration": (
        lambda f: next((f / "configurations").iterdir()).write_text("x = 1"), "was changed after"),
    "a missing file": (lambda f: first_file(f).unlink(), "is missing"),
    "a missing list": (lambda f: (f / "submission.json").unlink(), "is missing"),
    "a list that is no JSON": (of_list("{"), "is not valid JSON"),
    "a list of lists": (of_list("[]"), "does not contain a JSON object"),
    "deep nesting": (of_list("[" * 100_000), "is not valid JSON"),
    "a link": (link, "is a symbolic link"),
    "a link to a folder": (link_folder, "is a symbolic link"),
    "a path that leaves the folder": (list_other_path, "must list exactly two files"),
    "a run whose name is a path": (edit_run(run="../../../etc/pass"), "16 hexadecimal digits"),
    "a name with markup": (edit(entry="<b>x</b>"), "a name of letters"),
    "another format": (edit(format=2), "its format is 2"),
    "no cost": (edit(cost=None), "missing"),
    "a cost that is negative": (edit(cost={"configurations": -1}), "0 or more"),
    "a cost that is NaN": (edit(cost={"configurations": float("nan")}), "0 or more"),
    "no model": (edit(models=[]), "other files|0 models"),
    "a seed that is a text": (edit_run(seed="1"), "a seed"),
    "another seed": (edit_run(seed=9), "has the seeds"),
    "no predictions": (put(b""), "expected predictions"),
    "fewer examples": (put(packed_predictions(parts(300))), "not for the test examples here"),
    "more examples": (put(packed_predictions(parts(400))), "not for the test examples here"),
    "other tasks": (put(packed_predictions(parts(tasks=("left", "up")))), "not for the test"),
    "thinned out predictions": (put(packed_predictions(parts(), 2)), "not for the test examples"),
    **{f"one of {every} batches": (every_nth_batch(every), "other test examples than entry 0")
       for every in (2, 4, 12)},
    "another batch of one run": (every_nth_batch(2, runs=1), "different test examples"),
    "a run twice, under two names": (copy_a_run, "the same predictions"),
    "NaN": (put(packed_predictions(parts(value=np.nan))), "not all finite"),
    "infinity": (put(packed_predictions(parts(value=np.inf))), "not all finite"),
    "too few classes": (put(packed_predictions(parts(classes=3))), "do not fit the labels"),
    "too much tuning": (
        lambda f: change_list(f, lambda a: a["cost"].update(configurations=21)), "allows 6"),
    "other data": (edit(data={"train": "others"}), "different data from those here"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_forged_submission_raises_and_uses_no_read(name, board, bench, packed):
    attack, named = ATTACKS[name]
    copy = bench.place / "attack"
    shutil.copytree(packed["mgda"], copy)
    attack(copy)
    with pytest.raises(StudyError, match=named):
        board.score(copy)
    assert len(Ledger(board.path).entries()) == 1


def zipped(folder, path, **more):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.name != "mtk-files.json":
                archive.write(file, file.relative_to(folder))
        for name, content in more.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def test_archive_and_folder_are_equivalent(board, bench, packed):
    assert "mgda: place 1;" in board.score(zipped(packed["mgda"], bench.place / "b.zip"))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"..__evil.gin": "x"}, "files that are not in its list"),
        ({"submission.json": "{}"}, "missing|other files"),
        ({"more.txt": "x"}, "files that are not in its list"),
    ],
)
def test_archives_with_unexpected_members_raise(bench, packed, more, named):
    path = zipped(packed["static_weights"], bench.place / "a.zip", **more)
    with pytest.raises(StudyError, match=named):
        bench.board().score(path)
    assert not (bench.place.parent / "evil.gin").exists()


def test_zip_bomb_is_not_extracted(bench, packed):
    copy = bench.place / "bomb"
    shutil.copytree(packed["static_weights"], copy)
    name = next((copy / "configurations").iterdir())
    name.write_bytes(b"#" * (8 << 20))
    change_list(copy, lambda about: None)
    path = zipped(copy, bench.place / "bomb.zip")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(StudyError, match="has more than 1048576 bytes"):
        bench.board().score(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_files_that_are_not_archives_raise(bench, content):
    (bench.place / "a.zip").write_bytes(content)
    with pytest.raises(StudyError, match="cannot be scored"):
        bench.board().score(bench.place / "a.zip")
    with pytest.raises(StudyError, match="no such file"):
        bench.board().score(bench.place / "none.zip")
