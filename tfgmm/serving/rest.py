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
from tfgmm.serving.http import Answer, decoded, whole
from tfgmm.serving.limits import Limits, Reason, RefusedError, Workers
from tfgmm.serving.models import Model, Models, Status

#: Description that the server gives of itself.
ABOUT = "tfgmm serve: a small server with the interface of TensorFlow Serving, which it is not"


def application(models: Models, workers: Workers, limits: Limits) -> Starlette:
    """Return the ASGI application that answers for the models.

    Parameters
    ----------
    models : Models
    workers : Workers
        Threads that decode, compute and encode.
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
    made = Starlette(routes=routes, exception_handlers=failures)
    made.router.redirect_slashes = False  # an address with a slash more is another one
    return made


class _Handlers:
    """The answers to requests, one method per address."""

    def __init__(self, models: Models, workers: Workers, limits: Limits) -> None:
        self._models, self._workers, self._limits = models, workers, limits

    async def about(self, request: Request) -> Response:
        """Answer with the names of the models."""
        return _json({"server": ABOUT, "models": self._models.names})

    async def health(self, request: Request) -> Response:
        """Answer that the server runs."""
        return _json({"status": "ok"})

    async def status(self, request: Request) -> Response:
        """Answer with the state of every version of a model."""
        statuses = self._models.status(*_name_and_version(request))
        return _json({"model_version_status": [_described(status) for status in statuses]})

    async def metadata(self, request: Request) -> Response:
        """Answer with the signatures of a model."""
        model = self._models.get(*_name_and_version(request))
        definitions = json_format.MessageToDict(
            model.definitions, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        about = {"name": model.name, "signature_name": "", "version": str(model.version)}
        return _json({"model_spec": about, "metadata": {"signature_def": definitions}})

    async def predict(self, request: Request) -> Response:
        """Answer with the outputs of a signature."""
        body = await whole(request, self._limits)
        model = self._models.get(*_name_and_version(request))
        coding = request.headers.get("content-encoding", "")
        content = await self._workers.run(answer, model, body, coding, self._limits)
        return Answer(content, self._workers)


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
    outputs = signature(inputs)
    content = {"predictions": _rows(outputs)} if by_rows else {"outputs": _without_single_name(outputs)}
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def _rows(outputs: dict[str, np.ndarray]) -> list:
    """Return the outputs event by event."""
    count = len(next(iter(outputs.values())))
    rows = ({name: values[i] for name, values in outputs.items()} for i in range(count))
    return [_without_single_name(row) for row in rows]


def _without_single_name(outputs: dict) -> object:
    """Return outputs by name, or the value alone if there is a single output."""
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _name_and_version(request: Request) -> tuple[str, int | None]:
    """Return name and version of the model in the address of a request."""
    version = request.path_params.get("version")
    if version is not None and not (version.isascii() and version.isdigit() and len(version) < 20):
        raise RefusedError(Reason.UNKNOWN, f"{version[:50]!r} is no version: write a number")
    return request.path_params["name"], version if version is None else int(version)


def _described(status: Status) -> dict:
    """Return the state of a version as TensorFlow Serving describes it."""
    code = "UNKNOWN" if status.error else "OK"
    error = {"error_code": code, "error_message": status.error}
    return {"version": str(status.version), "state": status.state, "status": error}


def _json(content: dict, status: int = 200, headers: dict | None = None) -> Response:
    """Return a response of JSON."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


async def _refused(request: Request, error: RefusedError) -> Response:
    """Answer a request that is refused."""
    headers = {"Retry-After": "1"} if error.reason is Reason.BUSY else None
    return _json({"error": str(error)}, error.reason.http, headers)


async def _refused_by_http(request: Request, error: HTTPException) -> Response:
    """Answer a request of an unknown address or method."""
    line = f"{request.method} {request.url.path[:100]}"
    return _json({"error": f"{line}: {error.detail}"}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    """Answer a request on which the server failed."""
    return _json({"error": "the server failed; it has told its owner why"}, 500)
