"""The gRPC service of a model server, and its messages <-> arrays."""

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from tfgmm.serving.limits import Limits, Reason, RefusedError, Workers
from tfgmm.serving.models import Models, Signature

#: Largest numbers of inputs, of names of outputs, and of bytes of a shape: more than any model has.
_MOST_INPUTS, _MOST_OUTPUTS, _LONGEST_SHAPE = 64, 64, 512
#: Largest number of values filled with the last value of an input: a small message makes no large array.
_MOST_REPEATED = 10_000
#: Type -> field of a TensorProto that holds the values, if ``tensor_content`` does not.
_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "int8": "int_val",
    "int16": "int_val",
    "int32": "int_val",
    "uint8": "int_val",
    "uint16": "int_val",
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
    "string": "string_val",
    "float16": "half_val",
    "bfloat16": "half_val",
}
_ABOUT = {"dtype", "tensor_shape", "version_number"}


def _flat(described: Descriptor) -> type[Message]:
    """Return a message type of the same wire format, in which inner messages are fields of bytes."""
    definition = descriptor_pb2.DescriptorProto()
    described.CopyToProto(definition)
    flat = descriptor_pb2.DescriptorProto(name=definition.name)
    for field in definition.field:
        kind = {field.TYPE_MESSAGE: field.TYPE_BYTES, field.TYPE_ENUM: field.TYPE_INT32}.get(
            field.type, field.type
        )
        flat.field.add(name=field.name, number=field.number, label=field.label, type=kind)
    name = f"tfgmm/{definition.name}.proto"
    file = descriptor_pb2.FileDescriptorProto(
        name=name, package="tfgmm", syntax="proto3", message_type=[flat]
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tfgmm.{definition.name}"))


_OUTER = _flat(predict_pb2.PredictRequest.DESCRIPTOR)
_INPUT = _flat(predict_pb2.PredictRequest.DESCRIPTOR.fields_by_name["inputs"].message_type)
_TENSOR = _flat(tensor_pb2.TensorProto.DESCRIPTOR)


@dataclasses.dataclass(frozen=True)
class Request:
    """A prediction request whose inputs are not unpacked yet.

    Attributes
    ----------
    specification : tensorflow.serving.ModelSpec
        Model, version and signature that the request names.
    tensors : dict of str to Message
        Inputs by name. In each `Message`, the shape is still serialised bytes.
    output_filter : list of str
        Names of the outputs to return; all outputs if the list is empty.
    """

    specification: model_pb2.ModelSpec
    tensors: dict[str, Message]
    output_filter: list[str]


def read_request(content: bytes) -> Request:
    """Read a serialised ``PredictRequest``, and return it with inputs that are not unpacked yet.

    Parameters
    ----------
    content : bytes
        The serialised message.

    Returns
    -------
    Request
        The request.

    Raises
    ------
    RefusedError
        The bytes are no ``PredictRequest``, an input occurs twice, or the request holds more inputs or
        names of outputs than any model has.
    """
    outer = parsed(_OUTER, content)
    if len(outer.inputs) > _MOST_INPUTS or len(outer.output_filter) > _MOST_OUTPUTS:
        raise RefusedError(
            Reason.BAD,
            f"the request has {len(outer.inputs)} inputs and {len(outer.output_filter)} names in "
            f"output_filter, at most {_MOST_INPUTS} and {_MOST_OUTPUTS} are taken",
        )
    specification, names = parsed(model_pb2.ModelSpec, outer.model_spec), list(outer.output_filter)
    entries, tensors = list(outer.inputs), {}
    del outer  # each level holds a copy of all that is below
    while entries:
        key, value = _entry(entries.pop())
        if key in tensors:
            raise RefusedError(Reason.BAD, f"the request has input {key[:50]!r} twice")
        tensors[key] = parsed(_TENSOR, value)
    return Request(specification, tensors, names)


def _entry(content: bytes) -> tuple[str, bytes]:
    """Return the name of an input, and the serialised bytes of its tensor."""
    entry = parsed(_INPUT, content)
    return entry.key, entry.value


def parsed(kind: type[Message], content: bytes) -> Message:
    """Return a message of a given type, read from bytes.

    Parameters
    ----------
    kind : type
        Type of the message.
    content : bytes
        The serialised message.

    Raises
    ------
    RefusedError
        The bytes are no message of this type.
    """
    try:
        return kind.FromString(content)
    except DecodeError as error:
        message = f"the request is no message of gRPC that can be read: no {kind.DESCRIPTOR.name}"
        raise RefusedError(Reason.BAD, message) from error


def read_array(signature: Signature, name: str, tensor: Message, limits: Limits) -> np.ndarray:
    """Return the values of one input of a request as an array.

    As in TensorFlow, a tensor may hold fewer values than its shape needs; the last value is then repeated.

    Parameters
    ----------
    signature : Signature
        The signature that the request names.
    name : str
        Name of an input of the signature.
    tensor : Message
        The tensor: a value of `Request.tensors`.
    limits : Limits
        Largest number of values and bytes.

    Returns
    -------
    ndarray
        Array with the shape that the tensor states and the type of the input; texts are bytes objects.

    Raises
    ------
    RefusedError
        The type or shape does not fit the input, the values do not fit the type or shape, or the array
        would be too large.
    """
    expected, shape = signature.inputs[name].dtype, _shape(name, tensor)
    count = math.prod(shape)
    size_of, most = (
        (1, limits.values) if expected.name == "string" else (expected.size, limits.request_bytes)
    )
    if count * size_of > most:
        raise RefusedError(Reason.LARGE, f"input {name} has shape {list(shape)}: ask for less at once")
    signature.check_shape(name, shape)
    if tensor.dtype != expected.as_datatype_enum:
        raise RefusedError(
            Reason.BAD, f"input {name} has type {_type_name(tensor.dtype)}, expected {expected.name}"
        )
    values = _values(name, tensor, expected, limits)
    missing = count - len(values)
    if not 0 <= missing <= (0 if tensor.tensor_content or not len(values) else _MOST_REPEATED):
        message = f"input {name} ({expected.name}) has shape {list(shape)}, but {len(values)} values"
        raise RefusedError(Reason.BAD, message)
    return np.append(values, np.repeat(values[-1:], missing)).reshape(shape)


def _shape(name: str, tensor: Message) -> tuple[int, ...]:
    """Return the shape that a tensor states; raise `RefusedError` if no array can have this shape."""
    if len(tensor.tensor_shape) > _LONGEST_SHAPE:
        raise RefusedError(Reason.BAD, f"input {name} has a shape of more dimensions than any array")
    shape = parsed(tensor_shape_pb2.TensorShapeProto, tensor.tensor_shape)
    sizes = tuple(dimension.size for dimension in shape.dim)
    if shape.unknown_rank or any(size < 0 for size in sizes):
        raise RefusedError(Reason.BAD, f"input {name} has shape {list(sizes)}, which no array has")
    return sizes


def _values(name: str, tensor: Message, expected: tf.DType, limits: Limits) -> np.ndarray:
    """Return the values of a tensor, [n], from the one field of the message that may hold this type."""
    typed = _FIELDS.get(expected.name, "tensor_content")
    filled = {field.name for field, _ in tensor.ListFields()} - _ABOUT
    allowed = {typed} if expected.name == "string" else {typed, "tensor_content"}
    if len(filled) > 1 or not filled <= allowed:
        places = " or ".join(sorted(allowed))
        message = (
            f"input {name} ({expected.name}) needs its values in {places}, has {', '.join(sorted(filled))}"
        )
        raise RefusedError(Reason.BAD, message)
    dtype = np.dtype(expected.as_numpy_dtype)
    if "tensor_content" in filled:
        size = len(tensor.tensor_content)
        if size % dtype.itemsize:
            raise RefusedError(Reason.BAD, f"input {name} ({expected.name}) is cut: {size} bytes of values")
        return np.frombuffer(tensor.tensor_content, dtype)
    values = getattr(tensor, typed)
    if typed == "string_val":
        return _texts(name, values, limits)
    try:
        if typed == "half_val":  # whose bits lie in whole numbers
            return np.fromiter(values, "uint16", len(values)).view(dtype)
        return np.fromiter(values, dtype, len(values))
    except OverflowError as error:
        message = f"input {name} has a value beyond what {expected.name} can hold"
        raise RefusedError(Reason.BAD, message) from error


def _texts(name: str, values, limits: Limits) -> np.ndarray:
    """Return texts as an array of bytes objects, [n]; raise `RefusedError` if too many or too long."""
    longest = max(map(len, values), default=0)
    if len(values) > limits.values or longest > limits.text_bytes:
        raise RefusedError(
            Reason.LARGE,
            f"input {name} has {len(values)} texts of up to {longest} bytes, at most {limits.values} of "
            f"{limits.text_bytes} are taken",
        )
    return np.fromiter(values, object, len(values))


def _type_name(number: int) -> str:
    """Return the name of a TensorFlow type given by its number, or the number if no name exists."""
    return types_pb2.DataType.Name(number) if number in types_pb2.DataType.values() else str(number)


_PREDICTION, _MODELS = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"
#: Name of the health service, for load balancers and container managers, and two states of a service.
_HEALTH, _SERVING, _SERVICE_UNKNOWN = "grpc.health.v1.Health", 1, 3


def server(models: Models, workers: Workers, limits: Limits, stopping: asyncio.Event) -> grpc.aio.Server:
    """Return a gRPC server for the models, without a port yet.

    A connection is asked to end ``timeout_s`` after it began, and cut ``timeout_s + patience_s`` later.
    This removes clients that never finish a message, or never read one. All other clients reconnect by
    themselves.

    Parameters
    ----------
    models : Models
        The models to predict with.
    workers : Workers
        Threads that compute.
    limits : Limits
        Sizes, numbers and times that are allowed.
    stopping : asyncio.Event
        Set when the server stops.

    Returns
    -------
    grpc.aio.Server
        The server, with the services for predictions, model status and health.
    """
    patience_ms, timeout_ms = int(limits.patience_s * 1000), int(limits.timeout_s * 1000)
    options = {
        "grpc.max_receive_message_length": limits.request_bytes,
        "grpc.max_send_message_length": -1,
        "grpc.max_concurrent_streams": limits.waiting,
        "grpc.max_allowed_incoming_connections": limits.connections,
        "grpc.max_connection_age_ms": timeout_ms,
        "grpc.max_connection_age_grace_ms": timeout_ms + patience_ms,
        "grpc.server_handshake_timeout_ms": patience_ms,
        "grpc.so_reuseport": 0,
    }
    made = grpc.aio.server(options=list(options.items()), maximum_concurrent_rpcs=limits.connections)
    service = _Service(models, workers, limits)
    functions = {
        _PREDICTION: {"Predict": service.predict, "GetModelMetadata": service.metadata},
        _MODELS: {"GetModelStatus": service.status},
    }
    for name, methods in functions.items():
        handlers = {method: _answering(function) for method, function in methods.items()}
        made.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers)])
    _add_health(made, functions, stopping)
    return made


