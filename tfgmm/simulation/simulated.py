"""Simulated datasets with a planted (exactly known) truth, and the files with dataset and truth."""

import dataclasses
import json
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core import files
from tfgmm.core.errors import UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally
from tfgmm.simulation import scenario, truth
from tfgmm.simulation.scenario import NETWORKS, Network, SimulationSettings
from tfgmm.simulation.truth import IMS, Truth


def simulate(settings: SimulationSettings) -> tuple[Dataset, Truth]:
    """Simulate a dataset; return the dataset and the planted truth, from which its records were made.

    The same settings give the same values, bit by bit.

    Parameters
    ----------
    settings : SimulationSettings
        Numbers of events, stations and records; seed; trigger level.

    Returns
    -------
    dataset : Dataset
        Records of PGA and SA (g) and PGV (cm/s), events that have a record, stations, and site layers.
    planted : Truth
        Median, site, source, path and event terms of the records.

    Raises
    ------
    UsageError
        The number of records is larger than the number of pairs of event and operating station, or smaller
        than the number of events; or no record exceeds the trigger level.
    """
    networks = _networks(settings)
    planted = _planted(settings.seed, networks)
    tally = Tally()
    table = pd.concat([_records(settings, planted, pairs, tally) for pairs in networks], ignore_index=True)
    if table.empty:
        raise UsageError(f"no PGA reaches the trigger level of {settings.trigger} g: choose a lower one")
    events = pd.concat([pairs.events for pairs in networks], ignore_index=True)
    stations = pd.concat([pairs.stations for pairs in networks], ignore_index=True)
    stations["vs30_m_s"] = planted.vs30(stations["longitude"], stations["latitude"]).round(1)
    recorded = events["event_id"].isin(table["event_id"])
    tally.count("event", len(events))
    tally.count("station", len(stations))
    tally.drop("event", "no record above the trigger level", events["event_id"][~recorded])
    provenance = {
        "name": "simulated",
        "simulated": True,
        "component": "geometric_mean",
        "sources": [],
        "choices": settings.model_dump(),
        "read": tally.read,
        "dropped": tally.dropped(),
    }
    return Dataset(events[recorded], stations, table, provenance, planted.layers()).checked(), planted


def embedded() -> Dataset:
    """Return the simulated dataset of default size, on which a model is trained if no dataset is given."""
    return simulate(SimulationSettings())[0]


def plant(settings: SimulationSettings) -> Truth:
    """Return the planted truth of a simulated dataset, without simulating the records.

    Parameters
    ----------
    settings : SimulationSettings
        Settings of the simulated dataset.
    """
    return _planted(settings.seed, _networks(settings))


def write(dataset: Dataset, planted: Truth, folder: Path, overwrite: bool = False) -> Dataset:
    """Write a simulated dataset and its truth, ``truth.nc`` and ``truth.json``, into one dataset folder.

    All files are written, or none.

    Parameters
    ----------
    dataset : Dataset
        The simulated dataset.
    planted : Truth
        The truth from which the records of `dataset` were made.
    folder : Path
        The dataset folder.
    overwrite : bool
        Replace a dataset in `folder`.

    Returns
    -------
    Dataset
        The dataset as it was written.

    Raises
    ------
    UsageError
        The folder is not empty, and `overwrite` is false or the folder is no dataset folder.
    DataError
        The dataset violates the data contract (``docs/data.md``), or the file system refuses to write.
    """

    def write_truth(into: Path) -> None:
        """Write ``truth.nc`` and ``truth.json`` into a folder."""
        files.write_netcdf(truth_maps(planted), into / "truth.nc")
        summary = {"settings": dataset.provenance["choices"]} | truth_summary(planted, dataset.stations)
        (into / "truth.json").write_text(json.dumps(summary, indent=1) + "\n")

    return dataset.write(folder, overwrite, write_truth)


def truth_maps(planted: Truth) -> xr.Dataset:
    """Return the content of ``truth.nc``: the site layers, and maps of the planted site terms.

    Parameters
    ----------
    planted : Truth
        The planted truth.

    Returns
    -------
    xarray.Dataset
        ``z_bedrock`` (m) and ``vs30`` (m/s); and for each of the `IMS`, in ln units, ``site_layers`` (the
        part of the site term that depends on the layers), ``site_correlated`` (the spatially correlated
        part) and ``site_map`` (the sum of both). No map contains the nuggets, the part of the site term
        that is independent from site to site.
    """
    lat, lon = truth.raster_points()
    layers, correlated = planted.site_parts(lon, lat).transpose(0, 2, 1).astype("float32")
    maps = {
        "site_layers": (layers, "site term driven by the layers"),
        "site_correlated": (correlated, "site term, spatially correlated part"),
        "site_map": (layers + correlated, "map part of the site term"),
    }
    attributes = {"units": "1", "comment": "natural logarithm of a factor on the median"}
    site = {name: (values, {"long_name": text} | attributes) for name, (values, text) in maps.items()}
    return planted.layers().merge(truth.raster(site))


