"""Ask a model server about earthquakes: tables in, xarray or tables out."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core.errors import UsageError, listed
from tfgmm.prediction import scenarios
from tfgmm.serving.transport import PATIENCE, Address, Patience, Rest, Transport

_EVENT = {"longitude": "float64", "latitude": "float64", "depth_km": "float32", "magnitude": "float32"}
_MOMENTS = ("mean", "stddev", "aleatory", "epistemic")
_WITH_EFFECTS = ("between_event", "within_event")
#: Events in one request, and values of an event and a site: kilobytes, answered in a moment.
_MAPS_AT_ONCE, _EVENTS_AT_ONCE, _VALUES_AT_ONCE = 4, 16, 20_000


class Client:
    """An exported model on a server: TensorFlow Serving, ``tfgmm serve``, or what speaks as they do.

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
        The address has another form.
    """

    def __init__(self, url: str, patience: Patience = PATIENCE) -> None:
        self.address = Address.parse(url)
        self._transport = _connected(self.address, patience)
        self._signatures: dict[str, list[str]] | None = None

    def at_sites(
        self, events: pd.DataFrame, sites: pd.DataFrame, progress: Callable[[int], None] = lambda done: None
    ) -> xr.Dataset:
        """Ln IM of every event at every site.

        Parameters
        ----------
        events : pandas.DataFrame
            With ``longitude, latitude, depth_km, magnitude``, and ``event_id`` if they have names.
        sites : pandas.DataFrame
            With ``longitude`` and ``latitude``, and ``site_id`` or ``station_id`` if they have names.
        progress : callable
            Told the number of events that are done.

        Returns
        -------
        xarray.Dataset
            ``median_g``, ``mean, stddev, aleatory, epistemic`` [event, site] in ln units and
            ``outside_map`` [site], where the values are those of the map's edge.

        Raises
        ------
        UsageError
            A column is missing, the model or its signature is another, the server refuses the values.
        DataError
            A value is missing or cannot be, or the server does not answer.
        """
        events, sites = scenarios.check_events(events), scenarios.check_sites(sites)
        step = max(1, min(_EVENTS_AT_ONCE, _VALUES_AT_ONCE // len(sites)))
        parts = [self._at_some_sites(part, sites) for part in _parts(events, step, progress)]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        inside = found.pop("inside")[0] != 0
        coordinates = {name: ("site", sites[name].to_numpy()) for name in sites}
        shown = self._dataset(events, found, ("event", "site"), coordinates)
        return shown.assign(outside_map=("site", ~inside))

    def at_stations(
        self,
        events: pd.DataFrame,
        stations: Sequence[str],
        progress: Callable[[int], None] = lambda done: None,
    ) -> xr.Dataset:
        """Ln IM of every event at stations that a model with random effects knows by their ids.

        Parameters
        ----------
        events, progress
            As for `at_sites`.
        stations : sequence of str
            Ids.

        Returns
        -------
        xarray.Dataset
            As of `at_sites`, with ``between_event`` and ``within_event``, ``site_id`` being the station's.

        Raises
        ------
        UsageError
            As for `at_sites`; or the model knows no such station, or none at all.
        DataError
            As for `at_sites`.
        """
        events, ids = scenarios.check_events(events), np.array([list(stations)], object)
        step = max(1, min(_EVENTS_AT_ONCE, _VALUES_AT_ONCE // ids.size))
        parts = []
        for part in _parts(events, step, progress):
            wanted = {"station_id": np.repeat(ids, len(part), axis=0)}
            parts.append(self.predict("at_stations", _event_inputs(part) | wanted))
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return self._dataset(events, found, ("event", "site"), {"site_id": ("site", ids[0])})

    def maps(self, events: pd.DataFrame, progress: Callable[[int], None] = lambda done: None) -> xr.Dataset:
        """Maps of ln IM for events, row 0 in the north; where a pixel lies tells the model's description.

        Parameters, errors: as for `at_sites`.

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
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return self._dataset(events, found, ("event", "row", "col"), {})

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One request to any signature, as it is.

        Raises
        ------
        UsageError
            The model has no such signature, or refuses the inputs.
        DataError
            The server does not answer.
        """
        known = self._known()
        if signature not in known:
            names = listed([name for name in known if not name.startswith("_")])
            raise UsageError(f"{self.address} has no signature {signature}: it has {names}")
        return self._transport.predict(signature, inputs)

    def _known(self) -> dict[str, list[str]]:
        if self._signatures is None:
            self._signatures = self._transport.signatures()
        return self._signatures

    def _at_some_sites(self, events: pd.DataFrame, sites: pd.DataFrame) -> dict[str, np.ndarray]:
        parts = []
        for first in range(0, len(sites), _VALUES_AT_ONCE):
            some = sites.iloc[first : first + _VALUES_AT_ONCE]
            places = {
                f"site_{name}": np.tile(some[name].to_numpy("float64"), (len(events), 1))
                for name in ("longitude", "latitude")
            }
            parts.append(self.predict("at_sites", _event_inputs(events) | places))
        return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}

    def _dataset(self, events: pd.DataFrame, found: dict, dims: tuple, coordinates: dict) -> xr.Dataset:
        named = {"longitude": "event_longitude", "latitude": "event_latitude"}
        of_events = {
            named.get(name, name): ("event", events[name].to_numpy()) for name in ("event_id", *_EVENT)
        }
        names = [name for name in (*_MOMENTS, *_WITH_EFFECTS) if name in found]
        moments = {name: (dims, found[name].astype("float32")) for name in names}
        median = (dims, np.exp(moments["mean"][1]))
        attributes = {"model": str(self.address)}
        return xr.Dataset({"median_g": median} | moments, of_events | coordinates, attributes)


def table(found: xr.Dataset) -> pd.DataFrame:
    """One row an event and site.

    Parameters
    ----------
    found : xarray.Dataset
        Of `Client.at_sites`.
    """
    first = ["event_id", "event_longitude", "event_latitude", "depth_km", "magnitude"]
    first += [name for name in ("site_id", "longitude", "latitude") if name in found.coords]
    rows = found.to_dataframe(["event", "site"]).reset_index(drop=True)
    return rows[[*first, *found.data_vars]]


def _connected(address: Address, patience: Patience) -> Transport:
    if address.scheme != "grpc":
        return Rest(address, patience)
    from tfgmm.serving.grpc_transport import Grpc  # which loads TensorFlow, for its messages

    return Grpc(address, patience)


def _event_inputs(events: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: events[name].to_numpy(dtype) for name, dtype in _EVENT.items()}


def _parts(events: pd.DataFrame, step: int, progress: Callable[[int], None]) -> Iterator[pd.DataFrame]:
    for first in range(0, len(events), step):
        yield events.iloc[first : first + step]
        progress(min(first + step, len(events)))
