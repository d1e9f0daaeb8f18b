"""Request predictions for earthquakes from a model server, over REST or gRPC."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import grpc
import numpy as np
import pandas as pd
import requests
import xarray as xr
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from tfgmm.core import imt
from tfgmm.core.arguments import checked
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.core.shown import Shown
from tfgmm.prediction import scenarios
from tfgmm.prediction.quantities import EVENT_COLUMNS, median_name

_ADDRESS = re.compile(r"(https?|grpc)://([^/]+)/v1/models/([^/:]+)(?:/versions/([0-9]{1,18}))?/?")
_T = TypeVar("_T")
_HTTP_AGAIN = (429, 502, 503, 504)
_GRPC_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_GRPC_STRANGE = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL)


@dataclasses.dataclass(frozen=True)
class Address:
    """Address (URL) of a model on a server.

    Attributes
    ----------
    scheme : str
        ``http``, ``https`` or ``grpc``.
    place : str
        Host and port, as ``HOST:PORT``.
    model : str
        Name of the model.
    version : int or None
        Number of the version; None for the newest version.
    """

    scheme: str
    place: str
    model: str
    version: int | None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address that a text states.

        Parameters
        ----------
        text : str
            ``SCHEME://HOST:PORT/v1/models/NAME``, optionally followed by ``/versions/N``.

        Raises
        ------
        UsageError
            The text is no address of a model.
        """
        match = _ADDRESS.fullmatch(text.strip())
        if not match:
            raise UsageError(
                f"{text} is no address of a model: write http://HOST:PORT/v1/models/NAME or "
                "grpc://HOST:PORT/v1/models/NAME"
            )
        scheme, place, model, version = match.groups()
        return cls(scheme, place, model, int(version) if version else None)

    def __str__(self) -> str:
        version = "" if self.version is None else f"/versions/{self.version}"
        return f"{self.scheme}://{self.place}/v1/models/{self.model}{version}"


@checked
@dataclasses.dataclass(frozen=True)
class Patience:
    """Time that a client waits for a response, and number of retries.

    Attributes
    ----------
    timeout_s : float
        Longest time to wait for one response, s.
    retries : int
        Number of further requests after the first, 0 to 4; gRPC allows no more.
    backoff_s : float
        Base of the waiting time between retries, s; the waiting time doubles with each further retry.
    """

    timeout_s: float = 60.0
    retries: int = 4
    backoff_s: float = 0.5

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or self.backoff_s <= 0 or not 0 <= self.retries <= 4:
            raise UsageError(f"{self}: give times above 0 s, and 0 to 4 retries")


#: Default time limit and number of retries of a client.
PATIENCE = Patience()


