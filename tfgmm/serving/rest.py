"""The REST interface of TensorFlow Serving: status, metadata, predict; and the JSON of its requests."""

import base64
import itertools
import json
from typing import NoReturn

import numpy as np
import orjson
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tfgmm.serving.http import Answer, decoded, whole
from tfgmm.serving.limits import Limits, Reason, RefusedError, Workers
from tfgmm.serving.models import Model, Models, Signature, Status

#: Kind of a NumPy type -> name and JSON types of the values; all other kinds are texts.
_NUMBERS = {
    "f": ("numbers", {int, float}),
    "i": ("whole numbers", {int}),
    "u": ("whole numbers", {int}),
    "b": ("true or false", {bool}),
}
_JSON_TYPES = {
    str: "a text",
    bool: "true or false",
    type(None): "null",
    dict: "an object",
    int: "a number",
    float: "a number",
}
#: Key of a JSON object that holds a text as bytes in base64.
_BASE64 = "b64"


def read(content: bytes, limits: Limits) -> dict:
    """Read the JSON object of a prediction request, and return it as a dictionary.

    A key that occurs twice in one object is refused, because it is not clear which value is meant.

    Parameters
    ----------
    content : bytes
        JSON text.
    limits : Limits
        Largest number of values.

    Returns
    -------
    dict
        Content of the object, with either ``inputs`` or ``instances``.

    Raises
    ------
    RefusedError
        The bytes are no JSON, hold too many values, or are no object with either inputs or instances.
    """
    if content.count(b",") >= limits.values:
        raise RefusedError(Reason.LARGE, f"a request may hold {limits.values} values: ask for less at once")
    if content.count(b":") >= limits.values // 4:  # keys of objects take several times the memory of values
        raise RefusedError(
            Reason.LARGE, f"a request may hold {limits.values // 4} keys: ask for less at once"
        )
    try:
        request = json.loads(
            content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise RefusedError(Reason.BAD, f"the request is no JSON: {error}") from error
    if not isinstance(request, dict) or ("inputs" in request) == ("instances" in request):
        raise RefusedError(
            Reason.BAD, 'the request needs to be an object with either "inputs" or "instances"'
        )
    return request


def arrays(model: Model, request: dict, limits: Limits) -> tuple[Signature, dict[str, np.ndarray]]:
    """Return the signature that a prediction request names, and the arrays of the inputs.

    Parameters
    ----------
    model : Model
        The model to predict with.
    request : dict
        Request with ``inputs`` (by columns: values of all events by name) or ``instances`` (by rows: a list
        with one entry per event).
    limits : Limits
        Largest size of texts.

    Returns
    -------
    signature : Signature
        The signature.
    inputs : dict of str to ndarray
        Arrays by name of input.

    Raises
    ------
    RefusedError
        Names, types or shapes do not fit the signature.
    """
    name = request.get("signature_name")
    if not isinstance(name, str | None):
        raise RefusedError(Reason.BAD, "signature_name needs to be a text")
    signature = model.signature(name)
    if "instances" in request:
        columns = _columns(signature, request["instances"])
    else:
        columns = _named(signature, request["inputs"])
    return signature, {name: _array(signature, name, values, limits) for name, values in columns.items()}


def _object(pairs: list[tuple[str, object]]) -> dict:
    """Return the pairs of a JSON object as a dictionary; raise `RefusedError` if a key occurs twice."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise RefusedError(Reason.BAD, f"the request has {twice[:50]!r} twice in one object")
    return unique


def _refuse_constant(text: str) -> NoReturn:
    """Raise `ValueError` for NaN and Infinity, which are not part of JSON."""
    raise ValueError(f"{text} is no number")


def _named(signature: Signature, inputs: object) -> dict:
    """Return inputs as a dictionary by name; the single input of a signature may come without its name."""
    if not isinstance(inputs, dict) or (len(signature.inputs) == 1 and inputs.keys() == {_BASE64}):
        inputs = {name: inputs for name in signature.inputs} if len(signature.inputs) == 1 else {}
    signature.check_names(inputs)
    return inputs


def _columns(signature: Signature, instances: object) -> dict[str, list]:
    """Return lists of values by name of input, from a list of instances (one per event)."""
    if not isinstance(instances, list) or not instances:
        raise RefusedError(Reason.BAD, "instances needs to be a list with at least one instance")
    rows = [_named(signature, instance) for instance in instances]
    return {name: [row[name] for row in rows] for name in signature.inputs}


def _array(signature: Signature, name: str, values: object, limits: Limits) -> np.ndarray:
    """Return the values of one input of a request, nested lists from JSON, as an array.

    The array has the type that `signature` states for the input `name`; texts become an array of bytes
    objects. Values of another type or shape raise `RefusedError`.
    """
    leaves, shape = _flat(name, values)
    signature.check_shape(name, shape)
    dtype = np.dtype(signature.inputs[name].dtype.as_numpy_dtype)
    if dtype.kind in _NUMBERS:
        return _numbers(name, leaves, dtype).reshape(shape)
    texts = np.empty(len(leaves), object)
    texts[:] = [_text(name, leaf, limits) for leaf in leaves]
    return texts.reshape(shape)


def _flat(name: str, values: object) -> tuple[list, tuple[int, ...]]:
    """Return the values of nested lists as one flat list, and the shape of the nested lists."""
    leaves, shape = [values], []
    while leaves and isinstance(leaves[0], list):
        lengths = {len(part) if isinstance(part, list) else None for part in leaves}
        if len(lengths) > 1:
            raise _irregular(name)
        shape.append(lengths.pop())
        leaves = list(itertools.chain.from_iterable(leaves))
    return leaves, tuple(shape)


def _irregular(name: str) -> RefusedError:
    """Return the error for nested lists that differ in length or depth."""
    return RefusedError(Reason.BAD, f"input {name} is no regular array: lists differ in length or depth")


def _numbers(name: str, leaves: list, dtype: np.dtype) -> np.ndarray:
    """Return values as a flat array of a type; raise `RefusedError` if a value does not fit the type."""
    kind_name, types = _NUMBERS[dtype.kind]
    strange = {type(leaf) for leaf in leaves} - types
    if list in strange:
        raise _irregular(name)
    if strange:
        types_found = " and ".join(sorted({_JSON_TYPES[kind] for kind in strange}))
        raise RefusedError(
            Reason.BAD,
            f"input {name} needs to hold {kind_name} only, of type {dtype}: it has {types_found}",
        )
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which the graph refuses
            return np.array(leaves, dtype)
    except OverflowError as error:
        message = f"input {name} has a number beyond what {dtype} can hold"
        raise RefusedError(Reason.BAD, message) from error


def _text(name: str, value: object, limits: Limits) -> bytes:
    """Return the bytes of a text, or of an object ``{"b64": ...}`` in base64 with or without padding."""
    if isinstance(value, list):
        raise _irregular(name)
    try:
        if isinstance(value, str):
            text = value.encode("utf-8")
        elif isinstance(value, dict) and value.keys() == {_BASE64} and isinstance(value[_BASE64], str):
            coded = value[_BASE64]
            text = base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True)
        else:
            raise RefusedError(
                Reason.BAD, f'input {name} needs to hold texts only, or {{"{_BASE64}": "..."}} for bytes'
            )
    except ValueError as error:
        message = f"input {name} has a text that is no Unicode or no base64: {str(error)[:100]}"
        raise RefusedError(Reason.BAD, message) from error
    if len(text) > limits.text_bytes:
        raise RefusedError(
            Reason.LARGE,
            f"input {name} has a text of {len(text)} bytes, at most {limits.text_bytes} are taken",
        )
    return text


#: Description of the server at the address ``/``.
ABOUT = "tfgmm serve: a small server with the interface of TensorFlow Serving, which it is not"


def application(models: Models, workers: Workers, limits: Limits) -> Starlette:
    """Return the ASGI application that serves the models over REST.

    Parameters
    ----------
    models : Models
        The models to predict with.
    workers : Workers
        Threads that decode requests, compute, and encode responses.
    limits : Limits
        Limits on requests.

    Returns
    -------
    starlette.applications.Starlette
        The application.
    """
    handlers = _Handlers(models, workers, limits)
    model = "/v1/models/{name}"
    routes = [
        Route("/", handlers.about),
        Route("/healthz", handlers.health),
    ]
    for place in (model, model + "/versions/{version}"):
        routes += [
            Route(place + ":predict", handlers.predict, methods=["POST"]),
            Route(place + "/metadata", handlers.metadata),
            Route(place, handlers.status),
        ]
    failures = {RefusedError: _refused, HTTPException: _refused_by_http, Exception: _failed}
    made = Starlette(routes=routes, exception_handlers=failures)
    made.router.redirect_slashes = False  # an address with a slash at its end is another address
    return made


class _Handlers:
    """The functions that respond to requests, one method per kind of address."""

    def __init__(self, models: Models, workers: Workers, limits: Limits) -> None:
        self._models, self._workers, self._limits = models, workers, limits

    async def about(self, request: Request) -> Response:
        """Return a response with the names of all models."""
        return _json({"server": ABOUT, "models": self._models.names})

    async def health(self, request: Request) -> Response:
        """Return a response that states that the server runs."""
        return _json({"status": "ok"})

    async def status(self, request: Request) -> Response:
        """Return a response with the state of every version of a model."""
        statuses = self._models.status(*_name_and_version(request))
        return _json({"model_version_status": [_described(status) for status in statuses]})

    async def metadata(self, request: Request) -> Response:
        """Return a response with the signatures of a model."""
        model = self._models.get(*_name_and_version(request))
        definitions = json_format.MessageToDict(
            model.definitions, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        about = {"name": model.name, "signature_name": "", "version": str(model.version)}
        return _json({"model_spec": about, "metadata": {"signature_def": definitions}})

    async def predict(self, request: Request) -> Response:
        """Return a response with the outputs of a signature."""
        body = await whole(request, self._limits)
        model = self._models.get(*_name_and_version(request))
        coding = request.headers.get("content-encoding", "")
        content = await self._workers.run(answer, model, body, coding, self._limits)
        return Answer(content, self._workers)


def answer(model: Model, body: bytes, coding: str, limits: Limits) -> bytes:
    """Compute the predictions that a request asks for; return JSON bytes in the format of the request.

    A request with ``instances`` (by rows) gets ``predictions``, one with ``inputs`` (by columns) gets
    ``outputs``. A value that is not finite becomes null; the signatures of tfgmm never return such a value.

    Parameters
    ----------
    model : Model
        The model to predict with.
    body : bytes
        JSON of the request, as received.
    coding : str
        ``Content-Encoding`` of the body.
    limits : Limits
        Limits on requests.

    Returns
    -------
    bytes
        JSON text of the response.

    Raises
    ------
    RefusedError
        The request is no valid JSON, or does not fit the signature or the limits.
    """
    request = read(decoded(body, coding, limits.request_bytes), limits)
    by_rows = "instances" in request
    signature, inputs = arrays(model, request, limits)
    del request
    outputs = signature(inputs)
    content = {"predictions": _rows(outputs)} if by_rows else {"outputs": _without_single_name(outputs)}
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def _rows(outputs: dict[str, np.ndarray]) -> list:
    """Return a list with one entry per event: its outputs by name, or the value of a single output."""
    count = len(next(iter(outputs.values())))
    rows = ({name: values[i] for name, values in outputs.items()} for i in range(count))
    return [_without_single_name(row) for row in rows]


def _without_single_name(outputs: dict) -> object:
    """Return the outputs by name; for a single output, return its value without the name."""
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _name_and_version(request: Request) -> tuple[str, int | None]:
    """Return the model name and the version number in the address of a request; None for no version."""
    version = request.path_params.get("version")
    if version is not None and not (version.isascii() and version.isdigit() and len(version) < 20):
        raise RefusedError(Reason.UNKNOWN, f"{version[:50]!r} is no version: write a number")
    return request.path_params["name"], version if version is None else int(version)


def _described(status: Status) -> dict:
    """Return the state of a version as TensorFlow Serving's JSON object: ``version, state, status``."""
    code = "UNKNOWN" if status.error else "OK"
    error = {"error_code": code, "error_message": status.error}
    return {"version": str(status.version), "state": status.state, "status": error}


def _json(content: dict, status: int = 200, headers: dict | None = None) -> Response:
    """Return a JSON response with a status code and headers."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


async def _refused(request: Request, error: RefusedError) -> Response:
    """Return the response to a request that is refused with `RefusedError`."""
    headers = {"Retry-After": "1"} if error.reason is Reason.BUSY else None
    return _json({"error": str(error)}, error.reason.http, headers)


async def _refused_by_http(request: Request, error: HTTPException) -> Response:
    """Return the response to a request for an unknown address or with a wrong method."""
    line = f"{request.method} {request.url.path[:100]}"
    return _json({"error": f"{line}: {error.detail}"}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    """Return the response to a request for which the server failed."""
    return _json({"error": "the server failed; it has told its owner why"}, 500)
