"""Tables that describe a dataset: networks, density, ranges, site layers, counts, choices and sources."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from tfgmm.core.errors import counted, listed
from tfgmm.core.sphere import EARTH_RADIUS_KM, unit_vectors
from tfgmm.data.dataset import Dataset
from tfgmm.data.layers import axes


def headline(dataset: Dataset) -> str:
    """Return two sentences with the name, the size and the start of the data hash of a dataset.

    Parameters
    ----------
    dataset : Dataset
        Dataset to describe.

    Returns
    -------
    str
        The sentences.
    """
    return (
        f"Dataset {dataset.provenance.get('name', '')}: {counted(len(dataset.events), 'event')}, "
        f"{counted(len(dataset.stations), 'station')}, {counted(len(dataset.records), 'record')} of "
        f"{listed(dataset.ims)} ({dataset.provenance.get('component', '')}). "
        f"Data hash {dataset.digest()[:16]}."
    )


def tables(dataset: Dataset) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the tables that describe a dataset, each with its title.

    The tables are, as far as the dataset has their content: networks, density, events, site layers,
    imports, counts of rows read, rows dropped, rows noted, choices and sources.

    Parameters
    ----------
    dataset : Dataset
        Dataset to describe.

    Yields
    ------
    str, pandas.DataFrame
        Title and table.
    """
    yield "Networks", networks(dataset)
    yield "Density", density(dataset)
    yield "Events", ranges(dataset)
    if dataset.layers is not None:
        yield "Site layers", layers(dataset)
    provenance = dataset.provenance
    if provenance.get("imports"):
        yield "Imports", imports(provenance)
    if provenance.get("read"):
        yield "Read", pd.DataFrame(provenance["read"].items(), columns=["what", "count"])
    for key in ("dropped", "noted"):
        if provenance.get(key):
            table = pd.DataFrame(provenance[key])
            yield key.capitalize(), table.assign(examples=table["examples"].str.join(", "))
    choices = _choices(provenance)
    if choices:
        yield "Choices", pd.DataFrame(choices.items(), columns=["choice", "value"])
    if provenance.get("sources"):
        yield "Sources", pd.DataFrame(provenance["sources"])


def _choices(provenance: dict) -> dict[str, str]:
    """Return the choices made in the imports as texts by name; "2. name" belongs to the second import."""
    choices = {k: str(v) for k, v in provenance.get("choices", {}).items()}
    for number, entry in enumerate(provenance.get("imports", []), 1):
        choices |= {f"{number}. {k}": str(v) for k, v in entry.get("choices", {}).items()}
    return choices | {k: provenance[k] for k in ("truncation", "attribution") if provenance.get(k)}


def imports(provenance: dict) -> pd.DataFrame:
    """Return a table with one row per import: name, number of files, counts read, number of renamed events.

    Parameters
    ----------
    provenance : dict
        Provenance of a dataset that was combined from several imports.

    Returns
    -------
    pandas.DataFrame, [n_imports, ...]
        Columns ``import``, ``name``, ``files``, a column per count such as ``records read``, and
        ``events renamed``.
    """
    rows = [
        {
            "import": number,
            "name": entry.get("name", ""),
            "files": len(entry.get("sources", [])),
            **{f"{what}s read": read for what, read in entry.get("read", {}).items()},
            "events renamed": len(entry.get("merged_events", {})),
        }
        for number, entry in enumerate(provenance["imports"], 1)
    ]
    return pd.DataFrame(rows)


