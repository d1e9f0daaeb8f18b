"""The REST interface of TensorFlow Serving: status, metadata, predict."""

import asyncio

import numpy as np
import orjson
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2  # noqa: F401  # its messages lie in metadata

from tfgmm.serving.limits import Limits, Workers
from tfgmm.serving.model import Model, Signature
from tfgmm.serving.models import Models
from tfgmm.serving.refusal import Reason, RefusedError

#: What the server says it is.
ABOUT = "tfgmm serve: a small server with the interface of TensorFlow Serving, which it is not"


def application(models: Models, workers: Workers, limits: Limits) -> Starlette:
    """The ASGI application.

    Parameters
    ----------
    models : Models
    workers : Workers
        Who decodes, computes and encodes.
    limits : Limits
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
    return Starlette(routes=routes, exception_handlers=failures)


class _Handlers:
    def __init__(self, models: Models, workers: Workers, limits: Limits) -> None:
        self._models, self._workers, self._limits = models, workers, limits

    async def about(self, request: Request) -> Response:
        return _json({"server": ABOUT, "models": self._models.names})

    async def health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def status(self, request: Request) -> Response:
        found = self._models.status(*_asked(request))
        return _json({"model_version_status": [_status(one) for one in found]})

    async def metadata(self, request: Request) -> Response:
        model = self._models.get(*_asked(request))
        definitions = json_format.MessageToDict(
            model.definitions, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        about = {"name": model.name, "signature_name": "", "version": str(model.version)}
        return _json({"model_spec": about, "metadata": {"signature_def": definitions}})

    async def predict(self, request: Request) -> Response:
        body = await _body(request, self._limits)
        model = self._models.get(*_asked(request))
        return _json(await self._workers.run(answer, model, body))


def answer(model: Model, body: bytes) -> bytes:
    """What a model says to the JSON of a request, in its format: by rows or by columns.

    A value that is no number, which the signatures of tfgmm never return, becomes null.

    Raises
    ------
    RefusedError
        The request does not fit.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(Reason.BAD, f"the request is no JSON: {error}") from error
    if not isinstance(request, dict) or ("inputs" in request) == ("instances" in request):
        raise RefusedError(
            Reason.BAD, 'the request needs to be an object with either "inputs" or "instances"'
        )
    signature = model.signature(_text(request.get("signature_name")))
    by_rows = "instances" in request
    columns = _columns(signature, request["instances"]) if by_rows else _named(signature, request["inputs"])
    found = signature({name: _array(signature, name, values) for name, values in columns.items()})
    shown = {"predictions": _rows(found)} if by_rows else {"outputs": _alone(found)}
    return orjson.dumps(shown, option=orjson.OPT_SERIALIZE_NUMPY)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise RefusedError(Reason.BAD, "signature_name needs to be a text")


def _named(signature: Signature, given: object) -> dict:
    """Inputs by name; the only input of a signature needs none."""
    if not isinstance(given, dict):
        given = {name: given for name in signature.inputs} if len(signature.inputs) == 1 else {}
    signature.check_names(given)
    return given


def _columns(signature: Signature, instances: object) -> dict[str, list]:
    if not isinstance(instances, list) or not instances:
        raise RefusedError(Reason.BAD, "instances needs to be a list with at least one instance")
    rows = [_named(signature, one) for one in instances]
    return {name: [one[name] for one in rows] for name in signature.inputs}


def _array(signature: Signature, name: str, values: object) -> np.ndarray:
    wanted = signature.inputs[name].dtype.as_numpy_dtype
    try:
        found = np.array(values)
    except ValueError as error:
        raise RefusedError(Reason.BAD, f"input {name} is no regular array: {error}") from error
    if signature.inputs[name].dtype.name == "string":
        if found.dtype.kind != "U":
            raise RefusedError(Reason.BAD, f"input {name} needs to hold texts only")
        return np.char.encode(found, "utf-8").astype(object)
    if found.size and (found.dtype.kind not in "iuf" or not np.can_cast(found.dtype, wanted, "same_kind")):
        raise RefusedError(
            Reason.BAD, f"input {name} needs to hold numbers only, of type {np.dtype(wanted)}"
        )
    with np.errstate(over="ignore"):  # becomes infinite, which the graph refuses
        return found.astype(wanted)


def _rows(found: dict[str, np.ndarray]) -> list:
    count = len(next(iter(found.values())))
    return [_alone({name: values[i] for name, values in found.items()}) for i in range(count)]


def _alone(found: dict) -> object:
    """The only output needs no name."""
    return found if len(found) > 1 else next(iter(found.values()))


async def _body(request: Request, limits: Limits) -> bytes:
    """All of the body, or an end to it."""
    body, announced = bytearray(), int(request.headers.get("content-length", 0))
    try:
        async with asyncio.timeout(limits.patience_s):
            while max(len(body), announced) <= limits.request_bytes:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(Reason.BAD, "the request was cut off")
                body += message.get("body", b"")
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError as error:
        message = f"the request did not arrive within {limits.patience_s:g} s"
        raise RefusedError(Reason.SLOW, message) from error
    raise RefusedError(
        Reason.LARGE, f"a request may have {limits.request_bytes} bytes: ask for less at once"
    )


def _asked(request: Request) -> tuple[str, int | None]:
    """Name and version in the address."""
    version = request.path_params.get("version")
    if version is not None and not (version.isascii() and version.isdigit() and len(version) < 20):
        raise RefusedError(Reason.UNKNOWN, f"{version[:50]!r} is no version: write a number")
    return request.path_params["name"], version if version is None else int(version)


def _status(one) -> dict:
    code = "UNKNOWN" if one.error else "OK"
    status = {"error_code": code, "error_message": one.error}
    return {"version": str(one.version), "state": one.state, "status": status}


def _json(content: bytes | dict, status: int = 200, headers: dict | None = None) -> Response:
    content = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(content, status, headers, media_type="application/json")


async def _refused(request: Request, error: RefusedError) -> Response:
    headers = {"Retry-After": "1"} if error.reason is Reason.BUSY else None
    return _json({"error": str(error)}, error.reason.http, headers)


async def _refused_by_http(request: Request, error: HTTPException) -> Response:
    asked = f"{request.method} {request.url.path[:100]}"
    return _json({"error": f"{asked}: {error.detail}"}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return _json({"error": "the server failed; it has told its owner why"}, 500)
