"""Terms of sources, sites and paths, the parts of the field given the records of a run: tables and maps."""

import dataclasses
import numbers
from typing import Self

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core.arguments import checked
from tfgmm.core.errors import UsageError, counted, listed
from tfgmm.core.grid import Grid
from tfgmm.core.shown import Shown
from tfgmm.core.sphere import distance_km
from tfgmm.data.schemas import EVENT_RANGES
from tfgmm.runs.run import RunFolder
from tfgmm.stats.field import Field
from tfgmm.stats.field_covariance import RANGES
from tfgmm.stats.field_fit import standard_errors
from tfgmm.stats.field_parts import path_variance, source_term
from tfgmm.stats.field_records import Cells

#: Side of a source cell, a square of the map of epicentres, degrees.
CELL_DEG = 0.25
#: Largest side of a source cell, degrees.
LARGEST_CELL_DEG = 90.0
#: Largest distance of a place or hypocentre from the centre of the map, km. Terms are 0 long before.
FARTHEST_KM = 1000.0
_CELL = ["longitude", "latitude"]
#: Columns of what is unknown of a term.
_UNKNOWN = ["stddev", "explained"]


@checked
@dataclasses.dataclass(frozen=True, repr=False)
class FieldTerms(Shown):
    """Terms of sources, sites and paths given the records of a run, with what is left unknown of them.

    The terms are parts of the field, the Gaussian process of the residuals from the backbone
    (`tfgmm.stats.field`). Standard deviations are posterior ones: far from all records a term is 0 and its
    standard deviation that of `stddevs`. These are fitted themselves, and one may be fitted as 0: then the
    term is 0 with the standard deviation 0 everywhere, and `summary` says how well 0 is known.

    The share ``explained`` of a prior variance, 1 - (posterior variance) / (prior variance), is what the
    records have removed of it: 0 where they say nothing, 1 where the term is known.

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
        return f"<FieldTerms of {self.im}: {self._facts()['records']}>"

    def _facts(self) -> dict[str, str]:
        """Return the intensity measure, the records, and the standard deviations of the terms."""
        records = self.field.records
        events, stations = records.shape
        return {
            "measure": self.im,
            "records": f"{counted(len(records), 'record')} of {counted(events, 'event')} at "
            f"{counted(stations, 'station')}",
            "standard deviations (ln)": ", ".join(f"{k} {v:.2f}" for k, v in self.stddevs.items()),
            "ranges (km)": ", ".join(f"{name} {value:.3g}" for name, value in self.ranges_km.items()),
        }

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
                f"run {run.path} has no field of source, site and path terms: train a run with --field "
                "yes, which quick and standard have by default"
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

    def summary(self) -> pd.DataFrame:
        """Return the fitted standard deviations and ranges of the terms with their standard errors.

        The standard errors are those of a jackknife over regions of events and of stations
        (`tfgmm.stats.field_fit.standard_errors`), which takes as long as the fit of the
        field. A range has none where its terms have no variance.

        Returns
        -------
        pandas.DataFrame
            A row per name of `stddevs` and of `ranges_km` (``source_km, site_km, path_km, within_km``):
            ``term``; ``value`` and ``standard_error``; ``unit``, ``ln`` or ``km``.
        """
        fit = self.field.covariance
        values = fit.stddevs | {name: getattr(fit, name) for name in RANGES}
        errors = standard_errors(fit, self.field.records)
        return pd.DataFrame(
            {
                "term": list(values),
                "value": list(values.values()),
                "standard_error": [errors[name] for name in values],
                "unit": ["km" if name in RANGES else "ln" for name in values],
            }
        )

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

    def sites(self, places: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the site term of each station of the run, or of other places.

        Parameters
        ----------
        places : pandas.DataFrame, optional
            Places without records, on or off the map: ``longitude, latitude``, degrees; by default the
            stations of the run.

        Returns
        -------
        pandas.DataFrame
            A row per station with the columns of `stations`, or per place with those of `places`;
            ``site_term`` and its standard deviation ``stddev``, ln units; ``explained``, the share of the
            prior variance that the records have removed; and for stations ``records``, their number at the
            station. A site without records has the part of the site term that its neighbours share.

        Raises
        ------
        UsageError
            A coordinate of `places` is missing, out of range or too far from the map.
        """
        records, fit = self.field.records, self.field.covariance
        if places is None:
            counts = pd.Series(records.station_ids[records.station]).value_counts()
            counts = counts.reindex(self.stations["station_id"], fill_value=0).to_numpy()
            table, site, more = self.stations, self._sites_of(self.stations), {"records": counts}
        else:
            table, site, more = self._checked(places, "places", _CELL), np.full(len(places), -1), {}
        term, variance = self._site_terms(self._place_km(table), site)
        explained = _explained(variance, fit.site_own + fit.site_shared)
        return table.assign(site_term=term, stddev=np.sqrt(variance), explained=explained, **more)

    def site_map(self) -> xr.Dataset:
        """Return the site term of a new place in each pixel of the map.

        Returns
        -------
        xarray.Dataset, [row, col]
            ``site_term`` and its standard deviation ``stddev``, ln units; ``explained_shared``, the share
            that the records have removed of the prior variance of the part that neighbours share (no record
            elsewhere can explain the other part); with the coordinates ``longitude`` and ``latitude`` of
            the pixel centres, degrees.
        """
        size, fit = self.grid.output_size, self.field.covariance
        # Row by row, so that memory does not grow with the map.
        rows = [self._site_terms(row, np.full(size, -1)) for row in self.grid.centres_km(size)]
        term, variance = np.stack(rows, axis=1)
        longitude, latitude = self.grid.lonlat(size)
        layers = {
            "site_term": (term, f"site term of ln {self.im}"),
            "stddev": (np.sqrt(variance), f"standard deviation of the site term of ln {self.im}"),
            "explained_shared": (
                _explained(variance - fit.site_own, fit.site_shared),
                "share of the variance shared by neighbours that records explain",
            ),
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
        self,
        depth_km: float | None = None,
        cell_deg: float = CELL_DEG,
        *,
        hypocentres: pd.DataFrame | None = None,
        with_paths: bool = False,
    ) -> pd.DataFrame:
        """Return the source term of each source cell, a square of the map that holds recorded epicentres.

        Parameters
        ----------
        depth_km : float, optional
            Depth of the hypocentres, km; by default the median depth of the events of each cell.
        cell_deg : float
            Side of a source cell, degrees.
        hypocentres : pandas.DataFrame, optional
            Hypocentres of new earthquakes in place of source cells: ``longitude, latitude``, degrees, and
            ``depth_km``.
        with_paths : bool
            If True, add the mean of the shared path terms to the stations of the run: where paths are
            correlated over the whole map, records do not tell them from the source term.

        Returns
        -------
        pandas.DataFrame
            A row per cell, or per hypocentre: ``longitude, latitude`` of the centre of the cell, degrees;
            ``depth_km``; ``source_term`` and its standard deviation ``stddev``, ln units; ``explained``,
            the share of the prior variance that the records have removed; and for cells ``events,
            records``, their numbers.

        Raises
        ------
        UsageError
            `cell_deg`, `depth_km` or a hypocentre is out of range or too far from the map.
        """
        cells = self._cells(depth_km, cell_deg, hypocentres)
        places = self._place_km(self.stations) if with_paths else ()
        term, variance, prior = source_term(self.field, self._source_km(cells), places)
        counts = [] if hypocentres is not None else ["events", "records"]
        cells = cells.assign(
            source_term=term, stddev=np.sqrt(variance), explained=_explained(variance, prior)
        )
        return cells[[*_CELL, "depth_km", "source_term", *_UNKNOWN, *counts]]

    def paths(
        self,
        station: str,
        depth_km: float | None = None,
        cell_deg: float = CELL_DEG,
        *,
        hypocentres: pd.DataFrame | None = None,
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
        hypocentres : pandas.DataFrame, optional
            Hypocentres of new earthquakes in place of source cells: ``longitude, latitude``, degrees, and
            ``depth_km``.
        with_source : bool
            If True, add the source term.

        Returns
        -------
        pandas.DataFrame
            A row per cell that holds epicentres of any record, or per hypocentre: ``longitude, latitude``
            of the centre of the cell, degrees; ``depth_km``; ``path_term`` and its standard deviation
            ``stddev``, ln units; ``explained``, the share of the prior variance that the records have
            removed; and for cells ``records``, their number at the station.

        Raises
        ------
        UsageError
            The run has no such station, or `cell_deg`, `depth_km` or a hypocentre is out of range or too
            far from the map.
        """
        if not isinstance(station, str):
            raise UsageError(f"station {station!r}: give the id of one station, as text")
        of_station = self.stations[self.stations["station_id"] == station]
        if of_station.empty:
            raise UsageError(
                f"the run has no station {station}: stations.parquet in the run folder lists its stations"
            )
        fit = self.field.covariance
        cells = self._cells(depth_km, cell_deg, hypocentres)
        source_km, place_km = self._source_km(cells), self._place_km(of_station)
        (site,) = self._sites_of(of_station)
        parts = self.field.parts(_pairs(source_km, np.repeat(place_km, len(cells), axis=0), site))
        term = parts["path_own"] + parts["path_shared"] + with_source * parts["source"]
        variance = path_variance(self.field, source_km, place_km[0], site, with_source=with_source)
        prior = fit.path_own + fit.path_shared + with_source * fit.source
        cells = cells.assign(
            path_term=term, stddev=np.sqrt(variance), explained=_explained(variance, prior)
        )
        cells = cells[[*_CELL, "depth_km", "path_term", *_UNKNOWN]]
        if hypocentres is not None:
            return cells
        records = self.records()
        here = with_cells(records[records["station_id"] == station], cell_deg)
        counts = here.groupby(_CELL).size().reindex(pd.MultiIndex.from_frame(cells[_CELL]), fill_value=0)
        return cells.assign(records=counts.to_numpy())

    def sample(
        self, hypocentre: pd.DataFrame, places: pd.DataFrame, size: int = 1, seed: int = 0
    ) -> np.ndarray:
        """Draw deviations from the mean of a prediction, correlated over places, for one new earthquake.

        Added to the predicted mean of ln IM at these places, they make random ground motions in which the
        event term, unknown site, source and path terms and the within-event term are alike at near places.
        The noise of a record and what is unknown of the median are not in them.

        Parameters
        ----------
        hypocentre : pandas.DataFrame
            One row: ``longitude, latitude``, degrees, and ``depth_km``.
        places : pandas.DataFrame, [n, ...]
            Places without records: ``longitude, latitude``, degrees; at most a few thousand.
        size : int
            Number of samples.
        seed : int
            Seed; the same seed gives the same samples.

        Returns
        -------
        ndarray of float64, [size, n]
            Deviations, ln units.

        Raises
        ------
        UsageError
            There is not one hypocentre, `size` is below 1, `seed` below 0, or a coordinate is missing, out
            of range or too far from the map.
        """
        if size < 1 or seed < 0:
            raise UsageError(f"{size} samples with seed {seed}: give at least 1, and a seed from 0")
        hypocentre = self._checked(hypocentre, "hypocentre", [*_CELL, "depth_km"])
        if len(hypocentre) != 1:
            raise UsageError(f"{len(hypocentre)} hypocentres: give one, samples are of one earthquake")
        place_km = self._place_km(self._checked(places, "places", _CELL))
        source_km = np.repeat(self._source_km(hypocentre), len(place_km), axis=0)
        # Each place is a new site of its own.
        cells = _pairs(source_km, place_km, -1 - np.arange(len(place_km)))
        return self.field.sample(cells, size, seed) - self.field.mean(cells)

    def _cells(
        self, depth_km: float | None, cell_deg: float, hypocentres: pd.DataFrame | None
    ) -> pd.DataFrame:
        """Return the source cells of the records, or the given hypocentres after a check."""
        if hypocentres is None:
            return _source_cells(self.records(), depth_km, cell_deg)
        return self._checked(hypocentres, "hypocentres", [*_CELL, "depth_km"])

    def _checked(self, points: pd.DataFrame, what: str, columns: list[str]) -> pd.DataFrame:
        """Return a table of points; raise `UsageError` for one that is no place or too far away."""
        lacking = [name for name in columns if name not in points]
        if lacking:
            raise UsageError(f"{what}: column {listed(lacking)} is missing: give {listed(columns)}")
        ranges = {"longitude": (-180, 360), "latitude": (-90, 90), "depth_km": EVENT_RANGES["depth_km"]}
        values = points[columns].apply(pd.to_numeric, errors="coerce")
        for name in columns:
            low, high = ranges[name]
            bad = ~values[name].between(low, high)
            if bad.any():
                row = int(bad.to_numpy().argmax())
                raise UsageError(
                    f"{what}, row {row + 1}: {name} {points[name].iloc[row]} is no number from {low:g} to "
                    f"{high:g}: correct it or leave the row out"
                )
        centre = [self.grid.longitude], [self.grid.latitude]
        apart_km = distance_km(*centre, values["longitude"], values["latitude"])
        if (apart_km > FARTHEST_KM).any():
            row = int(np.argmax(apart_km > FARTHEST_KM))
            lon, lat = values[_CELL].iloc[row]
            raise UsageError(
                f"{what}, row {row + 1}: {lon:g} E {lat:g} N is {apart_km[row]:,.0f} km from the centre of "
                f"the map, where records say nothing: leave out what is beyond {FARTHEST_KM:,.0f} km"
            )
        return points.assign(**values)

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


def _explained(variance: np.ndarray, prior: float) -> np.ndarray:
    """Return the share of a prior variance that the records have removed, 0 to 1."""
    return np.clip(1 - variance / prior, 0.0, 1.0) if prior > 0 else np.zeros_like(variance)


def _pairs(source_km: np.ndarray, place_km: np.ndarray, site) -> Cells:
    """Return pairs of new events with places."""
    count = len(place_km)
    return Cells(source_km, place_km, np.full(count, -1), np.broadcast_to(site, count))


def _refuse_no_number(value: object, name: str, meaning: str) -> None:
    """Raise `UsageError` for an argument that is no number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise UsageError(f"{name} {value!r} is no number: give {meaning}")


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
    _refuse_no_number(cell_deg, "cell_deg", "the side of a source cell in degrees")
    if not 0 < cell_deg <= LARGEST_CELL_DEG:
        raise UsageError(
            f"source cells of {cell_deg:g} degrees: choose a size above 0, at most {LARGEST_CELL_DEG:g}"
        )
    centres = {name: (np.floor(records[f"event_{name}"] / cell_deg) + 0.5) * cell_deg for name in _CELL}
    return records.assign(**centres)


def _source_cells(records: pd.DataFrame, depth_km: float | None, cell_deg: float) -> pd.DataFrame:
    """Return ``longitude, latitude, depth_km, events, records`` of the source cells of records."""
    lowest, highest = EVENT_RANGES["depth_km"]
    if depth_km is not None:
        _refuse_no_number(depth_km, "depth_km", "the depth of the hypocentres in km")
    if depth_km is not None and not lowest <= depth_km <= highest:
        raise UsageError(
            f"hypocentres at a depth of {depth_km:g} km: choose one from {lowest} to {highest} km"
        )
    located = with_cells(records, cell_deg)
    cells = located.groupby(_CELL).agg(records=("event_id", "size"), events=("event_id", "nunique"))
    depth = located.drop_duplicates("event_id").groupby(_CELL)["depth_km"].median()
    return cells.assign(depth_km=depth if depth_km is None else float(depth_km)).reset_index()
