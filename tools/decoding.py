"""Compares the speed of preparing CelebA with that of only decoding its JPEG files.

    python tools/decoding.py --images=4096

The images are generated, with the size of CelebA's and about as many bytes (7 kB). The function
behind `python -m mtk.prepare celeba` prepares them. Both rates are given by the clock and by the
CPU time of all cores together, which other processes hardly change.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from mtk.data.celeba import ATTRIBUTES, preparation

_DIFFERENT = 64  # images; the others repeat them


def jpeg(seed: int) -> bytes:
    """Returns a JPEG file of soft shapes and some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (27, 22, 3), np.uint8)
    image = Image.fromarray(coarse).resize((178, 218), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75)
    return file.getvalue()


def write(folder: Path, number: int) -> list[bytes]:
    """Writes CelebA's files with so many images, and returns the images."""
    different = [jpeg(seed) for seed in range(min(number, _DIFFERENT))]
    images = [different[n % len(different)] for n in range(number)]
    names = [f"{n + 1:06}.jpg" for n in range(number)]
    (folder / "img_align_celeba").mkdir()
    for name, image in zip(names, images, strict=True):
        (folder / "img_align_celeba" / name).write_bytes(image)
    rows = "".join(f"{name}{'  1 -1' * 20}\n" for name in names)
    header = f"{number}\n{' '.join(ATTRIBUTES)}\n"
    (folder / "list_attr_celeba.txt").write_text(header + rows)
    partition = "".join(f"{name} {n % 3}\n" for n, name in enumerate(names))
    (folder / "list_eval_partition.txt").write_text(partition)
    return images


def decode(images: list[bytes]) -> None:
    """Decodes images and does nothing with them."""
    for image in images:
        Image.open(io.BytesIO(image)).load()


def decode_all(images: list[bytes]) -> None:
    """Does so on all cores."""
    parts = [images[first : first + 64] for first in range(0, len(images), 64)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for task in [threads.submit(decode, part) for part in parts]:
            task.result()


def measure(what: str, number: int, call: Callable[[], object]) -> None:
    """Prints how many images a second a call deals with."""
    started, used = time.perf_counter(), time.process_time()
    call()
    elapsed, computed = time.perf_counter() - started, time.process_time() - used
    print(
        f"{what:14}{number / elapsed:8.0f} images a second, "
        f"{number / computed:6.0f} a second of one core",
        flush=True,
    )


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=4096)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = write(folder, args.images)
        mean = sum(map(len, images)) / len(images)
        print(f"{len(images)} images of {mean:.0f} bytes, {os.cpu_count()} cores")
        decode_all(images[:64])  # The first ones load the decoder.
        measure("bare decoding", len(images), lambda: decode_all(images))
        measure("preparing", len(images), lambda: preparation.prepare(f"{name}/out", name))


if __name__ == "__main__":
    main()
