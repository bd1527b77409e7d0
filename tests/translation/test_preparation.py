import json
from collections import Counter

import numpy as np
import pytest
from parallel_text import LANGUAGES, SETTINGS, hashes, lines, make, readers, write

from mtk.data.translation import Vocabulary, open_corpus
from mtk.data.translation.filters import Filters
from mtk.data.translation.preparation import prepare
from mtk.data.translation.stages import Stages
from tests.quick import some


def copied(prepared, tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for path in prepared.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def decoded(corpus, split, language):
    sides = corpus.pairs(split, language)
    return [
        tuple(corpus.vocabulary.decode(side[i]) for side in sides) for i in range(len(sides.source))
    ]


def test_token_files_decode_to_the_text(text, prepared):
    corpus = open_corpus(str(prepared))
    assert corpus.languages == LANGUAGES
    for language, reader in readers(text).items():
        for split in ("train", "validation", "test"):
            expected = [tuple(side.decode() for side in pair) for pair in reader.pairs(split)]
            if split == "train":
                kept = set(decoded(corpus, split, language))
                assert kept <= {*expected}
                assert len(kept) > 200
            else:
                assert decoded(corpus, split, language) == expected
                assert list(zip(*corpus.texts(split, language), strict=True)) == expected


def test_tokens_are_memory_mapped_uint16(prepared):
    pairs = open_corpus(str(prepared)).pairs("train", "fr")
    for side in pairs:
        assert isinstance(side.tokens, np.memmap)
        assert side.tokens.dtype == np.uint16


def test_fingerprint_differs_in_the_changed_part(prepared, tmp_path):
    """A change of one bit in any language or side changes the fingerprint of that part."""
    folder = copied(prepared, tmp_path)
    found = open_corpus(str(folder)).fingerprint()
    assert found == open_corpus(str(prepared)).fingerprint()
    for name in ("train.fr.source.tokens.npy", "test.fr.target.txt"):
        content = bytearray((folder / name).read_bytes())
        content[-2] ^= 1
        (folder / name).write_bytes(content)
        changed = open_corpus(str(folder)).fingerprint()
        assert [x for x in found if found[x] != changed[x]] == [".".join(name.split(".")[:2])]
        (folder / name).write_bytes((prepared / name).read_bytes())


def test_files_do_not_depend_on_chunks_and_processes(text, prepared, tmp_path):
    settings = {**SETTINGS, "chunk_pairs": 1_000, "processes": 1}
    prepare(str(tmp_path / "corpus"), readers(text), **settings)
    assert hashes(tmp_path / "corpus") == hashes(prepared)


def test_vocabulary_is_trained_on_all_languages(prepared):
    vocabulary = Vocabulary.load(prepared / "vocabulary.model")
    for language in ("en", *LANGUAGES):
        sentence = lines(language, 1, 99)[0].decode()
        # An encoding as bytes would be longer.
        assert len(vocabulary.encode(sentence)) <= len(sentence)


def test_table_shows_counts_per_split(prepared):
    table = prepare(str(prepared), given(prepared), **SETTINGS)
    rows = [line.split() for line in table.splitlines()]
    assert rows[1][:4] == ["pair", "train", "validation", "test"]
    manifest = json.loads((prepared / "manifest.json").read_text())
    for row, language in zip(rows[2:4], LANGUAGES, strict=True):
        counted = [manifest["splits"][split][language] for split in ("train", "validation", "test")]
        assert row[:4] == [f"en-{language}", *(str(split["kept"]) for split in counted)]
        for split in counted:
            assert split["kept"] + sum(split["skipped"].values()) == split["read"]


def given(prepared):
    """Returns fake readers with the settings that a corpus was prepared with."""

    class Same:
        def __init__(self, asked):
            self._asked = asked

        def asked(self):
            return self._asked

    asked = json.loads((prepared / "manifest.json").read_text())["asked"]["languages"]
    return {language: Same(values) for language, values in asked.items()}


def test_bad_lines_are_counted_and_dropped(tmp_path):
    make(tmp_path / "text", 100)
    english = lines("en", 100, 50)
    french = lines("fr", 100, 50)
    bad = [
        (b"", b"rien", "empty"),
        (b"nothing", b"   ", "empty"),
        (b"caf\xe9", b"caf\xc3\xa9", "not UTF-8"),
        (b"x" * 100_000, b"long", "too many characters"),
        (b"ba ke lo " * 60, b"la ne ou " * 60, "too many tokens"),
        (b"ba", b"la ne ou que la ne ou que la ne ou que", "lengths too different"),
    ]
    for place, (source, target, _) in enumerate(bad):
        english.insert(17 * place, source)
        french.insert(17 * place, target)
    for split in ("train", "test"):
        write(tmp_path / "text" / f"{split}.fr.en", english)
        write(tmp_path / "text" / f"{split}.fr.fr.gz", french)
    folder = tmp_path / "corpus"
    filters = Filters(max_tokens=90, max_dropped=1.0)
    table = prepare(str(folder), readers(tmp_path / "text"), filters=filters, **SETTINGS)
    splits = json.loads((folder / "manifest.json").read_text())["splits"]
    expected = Counter(reason for *_, reason in bad)
    train = Counter(splits["train"]["fr"]["skipped"])
    assert all(train[reason] >= number for reason, number in expected.items())
    assert train["empty"] == 2
    assert splits["train"]["fr"]["read"] == 106
    # Held-out pairs are kept whatever their number of tokens.
    assert splits["test"]["fr"]["skipped"] == {
        "empty": 2,
        "not UTF-8": 1,
        "too many characters": 1,
    }
    assert "left out of fr test: 2 empty, 1 not UTF-8, 1 too many characters" in table
    corpus = open_corpus(str(folder))
    assert ("ba ke lo " * 60).strip() in corpus.texts("test", "fr").sources
    longest = max(side.lengths.max() for side in corpus.pairs("train", "fr"))
    assert longest <= 90 < corpus.pairs("test", "fr").source.lengths.max()


def test_small_corpus_gets_a_smaller_vocabulary_and_reports_it(text, tmp_path):
    table = prepare(str(tmp_path / "corpus"), readers(text), vocabulary_size=64_000)
    size = len(open_corpus(str(tmp_path / "corpus")).vocabulary)
    assert size < 5_000
    assert f"vocabulary: {size:,} pieces (64,000 were requested" in table


def test_too_small_vocabulary_raises(text, tmp_path):
    with pytest.raises(ValueError, match="vocabulary of 100 is too small"):
        prepare(str(tmp_path / "corpus"), readers(text), vocabulary_size=100)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("split", ["train", "test"])
def test_files_of_unequal_length_raise(tmp_path, split):
    made = make(tmp_path / "text")
    write(tmp_path / "text" / f"{split}.zh.en", lines("en", 7, 0))
    with pytest.raises(ValueError, match=rf"{split}\.zh\.en ends after 7 lines"):
        prepare(str(tmp_path / "corpus"), made, **SETTINGS)
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [([], "no pair in the {} split of 'fr'"), ([b""] * 4, "4 of 4 .*'fr' for {} .*empty")],
)
@pytest.mark.parametrize("split", some(["train", "test"], ["test"]))
def test_empty_split_raises(tmp_path, content, why, split):
    made = make(tmp_path / "text", 60)
    for name in ("en", "fr.gz"):
        write(tmp_path / "text" / f"{split}.fr.{name}", content)
    with pytest.raises(ValueError, match=why.format(split)):
        prepare(str(tmp_path / "corpus"), made, **SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
    make(tmp_path / "text", 60)  # After the fix it is prepared.
    prepare(str(tmp_path / "corpus"), made, **SETTINGS)
    assert len(open_corpus(str(tmp_path / "corpus")).pairs(split, "fr").source) > 0


@pytest.mark.parametrize(
    "change",
    [{"readers": {}}, {"vocabulary_lines": 0}, {"chunk_pairs": 0}, {"processes": -1}],
)
def test_invalid_arguments_raise(text, tmp_path, change):
    arguments = {"folder": str(tmp_path / "corpus"), "readers": readers(text), **change}
    with pytest.raises(ValueError, match=next(iter(change))):
        prepare(**arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["en", "", "f/r", "f r", "fr>", "fr\n"])
def test_invalid_language_names_raise(text, tmp_path, name):
    with pytest.raises(ValueError, match="letters, digits and hyphens.*differ from the source"):
        prepare(str(tmp_path / "corpus"), {name: readers(text)["fr"]})
    assert not list(tmp_path.iterdir())


def test_second_preparation_only_verifies(text, prepared):
    before = {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()}
    prepare(str(prepared), readers(text), **SETTINGS)
    assert {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()} == before
    assert [path.name for path in prepared.parent.iterdir()] == ["corpus"]


def test_other_settings_raise_and_keep_the_corpus(text, prepared):
    before = hashes(prepared)
    with pytest.raises(
        ValueError, match=r"different inputs:\n  vocabulary_size: 400 there, 300 now"
    ):
        prepare(str(prepared), readers(text), **{**SETTINGS, "vocabulary_size": 300})
    assert hashes(prepared) == before


def test_foreign_files_raise_and_are_kept(text, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="contains something other than a prepared corpus"):
        prepare(str(tmp_path), readers(text), **SETTINGS)
    with pytest.raises(
        ValueError, match=r"letter\.txt' is a file; nothing was changed. Give a folder"
    ):
        prepare(str(tmp_path / "letter.txt"), readers(text), **SETTINGS)
    with pytest.raises(ValueError, match=r"no prepared corpus in .*no manifest\.json"):
        open_corpus(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_flipped_bit_is_detected(text, prepared, tmp_path):
    folder = copied(prepared, tmp_path)
    path = folder / "train.zh.target.tokens.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.zh\.target\.tokens\.npy does not belong to"):
        prepare(str(folder), readers(text), **SETTINGS)


@pytest.mark.parametrize("name", ["train.fr.source.tokens.npy", "test.zh.target.starts.npy"])
@pytest.mark.parametrize("damage", ["cut", "remove", "empty", "junk"])
def test_damaged_token_file_raises(prepared, tmp_path, name, damage):
    path = copied(prepared, tmp_path) / name
    content = path.read_bytes()
    new = {"cut": content[:-2], "remove": b"", "empty": b"", "junk": b"x" * len(content)}[damage]
    path.write_bytes(new)
    if damage == "remove":
        path.unlink()
    with pytest.raises(
        ValueError, match=rf"{name} is missing or damaged .*prepare the corpus again"
    ):
        open_corpus(str(path.parent))


def test_token_file_of_another_size_raises(prepared, tmp_path):
    folder = copied(prepared, tmp_path)
    other = (folder / "test.fr.source.tokens.npy").read_bytes()
    (folder / "train.fr.source.tokens.npy").write_bytes(other)
    with pytest.raises(ValueError, match="but the manifest says"):
        open_corpus(str(folder))


def test_vocabulary_of_another_corpus_raises(prepared, tmp_path):
    folder = copied(prepared, tmp_path)
    make(tmp_path / "text", seed=1)
    prepare(str(tmp_path / "other"), readers(tmp_path / "text"), **SETTINGS)
    (folder / "vocabulary.model").write_bytes((tmp_path / "other/vocabulary.model").read_bytes())
    with pytest.raises(ValueError, match=r"vocabulary\.model does not belong to"):
        open_corpus(str(folder))


def test_languages_of_a_prepared_corpus(prepared):
    assert open_corpus(str(prepared), ["zh"]).languages == ("zh",)
    assert open_corpus(str(prepared), ["zh", "fr"]).languages == ("zh", "fr")
    with pytest.raises(ValueError, match="Unknown target language 'de'. Available: fr, zh"):
        open_corpus(str(prepared), ["de"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"manifest\.json is damaged .*in another folder"),
        ("[]", r"manifest\.json is damaged .*in another folder"),
        ('{"seed": 0, "sessions": []}', "is not a prepared corpus"),  # The manifest of a run.
        ('{"format": 0, "vocabulary": {}}', r"manifest\.json was written by another version"),
    ],
)
def test_invalid_manifest_raises(tmp_path, content, message):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        open_corpus(str(tmp_path))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_too_many_dropped_pairs_raise(tmp_path, split, share):
    """At the limit there is no error; one more pair is an error."""
    make(tmp_path / "text", number=100)
    number = int(100 * share)
    asked = {"source": "en", "vocabulary_size": 400, "vocabulary_lines": 1000}
    for bad in (number, number + 1):
        latin1 = [f"café {i}".encode("latin-1") for i in range(bad)]
        french = [*lines("fr", 100 - bad, 1), *latin1]
        write(tmp_path / "text" / f"{split}.fr.en", lines("en", 100, 1))
        write(tmp_path / "text" / f"{split}.fr.fr.gz", french)
        (tmp_path / str(bad)).mkdir()
        filters = Filters(max_dropped=share)
        stages = Stages(tmp_path / str(bad), readers(tmp_path / "text"), asked, filters)
        if bad == number:
            stages.learn()
            continue
        with pytest.raises(ValueError, match=f"{bad} of 100 .*'fr' for {split} .*not UTF-8") as e:
            stages.learn()
        for word in ("encoding", "max_dropped", f"pair {101 - bad}: ", "caf\\xe9"):
            assert word in str(e.value)


