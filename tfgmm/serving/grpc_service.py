"""The gRPC interface of TensorFlow Serving: Predict, GetModelMetadata, GetModelStatus; also of health."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from tfgmm.serving import grpc_health, messages
from tfgmm.serving.limits import Limits, Workers
from tfgmm.serving.models import Models
from tfgmm.serving.refusal import Reason, RefusedError

_PREDICTION, _MODELS = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"


def server(models: Models, workers: Workers, limits: Limits, stopping: asyncio.Event) -> grpc.aio.Server:
    """Make a server without a port yet.

    A connection is asked to end after ``timeout_s`` and cut after as long again and ``patience_s``: with it
    go clients that never end a message, or never read one. Others connect again without noticing.

    Parameters
    ----------
    models : Models
    workers : Workers
    limits : Limits
    stopping : asyncio.Event
        Set when it stops.
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
    found = grpc.aio.server(options=list(options.items()), maximum_concurrent_rpcs=limits.connections)
    service = _Service(models, workers, limits)
    functions = {
        _PREDICTION: {"Predict": service.predict, "GetModelMetadata": service.metadata},
        _MODELS: {"GetModelStatus": service.status},
    }
    for name, methods in functions.items():
        handlers = {method: _answering(function) for method, function in methods.items()}
        found.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers)])
    grpc_health.add(found, functions, stopping)
    return found


def _answering(function: Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]):
    """Make a method of bytes, so that what is no message is refused here and is no fault of the server."""

    async def answer(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            return await function(content, context)
        except RefusedError as error:
            await context.abort(grpc.StatusCode[error.reason.grpc], str(error))

    return grpc.unary_unary_rpc_method_handler(answer)


class _Service:
    def __init__(self, models: Models, workers: Workers, limits: Limits) -> None:
        self._models, self._workers, self._limits = models, workers, limits

    async def predict(self, content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        found = await self._workers.run(self._predicted, content)
        release = self._workers.hold(found)
        context.add_done_callback(lambda context: release())
        return found

    def _predicted(self, content: bytes) -> bytes:
        request = messages.read(content)
        model = self._models.get(*_asked(request.specification))
        signature = model.signature(request.specification.signature_name)
        signature.check_names(request.tensors)
        signature.check_outputs(request.output_filter)
        inputs = {
            name: messages.array(signature, name, tensor, self._limits)
            for name, tensor in request.tensors.items()
        }
        found = signature(inputs)
        answer = predict_pb2.PredictResponse(model_spec=request.specification)
        answer.model_spec.version.value = model.version
        for name in request.output_filter or list(found):
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(found.pop(name)))
        return answer.SerializeToString()

    async def metadata(self, content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        request = messages.parsed(get_model_metadata_pb2.GetModelMetadataRequest, content)
        if len(request.metadata_field) != 1 or request.metadata_field[0] != "signature_def":
            raise RefusedError(
                Reason.BAD, "metadata_field needs to be signature_def, the only one there is"
            )
        model = self._models.get(*_asked(request.model_spec))
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name, answer.model_spec.version.value = model.name, model.version
        answer.metadata["signature_def"].Pack(model.definitions)
        return answer.SerializeToString()

    async def status(self, content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        request = messages.parsed(get_model_status_pb2.GetModelStatusRequest, content)
        answer = get_model_status_pb2.GetModelStatusResponse()
        states = get_model_status_pb2.ModelVersionStatus.State
        for known in self._models.status(*_asked(request.model_spec)):
            added = answer.model_version_status.add(version=known.version, state=states.Value(known.state))
            added.status.error_message = known.error
            added.status.error_code = grpc.StatusCode.UNKNOWN.value[0] if known.error else 0
        return answer.SerializeToString()


def _asked(specification: model_pb2.ModelSpec) -> tuple[str, int | None]:
    """Name and version of a request."""
    if specification.version_label:
        raise RefusedError(Reason.BAD, "version labels are not known here: give a version, or none")
    version = specification.version.value if specification.HasField("version") else None
    return specification.name, version
