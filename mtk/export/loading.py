"""Loads exported networks, which can be called or evaluated like any other network."""

import contextlib
import importlib
import math
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mtk import extras, tf_logging
from mtk.data.bounded import MOST_GROWTH
from mtk.decoding import Translator, text_translator
from mtk.export.inputs import by_name, inputs_of, read_order

# Errors that TensorFlow, Keras and HDF5 raise if a file is truncated or its bytes have changed.
_DAMAGE = (AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
_MOST_GRAPH = (1 << 31) - 1  # bytes: the limit of protocol buffers
_MOST_EMPTY = 1 << 20  # bytes of variables that need not be in a file, such as seeds
_PATTERN = set("[]*?\\")
_UNKNOWN_OPERATION = "Op type not registered"


class ExportedNetwork(keras.Model):
    """A SavedModel as a Keras model for inference.

    Args:
        path: The SavedModel's folder.

    Call arguments:
        inputs: A dict by name, a tensor, or the structure that the exported network read.

    Returns:
        `{task: output}`, or the tensor of a network with one output for all tasks.

    Attributes:
        signatures: The functions of the SavedModel by name. `call` uses the signature `logits` if
            there is one, otherwise `serving_default`.

    Raises:
        ValueError: If there is no SavedModel, or none with the signature `serving_default`, or its
            operations are not installed.
    """

    def __init__(self, path: str | Path):
        super().__init__(name="exported", dtype="float32", autocast=False)
        path = Path(path)
        if not (path / "saved_model.pb").is_file():
            raise ValueError(
                "There is no SavedModel (a folder with a file 'saved_model.pb') in "
                f"{str(path)!r}. A run writes one to 'saved_model' in its folder when it finishes."
            )
        if (path / "saved_model.pb").stat().st_size > _MOST_GRAPH:
            raise ValueError(
                f"The SavedModel in {str(path)!r} is damaged: its saved_model.pb has more than "
                f"{_MOST_GRAPH:,} bytes. Export the network again."
            )
        self._loaded = _loaded(path)
        if "serving_default" not in self._loaded.signatures:
            raise ValueError(
                f"The SavedModel in {str(path)!r} has no signature 'serving_default'. "
                f"Received: {sorted(self._loaded.signatures)}"
            )
        serving = self._loaded.signatures["serving_default"]
        self._serve = self._loaded.signatures.get("logits", serving)
        self._masks = self._loaded.signatures.get("masks")
        self.input_specs: dict[str, tf.TensorSpec] = self._serve.structured_input_signature[1]
        self.input_names_in_order = read_order(path, self.input_specs)
        self.built = True

    @property
    def signatures(self) -> Mapping[str, Callable[..., Any]]:
        loaded: Mapping[str, Callable[..., Any]] = self._loaded.signatures
        return loaded

    def call(self, inputs: Any, training: bool = False) -> Any:
        del training  # Only inference is possible.
        named = by_name(inputs, self.input_names_in_order)
        named = {name: tf.cast(x, self.input_specs[name].dtype) for name, x in named.items()}
        outputs = self._serve(**named)
        for name, mask in (self._masks(**named) if self._masks else {}).items():
            outputs[name]._keras_mask = mask
        return outputs["output"] if set(outputs) == {"output"} else outputs


def load(path: str | Path) -> keras.Model:
    """Loads a network for inference.

    A `.keras` file is loaded in Keras' safe mode: Python code stored in it is not run, and only
    installed classes that Keras allows are used. A SavedModel is a program: TensorFlow runs its
    graph, which can read and write files with the permissions of the user who loads it. Load only
    SavedModels from people you trust.

    Args:
        path: The folder of a SavedModel, or a `.keras` file of a network or of a whole
            `MultiTaskModel`.

    Raises:
        ValueError: If there is no such file or folder, or it cannot be loaded.
    """
    path = Path(path)
    if path.suffix != ".keras":
        return ExportedNetwork(path)
    if not path.is_file():
        raise ValueError(f"There is no file {str(path)!r}.")
    try:
        with _variables_of_at_most(_unpacked_size(path) + _MOST_EMPTY):
            loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{str(path)!r} cannot be loaded: {_first_line(error)}") from error
    return getattr(loaded, "network", loaded)


def _unpacked_size(path: Path) -> int:
    """Returns the unpacked size of an archive in bytes.

    Raises:
        ValueError: If it is much larger than the archive, since Keras does not compress archives.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MOST_GROWTH * path.stat().st_size:
        raise ValueError(f"it has {path.stat().st_size:,} bytes, but {size:,} when unpacked")
    return size


@contextlib.contextmanager
def _variables_of_at_most(size: int) -> Iterator[None]:
    """Stops the creation of larger variables: their weights cannot be in the file."""
    left = size

    def create(make: Callable[..., tf.Variable], **about: Any) -> tf.Variable:
        nonlocal left
        if callable(about["initial_value"]):
            # An initializer that cannot be in a graph is a program's own, and never from a file.
            with contextlib.suppress(Exception), tf.Graph().as_default():
                value = tf.convert_to_tensor(about["initial_value"]())  # No computation.
                left -= math.prod(value.shape) * value.dtype.size
        if left < 0:
            raise MemoryError("its layers have more weights than the file contains")
        return make(**about)

    with tf.variable_creator_scope(create):
        yield


def _loaded(path: Path) -> Any:
    try:
        return _read(path)
    except (*_DAMAGE, tf.errors.OpError) as error:
        reason = _first_line(error)
        if not reason.startswith(_UNKNOWN_OPERATION):
            raise ValueError(
                f"The SavedModel in {str(path)!r} is damaged: {reason}. Export the network again."
            ) from error
    try:
        importlib.import_module("tensorflow_text")  # Registers the operations of tokenizers.
        return _read(path)
    except (ImportError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            f"The SavedModel in {str(path)!r} uses operations of a package that is not "
            f"installed: {reason.split(' in ')[0]}. If it reads text, install: "
            f"{extras.command('text')}"
        ) from error


def _read(path: Path) -> Any:
    # A tokenizer logs that it does not normalize.
    with _plainly_named(path) as folder, tf_logging.no_error_stream():
        return tf.saved_model.load(str(folder))


@contextlib.contextmanager
def _plainly_named(path: Path) -> Iterator[Path]:
    """Yields a path to a folder that TensorFlow does not interpret as a pattern."""
    if not _PATTERN & set(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "saved_model"
        link.symlink_to(path.absolute())
        yield link


def check_inputs(network: keras.Model, given: Any) -> None:
    """Raises an error if data do not match the inputs of a network.

    Args:
        network: The network; if it does not know its inputs, nothing is checked.
        given: The specs of the data.

    Raises:
        ValueError: If names, shapes or types differ.
    """
    if isinstance(network, ExportedNetwork):
        names, specs = network.input_names_in_order, network.input_specs
    else:
        known = inputs_of(network, given)
        names, specs = known.names, known.specs
    named = by_name(given, names)
    wrong = [name for name in names if not _fits(named[name], specs[name])]
    if wrong:
        raise ValueError(
            f"The network expects {_described(specs, wrong)}, but the data provide "
            f"{_described(named, wrong)}. Give the configuration that the network was trained with."
        )


def _fits(given: tf.TensorSpec, wanted: tf.TensorSpec) -> bool:
    """Returns whether shapes agree, and types agree or can be widened as in Keras."""
    number = given.dtype.is_floating or given.dtype.is_integer
    same_kind = given.dtype.is_integer and wanted.dtype.is_integer
    fits = given.dtype == wanted.dtype or same_kind or (number and wanted.dtype.is_floating)
    return bool(fits and given.shape.is_compatible_with(wanted.shape))


def _described(specs: Mapping[str, tf.TensorSpec], names: list[str]) -> str:
    parts = [f"{name}: {specs[name].dtype.name} {specs[name].shape}" for name in names]
    return "{" + ", ".join(parts) + "}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def load_translator(path: str | Path, language: str) -> Translator:
    """Returns a translator of text.

    Args:
        path: The folder of a SavedModel of text.
        language: The target language.

    Raises:
        ValueError: If there is no such SavedModel, or it does not know the language.
    """
    signatures = ExportedNetwork(path).signatures
    if "languages" not in signatures:
        raise ValueError(
            f"The SavedModel in {str(path)!r} does not translate text. Give the one that a run "
            "writes to 'saved_model_text' if tensorflow-text is installed. Received one with the "
            f"signatures: {', '.join(sorted(signatures))}"
        )
    translate = text_translator(signatures)
    translate([], language)  # Raises an error now if it is unknown, not with the first text.
    return translate
