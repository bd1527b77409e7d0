"""Reads a SavedModel that translates text."""

from pathlib import Path

from mtk.decoding import Translator, text_translator
from mtk.export.loading import ExportedNetwork


def load_translator(path: str | Path, language: str) -> Translator:
    """Returns what translates text.

    Args:
        path: The folder of a SavedModel of text.
        language: The target language that will be asked for.

    Raises:
        ValueError: If there is no such SavedModel, or it does not know the language.
    """
    signatures = ExportedNetwork(path).signatures
    if "languages" not in signatures:
        raise ValueError(
            f"The SavedModel in {str(path)!r} does not translate text. Give the one that a run "
            "writes as 'saved_model_text' where tensorflow-text is installed. "
            f"Received one with the signatures: {', '.join(sorted(signatures))}"
        )
    translate = text_translator(signatures)
    translate([], language)  # Raises now what is not known, and not when there is text.
    return translate
