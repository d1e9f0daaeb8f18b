"""Models that a server offers: versions of a SavedModel in memory, the newest of which answers."""

import dataclasses
import gc
import itertools
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_log_pb2

from tfgmm.core.errors import DataError, UsageError
from tfgmm.serving.limits import LIMITS, Limits, Reason, RefusedError

#: Where TensorFlow Serving looks in a version folder for requests to run while it loads a model.
WARMUP = "assets.extra/tf_serving_warmup_requests"
#: The signature of a request that names none.
DEFAULT_SIGNATURE = "serving_default"
#: Events that are computed at once: each takes some 10 MB in the networks' layers.
_AT_ONCE = 4
_ASSERTION = re.compile(r"assertion failed: \[(.*?)\]", re.DOTALL)


class Signature:
    """A named function of a SavedModel, with checks of what it is asked.

    Parameters
    ----------
    name : str
    function
        Function with ``structured_input_signature`` and ``structured_outputs``, as TensorFlow loads it.
    limits : Limits
    """

    def __init__(self, name: str, function, limits: Limits) -> None:
        self.name, self._function, self._limits = name, function, limits
        self.inputs: dict[str, tf.TensorSpec] = function.structured_input_signature[1]
        self.outputs: dict[str, tf.TensorSpec] = function.structured_outputs

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name, computed a few events at a time.

        Raises
        ------
        RefusedError
            Names, types or shapes do not fit, or the graph refuses the values.
        """
        count = self._check(inputs)
        parts = [self._computed(inputs, first) for first in range(0, count, _AT_ONCE)]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part.pop(name) for part in parts]) for name in self.outputs}

    def _computed(self, inputs: Mapping[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
        """Return the outputs of some events."""
        try:
            tensors = {
                name: tf.constant(values[first : first + _AT_ONCE]) for name, values in inputs.items()
            }
            return {name: values.numpy() for name, values in self._function(**tensors).items()}
        except tf.errors.InvalidArgumentError as error:
            assertion = _ASSERTION.search(error.message)
            message = assertion[1] if assertion else error.message.splitlines()[0]
            raise RefusedError(Reason.BAD, message) from error

    def check_names(self, names) -> None:
        """Raise `RefusedError` if inputs are missing or unknown."""
        missing = (f"lacks {name}" for name in self.inputs if name not in names)
        unknown = (f"has {str(name)[:50]!r}" for name in names if name not in self.inputs)
        wrong = next(itertools.chain(missing, unknown), None)
        if wrong:
            expected = ", ".join(self.inputs)
            raise RefusedError(Reason.BAD, f"the request {wrong}: inputs of {self.name} are {expected}")

    def check_outputs(self, names: Collection[str]) -> None:
        """Raise `RefusedError` if names are no outputs, or come twice."""
        unknown = [name for name in names if name not in self.outputs]
        if unknown:
            outputs = ", ".join(self.outputs)
            raise RefusedError(Reason.BAD, f"no output {unknown[0][:50]!r}: {self.name} has {outputs}")
        if len(set(names)) < len(names):
            raise RefusedError(Reason.BAD, "output_filter has a name twice")

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise `RefusedError` if an array of this shape cannot be a value of this input."""
        expected = self.inputs[name].shape
        if not expected.is_compatible_with(shape):
            sizes = "".join(f"[{'any' if size is None else size}]" for size in expected)
            raise RefusedError(Reason.BAD, f"input {name} has shape {list(shape)}, expected {sizes}")

    def _check(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Return the number of events, or raise `RefusedError` if arrays do not fit."""
        self.check_names(inputs)
        for name, values in inputs.items():
            self.check_shape(name, values.shape)
            if values.dtype != self.inputs[name].dtype.as_numpy_dtype:
                expected = self.inputs[name].dtype.name
                raise RefusedError(Reason.BAD, f"input {name} is {values.dtype}, expected {expected}")
        lengths = {name: len(values) for name, values in inputs.items()}
        count = next(iter(lengths.values()))
        if len(set(lengths.values())) > 1 or not count:
            raise RefusedError(
                Reason.BAD, f"inputs need one length above 0 along dimension 0, found {lengths}"
            )
        if count > self._limits.events:
            allowed = self._limits.events
            raise RefusedError(Reason.LARGE, f"{count} events, but at most {allowed} fit in a request")
        size = count * sum(_size(output) for output in self.outputs.values())
        if size > self._limits.answer_bytes:
            largest = self._limits.answer_bytes
            raise RefusedError(
                Reason.LARGE, f"an answer of {size} bytes, at most {largest}: fewer events please"
            )
        return count


def _size(output: tf.TensorSpec) -> int:
    """Return the bytes of an output per event, as far as its shape is known."""
    return output.dtype.size * math.prod(size or 1 for size in output.shape[1:])


def definitions(folder: Path) -> get_model_metadata_pb2.SignatureDefMap:
    """Read the signatures of a SavedModel as they are stored, without loading the model.

    Parameters
    ----------
    folder : Path
        Folder of the version.
    """
    stored = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, definition in stored.meta_graphs[0].signature_def.items():
        signatures.signature_def[key].CopyFrom(definition)
    return signatures


class Model:
    """A version of a SavedModel that is ready to answer: loaded and warmed up.

    Parameters
    ----------
    name : str
    folder : Path
        Version folder, whose name is the version.
    limits : Limits

    Attributes
    ----------
    name : str
    version : int
    signatures : dict of str to Signature
    definitions : tensorflow.serving.SignatureDefMap
        As the SavedModel has them.

    Raises
    ------
    Exception
        TensorFlow raises many kinds on a damaged folder.
    """

    def __init__(self, name: str, folder: Path, limits: Limits) -> None:
        self.name, self.version, self._limits = name, int(folder.name), limits
        self.definitions = definitions(folder)
        self._loaded = tf.saved_model.load(folder)  # which owns the weights
        self.signatures = {
            key: Signature(key, function, limits) for key, function in self._loaded.signatures.items()
        }
        self._warm_up(folder / WARMUP)

    def signature(self, name: str | None) -> Signature:
        """Return the signature of a request, `DEFAULT_SIGNATURE` if the request names none.

        Raises
        ------
        RefusedError
            There is no such signature.
        """
        signature = self.signatures.get(name or DEFAULT_SIGNATURE)
        if signature is None:
            names = ", ".join(self.signatures)
            message = f"model {self.name} has no signature {str(name)[:50]!r}: it has {names}"
            raise RefusedError(Reason.BAD, message)
        return signature

    def _warm_up(self, path: Path) -> None:
        """Answer the requests in a file, so that a user's first request is not slow."""
        if path.is_file():
            for record in tf.data.TFRecordDataset(str(path)):
                request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
                inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
                self.signature(request.model_spec.signature_name)(inputs)


@dataclasses.dataclass(frozen=True)
class Status:
    """State of a version: ``LOADING``, ``AVAILABLE`` or, with an error, ``END``."""

    version: int
    state: str
    error: str = ""


class Models:
    """Models in memory, the newest version of each.

    A request keeps the version with which it began; a new version takes over when it is loaded and warm.
    A version that cannot be loaded is left out until its files change.

    Parameters
    ----------
    folders : iterable of Path
        Folders of models: the name is that of the model, numbered folders within are its versions.
    limits : Limits
    report : callable
        Called with a sentence for every version that is loaded or cannot be loaded.

    Raises
    ------
    UsageError
        A folder holds no version, or two have one name.
    DataError
        No version of a model can be loaded.
    """

    def __init__(
        self,
        folders: Iterable[Path],
        limits: Limits = LIMITS,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._limits, self._report = limits, report
        self._folders = _by_name(folders)
        self._served: dict[str, Model] = {}
        self._status: dict[str, dict[int, Status]] = {name: {} for name in self._folders}
        self._damaged: dict[Path, tuple] = {}
        self.refresh()
        for name, statuses in self._status.items():
            if name not in self._served:
                errors = "; ".join(f"version {number}: {s.error}" for number, s in statuses.items())
                raise DataError(f"{self._folders[name]} cannot be served: {errors}. Export it again")

    @property
    def names(self) -> list[str]:
        """Return the names of all models."""
        return list(self._folders)

    def get(self, name: str, version: int | None = None) -> Model:
        """Return the version of a model that answers now.

        Raises
        ------
        RefusedError
            There is no such model or version.
        """
        model = self._served.get(name)
        if model is None:
            names = ", ".join(self._served)
            raise RefusedError(Reason.UNKNOWN, f"no model {name[:50]!r} is served here: there is {names}")
        if version is not None and version != model.version:
            message = f"version {version} of {name} is not served: {model.version} is"
            raise RefusedError(Reason.UNKNOWN, message)
        return model

    def status(self, name: str, version: int | None = None) -> list[Status]:
        """Return the states of the versions of a model, the newest first.

        Raises
        ------
        RefusedError
            There is no such model or version.
        """
        statuses = self._status.get(name)
        if statuses is None or (version is not None and version not in statuses):
            self.get(name, version)
        return [statuses[number] for number in sorted(statuses, reverse=True) if version in (None, number)]

    def refresh(self) -> None:
        """Look for versions that came or went, and serve the newest of each model that can be loaded."""
        for name, folder in self._folders.items():
            versions = _versions(folder)
            if any(self._offer(name, path) for path in versions.values()):
                served = self._served[name].version
                kept = {served, *versions}
                self._status[name] = {
                    number: status
                    for number, status in self._status[name].items()
                    if number in kept and (number == served or status.state == "END")
                }

    def _offer(self, name: str, folder: Path) -> bool:
        """Load a version unless it is loaded or known to be damaged; return whether it is served now."""
        served = self._served.get(name)
        if served and served.version == int(folder.name):
            return True
        if self._damaged.get(folder) == (fingerprint := _fingerprint(folder)):
            return False
        self._note(name, folder, "LOADING")
        try:
            self._served[name] = Model(name, folder, self._limits)
        except Exception as error:  # TensorFlow raises anything on a damaged folder
            self._damaged[folder] = fingerprint
            self._note(name, folder, "END", _first_line(error))
            return False
        self._note(name, folder, "AVAILABLE")
        del served
        gc.collect()  # the old version's graph has cycles, and may be gigabytes
        return True

    def _note(self, name: str, folder: Path, state: str, error: str = "") -> None:
        """Keep the state of a version, and report it unless it is being loaded."""
        version = int(folder.name)
        self._status[name] = self._status[name] | {version: Status(version, state, error)}
        if state != "LOADING":
            outcome = f"cannot be loaded: {error}" if error else "is served"
            self._report(f"{name}, version {version}: {outcome}")


def _by_name(folders: Iterable[Path]) -> dict[str, Path]:
    """Return the folders of models by the models' names."""
    named: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in named:
            raise UsageError(f"{named[name]} and {folder} have one name: serve them apart, or rename one")
        if not _versions(folder):
            raise UsageError(
                f"{folder} holds no version of a model, as {folder / '1'}: make one with tfgmm export"
            )
        named[name] = folder
    return named


def version_number(name: str) -> int | None:
    """Return the number that the name of a version folder stands for, None for other names.

    As in TensorFlow Serving, a version is digits, also ``00000123``, that fit in 64 bits with a sign.
    """
    number = int(name) if name.isascii() and name.isdigit() else -1
    return number if 0 <= number < 1 << 63 else None


def _versions(folder: Path) -> dict[int, Path]:
    """Return version folders by number, the newest first, without those that are still being written."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return {}
    # A folder that is being written has no saved_model.pb yet.
    whole = {version_number(path.name): path for path in paths if (path / "saved_model.pb").is_file()}
    return {version: whole[version] for version in sorted(whole.keys() - {None}, reverse=True)}


def _fingerprint(folder: Path) -> tuple:
    """Return (name, size in bytes, modification time in ns) of each file in a folder, sorted by path.

    The tuple is empty if a file vanishes meanwhile.
    """
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    except OSError:  # it is being written or deleted
        return ()


def _first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
