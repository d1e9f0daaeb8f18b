"""Ask a model server about earthquakes: tables in, xarray or tables out."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core.errors import UsageError, listed
from tfgmm.prediction import scenarios
from tfgmm.prediction.quantities import EVENT_COLUMNS
from tfgmm.serving.transport import PATIENCE, Address, Patience, connect

#: Inputs of every signature and their types.
_EVENT = {"longitude": "float64", "latitude": "float64", "depth_km": "float32", "magnitude": "float32"}
_MOMENTS = ("mean", "stddev", "aleatory", "epistemic")
_WITH_EFFECTS = ("between_event", "within_event")
#: Events in one request, and values of an event and a site: kilobytes, answered in a moment.
_MAPS_AT_ONCE, _EVENTS_AT_ONCE, _VALUES_AT_ONCE = 4, 16, 20_000


class Client:
    """An exported model on a server: TensorFlow Serving, ``tfgmm serve``, or another with their interface.

    Many events or sites are asked for a few at a time.

    Parameters
    ----------
    url : str
        ``http://HOST:PORT/v1/models/NAME`` or ``grpc://HOST:PORT/v1/models/NAME``, with ``/versions/N``
        for one version.
    patience : Patience
        Timeout and retries.

    Raises
    ------
    UsageError
        The text is no address of a model.
    """

    def __init__(self, url: str, patience: Patience = PATIENCE) -> None:
        self.address = Address.parse(url)
        self._transport = connect(self.address, patience)
        self._signatures: dict[str, list[str]] | None = None

    def at_sites(
        self, events: pd.DataFrame, sites: pd.DataFrame, progress: Callable[[int], None] = lambda done: None
    ) -> xr.Dataset:
        """Ask for ln IM of every event at every site.

        Parameters
        ----------
        events : pandas.DataFrame
            Columns ``longitude, latitude, depth_km, magnitude``, and ``event_id`` if events have names.
        sites : pandas.DataFrame
            Columns ``longitude`` and ``latitude``, and ``site_id`` or ``station_id`` if sites have names.
        progress : callable
            Called with the number of events that are done.

        Returns
        -------
        xarray.Dataset
            ``median_g``, ``mean, stddev, aleatory, epistemic`` [event, site] in ln units and
            ``outside_map`` [site], where the values are those of the map's edge.

        Raises
        ------
        UsageError
            A column is missing, there is no such model or signature, or the server refuses the values.
        DataError
            A value is missing or cannot be, or the server does not answer.
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
        progress: Callable[[int], None] = lambda done: None,
    ) -> xr.Dataset:
        """Ask for ln IM of every event at stations that a model with random effects knows by their ids.

        Parameters
        ----------
        events, progress
            As for `at_sites`.
        stations : sequence of str
            Ids of stations.

        Returns
        -------
        xarray.Dataset
            As for `at_sites`, with ``between_event`` and ``within_event``; ``site_id`` is the station's id.

        Raises
        ------
        UsageError
            As for `at_sites`; or the model does not know a station, or has no random effects.
        DataError
            As for `at_sites`.
        """
        events, ids = scenarios.check_events(events), np.array([list(stations)], object)
        step = max(1, min(_EVENTS_AT_ONCE, _VALUES_AT_ONCE // ids.size))
        parts = []
        for part in _parts(events, step, progress):
            stations_input = {"station_id": np.repeat(ids, len(part), axis=0)}
            parts.append(self.predict("at_stations", _event_inputs(part) | stations_input))
        coordinates = {"site_id": ("site", ids[0])}
        return self._dataset(events, _concatenated(parts), ("event", "site"), coordinates)

    def maps(self, events: pd.DataFrame, progress: Callable[[int], None] = lambda done: None) -> xr.Dataset:
        """Ask for maps of ln IM for events, row 0 in the north.

        The grid of the pixels stands in the model's description, not in the answer. Parameters and errors
        are those of `at_sites`.

        Returns
        -------
        xarray.Dataset
            ``median_g``, ``mean, stddev, aleatory, epistemic`` [event, row, col].
        """
        events = scenarios.check_events(events)
        parts = [
            self.predict("serving_default", _event_inputs(part))
            for part in _parts(events, _MAPS_AT_ONCE, progress)
        ]
        return self._dataset(events, _concatenated(parts), ("event", "row", "col"), {})

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Send one request to any signature, and return its outputs by name.

        Raises
        ------
        UsageError
            The model has no such signature, or refuses the inputs.
        DataError
            The server does not answer.
        """
        if self._signatures is None:
            self._signatures = self._transport.signatures()
        if signature not in self._signatures:
            names = listed([name for name in self._signatures if not name.startswith("_")])
            raise UsageError(f"{self.address} has no signature {signature}: it has {names}")
        return self._transport.predict(signature, inputs)

    def _at_some_sites(self, events: pd.DataFrame, sites: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the outputs for a few events at all sites, asked for a few sites at a time."""
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
        """Return outputs with median, coordinates and the address of the model."""
        event_coordinates = {
            name: ("event", events[column].to_numpy()) for name, column in EVENT_COLUMNS.items()
        }
        names = [name for name in (*_MOMENTS, *_WITH_EFFECTS) if name in outputs]
        moments = {name: (dims, outputs[name].astype("float32")) for name in names}
        median = (dims, np.exp(moments["mean"][1]))
        attributes = {"model": str(self.address)}
        return xr.Dataset({"median_g": median} | moments, event_coordinates | coordinates, attributes)


def table(predictions: xr.Dataset) -> pd.DataFrame:
    """Return predictions as a table with one row per event and site.

    Parameters
    ----------
    predictions : xarray.Dataset
        As returned by `Client.at_sites` or `Client.at_stations`.
    """
    site_columns = [name for name in ("site_id", "longitude", "latitude") if name in predictions.coords]
    rows = predictions.to_dataframe(["event", "site"]).reset_index(drop=True)
    return rows[[*EVENT_COLUMNS, *site_columns, *predictions.data_vars]]


def _concatenated(parts: Sequence[dict[str, np.ndarray]], axis: int = 0) -> dict[str, np.ndarray]:
    """Return the outputs of several requests joined along an axis."""
    return {name: np.concatenate([part[name] for part in parts], axis=axis) for name in parts[0]}


def _event_inputs(events: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the inputs of a signature that describe events."""
    return {name: events[name].to_numpy(dtype) for name, dtype in _EVENT.items()}


def _parts(events: pd.DataFrame, step: int, progress: Callable[[int], None]) -> Iterator[pd.DataFrame]:
    """Yield a few events at a time, and report those that are done."""
    for first in range(0, len(events), step):
        yield events.iloc[first : first + step]
        progress(min(first + step, len(events)))
