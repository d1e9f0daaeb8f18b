"""What the records of a run tell of sources, sites and paths: terms of the field, as tables and maps."""

import dataclasses
from typing import Self

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core.errors import UsageError, listed
from tfgmm.core.grid import Grid
from tfgmm.data.schemas import EVENT_RANGES
from tfgmm.runs.run import RunFolder
from tfgmm.stats.field import Field
from tfgmm.stats.field_parts import path_variance, source_term
from tfgmm.stats.field_records import Cells

#: Side of a source cell, a square of the map of epicentres, degrees.
CELL_DEG = 0.25
#: Largest side of a source cell, degrees.
LARGEST_CELL_DEG = 90.0
_CELL = ["longitude", "latitude"]
#: Columns of what is unknown of a term.
_UNKNOWN = ["stddev", "told"]


@dataclasses.dataclass(frozen=True, repr=False)
class FieldTerms:
    """Terms of sources, sites and paths given the records of a run, with what is left unknown of them.

    The terms are parts of the field, the Gaussian process of the residuals from the backbone
    (`tfgmm.stats.field`). Standard deviations are posterior ones: where records tell nothing, they are
    those of `stddevs`.

    Attributes
    ----------
    im : str
        Intensity measure.
    field : Field
        The field, conditioned on all records.
    grid : Grid
        Map of the run.
    stations : pandas.DataFrame
        Stations of the run: ``station_id, site_id``; ``longitude, latitude``, degrees.

    Examples
    --------
    >>> terms = tfgmm.open_run("runs/kanto").field("PGA")  # doctest: +SKIP
    >>> terms.stddevs["tau"], terms.ranges_km["path"]  # doctest: +SKIP
    >>> terms.sites().nlargest(5, "site_term")  # doctest: +SKIP
    >>> terms.site_map()["site_term"].plot(x="longitude", y="latitude")  # doctest: +SKIP
    >>> terms.paths("CHB003", depth_km=50.0)  # doctest: +SKIP
    """

    im: str
    field: Field
    grid: Grid
    stations: pd.DataFrame

    def __repr__(self) -> str:
        """Return one line with the intensity measure and the numbers of records, events and stations."""
        records = self.field.records
        events, stations = records.shape
        counts = f"{len(records):,} records of {events:,} events at {stations:,} stations"
        return f"<FieldTerms of {self.im}: {counts}>"

    @classmethod
    def of(cls, run: RunFolder, im: str) -> Self:
        """Return the terms of one intensity measure of a run.

        Parameters
        ----------
        run : RunFolder
            A finished run with a field.
        im : str
            Intensity measure.

        Returns
        -------
        FieldTerms

        Raises
        ------
        UsageError
            The run has no such intensity measure, no field, or is not finished.
        DataError
            A file of the run is damaged.
        """
        if im not in run.experiment.ims:
            raise UsageError(f"run {run.path} has no {im}: it has {listed(run.experiment.ims)}")
        if not run.experiment.field:
            raise UsageError(
                f"run {run.path} has no field of what records tell of sources, sites and paths: train a "
                "run with --field yes, which quick and standard have by default"
            )
        field = run.field(im) if run.conditioned_on else None
        if field is None:
            raise UsageError(f"run {run.path} is not finished: give its tfgmm train command again")
        stations = run.stations().rename(columns={"terms_of": "site_id"})
        return cls(im, field, run.experiment.grid, stations[["station_id", "site_id", *_CELL]])

    @property
    def stddevs(self) -> pd.Series:
        """Return the prior standard deviations ``tau, phi_s2s, source, path, phi_ss``, ln units."""
        return pd.Series(self.field.covariance.stddevs, name="stddev")

    @property
    def ranges_km(self) -> pd.Series:
        """Return the ranges of correlation of ``source, site, path`` and ``within`` terms, km."""
        fit = self.field.covariance
        ranges = {name: getattr(fit, f"{name}_km") for name in ("source", "site", "path", "within")}
        return pd.Series(ranges, name="range_km")

    def records(self) -> pd.DataFrame:
        """Return the residuals that the field is conditioned on.

        Returns
        -------
        pandas.DataFrame
            A row per record: ``event_id, station_id, site_id``; ``event_longitude, event_latitude``,
            degrees; ``depth_km``; ``residual``, observed ln IM minus the backbone.
        """
        records = self.field.records
        longitude, latitude = self.grid.unproject(*records.source_km[:, :2].T)
        return pd.DataFrame(
            {
                "event_id": records.event_ids[records.event],
                "station_id": records.station_ids[records.station],
                "site_id": records.site_ids[records.site[records.station]],
                "event_longitude": longitude[records.event],
                "event_latitude": latitude[records.event],
                "depth_km": records.source_km[records.event, 2],
                "residual": records.residual,
            }
        )

    def sites(self) -> pd.DataFrame:
        """Return the site term of each station of the run.

        Returns
        -------
        pandas.DataFrame
            A row per station: the columns of `stations`; ``site_term`` and its standard deviation
            ``stddev``, ln units; ``told``, the share of the prior variance that the records have removed;
            ``records``, their number at the station. A site without records has what its neighbours tell.
        """
        records, fit = self.field.records, self.field.covariance
        term, variance = self._site_terms(self._place_km(self.stations), self._sites_of(self.stations))
        counts = pd.Series(records.station_ids[records.station]).value_counts()
        counts = counts.reindex(self.stations["station_id"], fill_value=0)
        told = _told(variance, fit.site_own + fit.site_shared)
        return self.stations.assign(
            site_term=term, stddev=np.sqrt(variance), told=told, records=counts.to_numpy()
        )

    def site_map(self) -> xr.Dataset:
        """Return the site term of a new place in each pixel of the map.

        Returns
        -------
        xarray.Dataset, [row, col]
            ``site_term`` and its standard deviation ``stddev``, ln units; ``told``, the share that the
            records have removed of the prior variance, as far as neighbours share it; with the coordinates
            ``longitude`` and ``latitude`` of the pixel centres, degrees.
        """
        size, fit = self.grid.output_size, self.field.covariance
        # Row by row, so that memory does not grow with the map.
        rows = [self._site_terms(row, np.full(size, -1)) for row in self.grid.centres_km(size)]
        term, variance = np.stack(rows, axis=1)
        longitude, latitude = self.grid.lonlat(size)
        layers = {
            "site_term": (term, f"site term of ln {self.im}"),
            "stddev": (np.sqrt(variance), f"standard deviation of the site term of ln {self.im}"),
            "told": (_told(variance - fit.site_own, fit.site_shared), "share of the shared variance told"),
        }
        dims = ("row", "col")
        return xr.Dataset(
            {
                name: (dims, values, {"units": "1", "long_name": what})
                for name, (values, what) in layers.items()
            },
            {
                "longitude": (dims, longitude, {"units": "degrees_east"}),
                "latitude": (dims, latitude, {"units": "degrees_north"}),
            },
        )

    def sources(
        self, depth_km: float | None = None, cell_deg: float = CELL_DEG, *, with_paths: bool = False
    ) -> pd.DataFrame:
        """Return the source term of each source cell, a square of the map that holds recorded epicentres.

        Parameters
        ----------
        depth_km : float, optional
            Depth of the hypocentres, km; by default the median depth of the events of each cell.
        cell_deg : float
            Side of a source cell, degrees.
        with_paths : bool
            If True, add the mean of the shared path terms to the stations of the run: where paths are
            correlated over the whole map, records do not tell them from the source term.

        Returns
        -------
        pandas.DataFrame
            A row per cell: ``longitude, latitude`` of its centre, degrees; ``depth_km``; ``source_term``
            and its standard deviation ``stddev``, ln units; ``told``, the share of the prior variance that
            the records have removed; ``events, records``, their numbers.

        Raises
        ------
        UsageError
            `cell_deg` or `depth_km` is out of range.
        """
        cells = _source_cells(self.records(), depth_km, cell_deg)
        places = self._place_km(self.stations) if with_paths else ()
        term, variance, prior = source_term(self.field, self._source_km(cells), places)
        cells = cells.assign(source_term=term, stddev=np.sqrt(variance), told=_told(variance, prior))
        return cells[[*_CELL, "depth_km", "source_term", *_UNKNOWN, "events", "records"]]

    def paths(
        self,
        station: str,
        depth_km: float | None = None,
        cell_deg: float = CELL_DEG,
        *,
        with_source: bool = False,
    ) -> pd.DataFrame:
        """Return the path term from each source cell to one station, without its site term.

        Parameters
        ----------
        station : str
            Station id.
        depth_km : float, optional
            Depth of the hypocentres, km; by default the median depth of the events of each cell.
        cell_deg : float
            Side of a source cell, degrees.
        with_source : bool
            If True, add the source term.

        Returns
        -------
        pandas.DataFrame
            A row per cell that holds epicentres of any record: ``longitude, latitude`` of its centre,
            degrees; ``depth_km``; ``path_term`` and its standard deviation ``stddev``, ln units; ``told``,
            the share of the prior variance that the records have removed; ``records``, their number at the
            station.

        Raises
        ------
        UsageError
            The run has no such station, or `cell_deg` or `depth_km` is out of range.
        """
        of_station = self.stations[self.stations["station_id"] == station]
        if of_station.empty:
            raise UsageError(
                f"the run has no station {station}: stations.parquet in the run folder lists its stations"
            )
        records, fit = self.records(), self.field.covariance
        cells = _source_cells(records, depth_km, cell_deg)
        source_km, place_km = self._source_km(cells), self._place_km(of_station)
        (site,) = self._sites_of(of_station)
        parts = self.field.parts(_pairs(source_km, np.repeat(place_km, len(cells), axis=0), site))
        term = parts["path_own"] + parts["path_shared"] + with_source * parts["source"]
        variance = path_variance(self.field, source_km, place_km[0], site, with_source=with_source)
        prior = fit.path_own + fit.path_shared + with_source * fit.source
        here = with_cells(records[records["station_id"] == station], cell_deg)
        counts = here.groupby(_CELL).size().reindex(pd.MultiIndex.from_frame(cells[_CELL]), fill_value=0)
        cells = cells.assign(
            path_term=term,
            stddev=np.sqrt(variance),
            told=_told(variance, prior),
            records=counts.to_numpy(),
        )
        return cells[[*_CELL, "depth_km", "path_term", *_UNKNOWN, "records"]]

    def _place_km(self, places: pd.DataFrame) -> np.ndarray:
        """Return ``longitude, latitude`` as km east and north of the centre of the map, [n, 2]."""
        return np.stack(self.grid.project(places["longitude"], places["latitude"]), axis=-1)

    def _source_km(self, cells: pd.DataFrame) -> np.ndarray:
        """Return the hypocentres of source cells, km east, north and down, [n, 3]."""
        return np.c_[self._place_km(cells), cells["depth_km"]]

    def _sites_of(self, stations: pd.DataFrame) -> np.ndarray:
        """Return the index of the site of each station among those of the records, -1 for others, [n]."""
        return pd.Index(self.field.records.site_ids).get_indexer(pd.Index(stations["site_id"].astype(str)))

    def _site_terms(self, place_km: np.ndarray, site: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return site terms (ln units) and their variances (squared ln units), [n] each."""
        # The site term is the same for every earthquake, so any one will do.
        cells = _pairs(np.zeros((len(site), 3)), place_km, site)
        parts = self.field.parts(cells)
        return parts["site_own"] + parts["site_shared"], self.field.site_variance(cells)


def _told(variance: np.ndarray, prior: float) -> np.ndarray:
    """Return the share of a prior variance that the records have removed, 0 to 1."""
    return np.clip(1 - variance / prior, 0.0, 1.0) if prior > 0 else np.zeros_like(variance)


def _pairs(source_km: np.ndarray, place_km: np.ndarray, site) -> Cells:
    """Return pairs of new events with places."""
    count = len(place_km)
    return Cells(source_km, place_km, np.full(count, -1), np.broadcast_to(site, count))


def with_cells(records: pd.DataFrame, cell_deg: float) -> pd.DataFrame:
    """Return records with the centre of their source cell.

    Parameters
    ----------
    records : pandas.DataFrame
        ``event_longitude, event_latitude``, degrees.
    cell_deg : float
        Side of a source cell, degrees.

    Returns
    -------
    pandas.DataFrame
        The rows with ``longitude, latitude`` of the centre of the cell, degrees.

    Raises
    ------
    UsageError
        `cell_deg` is not above 0 or larger than `LARGEST_CELL_DEG`.
    """
    if not 0 < cell_deg <= LARGEST_CELL_DEG:
        raise UsageError(
            f"source cells of {cell_deg:g} degrees: choose a size above 0, at most {LARGEST_CELL_DEG:g}"
        )
    centres = {name: (np.floor(records[f"event_{name}"] / cell_deg) + 0.5) * cell_deg for name in _CELL}
    return records.assign(**centres)


def _source_cells(records: pd.DataFrame, depth_km: float | None, cell_deg: float) -> pd.DataFrame:
    """Return ``longitude, latitude, depth_km, events, records`` of the source cells of records."""
    lowest, highest = EVENT_RANGES["depth_km"]
    if depth_km is not None and not lowest <= depth_km <= highest:
        raise UsageError(
            f"hypocentres at a depth of {depth_km:g} km: choose one from {lowest} to {highest} km"
        )
    located = with_cells(records, cell_deg)
    cells = located.groupby(_CELL).agg(records=("event_id", "size"), events=("event_id", "nunique"))
    depth = located.drop_duplicates("event_id").groupby(_CELL)["depth_km"].median()
    return cells.assign(depth_km=depth if depth_km is None else float(depth_km)).reset_index()
