"""gRPC to a model server."""

import json
from collections.abc import Callable, Mapping
from typing import TypeVar

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from tfgmm.serving.transport import Address, Patience, down, no_model, not_a_server, refused

_T = TypeVar("_T")
_DOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_STRANGE = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL)


class Grpc:
    """Over gRPC.

    Parameters
    ----------
    address : Address
    patience : Patience
    """

    def __init__(self, address: Address, patience: Patience) -> None:
        self._address, self._timeout_s = address, patience.timeout_s
        self._channel = grpc.insecure_channel(address.place, _options(patience))
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def signatures(self) -> dict[str, list[str]]:
        """Names of the signatures, and of the inputs of each."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._specify(request.model_spec)
        answer = self._ask(self._stub.GetModelMetadata, request)
        known = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(known)
        return {name: list(one.inputs) for name, one in known.signature_def.items()}

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of a signature by name."""
        request = predict_pb2.PredictRequest()
        self._specify(request.model_spec)
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        answer = self._ask(self._stub.Predict, request)
        return {name: tf.make_ndarray(one) for name, one in answer.outputs.items()}

    def _specify(self, specification) -> None:
        specification.name = self._address.model
        if self._address.version is not None:
            specification.version.value = self._address.version

    def _ask(self, method: Callable[..., _T], request) -> _T:
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            said = error.details()
            if error.code() in _DOWN:
                raise down(self._address, said.partition(";")[0]) from error
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise no_model(self._address, said) from error
            if error.code() in _STRANGE:
                raise not_a_server(self._address) from error
            raise refused(self._address, said) from error


def _options(patience: Patience) -> list[tuple]:
    """Retries are gRPC's own; messages may be of any size, as maps of several events are."""
    backoff_ms = max(1, int(patience.backoff_s * 1000))
    again = {
        "maxAttempts": patience.retries + 1,
        "initialBackoff": f"{patience.backoff_s:.3f}s",
        "maxBackoff": f"{patience.backoff_s * 16:.3f}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    options = {
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        "grpc.initial_reconnect_backoff_ms": backoff_ms,
        "grpc.min_reconnect_backoff_ms": backoff_ms,
        "grpc.max_reconnect_backoff_ms": backoff_ms * 4,
    }
    if patience.retries:
        config = {"methodConfig": [{"name": [{}], "retryPolicy": again}]}
        options["grpc.service_config"] = json.dumps(config)
    return list(options.items())
