"""Rounding of reported values (the ladder), and the record of reads (the ledger)."""

import contextlib
import json
import math
import os
import threading
import time

import numpy as np
import pytest

from mtk.bench import ladder
from mtk.bench.ledger import Ledger
from mtk.errors import StudyError


@pytest.mark.parametrize("noise", np.geomspace(1e-6, 1e6, 61))
def test_step_is_between_one_and_two_and_a_half_times_the_noise(noise):
    assert noise * (1 - 1e-9) <= ladder.step(noise) <= 2.5 * noise * (1 + 1e-9)


@pytest.mark.parametrize("noise", [0.003, 0.02, 0.7, 12.0])
def test_values_are_rounded_to_multiples_of_the_step(noise):
    for value in np.random.default_rng(0).normal(size=200):
        found = ladder.told(value, noise)
        assert abs(found - value) <= ladder.step(noise) / 2 + 1e-9
        assert found / ladder.step(noise) == pytest.approx(round(found / ladder.step(noise)))


@pytest.mark.parametrize(("value", "noise"), [(math.nan, 1.0), (1.0, math.inf), (-math.inf, 0.1)])
def test_non_finite_values_are_not_reported(value, noise):
    assert ladder.told(value, noise) is None


def test_many_submissions_reveal_little():
    """The best of 200 equally good submissions would look 2.75 standard deviations better."""
    shown, largest, told = [], [], []
    for seed in range(40):
        best, number = -math.inf, 0
        values = np.random.default_rng(seed).normal(size=200)
        for value in values:
            if ladder.improves(value - best, math.sqrt(2)):
                best, number = value, number + 1
        shown.append(best)
        largest.append(values.max())
        told.append(number)
    assert np.mean(shown) < np.mean(largest) - 0.6
    assert max(told) <= 4


def add(ledger, number):
    about = {"card": "c" * 64, "entry": f"e{number}", "submission": f"{number:064}"}
    return ledger.add({**about, "scored": "a" * 64, "improved": True})


def test_entries_are_read_as_written(tmp_path):
    ledger = Ledger(tmp_path)
    written = [add(ledger, number) for number in range(4)]
    assert ledger.entries() == written
    assert [each["number"] for each in written] == [0, 1, 2, 3]


def test_any_change_is_detected(tmp_path):
    ledger = Ledger(tmp_path)
    for number in range(3):
        add(ledger, number)
    whole = ledger.path.read_text()
    lines = whole.splitlines(keepends=True)
    changes = {
        "removed": lines[1:],
        "removed in the middle": [lines[0], lines[2]],
        "in another order": [lines[1], lines[0], lines[2]],
        "twice": [*lines, lines[2]],
        "no JSON": [*lines, "x\n"],
        "emptied": [],
        "the last line cut off": [*lines[:2], lines[2][:-1]],
        "the only line cut off": [lines[0][:40]],
        "an entry more": [lines[0].replace("}", ', "more": 1}'), *lines[1:]],
    }
    for name in ("entry", "time", "card", "submission", "scored", "improved", "number"):
        entry = json.loads(lines[1])
        changes[name] = [lines[0], json.dumps({**entry, name: 7}) + "\n", lines[2]]
    for name, changed in changes.items():
        ledger.path.write_text("".join(changed))
        with pytest.raises(StudyError, match="was changed"):
            ledger.entries()
        assert ledger.path.read_text() == "".join(changed), name


def test_ledger_that_is_a_pipe_raises(tmp_path):
    os.mkfifo(tmp_path / "reads.jsonl")
    with pytest.raises(StudyError, match=r"/reads\.jsonl' cannot be read"):
        Ledger(tmp_path).entries()


def test_killed_process_leaves_no_partial_line(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)
    first = add(ledger, 0)

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mtk.atomic.flush", killed)
        with pytest.raises(KeyboardInterrupt):
            add(ledger, 1)
    assert ledger.entries() == [first]
    assert add(ledger, 2) == ledger.entries()[1]


@pytest.mark.parametrize("place", ["board", "boards/digits"])
def test_refused_submission_leaves_no_folder(place, tmp_path):
    ledger = Ledger(tmp_path / place)
    with pytest.raises(StudyError), ledger.alone():
        raise StudyError
    assert not [*tmp_path.iterdir()]


def test_refused_submission_keeps_existing_folders(tmp_path):
    mine, board = tmp_path / "mine.txt", tmp_path / "board"
    mine.touch()
    board.mkdir()
    for ledger in (Ledger(tmp_path), Ledger(board)):
        with pytest.raises(StudyError), ledger.alone():
            raise StudyError
    assert mine.exists()
    assert board.exists()


def test_lock_stays_valid_after_an_earlier_holder_was_refused(tmp_path):
    ledger, seen = Ledger(tmp_path / "board"), []

    def spend(refused):
        with contextlib.suppress(StudyError), ledger.alone():
            seen.append((tmp_path / "board" / "lock").exists())
            time.sleep(0.02)
            if refused:
                raise StudyError
            add(ledger, len(ledger.entries()))

    threads = [threading.Thread(target=spend, args=[n < 2]) for n in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert seen == [True] * 5
    assert len(ledger.entries()) == 3


def test_concurrent_scoring_is_serialized(tmp_path):
    ledger, seen = Ledger(tmp_path), []

    def spend():
        with ledger.alone():
            seen.append(len(ledger.entries()))
            time.sleep(0.02)
            add(ledger, seen[-1])

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert seen == [0, 1, 2, 3]
