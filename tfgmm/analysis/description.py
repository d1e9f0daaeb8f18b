"""What a dataset holds, in a few tables."""

from collections.abc import Iterator

import pandas as pd

from tfgmm.records import Dataset


def headline(dataset: Dataset) -> str:
    """Name, size and data hash."""
    return (
        f"Dataset {dataset.provenance.get('name', '')}: {len(dataset.events):,} events, "
        f"{len(dataset.stations):,} stations, {len(dataset.records):,} records of "
        f"{', '.join(dataset.ims)} ({dataset.provenance.get('component', '')}). "
        f"Data hash {dataset.digest()[:16]}."
    )


def tables(dataset: Dataset) -> Iterator[tuple[str, pd.DataFrame]]:
    """Titles and tables: networks, events, site layers, what was dropped, choices, sources."""
    yield "Networks", networks(dataset)
    yield "Events", ranges(dataset)
    if dataset.layers is not None:
        yield "Site layers", layers(dataset)
    provenance = dataset.provenance
    if provenance.get("read"):
        yield "Read", pd.DataFrame(provenance["read"].items(), columns=["what", "count"])
    if provenance.get("dropped"):
        dropped = pd.DataFrame(provenance["dropped"])
        dropped["examples"] = dropped["examples"].str.join(", ")
        yield "Dropped", dropped
    choices = {k: str(v) for k, v in provenance.get("choices", {}).items()}
    choices |= {k: provenance[k] for k in ("truncation", "attribution") if provenance.get(k)}
    if choices:
        yield "Choices", pd.DataFrame(choices.items(), columns=["choice", "value"])
    if provenance.get("sources"):
        yield "Sources", pd.DataFrame(provenance["sources"])


def networks(dataset: Dataset) -> pd.DataFrame:
    """Stations, sites, records, events and years of each network."""
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


def ranges(dataset: Dataset) -> pd.DataFrame:
    """Smallest, median and largest value of the event columns."""
    columns = ["magnitude", "depth_km", "longitude", "latitude"]
    table = dataset.events[columns].agg(["min", "median", "max"]).T.round(2)
    return table.rename_axis("column").reset_index()


def layers(dataset: Dataset) -> pd.DataFrame:
    """Extent, unit and range of the site layers."""
    rows = []
    for name, layer in dataset.layers.items():
        west, east = layer["longitude"].to_numpy()[[0, -1]]
        south, north = layer["latitude"].to_numpy()[[0, -1]]
        rows.append(
            {
                "layer": name,
                "unit": layer.attrs.get("units", ""),
                "min": float(layer.min()),
                "max": float(layer.max()),
                "raster": f"{layer.sizes['latitude']} x {layer.sizes['longitude']}",
                "extent": f"{west:.2f} to {east:.2f} E, {south:.2f} to {north:.2f} N",
                "missing": f"{float(layer.isnull().mean()):.1%}",
            }
        )
    return pd.DataFrame(rows)
