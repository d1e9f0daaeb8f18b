"""One version of a SavedModel in memory: its signatures, and what they accept."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_log_pb2

from tfgmm.serving import warmup
from tfgmm.serving.limits import Limits
from tfgmm.serving.refusal import Reason, RefusedError

#: The signature of a request that names none.
DEFAULT_SIGNATURE = "serving_default"
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
        """Compute.

        Raises
        ------
        RefusedError
            Names, types or shapes do not fit, or the graph refuses the values.
        """
        self._check(inputs)
        try:
            tensors = {name: tf.constant(values) for name, values in inputs.items()}
            return {name: values.numpy() for name, values in self._function(**tensors).items()}
        except tf.errors.InvalidArgumentError as error:
            found = _ASSERTION.search(error.message)
            message = found[1] if found else error.message.splitlines()[0]
            raise RefusedError(Reason.BAD, message) from error

    def check_names(self, names) -> None:
        """Refuse inputs that are missing or unknown."""
        wrong = [f"lacks {name}" for name in self.inputs if name not in names]
        wrong += [f"has {str(name)[:50]!r}" for name in names if name not in self.inputs]
        if wrong:
            expected = ", ".join(self.inputs)
            raise RefusedError(Reason.BAD, f"the request {wrong[0]}: inputs of {self.name} are {expected}")

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse what cannot be a value of this input."""
        expected = self.inputs[name].shape
        if not expected.is_compatible_with(shape):
            wanted = "".join(f"[{'any' if size is None else size}]" for size in expected)
            raise RefusedError(Reason.BAD, f"input {name} has shape {list(shape)}, expected {wanted}")

    def _check(self, inputs: Mapping[str, np.ndarray]) -> None:
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
        size = count * sum(_size(one) for one in self.outputs.values())
        if size > self._limits.answer_bytes:
            largest = self._limits.answer_bytes
            raise RefusedError(
                Reason.LARGE, f"an answer of {size} bytes, at most {largest}: fewer events please"
            )


def _size(output: tf.TensorSpec) -> int:
    """Bytes an event, as far as the shape tells."""
    return output.dtype.size * math.prod(size or 1 for size in output.shape[1:])


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
        stored = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.definitions = get_model_metadata_pb2.SignatureDefMap()
        for key, definition in stored.meta_graphs[0].signature_def.items():
            self.definitions.signature_def[key].CopyFrom(definition)
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

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Answer a message of gRPC.

        Raises
        ------
        RefusedError
            The request does not fit.
        """
        signature = self.signature(request.model_spec.signature_name)
        signature.check_names(request.inputs)
        found = signature(
            {name: _array(signature, name, one, self._limits) for name, one in request.inputs.items()}
        )
        unknown = [name for name in request.output_filter if name not in found]
        if unknown:
            raise RefusedError(
                Reason.BAD, f"no output {unknown[0][:50]!r}: {signature.name} has {', '.join(found)}"
            )
        answer = predict_pb2.PredictResponse()
        answer.model_spec.CopyFrom(request.model_spec)
        answer.model_spec.version.value = self.version
        for name in request.output_filter or found:
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(found[name]))
        return answer

    def _warm_up(self, path: Path) -> None:
        if path.is_file():
            for record in tf.data.TFRecordDataset(str(path)):
                self.predict(
                    prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
                )


def _array(signature: Signature, name: str, tensor, limits: Limits) -> np.ndarray:
    """A tensor of a message; one that brings a value and says it is huge is refused before it is made."""
    shape, expected = tuple(one.size for one in tensor.tensor_shape.dim), signature.inputs[name].dtype
    # A text takes at least the byte that says how long it is.
    size_of = 1 if expected is tf.string else expected.size
    if any(size < 0 for size in shape) or math.prod(shape) * size_of > limits.request_bytes:
        raise RefusedError(Reason.LARGE, f"input {name} has shape {list(shape)}: ask for less at once")
    signature.check_shape(name, shape)
    if tensor.dtype != expected.as_datatype_enum:
        raise RefusedError(Reason.BAD, f"input {name} has type {tensor.dtype}, expected {expected.name}")
    try:
        return tf.make_ndarray(tensor)
    except ValueError as error:
        message = f"input {name} has shape {list(shape)}, but other values: {error}"
        raise RefusedError(Reason.BAD, message) from error
