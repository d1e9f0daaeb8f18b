"""The gRPC interface: answers and refusals."""

import grpc
import numpy as np
import pytest
import served_model
import tensorflow as tf
from served_model import ONE, TWO_SITES, several
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfgmm.serving.graph import EVENT


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served_model.serving(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as found:
        yield found


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def message(signature="mean_only", inputs=ONE, model="tiny"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, values in inputs.items():
        dtype = EVENT.get(name, tf.float64)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(np.array(values), dtype))
    return request


def with_values(name, tensor):
    request = message()
    request.inputs[name].CopyFrom(tensor)
    return request


def claims(*shape):
    tensor = tf.make_tensor_proto(np.array([6], "float32"))
    tensor.tensor_shape.dim[0].size = shape[0]
    return tensor


def labelled():
    request = message()
    request.model_spec.version_label = "stable"
    return request


def test_grpc(stub):
    answer = stub.Predict(message("at_sites", ONE | TWO_SITES))
    assert answer.model_spec.version.value == 1 and answer.model_spec.signature_name == "at_sites"
    found = {name: tf.make_ndarray(one) for name, one in answer.outputs.items()}
    np.testing.assert_allclose(found["mean"], [[5.7, 6.7]], rtol=1e-6)
    assert set(found) == {"mean", "stddev", "aleatory", "epistemic", "inside"}
    asked = message("at_sites", ONE | TWO_SITES)
    asked.output_filter.append("mean")
    assert set(stub.Predict(asked).outputs) == {"mean"}


def test_grpc_metadata_and_status(stub, channel):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tiny"
    known = get_model_metadata_pb2.SignatureDefMap()
    assert stub.GetModelMetadata(request).metadata["signature_def"].Unpack(known)
    assert set(known.signature_def["at_sites"].inputs) == set(ONE | TWO_SITES)
    about = get_model_status_pb2.GetModelStatusRequest(model_spec=request.model_spec)
    (one,) = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(about).model_version_status
    assert (one.version, one.state, one.status.error_code) == (1, one.AVAILABLE, 0)


@pytest.mark.parametrize(
    ("request_", "code", "error"),
    [
        (message(model="other"), "NOT_FOUND", "no model 'other'"),
        (message("classify"), "INVALID_ARGUMENT", "has no signature 'classify'"),
        (message(inputs={}), "INVALID_ARGUMENT", "the request lacks"),
        (labelled(), "INVALID_ARGUMENT", "version labels are not known"),
        (with_values("magnitude", tf.make_tensor_proto([6])), "INVALID_ARGUMENT", "expected float32"),
        (with_values("magnitude", tf.make_tensor_proto(["six"])), "INVALID_ARGUMENT", "expected float32"),
        (with_values("magnitude", claims(1 << 40)), "RESOURCE_EXHAUSTED", "ask for less at once"),
        (with_values("magnitude", claims(-2)), "INVALID_ARGUMENT", "has shape [-2]"),
        (with_values("magnitude", claims(2)), "INVALID_ARGUMENT", "one length above 0"),
        (message(inputs=several(5)), "RESOURCE_EXHAUSTED", "5 events"),
        (message(inputs=several(2000)), "RESOURCE_EXHAUSTED", "larger than max"),
        (message(inputs=ONE | {"magnitude": [np.nan]}), "INVALID_ARGUMENT", "magnitude must lie"),
    ],
)
def test_grpc_refuses(stub, request_, code, error):
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request_)
    assert caught.value.code() is grpc.StatusCode[code]
    assert error in caught.value.details()


def test_grpc_content_that_is_cut(stub):
    request = message(inputs=several(2))
    content = request.inputs["magnitude"].tensor_content
    assert len(content) == 8
    request.inputs["magnitude"].tensor_content = content[:6]
    with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
        stub.Predict(request)
