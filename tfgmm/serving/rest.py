"""The REST interface of TensorFlow Serving: status, metadata, predict."""

import numpy as np
import orjson
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2  # noqa: F401  # its messages lie in metadata

from tfgmm.serving import json_request
from tfgmm.serving.http_body import Answer, decoded, whole
from tfgmm.serving.limits import Limits, Workers
from tfgmm.serving.model import Model
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
    found = Starlette(routes=routes, exception_handlers=failures)
    found.router.redirect_slashes = False  # an address with a slash more is another one
    return found


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
        body = await whole(request, self._limits)
        model = self._models.get(*_asked(request))
        coding = request.headers.get("content-encoding", "")
        found = await self._workers.run(answer, model, body, coding, self._limits)
        return Answer(found, self._workers)


def answer(model: Model, body: bytes, coding: str, limits: Limits) -> bytes:
    """Return what a model says to the JSON of a request, in its format: by rows or by columns.

    A value that is no number, which the signatures of tfgmm never return, becomes null.

    Parameters
    ----------
    model : Model
    body : bytes
    coding : str
        ``Content-Encoding`` of the body.
    limits : Limits

    Raises
    ------
    RefusedError
        The request does not fit.
    """
    request = json_request.read(decoded(body, coding, limits.request_bytes), limits)
    by_rows = "instances" in request
    signature, inputs = json_request.arrays(model, request, limits)
    del request
    found = signature(inputs)
    shown = {"predictions": _rows(found)} if by_rows else {"outputs": _alone(found)}
    return orjson.dumps(shown, option=orjson.OPT_SERIALIZE_NUMPY)


def _rows(found: dict[str, np.ndarray]) -> list:
    count = len(next(iter(found.values())))
    return [_alone({name: values[i] for name, values in found.items()}) for i in range(count)]


def _alone(found: dict) -> object:
    """The only output needs no name."""
    return found if len(found) > 1 else next(iter(found.values()))


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


def _json(content: dict, status: int = 200, headers: dict | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


async def _refused(request: Request, error: RefusedError) -> Response:
    headers = {"Retry-After": "1"} if error.reason is Reason.BUSY else None
    return _json({"error": str(error)}, error.reason.http, headers)


async def _refused_by_http(request: Request, error: HTTPException) -> Response:
    asked = f"{request.method} {request.url.path[:100]}"
    return _json({"error": f"{asked}: {error.detail}"}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return _json({"error": "the server failed; it has told its owner why"}, 500)