def truth_summary(planted: Truth, stations: pd.DataFrame) -> dict:
    """Return the content of ``truth.json``: planted parameters, and the site and event terms in ln units.

    Parameters
    ----------
    planted : Truth
        The planted truth.
    stations : pandas.DataFrame
        Stations with site terms in the summary: ``station_id``, ``longitude`` and ``latitude`` (degrees).

    Returns
    -------
    dict
        Coefficients, standard deviations and correlation lengths; ``site_nugget`` and ``site_term`` by
        station id, and ``event_term`` by event id, each a dict by intensity measure.
    """
    site_map = planted.site_parts(stations["longitude"], stations["latitude"]).sum(axis=0)
    nuggets = planted.nuggets.loc[stations["station_id"]]
    return {
        "simulated": True,
        "unit": "ln of IM in g, of PGV in cm/s",
        "median": "c0 + c1 (M-6) + c2 (M-6)^2 + (c3 + c4 (M-6)) ln R + c5 R + c6 Z",
        "coefficients": truth.COEFFICIENTS,
        "stddev": {
            "tau": truth.TAU,
            "phi_s2s": truth.PHI_S2S,
            "source": truth.PHI_SOURCE,
            "path": truth.PHI_PATH,
            "phi_ss": truth.PHI_SS,
        },
        "site_variance_shares": truth.SITE_SHARES,
        "correlation_length_km": {
            "site": truth.SITE_RANGE_KM,
            "source": truth.SOURCE_RANGE_KM,
            "path": truth.PATH_RANGES_KM,
        },
        "layer_response": truth.LAYER_RESPONSE,
        "im_correlation": truth.planted_im_correlation().round(6).tolist(),
        "site_nugget": _by_id(nuggets),
        "site_term": _by_id(nuggets + site_map),
        "event_term": _by_id(planted.event_terms),
    }


def thin(
    rng: np.random.Generator,
    magnitude: np.ndarray,
    r_hyp_km: np.ndarray,
    operating: np.ndarray,
    *,
    number: int,
) -> np.ndarray:
    r"""Draw the records that are kept, with weights and without replacement; return their mask.

    The draw does not depend on the amplitudes. The weight of a record is

    .. math:: \ln w = 2.2 M - 3.4 \ln R

    with magnitude M and hypocentral distance R in km. The records with the largest keys
    :math:`\ln w + G`, where the G are independent and Gumbel distributed, are a weighted draw without
    replacement (Efraimidis & Spirakis, 2006): a record is kept with a probability of about
    :math:`1 - \exp(-\lambda w)`. The record with the largest key of each event is always kept.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the random numbers.
    magnitude : ndarray, [n_events]
        Mw.
    r_hyp_km : ndarray, [n_events, n_stations]
        Hypocentral distance, km.
    operating : ndarray of bool, [n_events, n_stations]
        False where the station does not operate at the time of the event.
    number : int
        Number of records to keep, at least one per event.

    Returns
    -------
    ndarray of bool, [n_events, n_stations]
        True for the records that are kept.
    """
    ln_weight = 2.2 * magnitude[:, np.newaxis] - 3.4 * np.log(r_hyp_km)
    key = ln_weight + rng.gumbel(size=ln_weight.shape)
    key[~operating] = -np.inf
    key[np.arange(len(key)), key.argmax(axis=1)] = np.inf
    kept = np.zeros(key.size, bool)
    kept[np.argpartition(-key.ravel(), number - 1)[:number]] = True
    return kept.reshape(key.shape)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """All pairs of an event and a station of one network.

    Attributes
    ----------
    network : {"kik", "meso"}
        Name of the network.
    events : pandas.DataFrame
        Event table, n_events rows.
    stations : pandas.DataFrame
        Station table, n_stations rows.
    """

    network: Network
    events: pd.DataFrame
    stations: pd.DataFrame

    def operating(self) -> np.ndarray:
        """Return True where the station operates at the time of the event, bool, [n_events, n_stations]."""
        time = self.events["origin_time"].to_numpy("datetime64[us]")[:, np.newaxis]
        start, end = (
            self.stations[c].to_numpy("datetime64[us]") for c in ("operating_from", "operating_to")
        )
        return ~((time < start) | (time >= end))  # comparisons with NaT, an open end, are false

    def r_hyp_km(self) -> np.ndarray:
        """Return the hypocentral distance of each pair, km, [n_events, n_stations]."""
        return truth.r_hyp_km(self.events, self.stations["longitude"], self.stations["latitude"])

    def ln_im(self, planted: Truth) -> np.ndarray:
        """Return simulated ln IM (IM in g, PGV in cm/s) with all terms, [n_events, n_stations, n_ims].

        Parameters
        ----------
        planted : Truth
            Median, event terms and nuggets; the seed of the within-event scatter.
        """
        place = self.stations["longitude"], self.stations["latitude"]
        median = planted.medians(IMS, self.events, *place)
        event_term = planted.event_terms.loc[self.events["event_id"]].to_numpy()[:, np.newaxis]
        nugget = planted.nuggets.loc[self.stations["station_id"]].to_numpy()
        rng = truth.stream(planted.seed, f"{self.network} scatter")
        return (
            median + event_term + nugget + truth.PHI_SS * truth.correlated_normals(rng, *median.shape[:2])
        )

    def table(self, pairs: np.ndarray) -> pd.DataFrame:
        """Return a table of ``event_id`` and ``station_id`` with one row for each True in a mask.

        Parameters
        ----------
        pairs : ndarray of bool, [n_events, n_stations]
            The mask.
        """
        row, col = np.nonzero(pairs)
        ids = {"event_id": self.events["event_id"], "station_id": self.stations["station_id"]}
        columns = zip(ids.items(), (row, col), strict=True)
        return pd.DataFrame({name: values.to_numpy()[index] for (name, values), index in columns})