def networks(dataset: Dataset) -> pd.DataFrame:
    """Return the numbers of stations, sites, records and events, and the first and last year, per network.

    Parameters
    ----------
    dataset : Dataset
        Dataset to describe.

    Returns
    -------
    pandas.DataFrame
        One row per network, with columns ``network``, ``stations``, ``sites``, ``records``, ``events``,
        ``first year`` and ``last year``; the years are missing for a network without records.
    """
    joined = dataset.records.merge(dataset.stations[["station_id", "network"]], on="station_id").merge(
        dataset.events[["event_id", "origin_time"]], on="event_id"
    )
    by_network = joined.groupby("network", observed=True)
    year = by_network["origin_time"].agg(["min", "max"]).apply(lambda column: column.dt.year)
    stations = dataset.stations.groupby("network", observed=True)
    table = pd.DataFrame(
        {
            "stations": stations.size(),
            "sites": stations["site_id"].nunique(),
            "records": by_network.size(),
            "events": by_network["event_id"].nunique(),
            "first year": year["min"],
            "last year": year["max"],
        }
    )
    # A network may have no record.
    return table.fillna({"records": 0, "events": 0}).astype("Int64").reset_index()


def density(dataset: Dataset) -> pd.DataFrame:
    """Return the distances between sites, and the numbers of records per event and station, per network.

    Distances are great-circle distances. The position of a site is the position of its first station,
    because successive codes of a moved station would count as neighbours at a distance near 0 km.

    Parameters
    ----------
    dataset : Dataset
        Dataset to describe.

    Returns
    -------
    pandas.DataFrame
        One row per network: median distance to the nearest other site (km), mean distance of all pairs of
        sites (km), median number of records per event and per station. Distances are NaN for a single site.
    """
    joined = dataset.records.merge(dataset.stations[["station_id", "network"]], on="station_id")
    rows = []
    for network, stations in dataset.stations.groupby("network", observed=True):
        nearest, pairwise = _spacing(stations.drop_duplicates("site_id"))
        of_network = joined[joined["network"] == network]
        rows.append(
            {
                "network": network,
                "nearest site, median km": nearest,
                "between sites, mean km": pairwise,
                "records per event, median": of_network["event_id"].value_counts().median(),
                "records per station, median": of_network["station_id"].value_counts().median(),
            }
        )
    return pd.DataFrame(rows).round(1)


def _spacing(sites: pd.DataFrame) -> tuple[float, float]:
    """Return the median distance to the nearest other site, and the mean distance of all pairs, km."""
    if len(sites) < 2:
        return np.nan, np.nan
    points = unit_vectors(sites["longitude"], sites["latitude"])
    to_two_nearest, _ = KDTree(points).query(points, k=2)
    chords = np.median(np.asarray(to_two_nearest)[:, 1]), pdist(points)
    nearest, pairwise = (2 * EARTH_RADIUS_KM * np.arcsin(chord / 2) for chord in chords)
    return float(nearest), float(pairwise.mean())


def ranges(dataset: Dataset) -> pd.DataFrame:
    """Return the smallest, median and largest magnitude, depth, longitude and latitude of the events.

    Parameters
    ----------
    dataset : Dataset
        Dataset to describe.

    Returns
    -------
    pandas.DataFrame, [4, 4]
        Columns ``column``, ``min``, ``median`` and ``max``; depths in km, coordinates in degrees.
    """
    columns = ["magnitude", "depth_km", "longitude", "latitude"]
    table = dataset.events[columns].agg(["min", "median", "max"]).T.round(2)
    return table.rename_axis("column").reset_index()


def layers(dataset: Dataset) -> pd.DataFrame:
    """Return the unit, range, raster, extent and missing share of each site layer.

    Parameters
    ----------
    dataset : Dataset
        Dataset to describe.

    Returns
    -------
    pandas.DataFrame
        One row per site layer; the minimum and the maximum are in the unit of the layer, the extent is in
        degrees, and the raster is the number of points (latitude x longitude).
    """
    rows = []
    for name, layer in (dataset.layers or {}).items():
        lat, lon = axes(layer)
        rows.append(
            {
                "layer": name,
                "unit": layer.attrs.get("units", ""),
                "min": float(layer.min()),
                "max": float(layer.max()),
                "raster": f"{len(lat)} x {len(lon)}",
                "extent": f"{lon[0]:.2f} to {lon[-1]:.2f} E, {lat[0]:.2f} to {lat[-1]:.2f} N",
                "missing": f"{float(layer.isnull().mean()):.1%}",
            }
        )
    return pd.DataFrame(rows)
