"""CelebA from TensorFlow Datasets."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mtk import extras
from mtk.data.celeba.annotations import ATTRIBUTES, SPLITS, arranged


class FromTfds:
    """The dataset `celeb_a`, which is downloaded if needed.

    Args:
        data_dir: Data folder of TensorFlow Datasets; its default if None.

    Attributes:
        origin: Name of the dataset.
        annotations: Annotations of the images.

    Raises:
        ImportError: If TensorFlow Datasets is not installed.
        OSError: If the dataset is missing and cannot be downloaded.
    """

    def __init__(self, data_dir: str | None = None):
        try:
            import tensorflow_datasets as tfds
        except ImportError as error:
            raise ImportError(
                "Without `source`, CelebA is read from TensorFlow Datasets, which is not "
                f"installed. Install it with: {extras.command('tfds')}, or give a folder with the "
                "official files."
            ) from error
        self._tfds = tfds
        self._builder = tfds.builder("celeb_a", data_dir=data_dir)
        try:
            self._builder.download_and_prepare()
        except Exception as error:  # Download errors have no common class.
            raise OSError(
                f"TensorFlow Datasets could not download celeb_a to {self._builder.data_dir} "
                f"({type(error).__name__}: {error}). Download the official files manually and give "
                "their folder as `source`, or give a folder with the prepared data set as "
                "`tfds_dir`."
            ) from error
        self.origin = f"TFDS {self._builder.info.full_name}"
        rows = [self._attributes(split) for split in SPLITS]
        files = [f"{split}[{i}]" for split, found in zip(SPLITS, rows, strict=True) for i in found]
        partition = np.repeat(np.arange(len(SPLITS)), [len(found) for found in rows])
        labels = np.concatenate([list(found.values()) for found in rows]).astype(np.uint8)
        self.annotations = arranged(files, labels, partition)

    def encoded(self) -> Iterator[bytes]:
        """Yields the JPEG files listed in the annotations."""
        decoders = {"image": self._tfds.decode.SkipDecoding()}
        for split in self.annotations.counts:
            for example in self._read(split, decoders):
                yield example["image"].numpy()

    def _attributes(self, split: str) -> dict[int, list[bool]]:
        wanted = self._tfds.decode.PartialDecoding({"attributes": set(ATTRIBUTES)})
        rows = self._tfds.as_numpy(self._read(split, wanted))
        return {i: [row["attributes"][name] for name in ATTRIBUTES] for i, row in enumerate(rows)}

    def _read(self, split: str, decoders: Any) -> Any:
        # Shuffled files would have another order each time.
        return self._builder.as_dataset(split=split, shuffle_files=False, decoders=decoders)