class Transport(Protocol):
    """A way to send requests to a model on a server."""

    def signatures(self) -> dict[str, list[str]]:
        """Return the names of the inputs of each signature, by name of the signature."""

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Send the inputs of a signature, and return its outputs.

        Parameters
        ----------
        signature : str
            Name of the signature.
        inputs : dict of str to ndarray
            Arrays by name of input.

        Returns
        -------
        dict of str to ndarray
            Arrays by name of output.
        """


def connect(address: Address, patience: Patience) -> Transport:
    """Return the transport, REST or gRPC, for the scheme of an address; no request is sent yet.

    Parameters
    ----------
    address : Address
        Address of the model.
    patience : Patience
        Time limit and number of retries.
    """
    return Grpc(address, patience) if address.scheme == "grpc" else Rest(address, patience)


class Rest:
    """Client of the REST interface of TensorFlow Serving.

    Parameters
    ----------
    address : Address
        Address of the model.
    patience : Patience
        Time limit and number of retries.
    """

    def __init__(self, address: Address, patience: Patience) -> None:
        self._address, self._patience = address, patience
        retry = Retry(
            patience.retries,
            backoff_factor=patience.backoff_s,
            status_forcelist=_HTTP_AGAIN,
            allowed_methods=None,  # a prediction changes nothing on the server
            raise_on_status=False,
        )
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def signatures(self) -> dict[str, list[str]]:
        """Return the names of the inputs of each signature, by name of the signature.

        Raises
        ------
        UsageError
            The server has no such model, or refuses the request.
        DataError
            The server does not respond, or is no model server.
        """
        answer = self._json("GET", f"{self._address}/metadata")
        try:
            definitions = answer["metadata"]["signature_def"]["signature_def"]
            return {name: list(definition["inputs"]) for name, definition in definitions.items()}
        except (KeyError, TypeError) as error:
            raise _no_model_server(self._address) from error

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Send the inputs of a signature as JSON, and return its outputs.

        Parameters
        ----------
        signature : str
            Name of the signature.
        inputs : dict of str to ndarray
            Arrays by name of input.

        Returns
        -------
        dict of str to ndarray
            Arrays by name of output.

        Raises
        ------
        UsageError, DataError
            As for `signatures`.
        """
        columns = {name: values.tolist() for name, values in inputs.items()}
        request = json.dumps({"signature_name": signature, "inputs": columns})
        answer = self._json("POST", f"{self._address}:predict", request)
        try:
            return {name: np.array(values) for name, values in answer["outputs"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _no_model_server(self._address) from error

    def _json(self, method: str, url: str, content: str | None = None) -> dict:
        """Send a request, and return the JSON object of the response; raise an error if there is none."""
        try:
            answer = self._session.request(method, url, data=content, timeout=self._patience.timeout_s)
        except requests.RequestException as error:
            raise _no_answer(self._address, type(error).__name__) from error
        if answer.status_code in _HTTP_AGAIN:  # perhaps from a proxy, which speaks no JSON
            raise _no_answer(self._address, answer.text.strip()[:100] or answer.reason)
        try:
            content = answer.json()
        except ValueError as error:
            raise _no_model_server(self._address) from error
        if answer.ok:
            return content
        message = content.get("error", answer.reason) if isinstance(content, dict) else answer.reason
        if answer.status_code == requests.codes.not_found:
            raise _no_such_model(self._address, message)
        raise _refused(self._address, message)


class Grpc:
    """Client of the gRPC interface of TensorFlow Serving; it loads TensorFlow to encode messages.

    Parameters
    ----------
    address : Address
        Address of the model.
    patience : Patience
        Time limit and number of retries.
    """

    def __init__(self, address: Address, patience: Patience) -> None:
        self._address, self._timeout_s = address, patience.timeout_s
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._channel = grpc.insecure_channel(address.place, _grpc_options(patience))
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def signatures(self) -> dict[str, list[str]]:
        """Return the names of the inputs of each signature, by name of the signature.

        Raises
        ------
        UsageError
            The server has no such model, or refuses the request.
        DataError
            The server does not respond, or is no model server.
        """
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._specify(request.model_spec)
        answer = self._ask(self._stub.GetModelMetadata, request)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(definitions)
        return {name: list(definition.inputs) for name, definition in definitions.signature_def.items()}

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Send the inputs of a signature as tensors, and return its outputs.

        Parameters
        ----------
        signature : str
            Name of the signature.
        inputs : dict of str to ndarray
            Arrays by name of input.

        Returns
        -------
        dict of str to ndarray
            Arrays by name of output.

        Raises
        ------
        UsageError, DataError
            As for `signatures`.
        """
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        self._specify(request.model_spec)
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        answer = self._ask(self._stub.Predict, request)
        return {name: tf.make_ndarray(values) for name, values in answer.outputs.items()}

    def _specify(self, specification) -> None:
        """Write the name and the version of the model into the specification in a request."""
        specification.name = self._address.model
        if self._address.version is not None:
            specification.version.value = self._address.version

    def _ask(self, method: Callable[..., _T], request) -> _T:
        """Send a request, and return the response; raise an error of tfgmm if gRPC raises one."""
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            message = error.details()
            if error.code() in _GRPC_AGAIN:
                raise _no_answer(self._address, message.partition(";")[0]) from error
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise _no_such_model(self._address, message) from error
            if error.code() in _GRPC_STRANGE:
                raise _no_model_server(self._address) from error
            raise _refused(self._address, message) from error


def _grpc_options(patience: Patience) -> list[tuple]:
    """Return options of a gRPC channel: automatic retries, and messages of unlimited size."""
    backoff_ms = max(1, int(patience.backoff_s * 1000))
    retry = {
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
        config = {"methodConfig": [{"name": [{}], "retryPolicy": retry}]}
        options["grpc.service_config"] = json.dumps(config)
    return list(options.items())


def _no_answer(address: Address, why: str) -> DataError:
    """Return the error for a server that does not respond."""
    return DataError(
        f"no answer from {address.scheme}://{address.place} ({why}): is the server up, is the port right?"
    )


def _no_such_model(address: Address, message: str) -> UsageError:
    """Return the error for a server that does not have the model or the version."""
    return UsageError(f"{address} is not there: check the model's name and version ({message})")


def _refused(address: Address, message: str) -> UsageError:
    """Return the error for a request that the server refuses."""
    return UsageError(f"{address} refused the request: {message}")


def _no_model_server(address: Address) -> DataError:
    """Return the error for a response that does not come from a model server."""
    return DataError(
        f"{address.scheme}://{address.place} answers, but not as a model server: check the port"
    )


#: Inputs that describe the events in every signature, and their types.
_EVENT = {"longitude": "float64", "latitude": "float64", "depth_km": "float32", "magnitude": "float32"}
_MOMENTS = ("mean", "stddev", "aleatory", "epistemic")
_WITH_FIELD = ("between_event", "within_event")
_SUPPORT = "support"
#: Largest numbers in one request: events of maps, events at sites, and pairs of event and site.
_MAPS_AT_ONCE, _EVENTS_AT_ONCE, _VALUES_AT_ONCE = 4, 16, 20_000


@checked
class Client(Shown):
    """Client of an exported model on a model server, which is TensorFlow Serving or ``tfgmm serve``.

    Predictions for many events or sites are split into several small requests. The verbs are those of
    `Ensemble`, with the same arguments and names of results, except for what a server does not know:
    ruptures and Vs30 (``known``), ``interpolation``, ``calibrated``, and ``r_hyp_km`` and
    ``outside_magnitude, outside_depth, outside_distance`` of the results. ``support`` says where the
    training records end.

    Parameters
    ----------
    url : str
        Address of the model: ``http://HOST:PORT/v1/models/NAME`` or ``grpc://HOST:PORT/v1/models/NAME``,
        optionally followed by ``/versions/N`` for version N of the model.
    patience : Patience
        Time limit and number of retries of a request.

    Raises
    ------
    UsageError
        The text is no address of a model.
    """

    def __init__(self, url: str, patience: Patience = PATIENCE) -> None:
        self.address = Address.parse(url)
        self._transport = connect(self.address, patience)
        self._signatures: dict[str, list[str]] | None = None

    def _facts(self) -> dict[str, object]:
        """Return the address and the version of the model, without asking the server."""
        version = self.address.version
        return {"model": str(self.address), "version": "newest" if version is None else version}

    def at_sites(
        self,
        events: pd.DataFrame,
        sites: pd.DataFrame,
        *,
        progress: Callable[[int], None] = lambda done: None,
    ) -> xr.Dataset:
        """Request and return the predicted distribution of ln IM for every event at every site.

        Parameters
        ----------
        events : pandas.DataFrame
            Columns ``longitude, latitude`` (degrees), ``depth_km`` (km), ``magnitude`` (Mw), and optionally
            ``event_id``.
        sites : pandas.DataFrame
            Columns ``longitude, latitude`` (degrees), and optionally ``site_id`` or ``station_id``.
        progress : callable
            Called with the number of events that are done.

        Returns
        -------
        xarray.Dataset
            ``median_g`` (g; of PGV ``median_cm_s``) and ``mean, stddev, aleatory, epistemic`` (ln units),
            [event, site], or [event, im, site] from a model of several intensity measures. The last three
            are the total, aleatory and epistemic standard deviation. ``outside_map`` [site] is True
            for a site outside the map, which gets the values of the nearest edge of the map. A model with
            a field adds ``between_event`` and ``within_event``, standard deviations in ln units.

        Raises
        ------
        UsageError
            A column is missing, the server has no such model or signature, or refuses the values.
        DataError
            A value is missing or out of range, or the server does not respond.
        """
        events, sites = scenarios.check_events(events), scenarios.check_sites(sites)
        step = max(1, min(_EVENTS_AT_ONCE, _VALUES_AT_ONCE // len(sites)))
        parts = [self._at_some_sites(part, sites) for part in _parts(events, step, progress)]
        outputs = _concatenated(parts)
        inside = outputs.pop("inside")[0] != 0
        coordinates = {name: ("site", sites[name].to_numpy()) for name in sites}
        predictions = self._dataset(events, outputs, ("event", "site"), coordinates)
        return predictions.assign(outside_map=("site", ~inside))

    def at_stations(
        self,
        events: pd.DataFrame,
        stations: Sequence[str],
        *,
        progress: Callable[[int], None] = lambda done: None,
    ) -> xr.Dataset:
        """Request and return the predicted distribution of ln IM for every event at every station.

        What the records of the stations tell is included. Only a model with a field knows stations.

        Parameters
        ----------
        events : pandas.DataFrame
            Events as for `at_sites`.
        stations : sequence of str
            Ids of the stations.
        progress : callable
            Called with the number of events that are done.

        Returns
        -------
        xarray.Dataset
            ``median_g`` (g) and ``mean, stddev, aleatory, epistemic, between_event, within_event`` (ln
            units), [event, site]. The coordinate ``site_id`` holds the ids of the stations.
            ``outside_map`` [site] is False.

        Raises
        ------
        UsageError
            As for `at_sites`; or the model does not know a station, or has no field.
        DataError
            As for `at_sites`.
        """
        events, ids = scenarios.check_events(events), np.array([list(stations)], object)
        if not ids.size:
            raise UsageError("there are no stations to predict for: give at least one id")
        step = max(1, min(_EVENTS_AT_ONCE, _VALUES_AT_ONCE // ids.size))
        parts = []
        for part in _parts(events, step, progress):
            stations_input = {"station_id": np.repeat(ids, len(part), axis=0)}
            parts.append(self.predict("at_stations", _event_inputs(part) | stations_input))
        coordinates = {"site_id": ("site", ids[0])}
        predictions = self._dataset(events, _concatenated(parts), ("event", "site"), coordinates)
        return predictions.assign(outside_map=("site", np.zeros(ids.size, bool)))

    def maps(
        self, events: pd.DataFrame, *, progress: Callable[[int], None] = lambda done: None
    ) -> xr.Dataset:
        """Request and return maps of the predicted distribution of ln IM for events; row 0 is in the north.

        The coordinates of the pixels are not in the response, but in the description of the model.

        Parameters
        ----------
        events : pandas.DataFrame
            Events as for `at_sites`.
        progress : callable
            Called with the number of events that are done.

        Returns
        -------
        xarray.Dataset
            ``median_g`` (g) and ``mean, stddev, aleatory, epistemic`` (ln units), [event, row, col]; with
            a field also ``between_event`` and ``within_event``. ``outside_map`` [row, col] is False.

        Raises
        ------
        UsageError, DataError
            As for `at_sites`.
        """
        events = scenarios.check_events(events)
        parts = [
            self.predict("serving_default", _event_inputs(part))
            for part in _parts(events, _MAPS_AT_ONCE, progress)
        ]
        predictions = self._dataset(events, _concatenated(parts), ("event", "row", "col"), {})
        inside = np.zeros((predictions.sizes["row"], predictions.sizes["col"]), bool)
        return predictions.assign(outside_map=(("row", "col"), inside))

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Send one request to a signature of the model, and return the outputs by name.

        Parameters
        ----------
        signature : str
            Name of the signature, as ``at_sites``.
        inputs : dict of str to ndarray
            Arrays by name of input, as `tfgmm.serving.graph.Graph.signatures` lists them.

        Returns
        -------
        dict of str to ndarray
            Arrays by name of output.

        Raises
        ------
        UsageError
            The model has no such signature, or refuses the inputs.
        DataError
            The server does not respond.
        """
        if self._signatures is None:
            self._signatures = self._transport.signatures()
        if signature not in self._signatures:
            names = listed([name for name in self._signatures if not name.startswith("_")])
            raise UsageError(f"{self.address} has no signature {signature}: it has {names}")
        return self._transport.predict(signature, inputs)

    def _at_some_sites(self, events: pd.DataFrame, sites: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the outputs for some events at all sites, [n, m], from requests of limited size."""
        parts = []
        for first in range(0, len(sites), _VALUES_AT_ONCE):
            part = sites.iloc[first : first + _VALUES_AT_ONCE]
            places = {
                f"site_{name}": np.tile(part[name].to_numpy("float64"), (len(events), 1))
                for name in ("longitude", "latitude")
            }
            parts.append(self.predict("at_sites", _event_inputs(events) | places))
        return _concatenated(parts, axis=1)

    def _dataset(self, events: pd.DataFrame, outputs: dict, dims: tuple, coordinates: dict) -> xr.Dataset:
        """Return outputs as a dataset with the median, coordinates, and the address of the model."""
        event_coordinates = {
            name: ("event", events[column].to_numpy()) for name, column in EVENT_COLUMNS.items()
        }
        ims = [name.removeprefix("mean_") for name in outputs if name.startswith("mean_")]
        by_measure = []
        for im in sorted(ims, key=imt.order) or [""]:
            ending = f"_{im}" if im else ""
            quantities = [name for name in (*_MOMENTS, *_WITH_FIELD, _SUPPORT) if name + ending in outputs]
            moments = {name: (dims, outputs[name + ending].astype("float32")) for name in quantities}
            # Without the name of a measure there is one, in g.
            median = {median_name(im or "PGA"): (dims, np.exp(moments["mean"][1]))}
            by_measure.append(xr.Dataset(median | moments, event_coordinates | coordinates))
        answer = by_measure[0]
        if ims:
            names = pd.Index(sorted(ims, key=imt.order), name="im")
            answer = xr.concat(by_measure, names, data_vars="all", coords="minimal", compat="override")
            answer = answer.transpose("event", "im", ...)
        return answer.assign_attrs(model=str(self.address))


def _concatenated(parts: Sequence[dict[str, np.ndarray]], axis: int = 0) -> dict[str, np.ndarray]:
    """Return the outputs of several requests by name, joined along an axis."""
    return {name: np.concatenate([part[name] for part in parts], axis=axis) for name in parts[0]}


def _event_inputs(events: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the four inputs that describe events, [n] each: coordinates, ``depth_km``, ``magnitude``."""
    return {name: events[name].to_numpy(dtype) for name, dtype in _EVENT.items()}


def _parts(events: pd.DataFrame, step: int, progress: Callable[[int], None]) -> Iterator[pd.DataFrame]:
    """Yield tables of at most `step` events; report the number of events done after each table."""
    for first in range(0, len(events), step):
        yield events.iloc[first : first + step]
        progress(min(first + step, len(events)))
