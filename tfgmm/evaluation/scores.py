"""Groups of scored records, and the four-way table: known and unknown sites, known and unknown events.

A member is one trained network: a station chunk times an initialisation (init). The sites of a chunk are
held out from the training of its members, which together are a partial ensemble; a fold is the same split
of the records for any other model. A scored table has one row per record, chunk and model:
``im, event_id, station_id, site_id, network, chunk, model``; ``site_role`` and ``event_role``, each
training, validation (held out) or stopping (decides when the training ends); ``ln_im``, observed; ``mean``
and ``stddev`` of ln IM, predicted (IM in g); ``nearest_added_km``, the distance to the nearest station of a
network other than the reference, NaN where there is none. A cell is a combination of site role and event
role, for example validation sites and training events.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from tfgmm.stats.mixture import combine_chunks

ENSEMBLE = "U-Net ensemble"
#: The ensemble without the terms of known sites and events, for runs with random effects.
MAP_PART = "U-Net map part"

#: (site role, event role) of the four cells, as the publication orders them.
CELLS = (
    ("training", "training"),
    ("training", "validation"),
    ("validation", "training"),
    ("validation", "validation"),
)
#: Held-out sites without an added station within this distance, km, are also reported separately.
NEAR_ADDED_KM = 1.0

#: A function of a table that returns the rows of each group by the name of the group; a row may be in
#: several groups or in none.
Grouping = Callable[[pd.DataFrame], dict[str, pd.DataFrame]]


def partial_ensembles(predictions: pd.DataFrame) -> pd.DataFrame:
    """Combine the members of each chunk; return one prediction per record and chunk.

    The members of a chunk are trained without the sites that the chunk holds out.

    Parameters
    ----------
    predictions : pandas.DataFrame
        The predictions table of a run: one row per record and member.

    Returns
    -------
    pandas.DataFrame
        Scored table with one row per record and chunk: ``mean`` and ``stddev`` of ln IM; ``epistemic``, the
        variance of the members' means; `ENSEMBLE` as ``model``; without the columns ``arm`` (set of input
        channels) and ``init``.

    References
    ----------
    Lilienkamp et al. (2022), partial ensemble estimators.
    """
    of_im = predictions.groupby("im", observed=True)
    combined = pd.concat([combine_chunks(members) for _, members in of_im], ignore_index=True)
    return combined.drop(columns=["arm", "init"]).assign(model=ENSEMBLE)


def map_part(partial: pd.DataFrame) -> pd.DataFrame:
    """Remove the random effects from partial ensembles: return predictions for unknown sites and events.

    Parameters
    ----------
    partial : pandas.DataFrame
        Partial ensembles with random effects, one row per record and chunk.

    Returns
    -------
    pandas.DataFrame
        The rows of `partial` with ``mean`` without event, site, path and within-event terms; ``stddev``,
        the total standard deviation for an unknown event at an unknown site far from all training sites,
        ln units; and `MAP_PART` as ``model``.
    """
    terms, posterior, prior = (
        partial[list(names)]
        for names in (
            ("event_term", "site_term", "path_term", "within_term"),
            ("event_stddev", "site_stddev", "path_stddev", "within_stddev"),
            ("tau", "phi_s2s", "phi_field", "phi_p2p", "phi_ss"),
        )
    )
    variance = partial["stddev"] ** 2 - (posterior**2).sum(axis=1) + (prior**2).sum(axis=1)
    mean = partial["mean"] - terms.sum(axis=1)
    return partial.assign(model=MAP_PART, mean=mean, stddev=np.sqrt(variance))


def cells(partial: pd.DataFrame, reference: str) -> dict[str, pd.DataFrame]:
    """Split a scored table into cells, combinations of site role and event role; return rows by cell.

    A role is training, validation (held out) or stopping (decides when the training ends).

    Parameters
    ----------
    partial : pandas.DataFrame
        Scored table of partial ensembles or a baseline.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    dict of str to pandas.DataFrame
        Rows of each cell by the name ``site role / event role``. The four `CELLS` hold records of the
        reference network only. If other networks were added, there are also the held-out cell without
        sites that have an added station within `NEAR_ADDED_KM`, and ``added / event role`` with the
        records of the added training stations.
    """
    is_reference = partial["network"] == reference
    by_name = {}
    for site, event in CELLS:
        in_cell = (partial["site_role"] == site) & (partial["event_role"] == event)
        by_name[f"{site} / {event}"] = partial[in_cell & is_reference]
    held_out = by_name["validation / validation"]
    if partial["nearest_added_km"].notna().any():
        apart = held_out["nearest_added_km"] > NEAR_ADDED_KM
        by_name[f"the same, no added station within {NEAR_ADDED_KM:g} km"] = held_out[apart]
    added = partial[~is_reference & (partial["site_role"] == "training")]
    for event in ("training", "validation"):
        rows = added[added["event_role"] == event]
        if len(rows):
            by_name[f"added / {event}"] = rows
    return by_name


def by_value(column: str) -> Grouping:
    """Return a grouping of records by equal values of a column; groups keep the order of first occurrence.

    Parameters
    ----------
    column : str
        Name of the column; the values as texts become the names of the groups.

    Returns
    -------
    Grouping
        Function of a table that returns the rows of each group by name.
    """
    return lambda table: {
        str(name): rows for name, rows in table.groupby(column, sort=False, observed=True)
    }


def by_bin(column: str, cuts: Sequence[float]) -> Grouping:
    """Return a grouping of records by bins of a numerical column: below, between and above the cuts.

    A value equal to a cut belongs to the bin above the cut. Rows without a value form a group ``unknown``.

    >>> table = pd.DataFrame({"magnitude": [4.2, 5.0, 5.5, 6.0]})
    >>> {name: len(rows) for name, rows in by_bin("magnitude", [5, 6])(table).items()}
    {'below 5': 1, '5 to 6': 2, '6 and above': 1}

    Parameters
    ----------
    column : str
        Name of the column.
    cuts : sequence of float
        Ascending bounds between the bins, in the unit of the column.

    Returns
    -------
    Grouping
        Function of a table that returns the rows of each group by name, without empty groups.
    """
    names = [f"below {cuts[0]:g}"]
    names += [f"{low:g} to {high:g}" for low, high in itertools.pairwise(cuts)]
    names += [f"{cuts[-1]:g} and above", "unknown"]

    def grouping(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
        values = table[column].to_numpy(float)
        bin_of_row = np.where(np.isnan(values), len(cuts) + 1, np.searchsorted(cuts, values, side="right"))
        return {name: table[bin_of_row == i] for i, name in enumerate(names) if (bin_of_row == i).any()}

    return grouping


def groups(
    table: pd.DataFrame, groupings: Mapping[str, Grouping]
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Yield the records of every combination of groups; each grouping divides the groups of the one before.

    Parameters
    ----------
    table : pandas.DataFrame
        Table of records, for example a scored table.
    groupings : mapping of str to Grouping
        Groupings by the name of the column that shall hold the names of the groups.

    Yields
    ------
    tuple of (dict, pandas.DataFrame)
        The name of the group in each grouping, and the rows of the combination.
    """
    if not groupings:
        yield {}, table
        return
    (name, grouping), *inner = groupings.items()
    for group, rows in grouping(table).items():
        for names, records in groups(rows, dict(inner)):
            yield {name: group} | names, records


