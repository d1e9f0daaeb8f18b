"""Errors of maps against the planted median, and the least error that the records allow."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

from tfgmm.simulation import truth
from tfgmm.simulation.random_field import RandomField
from tfgmm.simulation.truth import Truth
from tfgmm.stats import ergodic

#: Records whose waves are in memory at once.
_ROWS = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Oracle:
    r"""Kriging of the planted median with its true covariance, given the training records of a model.

    .. math:: y_{es} - \mu_{es} = C(x_s) + S(x_e) + P(x_e, x_s) + N_s + B_e + W_{es}

    Known are :math:`\mu`, the ergodic median plus the layer-driven site term, all variances and
    correlations, and the waves of the fields. Unknown are the terms on the right: the correlated site
    field C, the source field S, the path field P, the nuggets N, the event terms B and the scatter W.
    The fields are finite sums of waves with independent normal weights, so the posterior mean of kriging
    is that of a Bayesian linear regression on these weights and the nuggets. No model can predict the
    median with a smaller expected squared error from these records, unless a trigger level, of which the
    oracle does not know, has truncated them.

    Attributes
    ----------
    planted : Truth
        The truth, of which only the known parts are used.
    im : str
        Intensity measure.
    site, source, path : RandomField
        Posterior means of C (but for a constant, since its mean over the box is zero), S and P, ln units.
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
        """Solve the normal equations of all wave weights and nuggets, with event terms eliminated exactly.

        For the 3 x 4000 weights of the simulated records the equations take 1.2 GB.

        Parameters
        ----------
        planted : Truth
        im : str
        records : pandas.DataFrame
            ``event_id, station_id, ln_im``.
        events, stations : pandas.DataFrame
            Tables of the dataset, which may include events and stations without records.
        watch : callable
            Takes the blocks of records and yields them again, to show progress.
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
            ``longitude, latitude, depth_km, magnitude``.
        longitude, latitude : array_like, [n_points]
            Degrees.
        """
        epicentre = truth.project(events["longitude"], events["latitude"])
        point = truth.project(longitude, latitude)
        mean_over_box = self.site.at(truth.project(*truth.land_of_box())).mean(axis=0)
        return (
            self.planted.ergodic_median(self.im, events, longitude, latitude)
            + _layer_term(self.planted, self.im, longitude, latitude)
            + (self.site.at(point) - mean_over_box)[:, 0]
            + self.source.at(epicentre)
            + self.path.between(epicentre, point, 0)
        )


def map_errors(predicted: np.ndarray, planted: np.ndarray) -> dict[str, float]:
    """Return errors of maps, predicted minus planted ln IM; each pixel of each event weighs the same.

    Parameters
    ----------
    predicted, planted : ndarray, [n_events, n_points]

    Returns
    -------
    dict
        ``rmse``; ``rmse_pattern``, the same after the mean of each map is removed; ``bias``, the mean
        over events of the median error of a map. All in ln units.
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
    """Unknowns of the oracle, independent standard normal: weights of the waves of three fields, nuggets.

    Attributes
    ----------
    fields : tuple of RandomField
        Site, source and path field.
    scales : tuple of float
        Standard deviation of a weight of each field, ln units.
    mean_over_box : ndarray, [2 n_waves]
        Mean of the waves of the site field over the land of the box.
    sites : pandas.Index
        Site ids, one nugget each.
    """

    fields: tuple[RandomField, RandomField, RandomField]
    scales: tuple[float, float, float]
    mean_over_box: np.ndarray
    sites: pd.Index

    @classmethod
    def of(cls, planted: Truth, im: str, site_ids: pd.Series) -> Self:
        """Return the unknowns of a planted truth, for records at sites."""
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
        """Return the number of unknowns."""
        return sum(len(field.weights) for field in self.fields) + len(self.sites)

    def design(self, table: pd.DataFrame) -> np.ndarray:
        """Return the derivative of ln IM of each record by each unknown, [n_records, size]."""
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
        """Return the three fields and the nuggets, in ln units, for values of the unknowns, [size]."""
        *weights, nuggets = np.split(values, np.cumsum([len(field.weights) for field in self.fields]))
        site, source, path = (
            RandomField(field.wavenumbers, scale * field_weights[:, np.newaxis])
            for field, scale, field_weights in zip(self.fields, self.scales, weights, strict=True)
        )
        return site, source, path, pd.Series(truth.PHI_NUGGET * nuggets, self.sites)


def _layer_term(planted: Truth, im: str, longitude, latitude) -> np.ndarray:
    """Return the layer-driven site term at points, ln units, [n_points]."""
    return planted.site_parts(longitude, latitude)[0, :, truth.IMS.index(im)]


def _table(planted: Truth, im: str, records, events, stations) -> pd.DataFrame:
    """Return a row per record, by event: epicentre and place in km, and ``residual``, ln IM less mu."""
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
    """Split a table into blocks of about `_ROWS` records, with all records of an event in one block."""
    first = pd.Series(table.index).groupby(table["event_id"]).transform("min")
    return [block for _, block in table.groupby(first // _ROWS)]


def _without_event_terms(rows: np.ndarray, event_id: pd.Series) -> np.ndarray:
    r"""Eliminate event terms: multiply the rows of each event by :math:`(I + \theta^2 J)^{-1/2}`.

    With :math:`\theta = \tau / \phi_{SS}` and J full of ones, the share :math:`1 - (1 + n \theta^2)^{-1/2}`
    of the mean row of an event with n records is subtracted from each of its rows.

    Parameters
    ----------
    rows : ndarray, [n_records, ...]
        Sorted by event.
    event_id : pandas.Series, [n_records]
    """
    _, first, count = np.unique(event_id.to_numpy(str), return_index=True, return_counts=True)
    share = 1 - 1 / np.sqrt(1 + count * (truth.TAU / truth.PHI_SS) ** 2)
    means = np.add.reduceat(rows, first).T / count * share
    return rows - np.repeat(means, count, axis=-1).T
