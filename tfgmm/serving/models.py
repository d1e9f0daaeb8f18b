"""SavedModels in the memory of a server; the newest version of each model is used for predictions."""

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

#: File in a version folder with requests that TensorFlow Serving runs while it loads the model.
WARMUP = "assets.extra/tf_serving_warmup_requests"
#: Signature that is used if a request names none.
DEFAULT_SIGNATURE = "serving_default"
#: Number of events that are computed at once; an event takes about 10 MB in the layers of a network.
_AT_ONCE = 4
_ASSERTION = re.compile(r"assertion failed: \[(.*?)\]", re.DOTALL)


class Signature:
    """A named function of a SavedModel, with checks of its inputs.

    Parameters
    ----------
    name : str
        Name of the signature.
    function : callable
        TensorFlow function with ``structured_input_signature`` and ``structured_outputs``, as loaded from a
        SavedModel.
    limits : Limits
        Largest number of events, and largest size of a response.

    Attributes
    ----------
    inputs, outputs : dict of str to tf.TensorSpec
        Shapes and types by name.
    """

    def __init__(self, name: str, function, limits: Limits) -> None:
        self.name, self._function, self._limits = name, function, limits
        self.inputs: dict[str, tf.TensorSpec] = function.structured_input_signature[1]
        self.outputs: dict[str, tf.TensorSpec] = function.structured_outputs

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name, computed for a few events at a time to save memory.

        Parameters
        ----------
        inputs : dict of str to ndarray
            Arrays by name of input; the first dimension counts the events.

        Returns
        -------
        dict of str to ndarray
            Arrays by name of output; the first dimension counts the events.

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
        """Return the outputs for the next few events, from the event with index `first` on."""
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
        """Raise `RefusedError` if the names of the inputs of a request are not those of the signature.

        Parameters
        ----------
        names : collection of str
            Names of the inputs in the request.
        """
        missing = (f"lacks {name}" for name in self.inputs if name not in names)
        unknown = (f"has {str(name)[:50]!r}" for name in names if name not in self.inputs)
        wrong = next(itertools.chain(missing, unknown), None)
        if wrong:
            expected = ", ".join(self.inputs)
            raise RefusedError(Reason.BAD, f"the request {wrong}: inputs of {self.name} are {expected}")

    def check_outputs(self, names: Collection[str]) -> None:
        """Raise `RefusedError` if a name is no output of the signature, or occurs twice.

        Parameters
        ----------
        names : collection of str
            Names of the outputs that the request asks for.
        """
        unknown = [name for name in names if name not in self.outputs]
        if unknown:
            outputs = ", ".join(self.outputs)
            raise RefusedError(Reason.BAD, f"no output {unknown[0][:50]!r}: {self.name} has {outputs}")
        if len(set(names)) < len(names):
            raise RefusedError(Reason.BAD, "output_filter has a name twice")

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise `RefusedError` if an input cannot have a given shape.

        Parameters
        ----------
        name : str
            Name of the input.
        shape : tuple of int
            Shape of the array in the request.
        """
        expected = self.inputs[name].shape
        if not expected.is_compatible_with(shape):
            sizes = "".join(f"[{'any' if size is None else size}]" for size in expected)
            raise RefusedError(Reason.BAD, f"input {name} has shape {list(shape)}, expected {sizes}")

    def _check(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Return the number of events; raise `RefusedError` if the arrays do not fit the signature."""
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
    """Return the size of an output per event, bytes; unknown dimensions count as 1."""
    return output.dtype.size * math.prod(size or 1 for size in output.shape[1:])


def definitions(folder: Path) -> get_model_metadata_pb2.SignatureDefMap:
    """Return the signatures of a SavedModel as stored, without loading the model.

    Parameters
    ----------
    folder : Path
        Version folder, which contains ``saved_model.pb``.

    Returns
    -------
    tensorflow.serving.SignatureDefMap
        Definitions of inputs and outputs, by name of the signature.
    """
    stored = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, definition in stored.meta_graphs[0].signature_def.items():
        signatures.signature_def[key].CopyFrom(definition)
    return signatures


