"""Correlation between intensity measures of each part of the residuals, and a published model beside it."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tfgmm.core import imt
from tfgmm.core.errors import DataError
from tfgmm.core.shown import Shown

#: Parts of a residual. The last two add up to the within-event part, and this and the second to the total.
PARTS = ("total", "between_event", "within_event", "site_to_site", "single_station")
#: Smallest number of records that two measures must share.
FEWEST_RECORDS = 100
#: Smallest eigenvalue of a correlation matrix, so that its Cholesky factor exists in single precision too.
SMALLEST_EIGENVALUE = 1e-4
#: Period that stands for PGA, and range of periods, s, of Baker & Jayaram (2008).
PGA_PERIOD_S, LONGEST_S = 0.01, 10.0


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ImCorrelation(Shown):
    """Correlation between intensity measures, and standard deviations, of each part of the residuals.

    Attributes
    ----------
    ims : tuple of str, [im]
        Intensity measures.
    correlation : ndarray, [part, im, im]
        Positive definite correlation matrix of each of `PARTS`.
    stddev : ndarray, [part, im]
        Standard deviations, ln units; 0 where the estimate of the variance is not positive.
    records, events, sites : ndarray of int, [im, im]
        Numbers of the records that have both measures, and of their events and sites.
    """

    ims: tuple[str, ...]
    correlation: np.ndarray
    stddev: np.ndarray
    records: np.ndarray
    events: np.ndarray
    sites: np.ndarray

    def _facts(self) -> dict[str, str]:
        """Return the measures, the parts, and how many records tell of the pair with fewest."""
        return {
            "measures": ", ".join(self.ims),
            "parts": ", ".join(PARTS),
            "records of each pair": f"{self.records.min():,} or more",
        }

    def table(self) -> pd.DataFrame:
        """Return the correlations as a table with a row per part and pair of measures.

        Returns
        -------
        pandas.DataFrame
            ``part``, ``im``, ``other_im``, ``correlation``; ``stddev`` and ``other_stddev``, standard
            deviations of the part of the two measures, ln units; ``records, events, sites``, the numbers of
            the records that have both, and of their events and sites; and ``baker_jayaram_2008``, the
            published correlation of total residuals, NaN for PGV.
        """
        published = baker_jayaram_2008(self.ims)
        first, second = np.triu_indices(len(self.ims))
        names = np.array(self.ims)
        parts = [
            pd.DataFrame(
                {
                    "part": part,
                    "im": names[first],
                    "other_im": names[second],
                    "correlation": matrix[first, second],
                    "stddev": stddev[first],
                    "other_stddev": stddev[second],
                    "records": self.records[first, second],
                    "events": self.events[first, second],
                    "sites": self.sites[first, second],
                    "baker_jayaram_2008": published[first, second],
                }
            )
            for part, matrix, stddev in zip(PARTS, self.correlation, self.stddev, strict=True)
        ]
        return pd.concat(parts, ignore_index=True)

    @classmethod
    def of_table(cls, table: pd.DataFrame) -> "ImCorrelation":
        """Return the correlations that a table holds.

        Parameters
        ----------
        table : pandas.DataFrame
            Result of `table`, with any further columns.

        Returns
        -------
        ImCorrelation
            Correlations; where the rounding of a file has made a matrix indefinite, it is mended.

        Raises
        ------
        KeyError, ValueError
            A column, a part or a pair of measures is missing.
        """
        ims = tuple(dict.fromkeys(table["im"]))
        first, second = np.triu_indices(len(ims))
        pairs = pd.MultiIndex.from_arrays([np.array(ims)[first], np.array(ims)[second]])
        by_part = {part: rows.set_index(["im", "other_im"]) for part, rows in table.groupby("part")}

        def matrix(part: str, column: str) -> np.ndarray:
            """Return a column of the rows of a part as a symmetric matrix, [im, im]."""
            values = by_part[part].loc[pairs, column].to_numpy()
            if not len(values) == len(pairs) or not np.isfinite(values).all():
                raise ValueError(f"{column} of {part} is not given once for each pair of measures")
            whole = np.empty((len(ims), len(ims)), values.dtype)
            whole[first, second] = whole[second, first] = values
            return whole

        return cls(
            ims,
            np.array([positive_definite(matrix(part, "correlation")) for part in PARTS]),
            np.array([np.diag(matrix(part, "stddev")) for part in PARTS]),
            *(matrix(PARTS[0], column) for column in ("records", "events", "sites")),
        )


def estimate(residuals, ims: Sequence[str], event, site) -> ImCorrelation:
    r"""Estimate the correlation between intensity measures of each part of residuals, by moments.

    .. math:: r_{es,i} = \mu_i + \delta B_{e,i} + \delta S2S_{s,i} + \delta WS_{es,i}

    with the between-event, the site-to-site and the single-station part of measure i, and covariance
    matrices :math:`\Sigma_B, \Sigma_S, \Sigma_W` between measures. For two measures i and j, and the N
    records that have both, the sums of products about the mean of all N,

    .. math:: \sum r_i r_j, \quad \sum_e n_e \bar r_{e,i} \bar r_{e,j}, \quad
        \sum_s n_s \bar r_{s,i} \bar r_{s,j},

    have expectations that are linear in the (i, j) elements of the three matrices; so these follow from
    three equations, without bias for any distribution and however unequal the numbers of records are
    (Henderson's method I). The variances of the pair come from the same records. Where a part has no
    positive variance in a measure, its correlation is that of the total. Each matrix is then made positive
    definite: eigenvalues below `SMALLEST_EIGENVALUE` are raised to it, and the diagonal scaled back to 1.

    Parameters
    ----------
    residuals : array_like, [im, record]
        Residuals, ln units; NaN where a record lacks the measure. They should be cross-fitted, that is of
        records of which the model has not been trained: residuals of training records have lost their site
        and event terms.
    ims : sequence of str, [im]
        Intensity measures.
    event, site : array_like, [record]
        Event id and site id of each record.

    Returns
    -------
    ImCorrelation
        Correlation of each part.

    Raises
    ------
    DataError
        Two measures share fewer than `FEWEST_RECORDS` records, or events and sites cannot be told apart.

    References
    ----------
    Henderson (1953), Estimation of variance and covariance components, Biometrics 9(2), 226-252. Searle,
    Casella & McCulloch (1992), Variance components, section 5.3.
    """
    values = np.asarray(residuals, float)
    names = tuple(map(imt.canonical, ims))
    event_code, site_code = pd.factorize(np.asarray(event))[0], pd.factorize(np.asarray(site))[0]
    known = np.isfinite(values)
    records = known.astype(int) @ known.T
    events, sites = np.zeros_like(records), np.zeros_like(records)
    correlation = np.tile(np.eye(len(names)), (len(PARTS), 1, 1))
    stddev = np.empty((len(PARTS), len(names)))
    for i, j in itertools.combinations_with_replacement(range(len(names)), 2):
        if records[i, j] < FEWEST_RECORDS:
            raise DataError(
                f"correlation: {names[i]} and {names[j]} share {records[i, j]} records, expected "
                f"{FEWEST_RECORDS} or more: leave out one of the measures"
            )
        both = known[i] & known[j]
        events[i, j] = events[j, i] = len(np.unique(event_code[both]))
        sites[i, j] = sites[j, i] = len(np.unique(site_code[both]))
        covariance = _covariance_parts(values[[i, j]][:, both], event_code[both], site_code[both])
        variance = np.maximum(covariance[:, [0, 1], [0, 1]], 0)
        if i == j:
            stddev[:, i] = np.sqrt(variance[:, 0])
            continue
        scale = np.sqrt(variance.prod(axis=1))
        pair = np.divide(covariance[:, 0, 1], scale, out=np.full(len(PARTS), np.nan), where=scale > 0)
        pair = np.clip(np.where(np.isnan(pair), pair[0], pair), -1, 1)
        correlation[:, i, j] = correlation[:, j, i] = pair
    matrices = np.array([positive_definite(matrix) for matrix in correlation])
    return ImCorrelation(names, matrices, stddev, records, events, sites)


def _covariance_parts(pair: np.ndarray, event: np.ndarray, site: np.ndarray) -> np.ndarray:
    """Return the covariance matrix of two measures in each of `PARTS`, [part, 2, 2].

    `pair` are the residuals [2, record]; `event` and `site` are numbers of the events and sites, [record].
    """
    n = len(event)
    of_event, event_counts = np.unique(event, return_inverse=True, return_counts=True)[1:]
    of_site, site_counts = np.unique(site, return_inverse=True, return_counts=True)[1:]
    cells, of_cell = np.unique(of_event * len(site_counts) + of_site, return_counts=True)
    cell_event, cell_site = np.divmod(cells, len(site_counts))
    centred = pair - pair.mean(axis=1, keepdims=True)

    def products(group: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the sum over groups of the products of group means, times the size of the group."""
        sums = np.array([np.bincount(group, row) for row in centred])
        return (sums / counts) @ sums.T

    forms = np.array(
        [centred @ centred.T, products(of_event, event_counts), products(of_site, site_counts)]
    )
    by_event, by_site = (event_counts**2).sum() / n, (site_counts**2).sum() / n
    sites_in_events = (of_cell**2 / event_counts[cell_event]).sum() - by_site
    events_in_sites = (of_cell**2 / site_counts[cell_site]).sum() - by_event
    expected = np.array(
        [
            [n - by_event, n - by_site, n - 1],
            [n - by_event, sites_in_events, len(event_counts) - 1],
            [events_in_sites, n - by_site, len(site_counts) - 1],
        ]
    )
    if np.linalg.cond(expected / n) > 1e6:
        raise DataError(
            "correlation: event, site and record parts cannot be told apart: bring events with several "
            "records, and sites with several records of different events"
        )
    event_part, site_part, single = np.linalg.solve(expected, forms.reshape(3, 4)).reshape(3, 2, 2)
    within = site_part + single
    return np.array([event_part + within, event_part, within, site_part, single])


def positive_definite(correlation, smallest: float = SMALLEST_EIGENVALUE) -> np.ndarray:
    """Return a positive definite correlation matrix near a symmetric matrix with a diagonal of ones.

    Eigenvalues below `smallest` are raised to it, and the diagonal is scaled back to 1.

    Parameters
    ----------
    correlation : array_like, [n, n]
        Symmetric matrix with ones on the diagonal.
    smallest : float
        Smallest eigenvalue before the scaling.

    Returns
    -------
    ndarray, [n, n]
        The matrix; the one given if its eigenvalues suffice.
    """
    matrix = np.asarray(correlation, float)
    eigenvalues, vectors = np.linalg.eigh(matrix)
    if eigenvalues[0] >= smallest:
        return matrix
    raised = (vectors * np.maximum(eigenvalues, smallest)) @ vectors.T
    scale = np.sqrt(np.diag(raised))
    return raised / np.outer(scale, scale)


def baker_jayaram_2008(ims: Sequence[str]) -> np.ndarray:
    """Return the correlation of total residuals between spectral accelerations by Baker & Jayaram (2008).

    Parameters
    ----------
    ims : sequence of str, [im]
        Intensity measures; PGA counts as SA(0.01).

    Returns
    -------
    ndarray, [im, im]
        Correlation; NaN for PGV, of which the model has none, and for periods outside 0.01 s to 10 s.

    References
    ----------
    Baker & Jayaram (2008), Correlation of spectral acceleration values from NGA ground motion models,
    Earthquake Spectra 24(1), 299-317.
    """
    return baker_jayaram_2008_by_period(
        [np.nan if im == "PGV" else imt.period(im) or PGA_PERIOD_S for im in map(imt.canonical, ims)]
    )


def baker_jayaram_2008_by_period(periods) -> np.ndarray:
    """Return the correlation of Baker & Jayaram (2008) between periods, computed by pygmm.

    Parameters
    ----------
    periods : array_like, [n]
        Periods, s.

    Returns
    -------
    ndarray, [n, n]
        Correlation; NaN for a period that is NaN or outside 0.01 s to 10 s.
    """
    from pygmm.baker_jayaram_2008 import calc_correls  # pygmm takes half a second

    s = np.asarray(periods, float)
    s = np.where((s >= PGA_PERIOD_S) & (s <= LONGEST_S), s, np.nan)
    unknown = np.isnan(s)[:, np.newaxis] | np.isnan(s)
    with np.errstate(invalid="ignore"):
        return np.where(unknown, np.nan, calc_correls(s[:, np.newaxis], s))
