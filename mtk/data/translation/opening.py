"""Opens a corpus that `mtk.prepare` has written."""

from collections.abc import Sequence
from pathlib import Path

from mtk.data.translation.corpus import HELD_OUT, SPLITS, Corpus, chosen
from mtk.data.translation.manifest import VOCABULARY, Manifest
from mtk.data.translation.token_files import SplitFiles, open_pairs, read_texts
from mtk.data.translation.vocabulary import Vocabulary


def open_corpus(folder: str, languages: Sequence[str] | None = None) -> Corpus:
    """Opens a prepared corpus. Token ids are memory-mapped, so that this takes no time and memory.

    The vocabulary is checked by its hash, token files by their sizes. The hashes of all files are
    checked by the command that prepared them, when it is given again.

    Args:
        folder: Folder that `python -m mtk.prepare translation` has written.
        languages: Target languages to take, in this order; all by default.

    Raises:
        ValueError: If there is no corpus, a language is unknown, the vocabulary is not the one of
            the token files, or a file is missing or damaged.
        ImportError: If SentencePiece is not installed.
    """
    path = Path(folder).expanduser()
    manifest = Manifest.load(path)
    taken = chosen(languages, manifest.languages)
    manifest.check_vocabulary(path)
    pairs = {
        split: {
            language: open_pairs(
                SplitFiles(path, split, language), manifest.splits[split][language]
            )
            for language in taken
        }
        for split in SPLITS
    }
    texts = {
        split: {language: read_texts(SplitFiles(path, split, language)) for language in taken}
        for split in HELD_OUT
    }
    return Corpus(Vocabulary.load(path / VOCABULARY), pairs, texts)
