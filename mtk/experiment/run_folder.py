"""The folder that a run leaves behind."""

import os
from pathlib import Path
from typing import Any

from mtk import atomic
from mtk.experiment import manifest


class RunFolder:
    """Paths of a run folder, and the files that describe the run.

    `config.gin`, `operative_config.gin` and `manifest.json` are written before the first step;
    `metrics.jsonl`, `tensorboard/` and `checkpoints/` grow with the run; `saved_model/`,
    `model.keras` and `result.json` end it. A folder with a `result.json` is complete.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.manifest = self.path / "manifest.json"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.selected = self.path / "checkpoints" / "selected.weights.h5"
        self.saved_model = self.path / "saved_model"
        self.keras_file = self.path / "model.keras"
        self.result = self.path / "result.json"

    @classmethod
    def unused(cls, path: str | Path | None) -> "RunFolder":
        """Returns the folder at `path`, which must be new or empty.

        Raises:
            ValueError: If there is no path, something is in the folder, or it cannot be made.
        """
        if path is None:
            raise ValueError("A run needs a folder to write. Name a new one: --run_dir=PATH.")
        folder = cls(path)
        if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
            state = "holds a finished run" if folder.result.exists() else "is not empty"
            raise ValueError(
                f"The run folder {str(path)!r} {state}. Nothing was changed. Name a new folder, or "
                "remove this one first."
            )
        above = next(parent for parent in folder.path.absolute().parents if parent.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise ValueError(
                f"The run folder {str(path)!r} cannot be made: {str(above)!r} is not a folder that "
                "can be written. Name another one."
            )
        return folder

    def open(self, seed: int, asked: str, operative: str) -> None:
        """Makes the folder and writes what is known before the first step.

        Args:
            seed: Of the run.
            asked: The configuration as given.
            operative: The configuration in force.
        """
        self.selected.parent.mkdir(parents=True, exist_ok=True)
        (self.path / "config.gin").write_text(asked, encoding="utf-8")
        (self.path / "operative_config.gin").write_text(operative, encoding="utf-8")
        manifest.begin(self.manifest, seed)

    def close(self, result: dict[str, Any]) -> None:
        """Writes the result, whole or not at all."""
        atomic.write_json(self.result, result)
