"""Translation datasets of TensorFlow Datasets."""

from collections.abc import Iterator
from typing import Any

from mtk import extras
from mtk.data.translation.readers.base import RawPair, Reader


class TFDSTranslation(Reader):
    """Reads a dataset with examples `{language: sentence}`; downloads it if needed.

    Args:
        name: Name of the dataset, such as "wmt16_translate/ro-en".
        target: The target language.
        source: The source language.
        train: The dataset's name of the training split, or a slice such as "train[:1%]".
        validation: The same for validation.
        test: The same for testing.
        data_dir: Data folder of TensorFlow Datasets; its default if None.
    """

    def __init__(
        self,
        name: str,
        target: str,
        source: str = "en",
        train: str = "train",
        validation: str = "validation",
        test: str = "test",
        data_dir: str | None = None,
    ):
        self.name, self.target, self.source = name, target, source
        self.data_dir = data_dir
        self._splits = {"train": train, "validation": validation, "test": test}

    def pairs(self, split: str) -> Iterator[RawPair]:
        builder = self._builder()
        builder.download_and_prepare()
        # Files one after another, since the pairs must have the same order each time.
        for example in _in_order(builder, self._splits[split]):
            yield example[self.source], example[self.target]

    def asked(self) -> dict[str, Any]:
        info = self._builder().info
        languages = [self.source, self.target]
        missing = [language for language in languages if language not in info.features]
        if missing:
            raise ValueError(
                f"{info.full_name} has no language {missing[0]!r}. It has: "
                f"{', '.join(info.features)}"
            )
        return {"reader": "TFDS", "name": info.full_name, "splits": self._splits,
                "languages": languages}  # fmt: skip

    def _builder(self) -> Any:
        try:
            import tensorflow_datasets as tfds
        except ImportError as error:
            raise ImportError(
                f"TensorFlow Datasets is not installed. Install it with: {extras.command('tfds')}"
            ) from error
        return tfds.builder(self.name, data_dir=self.data_dir)


def _in_order(builder: Any, split: str) -> Iterator[dict[str, bytes]]:
    import tensorflow_datasets as tfds

    reading = tfds.ReadConfig(interleave_cycle_length=1)
    examples = builder.as_dataset(split=split, shuffle_files=False, read_config=reading)
    yield from tfds.as_numpy(examples)
