"""Residuals of the full ensemble; bias and scatter of residuals against explanatory variables.

A residual is the observed minus the predicted ln IM. A member is one trained network: a station chunk
times an initialisation. The full ensemble combines all members of all chunks.
"""

import numpy as np
import pandas as pd
from scipy.stats import t

from tfgmm.core.errors import DataError
from tfgmm.evaluation import scores
from tfgmm.stats import bootstrap
from tfgmm.stats.mixture import combine_table

FULL_ENSEMBLE = "U-Net full ensemble"

#: Explanatory variables; True if the bins of the variable have equal width on a logarithmic scale.
VARIABLES = {
    "magnitude": False,
    "r_hyp_km": True,
    "depth_km": False,
    "vs30_m_s": True,
    "z_bedrock": False,
    "year": False,
}
BINS = 10
_KEYS = ["im", "event_id", "station_id"]


def full_ensemble(predictions: pd.DataFrame) -> pd.DataFrame:
    """Combine all members of all chunks record by record; return the predictions of the finished model.

    Most members have trained at most sites, so the residuals of the full ensemble mix in-sample and
    out-of-sample residuals: they are smaller than the residuals at a new site.

    Parameters
    ----------
    predictions : pandas.DataFrame
        The predictions table of a run: one row per record and member.

    Returns
    -------
    pandas.DataFrame
        One row per record and intensity measure: ``mean`` and ``stddev`` of ln IM; ``epistemic``, the
        variance of the members' means; `FULL_ENSEMBLE` as ``model``. Columns that depend on the fold are
        dropped: ``chunk``, ``init``, the roles of event and site, ``nearest_added_km``.

    Raises
    ------
    DataError
        Some records are predicted by more members than others.

    References
    ----------
    Sunny, Cotton & Lilienkamp (2022), Figure 5.
    """
    return pd.concat(
        [_combine_members(of_im) for _, of_im in predictions.groupby("im", observed=True)],
        ignore_index=True,
    )


