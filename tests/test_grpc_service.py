"""The gRPC interface: answers and refusals."""

import types

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from helpers import served_model
from helpers.served_model import ONE, TWO_SITES, several
from tfgmm.serving import grpc_service
from tfgmm.serving.graph import EVENT
from tfgmm.serving.limits import LIMITS, RefusedError
from tfgmm.serving.models import Signature


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


def tensor(dtype="DT_FLOAT", shape=(1,), **fields):
    found = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        found.tensor_shape.dim.add(size=size)
    return found


ONE_VALUE = np.float32(6).tobytes()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (tensor(int_val=[6]), "(float32) needs its values in float_val or tensor_content, has int_val"),
        (tensor(double_val=[6]), "has double_val"),
        (tensor(half_val=[6]), "has half_val"),
        (tensor(string_val=[b"6"]), "has string_val"),
        (tensor(bool_val=[True]), "has bool_val"),
        (tensor(scomplex_val=[6, 0]), "has scomplex_val"),
        (tensor(resource_handle_val=[{}]), "has resource_handle_val"),
        (tensor(float_val=[6], int_val=[6]), "has float_val, int_val"),
        (tensor(float_val=[6], tensor_content=ONE_VALUE), "has float_val, tensor_content"),
        (tensor(), "has shape [1], but 0 values"),
        (tensor(float_val=[6, 7]), "has shape [1], but 2 values"),
        (tensor(tensor_content=ONE_VALUE * 2), "has shape [1], but 2 values"),
        (tensor(tensor_content=ONE_VALUE, shape=[2]), "has shape [2], but 1 values"),
        (tensor(tensor_content=ONE_VALUE[:3]), "is cut: 3 bytes"),
        (tensor(float_val=[6], shape=[-1]), "has shape [-1], which no array has"),
        (tensor(float_val=[6], shape=[-1, -1]), "which no array has"),
        (tensor(float_val=[6], shape=[1] * 300), "more dimensions than any array"),
        (tensor(float_val=[6], shape=[]), "has shape [], expected [any]"),
        (tensor("DT_HALF", half_val=[6]), "has type DT_HALF, expected float32"),
        (tensor("DT_BFLOAT16", half_val=[6]), "has type DT_BFLOAT16, expected float32"),
        (tensor("DT_INVALID", float_val=[6]), "has type DT_INVALID, expected float32"),
        (tensor("DT_STRING", string_val=[b"6"]), "has type DT_STRING, expected float32"),
        (tensor(99, float_val=[6]), "has type 99, expected float32"),
    ],
)
def test_values_that_do_not_fit(stub, given, error):
    """Never zeros, never UNKNOWN: the input and its type are named."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(with_values("magnitude", given))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("input magnitude ") and error in caught.value.details()


def test_values_that_are_left_out(stub):
    """The last one goes on, as in TensorFlow, up to a number."""
    request = message(inputs=several(3))
    request.inputs["magnitude"].CopyFrom(tensor(float_val=[6, 7], shape=[3]))
    np.testing.assert_allclose(tf.make_ndarray(stub.Predict(request).outputs["mean"]), [5.7, 6.7, 6.7])


def stations(*ids):
    request = message("at_stations")
    request.inputs["station_id"].CopyFrom(tensor("DT_STRING", [1, len(ids)], string_val=ids))
    return request


def test_texts(stub):
    found = tf.make_ndarray(stub.Predict(stations(b"abc", b"\xff\0")).outputs["mean"])
    np.testing.assert_allclose(found, [[8.7, 7.7]])
    with pytest.raises(grpc.RpcError, match="1 texts of up to 300 bytes"):
        stub.Predict(stations(b"x" * 300))


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["mean"] * 2, "output_filter has a name twice"),
        (["mean"] * 65, "65 names in output_filter, at most 64"),
        (["median"], "no output 'median': mean_only has mean"),
        ([""], "no output ''"),
    ],
)
def test_output_filter(stub, names, error):
    request = message()
    request.output_filter.extend(names)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT and error in caught.value.details()


def test_half_precision_that_a_model_wants():
    spec = {"x": tf.TensorSpec([None], tf.bfloat16), "y": tf.TensorSpec([None], tf.uint8)}
    function = types.SimpleNamespace(structured_input_signature=((), spec), structured_outputs={})
    signature = Signature("made", function, LIMITS)
    given = predict_pb2.PredictRequest()
    given.inputs["x"].CopyFrom(tf.make_tensor_proto(tf.constant([1.5, -2], tf.bfloat16)))
    given.inputs["y"].CopyFrom(tensor("DT_UINT8", int_val=[256]))
    read = grpc_service.read_request(given.SerializeToString()).tensors
    assert grpc_service.read_array(signature, "x", read["x"], LIMITS).tolist() == [1.5, -2]
    read["x"].ClearField("tensor_content")
    read["x"].tensor_shape, read["x"].half_val[:] = b"\x12\x03\x08\xa0\x1f", [16320]  # 4000 times 1.5
    assert (grpc_service.read_array(signature, "x", read["x"], LIMITS) == 1.5).sum() == 4000
    read["x"].tensor_shape = b"\x12\x04\x08\xa0\x9c\x01"
    with pytest.raises(RefusedError, match=r"has shape \[20000\], but 1 values"):
        grpc_service.read_array(signature, "x", read["x"], LIMITS)
    with pytest.raises(RefusedError, match="input y has a value beyond what uint8 can hold"):
        grpc_service.read_array(signature, "y", read["y"], LIMITS)


@pytest.mark.parametrize(
    "method",
    ["PredictionService/Predict", "PredictionService/GetModelMetadata", "ModelService/GetModelStatus"],
)
@pytest.mark.parametrize(
    "content", [b"\xff", b"\x0a\x05abc", message().SerializeToString()[:-1], b"\x0a\x03\x0a\x01\xff"]
)
def test_no_message(channel, method, content):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/tensorflow.serving.{method}")(content)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (
        "no message of gRPC that can be read" in caught.value.details()
        or "metadata_field" in caught.value.details()
    )


def test_compressed_messages(stub):
    compressed = grpc.Compression.Gzip
    assert stub.Predict(message(), compression=compressed).outputs
    with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
        stub.Predict(message(inputs=several(200_000)), compression=compressed)


def test_health(channel):
    """As in grpc/health/v1/health.proto: field 1 is the service, and 1 means that it serves."""
    check, watch = (
        channel.unary_unary("/grpc.health.v1.Health/Check"),
        channel.unary_stream("/grpc.health.v1.Health/Watch"),
    )
    service = b"tensorflow.serving.PredictionService"
    asked = b"\x0a" + bytes([len(service)]) + service
    assert check(b"") == check(asked) == b"\x08\x01"
    watching = watch(asked)
    assert next(watching) == b"\x08\x01"
    watching.cancel()
    unknown = b"\x0a\x01x"
    assert next(watch(unknown)) == b"\x08\x03"
    with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
        check(unknown)
    with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
        check(b"\xff")
