"""Requests that a model server runs while it loads a model, so that a user's first one is not slow."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

#: Where TensorFlow Serving looks for them in a version folder.
FILE = "assets.extra/tf_serving_warmup_requests"


def write(version: Path, model: str, requests: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write a TFRecord of ``PredictionLog`` messages.

    Parameters
    ----------
    version : Path
        Version folder of a SavedModel.
    model : str
        Its name in the server.
    requests : dict of str to dict of str to ndarray
        Signature -> input -> values.
    """
    path = version / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = model, signature
            for name, values in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
            writer.write(log.SerializeToString())
