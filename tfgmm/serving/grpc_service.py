"""The gRPC interface of TensorFlow Serving: Predict, GetModelMetadata, GetModelStatus; health checks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import grpc
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from tfgmm.serving import messages
from tfgmm.serving.limits import Limits, Reason, RefusedError, Workers
from tfgmm.serving.models import Models

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
        request = messages.read(content)
        model = self._models.get(*_name_and_version(request.specification))
        signature = model.signature(request.specification.signature_name)
        signature.check_names(request.tensors)
        signature.check_outputs(request.output_filter)
        inputs = {
            name: messages.array(signature, name, tensor, self._limits)
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
        request = messages.parsed(get_model_metadata_pb2.GetModelMetadataRequest, content)
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
        request = messages.parsed(get_model_status_pb2.GetModelStatusRequest, content)
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
            return messages.parsed(_HEALTH_REQUEST, content).service
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
