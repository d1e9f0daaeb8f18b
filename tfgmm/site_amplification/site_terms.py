"""Empirical site terms: what the records say of their stations, without any network."""

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from tfgmm.data.roles import TRAINING, VALIDATION, training_records
from tfgmm.runs.folds import Fold
from tfgmm.site_amplification.amplification import Estimate
from tfgmm.site_amplification.interpolation import InterpolationVariance
from tfgmm.stats import ergodic, site_kriging


@dataclasses.dataclass(frozen=True, eq=False)
class SiteTerms:
    r"""Site terms of the ergodic mixed-effects fit to all records.

    Attributes
    ----------
    model : ErgodicModel
    records : pandas.DataFrame
        With ``residual``, ln IM less the median and the event term.
    table : pandas.DataFrame
        By ``site_id``: ``site_term``, the best linear unbiased prediction (shrunken towards zero);
        ``site_mean``, the mean residual (not shrunken); ``site_mean_variance``,
        :math:`\phi_{SS}^2 / n`; ``site_records``, n.
    """

    model: ergodic.ErgodicModel
    records: pd.DataFrame
    table: pd.DataFrame

    @classmethod
    def fit(cls, records: pd.DataFrame) -> Self:
        """From records with ``event_id, site_id, magnitude, depth_km, r_hyp_km, ln_im, x_km, y_km``.

        Raises
        ------
        DataError
            As `tfgmm.stats.ergodic.fit`.

        References
        ----------
        Al Atik et al. (2010), Seismol. Res. Lett. 81(5), 794-801.
        """
        model = ergodic.fit(records)
        event_term = model.event_terms.reindex(records["event_id"]).to_numpy()
        residual = records["ln_im"] - model.median_of(records) - event_term
        by_site = residual.groupby(records["site_id"])
        count = by_site.size()
        table = pd.DataFrame(
            {
                "site_term": model.site_terms.reindex(count.index),
                "site_mean": by_site.mean(),
                "site_mean_variance": model.phi_ss**2 / count,
                "site_records": count,
            }
        )
        return cls(model, records.assign(residual=residual), table)

    def kriged(self) -> site_kriging.KrigedSites:
        """The same terms kriged: a map that knows no layers and no network."""
        return site_kriging.fit(self.records, self.records["residual"], self.model.phi_ss)


def correlation(one, other) -> float:
    """Pearson's r of the pairs that are both known; NaN for fewer than three.

    >>> round(correlation([1, 2, 3, np.nan], [2, 4, 7, 1]), 3)
    0.993
    """
    one, other = np.asarray(one, float), np.asarray(other, float)
    known = np.isfinite(one + other)
    return float(np.corrcoef(one[known], other[known])[0, 1]) if known.sum() > 2 else float("nan")


# ---- stations beside the maps --------------------------------------------------------------------


def taught_by(records: pd.DataFrame, folds: Sequence[Fold]) -> pd.DataFrame:
    """Stations that trained in any fold, and how many of their records did.

    Returns
    -------
    pandas.DataFrame
        ``station_id, x_km, y_km, records``.
    """
    columns = ["event_id", "station_id", "x_km", "y_km"]
    rows = [training_records(fold.roles(records))[columns] for fold in folds]
    seen = pd.concat(rows).drop_duplicates(columns[:2]).groupby("station_id")
    return seen[["x_km", "y_km"]].first().assign(records=seen.size()).reset_index()


def held_out(stations: pd.DataFrame, folds: Sequence[Fold], reference: str) -> pd.DataFrame:
    """The reference stations, each in the fold that held it out.

    Parameters
    ----------
    stations : pandas.DataFrame
        ``station_id, network, x_km, y_km`` and whatever else is to be kept.
    folds : sequence of Fold
    reference : str

    Returns
    -------
    pandas.DataFrame
        Rows of `stations` with ``chunk`` and ``nearest_km``, the distance to the nearest station that
        trained in this fold.
    """
    parts = []
    for fold in folds:
        role = stations["station_id"].map(fold.station_role)
        held = stations[(role == VALIDATION) & (stations["network"] == reference)]
        trained = KDTree(stations.loc[role == TRAINING, ["x_km", "y_km"]])
        parts.append(held.assign(chunk=fold.chunk, nearest_km=trained.query(held[["x_km", "y_km"]])[0]))
    return pd.concat(parts, ignore_index=True)


def interpolation_variance(
    estimate: Estimate, held: pd.DataFrame, terms: pd.DataFrame, alone: float
) -> InterpolationVariance:
    """Fitted to held-out sites: their mean residuals less the map of the networks that never saw them.

    Known are the sampling of the mean residuals, the random start of these networks, and the jackknife
    variance, which holds some of the error of interpolation: what is fitted is what it lacks, so that
    their sum is the error that is found at held-out sites.

    Parameters
    ----------
    estimate : Estimate
    held : pandas.DataFrame
        Of `held_out`, with ``site_id, row, col``.
    terms : pandas.DataFrame
        `SiteTerms.table`.
    alone : float
        Standard deviation of the part that each site has alone, ln units.
    """
    of_map = estimate.without_chunk[held["chunk"], held["row"], held["col"]]
    started = estimate.initialisation_variance() / estimate.members.shape[1]
    known = (started + estimate.jackknife_variance())[held["row"], held["col"]]
    table = held[["site_id", "nearest_km"]].assign(map=of_map, known=known)
    sites = table.groupby("site_id").mean().join(terms, how="inner")
    return InterpolationVariance.fit(
        sites["nearest_km"],
        sites["site_mean"] - sites["map"],
        sites["site_mean_variance"] + sites["known"],
        alone,
    )
