import gzip
import sys
from collections import Counter

import pyarrow as pa
import pytest
from pyarrow import parquet

from mtk.data.translation import dropped
from mtk.data.translation.filters import Filters
from mtk.data.translation.readers import LineFiles, ParquetFiles, TFDSTranslation, TSVFiles

SPLITS = ("train", "validation", "test")
# Line ends according to Unicode, which may occur within a sentence.
SEPARATORS = "a\u2028b\x85c\x0bd\x1ce".encode()


def line_files(folder, train, held_out=(("v.en", "v.fr"),)):
    for name in ("v.en", "v.fr"):
        (folder / name).write_bytes(b"v\n")
    return LineFiles(train, held_out, held_out, str(folder))


ENCODINGS = ("latin-1", "utf-16-le", "utf-16-be")


@pytest.mark.parametrize("encoding", [*ENCODINGS, "parquet"])
def test_error_suggests_a_flag_for_another_encoding(tmp_path, encoding):
    if encoding == "parquet":
        parquet_file(tmp_path / "t", [{"en": "a\0", "fr": "b"}])
        reader, said = (
            ParquetFiles(["t"], ["t"], ["t"], "fr", folder=str(tmp_path)),
            "reads only UTF-8",
        )
    else:
        (tmp_path / "t.en").write_text("café\n", encoding=encoding)
        reader = line_files(tmp_path, [("t.en", "t.en")])
        said = f"""--gin.readers.LineFiles.encoding='"{encoding}"';"""
    skipped = Counter()
    Filters().texts(reader.pairs("train"), skipped)
    with pytest.raises(ValueError, match=said):
        dropped.check(dropped.Part("train", "fr", reader), skipped, len(skipped), Filters())


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_files(tmp_path, suffix, end):
    english = [b"one", b"", SEPARATORS, b" four ", b"\xff"]
    french = [b"un", b"deux", b"trois", b"quatre", b"cinq"]
    for name, content in (("t.en", english), ("t.fr", french)):
        text = end.join(content)  # The last line has no line end.
        (tmp_path / f"{name}{suffix}").write_bytes(gzip.compress(text) if suffix else text)
    reader = line_files(tmp_path, [(f"t.en{suffix}", f"t.fr{suffix}")])
    for _ in range(2):
        assert list(reader.pairs("train")) == list(zip(english, french, strict=True))
    assert list(reader.pairs("test")) == [(b"v", b"v")]


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "UTF8", "utf-8-sig", "gb18030"]
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_other_encodings_are_converted_to_utf8(tmp_path, encoding, suffix):
    text = "café\r\n\nété\n"
    for name in ("t.en", "t.fr"):
        content = text.encode(encoding)
        (tmp_path / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    names = [(f"t.en{suffix}", f"t.fr{suffix}")]
    reader = LineFiles(names, names, names, str(tmp_path), encoding)
    expected = [word.encode() for word in ("café", "", "été")]
    assert list(reader.pairs("test")) == list(zip(expected, expected, strict=True))
    (tmp_path / "t.tsv").write_bytes("é\tè\n".encode(encoding))
    table = TSVFiles(*[["t.tsv"]] * 3, str(tmp_path), encoding=encoding)
    assert list(table.pairs("train")) == [("é".encode(), "è".encode())]
    assert ("encoding" in table.asked()) == (encoding != "UTF8")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_byte_order_mark_sets_the_encoding(tmp_path, encoding):
    text = "Ċafé\nété\n"  # The UTF-16 code of the first letter contains the byte of a line end.
    (tmp_path / "t.en").write_text(text, encoding="utf-8")
    (tmp_path / "t.fr.gz").write_bytes(gzip.compress(text.encode(encoding)))
    expected = [("Ċafé".encode(),) * 2, ("été".encode(),) * 2]
    assert list(line_files(tmp_path, [("t.en", "t.fr.gz")]).pairs("train")) == expected


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_sides_of_different_encodings_raise(tmp_path, encoding):
    (tmp_path / "t.en").write_text("a\nb\n", encoding="utf-8")
    (tmp_path / "t.fr").write_text("Ċafé\nb\n", encoding=encoding)
    names = [("t.en", "t.fr")]
    with pytest.raises(
        ValueError, match=r"t\.fr contains null bytes, as in UTF-16. Convert it to UTF-8"
    ):
        list(line_files(tmp_path, names).pairs("train"))
    named = LineFiles(names, names, names, str(tmp_path), encoding)
    with pytest.raises(ValueError, match=f"{encoding}.* convert them to UTF-8"):
        list(named.pairs("train"))


@pytest.mark.parametrize("content", [b"a\n\xff\n", b"\x80"])
def test_error_names_the_file_of_another_encoding(tmp_path, content):
    (tmp_path / "t").write_bytes(content)
    reader = LineFiles(*[[("t", "t")]] * 3, str(tmp_path), "ascii")
    with pytest.raises(ValueError, match=r"/t is not ascii"):
        list(reader.pairs("train"))
    with pytest.raises(ValueError, match="'asci'"):
        LineFiles(*[[("t", "t")]] * 3, str(tmp_path), "asci")


def test_several_line_files_are_concatenated(tmp_path):
    for name in ("1.en", "1.fr", "2.en", "2.fr"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + name.encode() + b"\n")
    reader = line_files(tmp_path, [("2.en", "2.fr"), ("1.en", "1.fr")])
    assert list(reader.pairs("train")) == [(b"2.en", b"2.fr"), (b"1.en", b"1.fr")]
    assert reader.asked()["files"]["train"] == [[n, 8] for n in ("2.en", "1.en", "2.fr", "1.fr")]
    assert len(reader.files()) == 8


@pytest.mark.parametrize(("english", "french"), [(3, 5), (5, 3), (0, 1)])
def test_line_files_of_unequal_length_raise(tmp_path, english, french):
    (tmp_path / "t.en").write_bytes(b"x\n" * english)
    (tmp_path / "t.fr").write_bytes(b"x\n" * french)
    reader = line_files(tmp_path, [("t.en", "t.fr")])
    shorter, longer = ("en", "fr") if english < french else ("fr", "en")
    ends = rf"t\.{shorter} ends after {min(english, french)} lines, but .*t\.{longer} has more"
    with pytest.raises(ValueError, match=ends):
        list(reader.pairs("train"))


def test_longer_file_is_not_read_to_its_end(tmp_path):
    """A gzip file of a kilobyte may contain a million lines."""
    (tmp_path / "t.en").write_bytes(b"x\n")
    # Reading on would raise another error.
    (tmp_path / "t.fr").write_bytes(b"x\n" * 3 + b"x" * 2_000_000)
    reader = line_files(tmp_path, [("t.en", "t.fr")])
    with pytest.raises(ValueError, match=r"t\.en ends after 1 line, but .*t\.fr has more"):
        list(reader.pairs("train"))


def test_missing_file_raises(tmp_path):
    with pytest.raises(ValueError, match=r"no file 't\.en' in '.*' for train"):
        line_files(tmp_path, [("t.en", "t.fr")])


def test_pattern_without_a_match_raises(tmp_path):
    (tmp_path / "v.tsv").write_bytes(b"a\tb\n")
    with pytest.raises(ValueError, match=r"no file 't\*\.tsv' in '.*' for train"):
        TSVFiles(["t*.tsv"], ["v.tsv"], ["v.tsv"], str(tmp_path))


def test_empty_list_of_files_raises(tmp_path):
    with pytest.raises(ValueError, match="'train' needs at least one file"):
        line_files(tmp_path, [])


@pytest.mark.parametrize(
    "content", [b"no archive", gzip.compress(b"a\n" * 999)[:-9]], ids=["no archive", "cut short"]
)
def test_damaged_gzip_file_raises(tmp_path, content):
    (tmp_path / "t.en.gz").write_bytes(content)
    (tmp_path / "t.fr.gz").write_bytes(gzip.compress(b"a\n" * 999))
    reader = line_files(tmp_path, [("t.en.gz", "t.fr.gz")])
    with pytest.raises(ValueError, match=r"t\.en\.gz is damaged: it cannot be decompressed"):
        list(reader.pairs("train"))


def test_tsv(tmp_path):
    (tmp_path / "t-2.tsv").write_bytes(b"e\tf\tg\r\nonly one\n\n")
    (tmp_path / "t-1.tsv.gz").write_bytes(gzip.compress(b'"a\tb\tc'))
    files = (["t-*"], ["t-2.tsv"], ["t-2.tsv"], str(tmp_path))
    assert list(TSVFiles(*files).pairs("train")) == [
        (b'"a', b"b"),
        (b"e", b"f"),
        (b"only one", b""),
        (b"", b""),
    ]
    turned = TSVFiles(*files, columns=(2, 0))
    assert list(turned.pairs("train"))[:2] == [(b"c", b'"a'), (b"g", b"e")]
    assert turned.asked() != TSVFiles(*files).asked()
    with pytest.raises(ValueError, match="`columns` must be 0 or more"):
        TSVFiles(*files, columns=(-1, 0))


def parquet_file(path, rows):
    kind = pa.struct([("fr", pa.string()), ("en", pa.string())])
    parquet.write_table(
        pa.table({"translation": pa.array(rows, kind)}), path, row_group_size=3, compression="zstd"
    )


def test_parquet(tmp_path):
    rows = [{"en": f"e{i}", "fr": f"é{i}"} for i in range(10)]
    parquet_file(tmp_path / "t-0.parquet", rows[:7])
    parquet_file(tmp_path / "t-1.parquet", [*rows[7:], {"en": "x", "fr": None}, None])
    reader = ParquetFiles(*[["t-*.parquet"]] * 3, target="fr", folder=str(tmp_path))
    expected = [(row["en"].encode(), row["fr"].encode()) for row in rows]
    assert list(reader.pairs("train")) == [*expected, (b"x", b""), (b"", b"")]
    turned = ParquetFiles(*[["t-0.parquet"]] * 3, target="en", source="fr", folder=str(tmp_path))
    assert next(turned.pairs("test")) == ("é0".encode(), b"e0")


def test_parquet_returns_invalid_utf8_as_bytes(tmp_path):
    """Invalid text is returned as it is: the preparation counts and drops it."""
    sides = [pa.array([text], pa.binary()).view(pa.string()) for text in (b"a", b"caf\xe9")]
    column = pa.StructArray.from_arrays(sides, ["en", "fr"])
    parquet.write_table(pa.table({"translation": column}), tmp_path / "t")
    reader = ParquetFiles(["t"], ["t"], ["t"], "fr", folder=str(tmp_path))
    assert list(reader.pairs("train")) == [(b"a", b"caf\xe9")]


def test_parquet_without_the_language_raises(tmp_path):
    parquet_file(tmp_path / "t", [{"en": "a", "fr": "b"}])
    reader = ParquetFiles(*[["t"]] * 3, target="de", folder=str(tmp_path))
    with pytest.raises(ValueError, match=r"'translation' with 'en' and 'de'.*\['en', 'fr'\]"):
        list(reader.pairs("train"))


def test_parquet_without_the_column_raises(tmp_path):
    parquet.write_table(pa.table({"en": ["a"], "fr": ["b"]}), tmp_path / "t")
    reader = ParquetFiles(*[["t"]] * 3, target="fr", folder=str(tmp_path))
    with pytest.raises(ValueError, match=r"It has the columns \['en', 'fr'\]"):
        list(reader.pairs("train"))


def test_invalid_parquet_raises(tmp_path):
    (tmp_path / "t").write_bytes(b"PAR1 but no more")
    reader = ParquetFiles(*[["t"]] * 3, target="fr", folder=str(tmp_path))
    with pytest.raises(ValueError, match="t is not a Parquet file, or it is damaged"):
        list(reader.pairs("train"))


@pytest.mark.parametrize(
    ("module", "extra"), [("pyarrow", "parquet"), ("tensorflow_datasets", "tfds")]
)
def test_missing_packages_raise(monkeypatch, tmp_path, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    parquet_file(tmp_path / "t", [{"en": "a", "fr": "b"}])
    readers = {
        "pyarrow": ParquetFiles(*[["t"]] * 3, target="fr", folder=str(tmp_path)),
        "tensorflow_datasets": TFDSTranslation("wmt16_translate/ro-en", "ro"),
    }
    with pytest.raises(ImportError, match=rf"pip install -e '.*\[{extra}\]'"):
        list(readers[module].pairs("train"))


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    """A data set in TFDS' format with several shards, built offline."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinyTranslate(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.Translation(languages=("en", "fr"))
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {split: self._generate_examples(split) for split in SPLITS}

        def _generate_examples(self, split):
            for i in range(40):
                yield i, {"en": f"{split} {i}", "fr": f"é {split} {i}"}

    folder = tmp_path_factory.mktemp("tfds")
    shards = tfds.download.DownloadConfig(num_shards=3)
    TinyTranslate(data_dir=str(folder)).download_and_prepare(download_config=shards)
    return str(folder)


def test_tfds(tfds_folder):
    reader = TFDSTranslation("tiny_translate", "fr", data_dir=tfds_folder)
    for split in SPLITS:
        expected = {(f"{split} {i}".encode(), f"é {split} {i}".encode()) for i in range(40)}
        found = list(reader.pairs(split))
        assert {*found} == expected
        assert list(reader.pairs(split)) == found  # The order is the same each time.
    assert reader.asked()["name"] == "tiny_translate/1.0.0"


def test_slice_of_a_tfds_split(tfds_folder):
    reader = TFDSTranslation("tiny_translate", "fr", test="train[:25%]", data_dir=tfds_folder)
    assert list(reader.pairs("test")) == list(reader.pairs("train"))[:10]


def test_tfds_without_the_language_raises(tfds_folder):
    with pytest.raises(ValueError, match="no language 'de'. It has: en, fr"):
        TFDSTranslation("tiny_translate", "de", data_dir=tfds_folder).asked()
