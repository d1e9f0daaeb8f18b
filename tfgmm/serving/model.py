"""One version of a SavedModel in memory: its signatures, and what they accept."""

import itertools
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_log_pb2

from tfgmm.serving import warmup
from tfgmm.serving.limits import Limits
from tfgmm.serving.refusal import Reason, RefusedError

#: The signature of a request that names none.
DEFAULT_SIGNATURE = "serving_default"
#: Events that are computed at once: each takes some 10 MB in the networks' layers.
_AT_ONCE = 4
_ASSERTION = re.compile(r"assertion failed: \[(.*?)\]", re.DOTALL)


class Signature:
    """A named function of a SavedModel.

    Parameters
    ----------
    name : str
    function
        With ``structured_input_signature`` and ``structured_outputs``, as TensorFlow loads it.
    limits : Limits
    """

    def __init__(self, name: str, function, limits: Limits) -> None:
        self.name, self._function, self._limits = name, function, limits
        self.inputs: dict[str, tf.TensorSpec] = function.structured_input_signature[1]
        self.outputs: dict[str, tf.TensorSpec] = function.structured_outputs

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute, a few events at a time.

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
            found = _ASSERTION.search(error.message)
            message = found[1] if found else error.message.splitlines()[0]
            raise RefusedError(Reason.BAD, message) from error

    def check_names(self, names) -> None:
        """Refuse inputs that are missing or unknown."""
        missing = (f"lacks {name}" for name in self.inputs if name not in names)
        unknown = (f"has {str(name)[:50]!r}" for name in names if name not in self.inputs)
        wrong = next(itertools.chain(missing, unknown), None)
        if wrong:
            expected = ", ".join(self.inputs)
            raise RefusedError(Reason.BAD, f"the request {wrong}: inputs of {self.name} are {expected}")

    def check_outputs(self, names: Collection[str]) -> None:
        """Refuse names that are no outputs, or that come twice."""
        unknown = [name for name in names if name not in self.outputs]
        if unknown:
            known = ", ".join(self.outputs)
            raise RefusedError(Reason.BAD, f"no output {unknown[0][:50]!r}: {self.name} has {known}")
        if len(set(names)) < len(names):
            raise RefusedError(Reason.BAD, "output_filter has a name twice")

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse what cannot be a value of this input."""
        expected = self.inputs[name].shape
        if not expected.is_compatible_with(shape):
            wanted = "".join(f"[{'any' if size is None else size}]" for size in expected)
            raise RefusedError(Reason.BAD, f"input {name} has shape {list(shape)}, expected {wanted}")

    def _check(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Refuse arrays that do not fit; return the number of events."""
        self.check_names(inputs)
        for name, values in inputs.items():
            self.check_shape(name, values.shape)
            if values.dtype != self.inputs[name].dtype.as_numpy_dtype:
                wanted = self.inputs[name].dtype.name
                raise RefusedError(Reason.BAD, f"input {name} is {values.dtype}, expected {wanted}")
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
    """Bytes an event, as far as the shape tells."""
    return output.dtype.size * math.prod(size or 1 for size in output.shape[1:])


def definitions(folder: Path) -> get_model_metadata_pb2.SignatureDefMap:
    """Read the signatures of a SavedModel as they are stored, without loading it.

    Parameters
    ----------
    folder : Path
        Of the version.
    """
    stored = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    found = get_model_metadata_pb2.SignatureDefMap()
    for key, definition in stored.meta_graphs[0].signature_def.items():
        found.signature_def[key].CopyFrom(definition)
    return found


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
        self._warm_up(folder / warmup.FILE)

    def signature(self, name: str | None) -> Signature:
        """The signature of a request, which may name none.

        Raises
        ------
        RefusedError
            There is no such signature.
        """
        found = self.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None:
            known = ", ".join(self.signatures)
            message = f"model {self.name} has no signature {str(name)[:50]!r}: it has {known}"
            raise RefusedError(Reason.BAD, message)
        return found

    def _warm_up(self, path: Path) -> None:
        if path.is_file():
            for record in tf.data.TFRecordDataset(str(path)):
                request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
                inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
                self.signature(request.model_spec.signature_name)(inputs)