def _combine_members(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the mean prediction of all members for one intensity measure, one row per record, ln units."""
    record = predictions.groupby(_KEYS[1:], sort=False, observed=True).ngroup().to_numpy()
    counts = np.bincount(record)
    if (counts != counts[0]).any():
        raise DataError(
            f"predictions: records have {counts.min()} to {counts.max()} members, all must have as many: "
            "finish the run with the tfgmm train command that began it"
        )
    order = np.argsort(record, kind="stable")
    of_fold = ["arm", "init", "chunk", "event_role", "site_role", "nearest_added_km"]
    combined = combine_table(predictions.iloc[order].drop(columns=of_fold), counts[0])
    return combined.assign(model=FULL_ENSEMBLE)


def with_variables(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of records with the year of the event, and with Vs30 where the site layer has it.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `tfgmm.runs.run.RunFolder.with_places`, one row per record.

    Returns
    -------
    pandas.DataFrame
        The rows of `table` with ``year``, the year of the event. ``vs30_m_s`` is the Vs30 of the station in
        m/s; if no station has a value, it is ``vs30``, the Vs30 of the site layer in m/s, where present.
    """
    table = table.assign(year=table["origin_time"].dt.year)
    if table["vs30_m_s"].isna().all() and "vs30" in table:
        table = table.assign(vs30_m_s=table["vs30"])
    return table


def edges(name: str, values: pd.Series) -> np.ndarray:
    """Return the edges of the bins of an explanatory variable, in the unit of the variable.

    Parameters
    ----------
    name : str
        Name of the variable, one of `VARIABLES`.
    values : pandas.Series
        Values of the variable, whose smallest and largest are the ends of the bins.

    Returns
    -------
    ndarray, [n_bins + 1]
        Ascending edges: one bin per year for ``year``, else `BINS` bins of equal width, on a logarithmic
        scale where `VARIABLES` says so.
    """
    low, high = values.min(), values.max()
    if name == "year":
        return np.arange(low, high + 2) - 0.5
    spaced = np.geomspace if VARIABLES[name] else np.linspace
    return spaced(low, high, BINS + 1)


def trends(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    r"""Return bias and scatter of residuals in bins of explanatory variables, with intervals.

    The intervals allow for events and sites that several records share.

    Residuals r are observed minus predicted. The standard error of the mean of the n records of a bin is
    clustered by events and by sites (Cameron, Gelbach & Miller, 2011, equation 2.9),

    .. math:: V = V_{event} + V_{site} - V_{pair}, \quad
        V_g = \frac{G}{G - 1} \frac{1}{n^2} \sum_g \Big(\sum_{i \in g} (r_i - \bar r)\Big)^2

    where G is the number of clusters: events, sites, or pairs of event and site. V is at least the larger
    of :math:`V_{event}` and :math:`V_{site}`. The intervals use Student's t with the smaller of the numbers
    of events and sites, minus one, as degrees of freedom. Predictions of one record by several folds belong
    to one pair. The scatter is the standard deviation in the bin; its interval is the interval of the mean
    square, by the same formula.

    Parameters
    ----------
    table : pandas.DataFrame
        Scored table (see `tfgmm.evaluation.scores`) with the columns of `with_variables`.
    reference : str
        Name of the reference network, whose records are used.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure, model, cell (site role / event role), variable and bin:
        ``im, model, cell, variable``; ``low`` and ``high``, the edges of the bin in the unit of the
        variable; ``records, events, sites``, their numbers; ``bias, bias_low, bias_high`` and
        ``scatter, scatter_low, scatter_high`` in ln units. The intervals have the level
        `tfgmm.stats.bootstrap.LEVEL`, and are NaN in bins with fewer than
        `tfgmm.stats.bootstrap.MIN_CLUSTERS` events or sites.

    References
    ----------
    Cameron, Gelbach & Miller (2011), Robust inference with multiway clustering, J. Bus. Econ. Stat.
    29(2), 238-249.
    """
    parts = []
    for im, of_im in table.groupby("im", observed=True):
        known = [name for name in VARIABLES if name in of_im and of_im[name].nunique() > 1]
        bins = {name: edges(name, of_im[name]) for name in known}
        for cell, of_cell in list(scores.cells(of_im, reference).items())[: len(scores.CELLS)]:
            for model, rows in of_cell.groupby("model", sort=False, observed=True):
                parts += [
                    _bin_residuals(rows, name, bins[name]).assign(
                        im=im, model=model, cell=cell, variable=name
                    )
                    for name in known
                ]
    all_bins = pd.concat(parts, ignore_index=True)
    first = ["im", "model", "cell", "variable"]
    return all_bins[[*first, *all_bins.columns.difference(first, sort=False)]]


def _bin_residuals(rows: pd.DataFrame, name: str, bounds: np.ndarray) -> pd.DataFrame:
    """Return bias and scatter (ln units) of the residuals of one model in one cell, one row per bin.

    `name` is the variable, and `bounds` are the edges of its bins, [n_bins + 1].
    """
    rows = rows[rows[name].notna()]
    residual = (rows["ln_im"] - rows["mean"]).to_numpy()
    bin_of_row = np.searchsorted(bounds[1:-1], rows[name], side="right")
    used, number = np.unique(bin_of_row, return_inverse=True)
    pair = rows.groupby(["event_id", "site_id"], observed=True).ngroup().to_numpy()
    event, site = (pd.factorize(rows[key])[0] for key in ("event_id", "site_id"))
    clusters = [number * (codes.max(initial=0) + 1) + codes for codes in (event, site, pair)]
    bias, half, counts = _average_bins(residual, number, clusters)
    square, square_half, _ = _average_bins((residual - bias[number]) ** 2, number, clusters)
    scatter = np.sqrt(square)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.exp(square_half / (2 * square))
    return pd.DataFrame(
        {
            "low": bounds[used],
            "high": bounds[used + 1],
            "records": np.bincount(number),
            "events": counts[0],
            "sites": counts[1],
            "bias": bias,
            "bias_low": bias - half,
            "bias_high": bias + half,
            "scatter": scatter,
            "scatter_low": scatter / factor,
            "scatter_high": scatter * factor,
        }
    )


def _average_bins(
    values: np.ndarray, number: np.ndarray, clusters: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return the mean in each bin, half the width of its interval, and the numbers of clusters.

    Parameters
    ----------
    values : ndarray, [n_records]
        Values to be averaged.
    number : ndarray of int, [n_records]
        Number of the bin of each record.
    clusters : list of ndarray of int, [n_records]
        Three arrays: codes of the event, of the site, and of the pair of event and site, unique to a bin.

    Returns
    -------
    mean, half : ndarray, [n_bins]
        In the unit of the values; `half` is NaN in bins with too few events or sites.
    counts : list of ndarray, [n_bins]
        Numbers of events, of sites and of pairs.
    """
    count = np.bincount(number)
    mean = np.bincount(number, values) / count
    variances, counts = [], []
    for cluster in clusters:
        _, first, code = np.unique(cluster, return_index=True, return_inverse=True)
        bin_of_cluster = number[first]
        square = np.bincount(bin_of_cluster, np.bincount(code, values - mean[number]) ** 2)
        in_bin = np.bincount(bin_of_cluster)
        with np.errstate(divide="ignore", invalid="ignore"):
            variances.append(in_bin / (in_bin - 1) * square / count**2)
        counts.append(in_bin)
    event, site, pair = variances
    with np.errstate(invalid="ignore"):  # infinite for a bin with one event or site
        variance = np.maximum(event + site - pair, np.maximum(event, site))
    fewest = np.minimum(*counts[:2])
    half = t.ppf(0.5 + bootstrap.LEVEL / 2, np.maximum(fewest - 1, 1)) * np.sqrt(variance)
    return mean, np.where(fewest >= bootstrap.MIN_CLUSTERS, half, np.nan), counts
