"""Readers of parallel text: files of several formats, and TensorFlow Datasets."""

from mtk.data.translation.readers.base import RawPair, Reader
from mtk.data.translation.readers.line_files import LineFiles
from mtk.data.translation.readers.parquet import ParquetFiles
from mtk.data.translation.readers.tfds import TFDSTranslation
from mtk.data.translation.readers.tsv import TSVFiles

__all__ = ["LineFiles", "ParquetFiles", "RawPair", "Reader", "TFDSTranslation", "TSVFiles"]