def _answering(function: Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]):
    """Return a gRPC handler for a function of bytes, which refuses damaged messages with a reason."""

    async def answer(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Return the response to a request, or abort the request with the reason of the refusal."""
        try:
            return await function(content, context)
        except RefusedError as error:
            await context.abort(grpc.StatusCode[error.reason.grpc], str(error))

    return grpc.unary_unary_rpc_method_handler(answer)


class _Service:
    """Methods of the gRPC services: each takes a serialised request, and returns a serialised response."""

    def __init__(self, models: Models, workers: Workers, limits: Limits) -> None:
        self._models, self._workers, self._limits = models, workers, limits

    async def predict(self, content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Return the response to ``Predict``: the outputs of a signature."""
        answer = await self._workers.run(self._predicted, content)
        release = self._workers.hold(answer)
        context.add_done_callback(lambda context: release())
        return answer

    def _predicted(self, content: bytes) -> bytes:
        """Compute and return the serialised ``PredictResponse``; this runs in a thread of `Workers`."""
        request = read_request(content)
        model = self._models.get(*_name_and_version(request.specification))
        signature = model.signature(request.specification.signature_name)
        signature.check_names(request.tensors)
        signature.check_outputs(request.output_filter)
        inputs = {
            name: read_array(signature, name, tensor, self._limits)
            for name, tensor in request.tensors.items()
        }
        outputs = signature(inputs)
        answer = predict_pb2.PredictResponse(model_spec=request.specification)
        answer.model_spec.version.value = model.version
        for name in request.output_filter or list(outputs):
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(outputs.pop(name)))
        return answer.SerializeToString()

    async def metadata(self, content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Return the response to ``GetModelMetadata``: the signatures of a model."""
        request = parsed(get_model_metadata_pb2.GetModelMetadataRequest, content)
        if len(request.metadata_field) != 1 or request.metadata_field[0] != "signature_def":
            raise RefusedError(
                Reason.BAD, "metadata_field needs to be signature_def, the only one there is"
            )
        model = self._models.get(*_name_and_version(request.model_spec))
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name, answer.model_spec.version.value = model.name, model.version
        answer.metadata["signature_def"].Pack(model.definitions)
        return answer.SerializeToString()

    async def status(self, content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Return the response to ``GetModelStatus``: the state of every version of a model."""
        request = parsed(get_model_status_pb2.GetModelStatusRequest, content)
        answer = get_model_status_pb2.GetModelStatusResponse()
        states = get_model_status_pb2.ModelVersionStatus.State
        for status in self._models.status(*_name_and_version(request.model_spec)):
            entry = answer.model_version_status.add(
                version=status.version, state=states.Value(status.state)
            )
            entry.status.error_message = status.error
            entry.status.error_code = grpc.StatusCode.UNKNOWN.value[0] if status.error else 0
        return answer.SerializeToString()


def _name_and_version(specification: model_pb2.ModelSpec) -> tuple[str, int | None]:
    """Return the model name and the version number that a request names; None for the newest version."""
    if specification.version_label:
        raise RefusedError(Reason.BAD, "version labels are not known here: give a version, or none")
    version = specification.version.value if specification.HasField("version") else None
    return specification.name, version


# ---- health -----------------------------------------------------------------------------------------


def _health_types() -> tuple[type, type]:
    """Return the message types ``HealthCheckRequest`` and ``HealthCheckResponse`` of ``grpc.health.v1``.

    The types are in a separate descriptor pool, so that they do not clash with the package
    ``grpcio-health-checking``.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="health.proto", package="grpc.health.v1", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, field, kind in (
        ("HealthCheckRequest", "service", kinds.TYPE_STRING),
        ("HealthCheckResponse", "status", kinds.TYPE_INT32),  # as an enum on the wire
    ):
        message = file.message_type.add(name=name)
        message.field.add(name=field, number=1, type=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return tuple(
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{message.name}"))
        for message in file.message_type
    )


_HEALTH_REQUEST, _HEALTH_RESPONSE = _health_types()


def _add_health(server: grpc.aio.Server, services: Iterable[str], stopping: asyncio.Event) -> None:
    """Add the health service to a server.

    Parameters
    ----------
    server : grpc.aio.Server
        The server.
    services : iterable of str
        Full names of the services that are healthy as long as the server runs.
    stopping : asyncio.Event
        Set when the server stops; the responses to ``Watch`` then end.
    """
    healthy = {"", _HEALTH, *services}

    async def service(content: bytes, context: grpc.aio.ServicerContext) -> str:
        """Return the name of the service that a health request asks about."""
        try:
            return parsed(_HEALTH_REQUEST, content).service
        except RefusedError as error:
            await context.abort(grpc.StatusCode[error.reason.grpc], str(error))

    async def check(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Return the response to ``Check``: the state of a service."""
        name = await service(content, context)
        if name not in healthy:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {name[:50]!r} is here")
        return _HEALTH_RESPONSE(status=_SERVING).SerializeToString()

    async def watch(content: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        """Yield the response to ``Watch``, the state of a service, at once; end when the server stops."""
        name = await service(content, context)
        yield _HEALTH_RESPONSE(status=_SERVING if name in healthy else _SERVICE_UNKNOWN).SerializeToString()
        await stopping.wait()

    methods = {
        "Check": grpc.unary_unary_rpc_method_handler(check),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_HEALTH, methods)])
