"""What the JSON of a request may hold, before any of it becomes an array."""

import gzip
import types

import numpy as np
import pytest
import tensorflow as tf

from tfgmm.serving import rest
from tfgmm.serving.http import decoded
from tfgmm.serving.limits import LIMITS, Limits, Reason, RefusedError
from tfgmm.serving.models import Signature


def array(values, dtype=tf.float32, rank=1):
    """The array of an input of a signature made by hand."""
    spec = tf.TensorSpec([None] * rank, dtype)
    function = types.SimpleNamespace(structured_input_signature=((), {"x": spec}), structured_outputs={})
    signature = Signature("made", function, LIMITS)
    model = types.SimpleNamespace(signature=lambda name: signature)
    _, found = rest.arrays(model, {"inputs": {"x": values}}, Limits(text_bytes=5))
    return found["x"]


@pytest.mark.parametrize(
    ("values", "dtype", "rank"),
    [
        ([1, 2.5], tf.float32, 1),
        ([[1], [2]], tf.float64, 2),
        ([1, 2**31 - 1], tf.int32, 1),
        ([2**63 - 1], tf.int64, 1),
        ([True, False], tf.bool, 1),
        ([[]], tf.float32, 2),
        ([], tf.float32, 1),
        (1.5, tf.float32, 0),
    ],
)
def test_values_of_the_right_type(values, dtype, rank):
    found = array(values, dtype, rank)
    assert found.dtype == dtype.as_numpy_dtype and found.shape == np.shape(values)
    np.testing.assert_array_equal(found, values)


def test_texts_and_bytes():
    found = array([["abc", {"b64": "/wA="}], [{"b64": "YWI"}, "é"]], tf.string, 2)
    assert found.tolist() == [[b"abc", b"\xff\x00"], [b"ab", "é".encode()]]


@pytest.mark.parametrize(
    ("values", "dtype", "error"),
    [
        ([1, "a"], tf.float32, "numbers only, of type float32: it has a text"),
        ([None, True], tf.float32, "numbers only, of type float32: it has null and true or false"),
        ([{"b64": "YWI"}], tf.float32, "it has an object"),
        ([1.0], tf.int32, "whole numbers only, of type int32: it has a number"),
        ([1], tf.bool, "true or false only"),
        ([2**31], tf.int32, "a number beyond what int32 can hold"),
        ([-(2**63) - 1], tf.int64, "a number beyond what int64 can hold"),
        ([-1], tf.uint8, "a number beyond what uint8 can hold"),
        ([10**400], tf.float32, "a number beyond what float32 can hold"),
        ([1, [2]], tf.float32, "no regular array"),
        ([[1], 2], tf.float32, "no regular array"),
        ([[1], [2, 3]], tf.float32, "no regular array"),
        ([[1]], tf.float32, r"has shape [1, 1], expected [any]"),
        (["a", ["b"]], tf.string, "no regular array"),
        (["abcdef"], tf.string, "a text of 6 bytes, at most 5"),
        (["ééé"], tf.string, "a text of 6 bytes, at most 5"),
        ([{"b64": "YWFhYWFh"}], tf.string, "a text of 6 bytes, at most 5"),
        ([{"b64": "Y?I="}], tf.string, "no base64"),
        ([{"b64": "Y"}], tf.string, "no base64"),
        ([{"b64": 3}], tf.string, "texts only"),
        ([{"b64": "YWI=", "x": 1}], tf.string, "texts only"),
        ([3], tf.string, "texts only"),
        (["\ud800"], tf.string, "no Unicode"),
    ],
)
def test_values_that_do_not_fit(values, dtype, error):
    with pytest.raises(RefusedError) as caught:
        array(values, dtype)
    assert error in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b'{"inputs": [NaN]}',
        b'{"inputs": [-Infinity]}',
        b'{"inputs": "\xff"}',
        b'\xef\xbb\xbf{"inputs": 1}',
        b'{"inputs": 1}'.decode().encode("utf-16"),
        b"[" * 100_000,
        b'{"inputs":' * 20_000,
        b'{"inputs": ' + b"1" * 5000 + b"}",
    ],
)
def test_no_json(content):
    with pytest.raises(RefusedError, match="the request is no JSON: "):
        rest.read(content, LIMITS)


@pytest.mark.parametrize(
    "content", [b'{"inputs": 1, "inputs": 2}', b'{"inputs": {"inputs": 1, "inputs": 1}}']
)
def test_a_key_twice(content):
    with pytest.raises(RefusedError, match="the request has 'inputs' twice in one object"):
        rest.read(content, LIMITS)


def test_too_many_values():
    with pytest.raises(RefusedError, match="may hold 3 values") as caught:
        rest.read(b'{"inputs": [1, 2, 3, 4]}', Limits(values=3))
    assert caught.value.reason is Reason.LARGE


def test_a_message_has_an_end():
    assert len(str(RefusedError(Reason.BAD, "x" * 10_000))) < 600


def test_gzip_in_several_members():
    body = gzip.compress(b"abc") + gzip.compress(b"def")
    assert decoded(body, " GZIP", 6) == b"abcdef"
    with pytest.raises(RefusedError, match="may have 5 bytes"):
        decoded(body, "gzip", 5)
    with pytest.raises(RefusedError, match="no gzip"):
        decoded(body + b"end", "gzip", 10)
