import re
import shutil
import zipfile

import celeba_files
import numpy as np
import pytest
from celeba_files import NAMES, NUMBERS, check, file_name, jpeg, write

from mtk.data.celeba import ATTRIBUTES, open_arrays, preparation
from mtk.data.celeba.annotations import read_partition
from mtk.data.celeba.raw_files import RawFiles


def test_attributes_are_in_the_official_order():
    assert list(ATTRIBUTES) == NAMES


@pytest.mark.parametrize("archive", [False, True])
def test_official_files_are_converted_to_arrays(tmp_path, archive):
    source = write(tmp_path / "official", archive=archive)
    said = preparation.prepare(str(tmp_path / "faces"), str(source))
    assert "6 train, 2 validation, 2 test" in said
    check(tmp_path / "faces")
    order = [n for split in NUMBERS.values() for n in split]
    listed = (tmp_path / "faces" / "files.txt").read_text().split()
    assert listed == [file_name(n) for n in order]
    assert {path.name for path in (tmp_path / "faces").iterdir()} == {
        *("images.npy", "attributes.npy", "files.txt", "manifest.json")
    }
    assert not (tmp_path / "unfinished.faces").exists()


def test_subfolders_of_the_download_and_another_size(tmp_path):
    source = write(tmp_path / "official")
    for folder, name in (
        ("Img", "img_align_celeba"),
        ("Anno", "list_attr_celeba.txt"),
        ("Eval", "list_eval_partition.txt"),
    ):
        (source / folder).mkdir()
        (source / name).rename(source / folder / name)
    preparation.prepare(str(tmp_path / "faces"), str(source), size=32)
    check(tmp_path / "faces", size=32)


def test_columns_are_identified_by_name(tmp_path):
    source = write(tmp_path / "official")
    path = source / "list_attr_celeba.txt"
    first, header, *rows = path.read_text().splitlines()
    swapped = [" ".join([row.split()[0], *row.split()[:0:-1]]) for row in rows]
    path.write_text("\n".join([first, " ".join(header.split()[::-1]), *swapped]))
    preparation.prepare(str(tmp_path / "faces"), str(source))
    check(tmp_path / "faces")


def test_missing_images_raise_unless_subset_is_set(tmp_path):
    source = write(tmp_path / "official")
    for n in (0, 3, 5):
        (source / "img_align_celeba" / file_name(n)).unlink()
    message = "3 of the 10 images .* missing in .*img_align_celeba, the first of them 000001.jpg"
    with pytest.raises(ValueError, match=message):
        preparation.prepare(str(tmp_path / "faces"), str(source))
    assert not (tmp_path / "faces").exists()
    preparation.prepare(str(tmp_path / "faces"), str(source), subset=True)
    check(tmp_path / "faces", {s: [n for n in f if n not in (0, 3, 5)] for s, f in NUMBERS.items()})


def test_prepared_data_is_not_prepared_again(tmp_path, monkeypatch):
    source, out = write(tmp_path / "official"), str(tmp_path / "faces")
    said = preparation.prepare(out, str(source))
    monkeypatch.setattr(preparation, "decode", None)
    assert preparation.prepare(out, str(source)) == said
    with pytest.raises(ValueError, match="faces already contains other images"):
        preparation.prepare(out, str(source), size=32)