def test_utf_16_of_ascii_letters_is_detected(tmp_path):
    """As bytes it is valid UTF-8: letters and null bytes."""
    make(tmp_path / "text", number=100)
    spread = [line.decode().encode("utf-16-le") for line in lines("fr", 100, 1)]
    write(tmp_path / "text" / "train.fr.fr.gz", spread)
    asked = {"source": "en", "vocabulary_size": 400, "vocabulary_lines": 1000}
    with pytest.raises(ValueError, match="100 of 100 .*zero bytes.*encoding='\"utf-16-le\"'"):
        Stages(tmp_path, readers(tmp_path / "text"), asked, Filters()).learn()


@pytest.mark.parametrize(
    ("english", "french", "reason"),
    [
        ([b"ba ke lo " * 60] * 30, [b"la ne ou " * 60] * 30, "too many tokens"),
        ([b"ba"] * 30, [b"la ne ou que " * 5] * 30, "lengths too different"),
    ],
)
def test_lengths_are_checked_before_the_vocabulary_is_trained(tmp_path, english, french, reason):
    make(tmp_path / "text", number=100)
    write(tmp_path / "text" / "train.fr.en", [*lines("en", 70, 1), *english])
    write(tmp_path / "text" / "train.fr.fr.gz", [*lines("fr", 70, 1), *french])
    asked = {"source": "en", "vocabulary_size": 400, "vocabulary_lines": 1000}
    filters = Filters(max_tokens=90, max_dropped=0.2)
    with pytest.raises(ValueError, match=f"of 100 .*{reason}"):
        Stages(tmp_path, readers(tmp_path / "text"), asked, filters).learn()
    assert not (tmp_path / "vocabulary.model").exists()


def test_work_is_kept_when_too_many_pairs_were_dropped(tmp_path, monkeypatch):
    """The error appears after tokenization; with a larger `max_dropped` the work is reused."""
    readers = make(tmp_path / "text", number=100)
    write(tmp_path / "text" / "train.fr.en", [*lines("en", 98, 1), b"", b""])
    write(tmp_path / "text" / "train.fr.fr.gz", lines("fr", 100, 1))
    folder = tmp_path / "corpus"
    with monkeypatch.context() as lucky:
        lucky.setattr(Stages, "_sample", lambda self, language: [("ba ke lo", "é ou la")] * 40)
        lucky.setattr(Stages, "_check_texts", lambda *_: [])
        with pytest.raises(ValueError, match="2 of 100 .*empty"):
            prepare(str(folder), readers, **{**SETTINGS, "vocabulary_size": 280})
    assert not folder.exists()
    assert (tmp_path / "unfinished.corpus").exists()
    monkeypatch.setattr(Stages, "_sample", None)  # The text is not read again.
    given = {**SETTINGS, "vocabulary_size": 280, "filters": Filters(max_dropped=0.02)}
    assert "2 empty" in prepare(str(folder), readers, **given)
