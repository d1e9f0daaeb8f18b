"""The gRPC interface of TensorFlow Serving: Predict, GetModelMetadata, GetModelStatus."""

from collections.abc import Awaitable
from typing import TypeVar

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfgmm.serving.limits import Limits, Workers
from tfgmm.serving.models import Models
from tfgmm.serving.refusal import Reason, RefusedError

_T = TypeVar("_T")
#: A connection that begins a message and never ends it does not stay for ever.
_LONGEST_MS = 600_000


def server(models: Models, workers: Workers, limits: Limits) -> grpc.aio.Server:
    """A server without a port yet.

    Parameters
    ----------
    models : Models
    workers : Workers
    limits : Limits
    """
    options = {
        "grpc.max_receive_message_length": limits.request_bytes,
        "grpc.max_send_message_length": -1,
        "grpc.max_concurrent_streams": limits.waiting,
        "grpc.max_connection_age_ms": _LONGEST_MS,
        "grpc.max_connection_age_grace_ms": int(limits.timeout_s * 1000),
        "grpc.so_reuseport": 0,
    }
    found = grpc.aio.server(options=list(options.items()), maximum_concurrent_rpcs=limits.connections)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(models, workers), found)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Service(models), found)
    return found


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models: Models, workers: Workers) -> None:
        self._models, self._workers = models, workers

    async def Predict(self, request, context) -> predict_pb2.PredictResponse:  # noqa: N802
        return await _answered(context, self._predict(request))

    async def GetModelMetadata(self, request, context):  # noqa: N802
        return await _answered(context, self._metadata(request))

    async def _predict(self, request) -> predict_pb2.PredictResponse:
        model = self._models.get(*_asked(request.model_spec))
        return await self._workers.run(model.predict, request)

    async def _metadata(self, request) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if list(request.metadata_field) != ["signature_def"]:
            raise RefusedError(
                Reason.BAD, "metadata_field needs to be signature_def, the only one there is"
            )
        model = self._models.get(*_asked(request.model_spec))
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name, answer.model_spec.version.value = model.name, model.version
        answer.metadata["signature_def"].Pack(model.definitions)
        return answer


class _Service(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: Models) -> None:
        self._models = models

    async def GetModelStatus(self, request, context):  # noqa: N802
        return await _answered(context, self._status(request))

    async def _status(self, request) -> get_model_status_pb2.GetModelStatusResponse:
        answer = get_model_status_pb2.GetModelStatusResponse()
        states = get_model_status_pb2.ModelVersionStatus.State
        for one in self._models.status(*_asked(request.model_spec)):
            added = answer.model_version_status.add(version=one.version, state=states.Value(one.state))
            added.status.error_message = one.error
            added.status.error_code = grpc.StatusCode.UNKNOWN.value[0] if one.error else 0
        return answer


def _asked(specification: model_pb2.ModelSpec) -> tuple[str, int | None]:
    """Name and version of a request."""
    if specification.version_label:
        raise RefusedError(Reason.BAD, "version labels are not known here: give a version, or none")
    version = specification.version.value if specification.HasField("version") else None
    return specification.name, version


async def _answered(context: grpc.aio.ServicerContext, answer: Awaitable[_T]) -> _T:
    try:
        return await answer
    except RefusedError as error:
        await context.abort(grpc.StatusCode[error.reason.grpc], str(error))