def test_foreign_folder_raises_and_is_not_changed(tmp_path):
    out = tmp_path / "faces"
    out.mkdir()
    (out / "manifest.json").write_text("[1]")
    with pytest.raises(ValueError, match="faces already contains other images"):
        preparation.prepare(str(out), str(write(tmp_path / "official")))
    assert [path.name for path in out.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("name", ["images.npy", "attributes.npy"])
def test_changed_prepared_data_raises(tmp_path, name):
    source, out = write(tmp_path / "official"), tmp_path / "faces"
    preparation.prepare(str(out), str(source))
    content = bytearray((out / name).read_bytes())
    content[-1] ^= 1
    (out / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} was changed after it was prepared"):
        preparation.prepare(str(out), str(source))


@pytest.mark.parametrize("archive", [False, True])
def test_macos_metadata_files_are_ignored(tmp_path, archive):
    source = write(tmp_path / "official", archive=archive)
    if archive:
        with zipfile.ZipFile(source / "img_align_celeba.zip", "a") as file:
            file.writestr("__MACOSX/img_align_celeba/._000001.jpg", b"not an image")
    else:
        (source / "img_align_celeba" / "._000001.jpg").write_bytes(b"not an image")
    preparation.prepare(str(tmp_path / "faces"), str(source))
    check(tmp_path / "faces")


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize(
    ("corrupted", "message"),
    [
        (jpeg(4)[:-700], "truncated"),
        (b"", "cannot be decoded"),
        (b"no image", r"cannot be decoded \(it is not a JPEG\)"),
        (jpeg(4, (178, 217)), "178x217 pixels, but .* 178x218"),
    ],
)
def test_error_names_the_damaged_image(tmp_path, monkeypatch, archive, corrupted, message):
    kept = celeba_files.jpeg
    monkeypatch.setattr(celeba_files, "jpeg", lambda n: corrupted if n == 4 else kept(n))
    source = write(tmp_path / "official", archive=archive)
    with pytest.raises(ValueError, match=f"000005.jpg of .*img_align_celeba.*{message}"):
        preparation.prepare(str(tmp_path / "faces"), str(source))
    assert not (tmp_path / "faces").exists()


def test_error_names_the_damaged_archive(tmp_path):
    source = write(tmp_path / "official", archive=True)
    path = source / "img_align_celeba.zip"
    content = bytearray(path.read_bytes())
    start = content.find(b"img_align_celeba/000005.jpg")
    content[start + 300 : start + 310] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="img_align_celeba.zip is damaged: .*000005.jpg"):
        preparation.prepare(str(tmp_path / "faces"), str(source))
    path.write_bytes(content[:2000])
    with pytest.raises(ValueError, match="img_align_celeba.zip is damaged"):
        preparation.prepare(str(tmp_path / "faces"), str(source))


def _changed(line, old, new, file="list_attr_celeba.txt"):
    def corrupt(source):
        lines = (source / file).read_text().splitlines()
        assert old in lines[line]
        lines[line] = lines[line].replace(old, new)
        (source / file).write_text("\n".join(lines))

    return corrupt


def _removed(name):
    return lambda source: shutil.move(source / name, source / "elsewhere")


def _stray_image(source):
    (source / "img_align_celeba" / "000099.jpg").write_bytes(jpeg(0))


def _not_ascii(source):
    (source / "list_attr_celeba.txt").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (_changed(0, "10", "11"), "list_attr_celeba.txt declares 11 .* lists 10 images"),
        (_changed(0, "10", "202599"), "list_attr_celeba.txt declares 202599"),
        (_changed(1, "Young", "Old"), r"line 2: .*Missing: \['Young'\]; unknown: \['Old'\]"),
        (_changed(4, "-1", "0"), "list_attr_celeba.txt, line 5: labels must be 1 or -1. .*'0'"),
        (_changed(4, "-1", "2"), "list_attr_celeba.txt, line 5: labels must be 1 or -1. .*'2'"),
        (_changed(5, "000004.jpg", "000004.jpg 1"), "line 6: expected 40 labels .* Received: 41"),
        (_changed(1, " 2", " 3", "list_eval_partition.txt"), "partition.txt, line 2: .*0, 1 or 2"),
        (_changed(2, " 0", "", "list_eval_partition.txt"), "partition.txt, line 3: .*'000003.jpg'"),
        (
            _changed(3, "000004", "000014", "list_eval_partition.txt"),
            "list_attr_celeba.txt lists 000004.jpg, which .*partition.txt does not",
        ),
        (_stray_image, "has 000099.jpg, which .*list_attr_celeba.txt does not list"),
        (_removed("list_attr_celeba.txt"), "list_attr_celeba.txt is missing in .*official"),
        (_removed("list_eval_partition.txt"), "list_eval_partition.txt is missing"),
        (_removed("img_align_celeba"), "img_align_celeba.zip or img_align_celeba is missing"),
        (_not_ascii, "list_attr_celeba.txt is not a text file"),
    ],
)
def test_invalid_lists_raise_before_anything_is_written(tmp_path, corrupt, message):
    source = write(tmp_path / "official")
    corrupt(source)
    with pytest.raises(ValueError, match=message):
        preparation.prepare(str(tmp_path / "faces"), str(source))
    assert not list(tmp_path.glob("*faces"))


