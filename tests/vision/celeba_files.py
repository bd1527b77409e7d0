"""CelebA's files as downloaded, with synthetic faces of known colours and attributes."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from mtk.data.celeba import open_arrays

# As in the header of the official file.
HEADER = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose "
    "Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee "
    "Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard "
    "Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair "
    "Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young"
)
NAMES = HEADER.split()
# 0: training, 1: validation, 2: test.
PARTITION = [0, 2, 0, 1, 0, 2, 1, 0, 0, 0]


def file_name(number: int) -> str:
    """Returns the name of an image file; numbers in names start at 1."""
    return f"{number + 1:06}.jpg"


def has(number: int, column: int) -> bool:
    """Returns whether a face has an attribute, from the mixed bits of its number."""
    return (7 * (number + 1) + 5 * column + number * column) % 3 == 0


def colours(number: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Returns the colours of a face's left and right half."""
    return (6 * number, 100, 255 - 6 * number), (240 - 6 * number, 6 * number, 90)


def jpeg(number: int, size: tuple[int, int] = (178, 218)) -> bytes:
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = colours(number)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def attribute_lines(number: int) -> list[str]:
    rows = [
        " ".join([file_name(n), *(f"{1 if has(n, column) else -1:2}" for column in range(40))])
        for n in range(number)
    ]
    return [str(number), HEADER + " ", *rows]


def write(folder: Path, number: int = 10, archive: bool = False) -> Path:
    """Writes the files of the first `number` faces and returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    attributes = "\n".join(attribute_lines(number)) + "\n"
    (folder / "list_attr_celeba.txt").write_text(attributes)
    lines = [f"{file_name(n)} {PARTITION[n % 10]}\n" for n in range(number)]
    (folder / "list_eval_partition.txt").write_text("".join(lines))
    if archive:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for n in range(number):
                file.writestr(f"img_align_celeba/{file_name(n)}", jpeg(n))
    else:
        (folder / "img_align_celeba").mkdir()
        for n in range(number):
            (folder / "img_align_celeba" / file_name(n)).write_bytes(jpeg(n))
    return folder


NUMBERS = {
    split: [n for n, part in enumerate(PARTITION) if part == index]
    for index, split in enumerate(("train", "validation", "test"))
}


def check(folder, numbers=NUMBERS, size=64):
    """Compares prepared arrays with the faces that they were made from."""
    for split, faces in open_arrays(folder).items():
        assert faces.images.shape == (len(numbers[split]), size, size, 3)
        assert faces.images.dtype == faces.attributes.dtype == np.uint8
        for face, labels, number in zip(*faces, numbers[split], strict=True):
            left, right = colours(number)
            # Away from the border between the halves; the tolerance is JPEG's.
            assert np.abs(face[:, : size // 2 - 3].astype(int) - left).max() <= 3
            assert np.abs(face[:, size // 2 + 3 :].astype(int) - right).max() <= 3
            assert labels.tolist() == [has(number, column) for column in range(40)]
