"""Kriging of the planted median from simulated records, and errors of predicted maps of the median.

Planted means: chosen by the simulation, and therefore known exactly.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

from tfgmm.simulation import truth
from tfgmm.simulation.truth import RandomField, Truth
from tfgmm.stats import ergodic

#: Number of records whose waves (columns of the design matrix) are in memory at once.
_ROWS = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Oracle:
    r"""Kriging of the planted median with its true covariance, given the training records of a model.

    .. math:: y_{es} - \mu_{es} = C(x_s) + S(x_e) + P(x_e, x_s) + N_s + B_e + W_{es}

    with y the ln IM of event e at site s. Known are :math:`\mu`, the ergodic median plus the
    layer-driven site term, all variances and correlations, and the wavenumbers of the random fields.
    Unknown are the terms on the right: the correlated site field C, the source field S, the path field P,
    the nuggets N (the part of the site term that is independent from site to site), the event terms B and
    the within-event scatter W. The fields are finite sums of waves with independent normal weights, so
    the posterior mean of kriging equals the posterior mean of a Bayesian linear regression on the weights
    and the nuggets. No model can predict the median with a smaller expected squared error from the same
    records, unless the records are truncated at a trigger level: the oracle does not model truncation.

    Attributes
    ----------
    planted : Truth
        The planted truth, of which the oracle uses the known parts only.
    im : str
        Intensity measure.
    site, source, path : RandomField
        Posterior means of C, S and P, ln units. C is determined up to a constant, which is chosen so that
        the mean of C over the land of the study area (`truth.BOX`) is zero.
    nuggets : pandas.Series
        Posterior mean of N by site id, ln units.

    References
    ----------
    Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, section 2.1.
    """

    planted: Truth
    im: str
    site: RandomField
    source: RandomField
    path: RandomField
    nuggets: pd.Series

    @classmethod
    def fit(
        cls,
        planted: Truth,
        im: str,
        records: pd.DataFrame,
        events: pd.DataFrame,
        stations: pd.DataFrame,
        *,
        watch: Callable[[Sequence], Iterable] = iter,
    ) -> Self:
        """Return the oracle, fitted to records by the normal equations; event terms are eliminated exactly.

        The unknowns are the weights of the waves and the nuggets. For the 3 x 4000 weights of the default
        settings the matrix of the normal equations takes 1.2 GB.

        Parameters
        ----------
        planted : Truth
            The planted truth from which the records were simulated.
        im : str
            Intensity measure, one of `truth.IMS`.
        records : pandas.DataFrame
            Training records: ``event_id``, ``station_id`` and ``ln_im``, the natural logarithm of IM.
        events : pandas.DataFrame
            ``event_id``, ``longitude`` and ``latitude`` (degrees), ``depth_km``, ``magnitude``; events
            without records are ignored.
        stations : pandas.DataFrame
            ``station_id``, ``site_id``, ``longitude`` and ``latitude`` (degrees); stations without records
            are ignored.
        watch : callable
            Function that takes the list of blocks of records and yields the same blocks, to show progress.

        Returns
        -------
        Oracle
        """
        table = _table(planted, im, records, events, stations)
        unknowns = _Unknowns.of(planted, im, table["site_id"])
        gram, right = np.eye(unknowns.size, order="F"), np.zeros(unknowns.size)
        for block in watch(_blocks(table)):
            design, residual = (
                _without_event_terms(part, block["event_id"]) / truth.PHI_SS
                for part in (unknowns.design(block), block["residual"].to_numpy())
            )
            # Adds design.T @ design in place, to the lower triangle.
            gram = dsyrk(1.0, design.T, 1.0, gram, lower=1, overwrite_c=1)
            right += design.T @ residual
        factor = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        return cls(planted, im, *unknowns.terms(cho_solve(factor, right)))

    def median(self, events: pd.DataFrame, longitude, latitude) -> np.ndarray:
        """Return the posterior mean of the planted median of ln IM (IM in g), [n_events, n_points].

        Parameters
        ----------
        events : pandas.DataFrame
            ``longitude``, ``latitude`` (degrees), ``depth_km``, ``magnitude``.
        longitude, latitude : array_like, [n_points]
            Coordinates of the points, degrees.
        """
        epicentre = truth.project(events["longitude"], events["latitude"])
        point = truth.project(longitude, latitude)
        mean_over_box = self.site.at(truth.project(*truth.land_of_box())).mean(axis=0)
        return (
            self.planted.ergodic_median(self.im, events, longitude, latitude)
            + _layer_term(self.planted, self.im, longitude, latitude)
            + (self.site.at(point) - mean_over_box)[:, 0]
            + self.source.at(epicentre)
            + self.path.between(epicentre, point, [0])[..., 0]
        )


def map_errors(predicted: np.ndarray, planted: np.ndarray) -> dict[str, float]:
    """Return the errors of predicted maps, predicted minus planted ln IM; all pixels have equal weight.

    Parameters
    ----------
    predicted, planted : ndarray, [n_events, n_points]
        Predicted and planted median of ln IM (IM in g), one map per event.

    Returns
    -------
    dict of str to float
        In ln units: ``rmse``, the root mean square error over all pixels of all events; ``rmse_pattern``,
        the root mean square error after subtracting the mean error of each map; ``bias``, the mean over
        events of the median error of the event's map.
    """
    error = predicted - planted
    pattern = error - error.mean(axis=1, keepdims=True)
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "rmse_pattern": float(np.sqrt((pattern**2).mean())),
        "bias": float(np.median(error, axis=1).mean()),
    }


@dataclasses.dataclass(frozen=True, eq=False)
class _Unknowns:
    """Unknowns of the oracle, independent and standard normal: wave weights of three fields, and nuggets.

    Attributes
    ----------
    fields : tuple of RandomField
        Site, source and path field, each a sum of n_waves cosines and n_waves sines.
    scales : tuple of float
        Standard deviation of one wave weight of each field, ln units.
    mean_over_box : ndarray, [2 n_waves]
        Mean of each wave of the site field over the land of the study area (`truth.BOX`).
    sites : pandas.Index
        Site ids; each site has one nugget.
    """

    fields: tuple[RandomField, RandomField, RandomField]
    scales: tuple[float, float, float]
    mean_over_box: np.ndarray
    sites: pd.Index

    @classmethod
    def of(cls, planted: Truth, im: str, site_ids: pd.Series) -> Self:
        """Return the unknowns for an intensity measure and the sites in `site_ids`, which may repeat."""
        fields = planted.site_field, planted.source_field, planted.path_field
        stddevs = planted.correlated_scale(im), truth.PHI_SOURCE, truth.PHI_PATH
        # A weight has the variance 1 / n_waves.
        scales = tuple(s / np.sqrt(f.wavenumbers.shape[1]) for s, f in zip(stddevs, fields, strict=True))
        mean_over_box = fields[0].waves(truth.project(*truth.land_of_box())).mean(axis=0)
        return cls(
            fields, scales, mean_over_box, pd.Index(np.unique(site_ids.to_numpy(str)), name="site_id")
        )

    @property
    def size(self) -> int:
        """Return the number of unknowns: 2 n_waves for each of the three fields, and one for each site."""
        return sum(len(field.weights) for field in self.fields) + len(self.sites)

    def design(self, table: pd.DataFrame) -> np.ndarray:
        """Return the design matrix, the derivatives of ln IM by the unknowns, ln units, [n_records, size].

        `table` has a row per record, as `_table` returns it.
        """
        epicentre, place = (table[list(names)].to_numpy() for names in (("ex", "ey"), ("sx", "sy")))
        site, source, path = self.fields
        waves = (
            site.waves(place) - self.mean_over_box,
            source.waves(epicentre),
            path.waves(epicentre, place),
        )
        nugget = table["site_id"].to_numpy(str)[:, np.newaxis] == self.sites.to_numpy(str)
        parts = [scale * part for scale, part in zip(self.scales, waves, strict=True)]
        return np.hstack([*parts, truth.PHI_NUGGET * nugget])

    def terms(self, values: np.ndarray) -> tuple[RandomField, RandomField, RandomField, pd.Series]:
        """Return site, source and path field, and nuggets by site id, in ln units, from unknowns [size]."""
        *weights, nuggets = np.split(values, np.cumsum([len(field.weights) for field in self.fields]))
        site, source, path = (
            RandomField(field.wavenumbers, scale * field_weights[:, np.newaxis])
            for field, scale, field_weights in zip(self.fields, self.scales, weights, strict=True)
        )
        return site, source, path, pd.Series(truth.PHI_NUGGET * nuggets, self.sites)


def _layer_term(planted: Truth, im: str, longitude, latitude) -> np.ndarray:
    """Return the part of the site term that depends on the site layers, at points, ln units, [n_points]."""
    return planted.site_parts(longitude, latitude)[0, :, truth.IMS.index(im)]


def _table(planted: Truth, im: str, records, events, stations) -> pd.DataFrame:
    """Return one row per record, sorted by event, with coordinates and residual.

    Columns that are added: ``ex``, ``ey`` and ``sx``, ``sy``, the epicentre and the station, km; and
    ``residual``, ln IM minus the ergodic median and the layer-driven site term, ln units.
    """
    ex, ey = truth.project(events["longitude"], events["latitude"]).T
    sx, sy = truth.project(stations["longitude"], stations["latitude"]).T
    layers = _layer_term(planted, im, stations["longitude"], stations["latitude"])
    sources = events[["event_id", "magnitude", "depth_km"]].assign(ex=ex, ey=ey)
    places = stations[["station_id", "site_id"]].assign(sx=sx, sy=sy, layers=layers)
    table = records[["event_id", "station_id", "ln_im"]].merge(sources, on="event_id")
    table = table.merge(places, on="station_id").sort_values("event_id", ignore_index=True)
    r_hyp_km = np.hypot(np.hypot(table["ex"] - table["sx"], table["ey"] - table["sy"]), table["depth_km"])
    median = ergodic.design(table["magnitude"], r_hyp_km, table["depth_km"]) @ truth.COEFFICIENTS[im]
    return table.assign(residual=table["ln_im"] - table["layers"] - median)


def _blocks(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Split a table of records into a list of blocks of about `_ROWS` rows that never divide an event."""
    first = pd.Series(table.index).groupby(table["event_id"]).transform("min")
    return [block for _, block in table.groupby(first // _ROWS)]


def _without_event_terms(rows: np.ndarray, event_id: pd.Series) -> np.ndarray:
    r"""Return rows of a regression without the event terms: multiply by :math:`(I + \theta^2 J)^{-1/2}`.

    With :math:`\theta = \tau / \phi_{SS}` and J a matrix of ones, this subtracts the share
    :math:`1 - (1 + n \theta^2)^{-1/2}` of the mean row of an event with n records from each row of the
    event.

    Parameters
    ----------
    rows : ndarray, [n_records, ...]
        Rows of the design matrix, or residuals in ln units; sorted by event.
    event_id : pandas.Series, [n_records]
        Event id of each row.
    """
    _, first, count = np.unique(event_id.to_numpy(str), return_index=True, return_counts=True)
    share = 1 - 1 / np.sqrt(1 + count * (truth.TAU / truth.PHI_SS) ** 2)
    means = np.add.reduceat(rows, first).T / count * share
    return rows - np.repeat(means, count, axis=-1).T