def _networks(settings: SimulationSettings) -> list[Pairs]:
    """Return, for each network, the pairs of its events and stations."""
    stations = scenario.stations(settings)
    return [
        Pairs(network, scenario.events(settings, network), stations[stations["network"] == network])
        for network in NETWORKS
    ]


def _planted(seed: int, networks: list[Pairs]) -> Truth:
    """Draw the event terms and nuggets of all networks, and return the planted truth."""
    terms, nuggets = [], []
    for pairs in networks:
        # The events are taken in the order of their ids, in which they were drawn.
        event_ids = pairs.events["event_id"].sort_values()
        draws = truth.correlated_normals(truth.stream(seed, f"{pairs.network} event terms"), len(event_ids))
        terms.append(pd.DataFrame(truth.TAU * draws, event_ids, IMS))
        station_ids = pairs.stations["station_id"]
        draws = truth.correlated_normals(truth.stream(seed, f"{pairs.network} nuggets"), len(station_ids))
        by_site = pd.DataFrame(truth.PHI_NUGGET * draws, station_ids, IMS)
        nuggets.append(by_site.loc[pairs.stations["site_id"]].set_axis(station_ids))
    return Truth(seed, pd.concat(terms), pd.concat(nuggets))


def _records(settings: SimulationSettings, planted: Truth, pairs: Pairs, tally: Tally) -> pd.DataFrame:
    """Return the records of a network after thinning and trigger, sorted by event.

    Records that are removed are counted in `tally` by reason.
    """
    operating = pairs.operating()
    number = _number(settings, pairs, int(operating.sum()))
    rng = truth.stream(settings.seed, f"{pairs.network} thinning")
    kept = thin(rng, pairs.events["magnitude"].to_numpy(), pairs.r_hyp_km(), operating, number=number)
    ln_im = pairs.ln_im(planted)
    # Without a trigger the level is zero, below every amplitude.
    lost = kept & (np.exp(ln_im[..., 0]) < (settings.trigger or 0.0))
    tally.count("record", kept.size)
    for reason, mask in {
        "station not operating": ~operating,
        "thinned by magnitude and distance": operating & ~kept,
        "PGA below the trigger level": lost,
    }.items():
        ids = pairs.table(mask)
        tally.drop("record", f"{pairs.network}: {reason}", ids["event_id"] + " at " + ids["station_id"])
    kept &= ~lost
    # Rounded to seven digits, amplitudes do not depend on the order in which the processor adds.
    amplitudes = np.exp(ln_im[kept]).astype("float32").astype(float)
    ids = pairs.table(kept)
    return ids.assign(**dict(zip(IMS, amplitudes.T, strict=True)), component="geometric_mean")


def _number(settings: SimulationSettings, pairs: Pairs, available: int) -> int:
    """Return the number of records of a network that the settings ask for.

    Raises `UsageError` if the number is below the number of events, or above `available`, the number of
    pairs of event and operating station.
    """
    number, events = settings.number_of("records", pairs.network), len(pairs.events)
    if not events <= number <= available:
        raise UsageError(
            f"{number} {pairs.network} records do not fit {events} events with {available} pairs of event "
            f"and operating station: ask for {events} to {available}"
        )
    return number


def _by_id(terms: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return a table of terms as a dictionary by id, each a dictionary by intensity measure; 6 decimals."""
    return cast(dict[str, dict[str, float]], terms.round(6).to_dict(orient="index"))


def open_dataset(data: str | None) -> Dataset:
    """Return the dataset in the folder `data`, or the embedded simulated dataset if `data` is None.

    Parameters
    ----------
    data : str or None
        Path of a dataset folder.

    Raises
    ------
    UsageError, DataError
        The folder is no dataset folder, or its content is damaged (see `Dataset.read`).
    """
    return embedded() if data is None else Dataset.read(Path(data))