class Model:
    """A version of a SavedModel in memory, loaded and warmed up by example requests.

    Parameters
    ----------
    name : str
        Name of the model.
    folder : Path
        Version folder; its name is the number of the version.
    limits : Limits
        Limits on requests.

    Attributes
    ----------
    version : int
        Number of the version.
    signatures : dict of str to Signature
        Signatures by name.
    definitions : tensorflow.serving.SignatureDefMap
        Signatures as stored in the SavedModel.

    Raises
    ------
    Exception
        The folder is damaged; TensorFlow raises errors of many types.
    """

    def __init__(self, name: str, folder: Path, limits: Limits) -> None:
        self.name, self.version, self._limits = name, int(folder.name), limits
        self.definitions = definitions(folder)
        self._loaded = tf.saved_model.load(folder)  # owns the weights
        self.signatures = {
            key: Signature(key, function, limits) for key, function in self._loaded.signatures.items()
        }
        self._warm_up(folder / WARMUP)

    def signature(self, name: str | None) -> Signature:
        """Return the signature that a request names, or `DEFAULT_SIGNATURE` if the request names none.

        Parameters
        ----------
        name : str or None
            Name of the signature.

        Raises
        ------
        RefusedError
            The model has no such signature.
        """
        signature = self.signatures.get(name or DEFAULT_SIGNATURE)
        if signature is None:
            names = ", ".join(self.signatures)
            message = f"model {self.name} has no signature {str(name)[:50]!r}: it has {names}"
            raise RefusedError(Reason.BAD, message)
        return signature

    def _warm_up(self, path: Path) -> None:
        """Run the example requests in a file, so that the first request of a user is not slow."""
        if path.is_file():
            for record in tf.data.TFRecordDataset(str(path)):
                request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
                inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
                self.signature(request.model_spec.signature_name)(inputs)


@dataclasses.dataclass(frozen=True)
class Status:
    """State of a version of a model on a server.

    Attributes
    ----------
    version : int
        Number of the version.
    state : str
        ``LOADING``, ``AVAILABLE``, or ``END`` for a version that cannot be loaded.
    error : str
        Reason why the version cannot be loaded; empty for the other states.
    """

    version: int
    state: str
    error: str = ""


class Models:
    """The models that a server offers, in memory; of each model the newest version that can be loaded.

    A request is finished with the version it began with, even if a new version is loaded meanwhile. A
    version that cannot be loaded is tried again only after its files change.

    Parameters
    ----------
    folders : iterable of Path
        Folders of models. The name of the folder is the name of the model; numbered subfolders are
        versions.
    limits : Limits
        Limits on requests.
    report : callable
        Called with a sentence for every version that is loaded or cannot be loaded.

    Raises
    ------
    UsageError
        A folder holds no version, or two folders have the same name.
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
        """Return the loaded version of a model.

        Parameters
        ----------
        name : str
            Name of the model.
        version : int, optional
            Number of the version; by default the loaded version, whatever its number.

        Raises
        ------
        RefusedError
            The server has no such model, or the version is not loaded.
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
        """Return the states of the versions of a model, the newest version first.

        Parameters
        ----------
        name : str
            Name of the model.
        version : int, optional
            Number of one version; all versions by default.

        Raises
        ------
        RefusedError
            The server has no such model or version.
        """
        statuses = self._status.get(name)
        if statuses is None or (version is not None and version not in statuses):
            self.get(name, version)
        return [statuses[number] for number in sorted(statuses, reverse=True) if version in (None, number)]

    def refresh(self) -> None:
        """Look for new and deleted versions in the folders, and load the newest version of each model."""
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
        """Load a version, and return True if the server uses it now.

        A version that is loaded already, or known to be damaged, is not loaded again.
        """
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
        gc.collect()  # frees the old version, whose graph has reference cycles and may take gigabytes
        return True

    def _note(self, name: str, folder: Path, state: str, error: str = "") -> None:
        """Store the state of a version; report it in a sentence unless the version is being loaded."""
        version = int(folder.name)
        self._status[name] = self._status[name] | {version: Status(version, state, error)}
        if state != "LOADING":
            outcome = f"cannot be loaded: {error}" if error else "is served"
            self._report(f"{name}, version {version}: {outcome}")


def _by_name(folders: Iterable[Path]) -> dict[str, Path]:
    """Return the folders of models by the names of the models.

    Raise `UsageError` if two folders have the same name, or a folder holds no version.
    """
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
    """Return the number that the name of a version folder means, or None for any other name.

    As in TensorFlow Serving, the name consists of digits (``00000123`` is allowed), and the number fits in
    a signed 64-bit integer.

    Parameters
    ----------
    name : str
        Name of a folder.
    """
    number = int(name) if name.isascii() and name.isdigit() else -1
    return number if 0 <= number < 1 << 63 else None


def _versions(folder: Path) -> dict[int, Path]:
    """Return the version folders of a model by number, the newest version first.

    Folders that are still being written are left out.
    """
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
    """Return the first line of the message of an error, at most 200 characters."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
