"""CelebA's text files: the attributes and the split of each image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtk.data import bounded
from mtk.display import counted

ATTRIBUTES = (
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs"),
    *("Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair"),
    *("Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair"),
    *("Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache"),
    *("Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline"),
    *("Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings"),
    *("Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young"),
)
SPLITS = ("train", "validation", "test")  # As numbered in the partition file.

_LABELS = {"-1": 0, "1": 1}
_PARTITION = {str(number): number for number in range(len(SPLITS))}


class Annotations(NamedTuple):
    """The annotations of a dataset's images, grouped by split in the order of `SPLITS`.

    Attributes:
        files: Names of the N images.
        attributes: Array `(N, 40)`, uint8, in the order of `ATTRIBUTES`: 1 where a face has it.
        counts: Number of images of each split.
    """

    files: list[str]
    attributes: np.ndarray
    counts: dict[str, int]


def arranged(files: Sequence[str], attributes: np.ndarray, partition: np.ndarray) -> Annotations:
    """Returns annotations, stably sorted by split.

    Args:
        files: N names.
        attributes: Array `(N, 40)`.
        partition: Array `(N,)`: 0 for training, 1 for validation, 2 for test.
    """
    order = np.argsort(partition, kind="stable")
    numbers = np.bincount(partition, minlength=len(SPLITS)).tolist()
    counts = dict(zip(SPLITS, numbers, strict=True))
    return Annotations([files[i] for i in order], attributes[order], counts)


def read_attributes(path: Path) -> tuple[list[str], np.ndarray]:
    """Reads `list_attr_celeba.txt`.

    Its first line is the number of images, the second the names of the attributes; then each line
    has the name of an image, and 1 or -1 for each attribute.

    Returns:
        The images' names, and an array `(N, 40)`, uint8, in the order of `ATTRIBUTES`.

    Raises:
        ValueError: If the file is damaged or another file.
    """
    lines = _lines(path)
    announced, names = next(lines, (0, []))[1], next(lines, (0, []))[1]
    if sorted(names) != sorted(ATTRIBUTES):
        raise ValueError(
            f"{path}, line 2: expected the names of CelebA's {len(ATTRIBUTES)} attributes. "
            f"Missing: {sorted(set(ATTRIBUTES) - set(names))}; "
            f"unknown: {sorted(set(names) - set(ATTRIBUTES))}."
        )
    files, rows = [], bytearray()
    for number, (file, *labels) in lines:
        if len(labels) != len(names):
            raise ValueError(
                f"{path}, line {number}: expected {len(names)} labels of {file}. "
                f"Received: {len(labels)}"
            )
        try:
            rows += bytes([_LABELS[label] for label in labels])
        except KeyError as error:
            raise ValueError(
                f"{path}, line {number}: labels must be 1 or -1. Received: {error} for {file}"
            ) from None
        files.append(file)
    twice = len(files) - len(set(files))
    if twice:
        raise ValueError(
            f"{path} lists {counted(twice, 'image')} more than once. Download the file again."
        )
    if announced != [str(len(files))]:
        raise ValueError(
            f"{path} declares {' '.join(announced) or 'nothing'} in its first line, but lists "
            f"{len(files)} images. Download the file again."
        )
    columns = [names.index(name) for name in ATTRIBUTES]
    return files, np.frombuffer(rows, np.uint8).reshape(-1, len(names))[:, columns]


def read_partition(path: Path) -> dict[str, int]:
    """Reads `list_eval_partition.txt`: 0 (training), 1 (validation) or 2 (test) by image.

    Raises:
        ValueError: If the file is damaged or another file.
    """
    found = {}
    for number, fields in _lines(path):
        if len(fields) != 2 or fields[1] not in _PARTITION:
            raise ValueError(
                f"{path}, line {number}: expected the name of an image and 0, 1 or 2. Received: "
                f"{' '.join(fields)!r}"
            )
        if fields[0] in found:
            raise ValueError(f"{path}, line {number}: {fields[0]} also occurs in an earlier line.")
        found[fields[0]] = _PARTITION[fields[1]]
    return found


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the number and the words of each nonempty line."""
    try:
        with bounded.opened(path) as file:
            for number, line in enumerate(bounded.lines(file, path), start=1):
                if words := line.decode("ascii").split():
                    yield number, words
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file of CelebA: {error}") from error