def by_cell(reference: str, **within: Grouping) -> dict[str, Grouping]:
    """Return groupings of a scored table by intensity measure, cell (site role / event role) and model.

    >>> list(by_cell("kik", r_hyp_km=by_bin("r_hyp_km", [50, 100])))
    ['im', 'cell', 'r_hyp_km', 'model']

    Parameters
    ----------
    reference : str
        Name of the reference network, see `cells`.
    **within : Grouping
        Further groupings by name of column, applied between cell and model.

    Returns
    -------
    dict of str to Grouping
        Groupings for `groups`, by name of column.
    """
    return {
        "im": by_value("im"),
        "cell": lambda table: cells(table, reference),
        **within,
        "model": by_value("model"),
    }


def four_way(partial: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return RMSE, bias and standardised residuals of each model in each cell (site role / event role).

    Residuals are observed minus predicted ln IM. Standardised residuals z are residuals divided by the
    predicted standard deviation.

    Parameters
    ----------
    partial : pandas.DataFrame
        Scored table of partial ensembles and baselines.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure, cell and model: ``rmse`` and ``rmse_std`` (mean and standard
        deviation over chunks of the RMSE of a chunk), ``rmse_pooled`` and ``bias`` (over the records of all
        chunks), all in ln units; ``z_mean`` and ``z_std`` (over the records of all chunks); ``records``
        (number of records, summed over chunks).

    References
    ----------
    Lilienkamp et al. (2022), Table 2; Sunny, Cotton & Lilienkamp (2022), Tables 1 and 2.
    """
    cells_and_models = groups(partial, by_cell(reference))
    return pd.DataFrame([names | _summarise(records) for names, records in cells_and_models])


def _summarise(records: pd.DataFrame) -> dict[str, float]:
    """Return the statistics of one row of `four_way` by name of column, from the records of the row."""
    residual = records["ln_im"] - records["mean"]
    z = residual / records["stddev"]
    by_chunk = np.sqrt((residual**2).groupby(records["chunk"]).mean())
    return {
        "rmse": by_chunk.mean(),
        "rmse_std": by_chunk.std(),
        "rmse_pooled": float(np.sqrt((residual**2).mean())),
        "bias": residual.mean(),
        "z_mean": z.mean(),
        "z_std": z.std(),
        "records": len(records),
    }
