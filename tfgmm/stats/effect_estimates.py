"""Estimates of random effects: variances, and the event and site terms of each member.

Stopping events and stopping sites are the ones whose records decide when training stops. The weights of a
network are not fitted to their records.
"""

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.columns import MEMBER, RECORD
from tfgmm.stats import mixed_effects, site_kriging
from tfgmm.stats.mixture import rows_of_members
from tfgmm.stats.path_terms import PathTerms

#: Names of the effects in the table of terms.
SITE, EVENT = "site", "event"
#: Records that a site needs to count for phi_S2S: the mean of fewer is mostly chance.
MIN_RECORDS = 10


def unseen_records(predictions: pd.DataFrame, reference: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Select records of unseen events, and records of unseen sites, from the stopping set of each member.

    Only records of the reference network count. Unseen sites with fewer than `MIN_RECORDS` records are
    dropped, unless fewer than two sites would remain.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Predictions, a row per record and member, see `RandomEffects.fit`.
    reference : str
        Name of the reference network.

    Returns
    -------
    of_events, of_sites : pandas.DataFrame
        Rows of `predictions`: records of stopping events at training sites; and records at stopping sites,
        of training and of stopping events.

    Raises
    ------
    DataError
        One of the two tables would be empty.
    """
    unseen = predictions[predictions["network"].eq(reference) & predictions["event_role"].ne("validation")]
    of_events = unseen[unseen["event_role"].eq("stopping") & unseen["site_role"].eq("training")]
    of_sites = unseen[unseen["site_role"].eq("stopping")]
    count = of_sites.groupby([*MEMBER, "site_id"], observed=True)["site_id"].transform("size")
    well_recorded = of_sites[count >= MIN_RECORDS]
    if well_recorded["site_id"].nunique() > 1:
        of_sites = well_recorded
    if of_events.empty or of_sites.empty:
        raise DataError(
            f"no stopping record of network {reference} to estimate random effects from: bring more "
            "records, or train with --random-effects none"
        )
    return of_events, of_sites


def mean_square_of_paths(paths: PathTerms, rows: pd.DataFrame) -> float:
    """Return the mean square over records of source plus path term, averaged over the members of a chunk.

    Parameters
    ----------
    paths : PathTerms
    rows : pandas.DataFrame
        A row per record and member, of events without training records.

    Returns
    -------
    float
        In squared ln units; 0 without records.
    """
    term = np.add(*paths.of_records(rows))
    keys = ["chunk", *RECORD]
    by_record = rows[keys].assign(term=term).groupby(keys, observed=True)["term"].mean()
    return float((by_record.astype(float) ** 2).mean()) if len(rows) else 0.0


def split_residuals(rows: pd.DataFrame) -> mixed_effects.CrossedEffects:
    r"""Split residuals from the mean into event, site and remaining terms, with an offset per chunk.

    .. math:: \ln IM_{ces} - \mu_{ces} = b_c + \delta B_e + \delta S2S_s + \delta WS_{es}

    Parameters
    ----------
    rows : pandas.DataFrame
        ``chunk, event_id, site_id, ln_im, mean``, a row per record and chunk; ln units.
    """
    offsets = pd.get_dummies(rows["chunk"].astype(str)).astype(float)
    return mixed_effects.fit(offsets, rows["ln_im"] - rows["mean"], rows["event_id"], rows["site_id"])


def terms_of_members(trained: pd.DataFrame, tau: float, phi_s2s: float, phi_ss: float) -> pd.DataFrame:
    """Estimate the terms of the sites and events of every member from its training records.

    The terms are best linear unbiased predictions. The spatially correlated part of the site terms is
    kriged from the mean residuals of the sites.

    Parameters
    ----------
    trained : pandas.DataFrame
        Training records, a row per record and member.
    tau, phi_s2s, phi_ss : float
        Standard deviations of event terms, site terms and the remaining part of a record, ln units.

    Returns
    -------
    pandas.DataFrame
        ``chunk, init, effect, id, term, stddev, x_km, y_km, weight, range_km``, see `RandomEffects`.
    """
    tables = [
        _terms_of_member(trained.iloc[rows], tau, phi_s2s, phi_ss).assign(chunk=chunk, init=init)
        for (chunk, init), rows in sorted(rows_of_members(trained).items())
    ]
    return pd.concat(tables, ignore_index=True)


def _terms_of_member(rows: pd.DataFrame, tau: float, phi_s2s: float, phi_ss: float) -> pd.DataFrame:
    """Return the terms of the sites and events of a member's training records, for given variances."""
    residual, ones = rows["ln_im"] - rows["mean"], np.ones((len(rows), 1))
    equations = mixed_effects.MixedModelEquations(ones, residual, rows["event_id"], rows["site_id"])
    solution = equations.solve(tau, phi_s2s, phi_ss)
    # The mean residual of these events is part of their terms, and of no other event's.
    event_term = solution.coefficients[0] + solution.event_terms
    kriged = site_kriging.fit(rows, residual - rows["event_id"].map(event_term).to_numpy(), phi_ss)
    columns_of_effect = {
        SITE: {"term": solution.site_terms, "stddev": solution.site_terms_stddev} | kriged.field(),
        EVENT: {"term": event_term, "stddev": solution.event_terms_stddev},
    }
    tables = [
        pd.DataFrame(columns).rename_axis("id").reset_index().assign(effect=effect)
        for effect, columns in columns_of_effect.items()
    ]
    return pd.concat(tables)


def site_terms_of(rows: pd.DataFrame, terms: pd.DataFrame) -> np.ndarray:
    """Return the site terms of training records, [n], from the table of terms of all members."""
    keys = rows[[*MEMBER, "site_id"]].astype({"site_id": str})
    joined = keys.merge(terms, left_on=[*MEMBER, "site_id"], right_on=[*MEMBER, "id"], how="left")
    return joined["term"].to_numpy()
