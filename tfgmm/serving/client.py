"""Request predictions for earthquakes from a model server; return xarray datasets or tables."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core.errors import UsageError, listed
from tfgmm.prediction import scenarios
from tfgmm.prediction.quantities import EVENT_COLUMNS
from tfgmm.serving.transport import PATIENCE, Address, Patience, connect

#: Inputs that describe the events in every signature, and their types.
_EVENT = {"longitude": "float64", "latitude": "float64", "depth_km": "float32", "magnitude": "float32"}
_MOMENTS = ("mean", "stddev", "aleatory", "epistemic")
_WITH_EFFECTS = ("between_event", "within_event")
#: Largest numbers in one request: events of maps, events at sites, and pairs of event and site.
_MAPS_AT_ONCE, _EVENTS_AT_ONCE, _VALUES_AT_ONCE = 4, 16, 20_000


class Client:
    """Client of an exported model on a model server, which is TensorFlow Serving or ``tfgmm serve``.

    Predictions for many events or sites are split into several small requests.

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

    def at_sites(
        self, events: pd.DataFrame, sites: pd.DataFrame, progress: Callable[[int], None] = lambda done: None
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
            ``median_g`` (g) and ``mean, stddev, aleatory, epistemic`` (ln units), [event, site]. The last
            three are the total, aleatory and epistemic standard deviation. ``outside_map`` [site] is True
            for a site outside the map, which gets the values of the nearest edge of the map. A model with
            random effects adds ``between_event`` and ``within_event``, standard deviations in ln units.

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
        progress: Callable[[int], None] = lambda done: None,
    ) -> xr.Dataset:
        """Request and return the predicted distribution of ln IM for every event at every station.

        The site and path terms of the stations are included. Only a model with random effects knows
        stations.

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
            random effects also ``between_event`` and ``within_event``.

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
        return self._dataset(events, _concatenated(parts), ("event", "row", "col"), {})

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
        """Return outputs as a dataset with the median (g), coordinates, and the address of the model."""
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
        Predictions as returned by `Client.at_sites` or `Client.at_stations`.

    Returns
    -------
    pandas.DataFrame
        Columns for event (``event_id``, coordinates, ``depth_km``, ``magnitude``) and site (``site_id``
        and, if known, ``longitude, latitude``), followed by the predicted quantities.
    """
    site_columns = [name for name in ("site_id", "longitude", "latitude") if name in predictions.coords]
    rows = predictions.to_dataframe(["event", "site"]).reset_index(drop=True)
    return rows[[*EVENT_COLUMNS, *site_columns, *predictions.data_vars]]


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