def test_size_zero_raises(tmp_path):
    with pytest.raises(ValueError, match="size=0"):
        preparation.prepare(str(tmp_path), "nowhere", size=0)


def test_empty_image_folder_raises(tmp_path):
    source = write(tmp_path / "official")
    shutil.rmtree(source / "img_align_celeba")
    (source / "img_align_celeba").mkdir()
    with pytest.raises(ValueError, match="contains no image"):
        RawFiles(source, subset=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("manifest.json", "{", r"manifest.json is damaged"),
        ("manifest.json", "{}", r"manifest.json is damaged \('format'\)"),
        ("manifest.json", "[]", r"manifest.json is damaged"),
        ("images.npy", "cut short", r"images.npy is damaged"),
        ("attributes.npy", "", r"attributes.npy is damaged"),
    ],
)
def test_damaged_prepared_files_raise(tmp_path, name, content, message):
    out = tmp_path / "faces"
    preparation.prepare(str(out), str(write(tmp_path / "official")))
    (out / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        open_arrays(out)


def test_arrays_that_contradict_the_manifest_raise(tmp_path):
    out = tmp_path / "faces"
    preparation.prepare(str(out), str(write(tmp_path / "official")))
    kept = (out / "images.npy").read_bytes()
    (out / "images.npy").write_bytes(kept[:-1])
    with pytest.raises(ValueError, match="images.npy is damaged"):
        open_arrays(out)
    np.save(out / "images.npy", np.zeros((9, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match=r"uint8 \(9, 64, 64, 3\), but .* \(10, 64, 64, 3\)"):
        open_arrays(out)
    (out / "images.npy").write_bytes(kept)
    np.save(out / "attributes.npy", np.full((10, 40), 2, np.uint8))
    with pytest.raises(ValueError, match="attributes.npy is damaged: labels must be 0 or 1"):
        open_arrays(out)
    manifest = out / "manifest.json"
    told = manifest.read_text()
    for number in ('"six"', "6.5", "null"):
        manifest.write_text(re.sub(r'"train": 6', f'"train": {number}', told))
        with pytest.raises(ValueError, match=r"manifest.json is damaged .*integer"):
            open_arrays(out)
    manifest.write_text(told)
    manifest.write_text(re.sub("celeba-1", "other-1", manifest.read_text()))
    with pytest.raises(ValueError, match="another data set or version"):
        open_arrays(out)


def test_error_for_unprepared_data_names_the_command(tmp_path):
    with pytest.raises(ValueError, match=r"No prepared CelebA in .*mtk\.prepare celeba"):
        open_arrays(tmp_path)


def test_image_in_two_splits_raises(tmp_path):
    path = tmp_path / "list_eval_partition.txt"
    path.write_text("000001.jpg 0\n000002.jpg 1\n000001.jpg 2\n")
    with pytest.raises(
        ValueError, match=r"partition\.txt, line 3: 000001\.jpg also occurs in an earl"
    ):
        read_partition(path)


def test_interrupted_preparation_leaves_no_files_and_can_be_repeated(tmp_path, monkeypatch):
    source, out, decode = write(tmp_path / "official"), tmp_path / "faces", preparation.decode

    def killed(encoded, name, size):
        if name.startswith(file_name(7)):
            raise KeyboardInterrupt
        return decode(encoded, name, size)

    monkeypatch.setattr(preparation, "decode", killed)
    with pytest.raises(KeyboardInterrupt):
        preparation.prepare(str(out), str(source))
    assert [path.name for path in tmp_path.iterdir()] == ["official"]
    monkeypatch.setattr(preparation, "decode", decode)
    monkeypatch.setattr(preparation, "_AT_ONCE", 4)
    preparation.prepare(str(out), str(source))
    check(out)
