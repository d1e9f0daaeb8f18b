"""Residuals of records as the field of `tfgmm.stats.field` reads them: earthquakes, stations, sites."""

import dataclasses
from typing import Self

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.schemas import SITE_XY, SOURCE_XY

#: Columns of the hypocentre of an event, km: east, north and down.
HYPOCENTRE = [*SOURCE_XY, "depth_km"]


@dataclasses.dataclass(frozen=True)
class Records:
    """Residuals of records, with the hypocentres of their events and the places of their stations.

    A site is one place, where one or several stations have stood; they share the site terms.

    Attributes
    ----------
    source_km : ndarray, [events, 3]
        Hypocentres: km east and north of the centre of the map, and depth in km.
    station_km : ndarray, [stations, 2]
        Stations: km east and north of the centre of the map.
    site : ndarray of int, [stations]
        Index of the site of each station, from 0.
    event_ids, station_ids, site_ids : ndarray of str
        Ids of events, stations and sites.
    event, station : ndarray of int, [n]
        Event and station of each record, ordered by event and then by station.
    residual : ndarray of float64, [n]
        Observed minus predicted ln IM.
    noise : ndarray of float64, [n], or None
        Variance of the noise of each record, squared ln units; None where it is the same for all records
        and is fitted (`tfgmm.stats.field_covariance.Covariance`).
    """

    source_km: np.ndarray
    station_km: np.ndarray
    site: np.ndarray
    event_ids: np.ndarray
    station_ids: np.ndarray
    site_ids: np.ndarray
    event: np.ndarray
    station: np.ndarray
    residual: np.ndarray
    noise: np.ndarray | None = None

    @classmethod
    def of(cls, rows: pd.DataFrame, residual, noise=None) -> Self:
        """Arrange a table of records by events, stations and sites.

        Parameters
        ----------
        rows : pandas.DataFrame, [n, ...]
            A row per record: ``event_id, station_id, site_id``; hypocentres as ``event_x_km, event_y_km,
            depth_km`` and stations as ``x_km, y_km`` (km).
        residual : array_like, [n]
            Observed minus predicted ln IM.
        noise : array_like, [n], optional
            Variance of the noise of each record, squared ln units.

        Returns
        -------
        Records
            The records, ordered by the ids of events and stations, whatever the order of the rows.

        Raises
        ------
        DataError
            There is no record, a coordinate or residual is no finite number, a noise variance is not
            positive, or a station has two records of one event.
        """
        if rows.empty:
            raise DataError("field: there is no record to condition it on: bring at least one")
        columns = [*HYPOCENTRE, *SITE_XY]
        values = rows[columns].assign(residual=np.asarray(residual, float)).reset_index(drop=True)
        values["noise"] = 1.0 if noise is None else np.asarray(noise, float)
        ids = rows[["event_id", "station_id", "site_id"]].astype(str).reset_index(drop=True)
        _refuse_unusable(values, ids)
        event, event_ids = pd.factorize(ids["event_id"], sort=True)
        station, station_ids = pd.factorize(ids["station_id"], sort=True)
        site, site_ids = pd.factorize(ids["site_id"], sort=True)
        first_of_event = np.unique(event, return_index=True)[1]
        first_of_station = np.unique(station, return_index=True)[1]
        order = np.lexsort((station, event))
        return cls(
            values[HYPOCENTRE].to_numpy(float)[first_of_event],
            values[SITE_XY].to_numpy(float)[first_of_station],
            site[first_of_station],
            np.asarray(event_ids, str),
            np.asarray(station_ids, str),
            np.asarray(site_ids, str),
            event[order],
            station[order],
            values["residual"].to_numpy()[order],
            None if noise is None else values["noise"].to_numpy()[order],
        )

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.event)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of events and of stations."""
        return len(self.source_km), len(self.station_km)

    @property
    def same_site(self) -> np.ndarray:
        """Return 1 for two stations of one site and 0 for others, as float32, [stations, stations]."""
        return np.equal.outer(self.site, self.site).astype("float32")

    def matrix(self, values) -> np.ndarray:
        """Return values of the records as a matrix, zero where a station has no record of an event.

        Parameters
        ----------
        values : float or array_like, [n]
            A value for each record.

        Returns
        -------
        ndarray of float32, [events, stations]
            The values by event and station.
        """
        whole = np.zeros(self.shape, "float32")
        whole[self.event, self.station] = values
        return whole

    def chosen(self, keep: np.ndarray) -> Self:
        """Return some of the records; events, stations and sites stay, so that indices keep their meaning.

        Parameters
        ----------
        keep : ndarray of bool, [n]
            True for the records that stay.

        Returns
        -------
        Records
            The records that stay, in the same order.
        """
        return dataclasses.replace(
            self,
            event=self.event[keep],
            station=self.station[keep],
            residual=self.residual[keep],
            noise=None if self.noise is None else self.noise[keep],
        )

    def present(self) -> Self:
        """Return the same records with those events, stations and sites alone that have one.

        Returns
        -------
        Records
            The records in the same order, with indices of their own.
        """
        events, event = np.unique(self.event, return_inverse=True)
        stations, station = np.unique(self.station, return_inverse=True)
        sites, site = np.unique(self.site[stations], return_inverse=True)
        return dataclasses.replace(
            self,
            source_km=self.source_km[events],
            station_km=self.station_km[stations],
            site=site,
            event_ids=self.event_ids[events],
            station_ids=self.station_ids[stations],
            site_ids=self.site_ids[sites],
            event=event,
            station=station,
        )

    def cells(self) -> "Cells":
        """Return the events and places of the records."""
        return Cells(
            self.source_km[self.event],
            self.station_km[self.station],
            self.event,
            self.site[self.station],
        )


@dataclasses.dataclass(frozen=True)
class Cells:
    """Pairs of an earthquake and a place at which the field is wanted.

    Attributes
    ----------
    source_km : ndarray, [n, 3]
        Hypocentre of each pair: km east, north and down.
    place_km : ndarray, [n, 2]
        Place of each pair: km east and north.
    event : ndarray of int, [n]
        Index of the event among those of the records; a negative number for an event without records, equal
        for two pairs if they have the same event.
    site : ndarray of int, [n]
        Index of the site among those of the records; a negative number for a site without records, equal
        for two pairs if they have the same site.
    """

    source_km: np.ndarray
    place_km: np.ndarray
    event: np.ndarray
    site: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame, records: Records) -> Self:
        """Find the events and sites of a table among those of the records.

        Parameters
        ----------
        rows : pandas.DataFrame, [n, ...]
            ``event_id, site_id``; hypocentres as ``event_x_km, event_y_km, depth_km`` and places as ``x_km,
            y_km`` (km).
        records : Records
            Records whose events and sites are the known ones.

        Returns
        -------
        Cells
            The pairs, in the order of the rows.
        """
        event, site = (
            _known_or_new(rows[name], known)
            for name, known in (("event_id", records.event_ids), ("site_id", records.site_ids))
        )
        return cls(rows[HYPOCENTRE].to_numpy(float), rows[SITE_XY].to_numpy(float), event, site)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.event)

    def __getitem__(self, chosen) -> "Cells":
        """Return some of the pairs, by a mask, a slice or indices."""
        return Cells(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))


def _known_or_new(ids: pd.Series, known: np.ndarray) -> np.ndarray:
    """Return the index of each id among `known`, and -1, -2, ... for ids that are not there, [n]."""
    index = pd.Index(known).get_indexer(pd.Index(ids.astype(str)))
    new, _ = pd.factorize(ids.astype(str))
    return np.where(index >= 0, index, -1 - new)


def _refuse_unusable(values: pd.DataFrame, ids: pd.DataFrame) -> None:
    """Raise `DataError` for a value that is no finite number, a bad noise or a station given twice."""
    bad = ~np.isfinite(values.to_numpy(float))
    bad[:, values.columns.get_loc("noise")] |= values["noise"].to_numpy() <= 0
    if bad.any():
        row, column = np.argwhere(bad)[0]
        record = ids.iloc[row]
        above = ", above 0" if values.columns[column] == "noise" else ""
        raise DataError(
            f"field: {values.columns[column]} of the record of event {record['event_id']} at station "
            f"{record['station_id']} is {values.iloc[row, column]}; a finite number is needed"
            f"{above}: drop the record or mend its source"
        )
    twice = ids.duplicated(["event_id", "station_id"])
    if twice.any():
        record = ids[twice].iloc[0]
        raise DataError(
            f"field: station {record['station_id']} has two records of event {record['event_id']}: keep one"
        )
