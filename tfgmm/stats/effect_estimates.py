"""Estimates of random effects: standard deviations, and the event and site terms of each member.

A member is one trained network, identified by the chunk of held-out sites and the initialisation of the
weights. Stopping events and stopping sites are those whose records decide when its training ends; its
weights are not fitted to these records.
"""

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.columns import MEMBER, RECORD
from tfgmm.stats import mixed_effects, site_kriging
from tfgmm.stats.mixture import rows_of_members
from tfgmm.stats.path_terms import PathTerms

#: Values of the column ``effect`` in the table of terms.
SITE, EVENT = "site", "event"
#: Smallest number of records of a site that is used for phi_S2S: the mean of fewer records is mostly noise.
MIN_RECORDS = 10


def unseen_records(predictions: pd.DataFrame, reference: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the records of stopping events at training sites, and the records at stopping sites.

    Neither the former events nor the latter sites have trained the member. Only records of the reference
    network count. Stopping sites with fewer than `MIN_RECORDS` records are dropped, unless fewer than two
    sites would remain.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Predictions, a row per record and member, see `RandomEffects.fit`.
    reference : str
        Name of the reference network, the recording network whose records are scored.

    Returns
    -------
    of_events : pandas.DataFrame
        Rows of `predictions`: records of stopping events at training sites.
    of_sites : pandas.DataFrame
        Rows of `predictions`: records of training events and of stopping events at stopping sites.

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
    r"""Return the mean square of the kriged source plus path terms of records, in squared ln units.

    The terms are first averaged over the members of a chunk.

    .. math:: \overline{(\delta L2L_e + \delta P2P_{es})^2}

    Parameters
    ----------
    paths : PathTerms
        Source and path terms of all members.
    rows : pandas.DataFrame
        A row per record and member, of events without training records; columns as for
        `PathTerms.of_records`.

    Returns
    -------
    float
        Mean square, squared ln units; 0 if `rows` is empty.
    """
    term = np.add(*paths.of_records(rows))
    keys = ["chunk", *RECORD]
    by_record = rows[keys].assign(term=term).groupby(keys, observed=True)["term"].mean()
    return float((by_record.astype(float) ** 2).mean()) if len(rows) else 0.0


def split_residuals(rows: pd.DataFrame) -> mixed_effects.CrossedEffects:
    r"""Split residuals into event, site and remaining terms by REML, with a constant offset for each chunk.

    .. math:: \ln IM_{ces} - \mu_{ces} = b_c + \delta B_e + \delta S2S_s + \delta WS_{es}

    for chunk c, event e and site s, with the predicted mean :math:`\mu`.

    Parameters
    ----------
    rows : pandas.DataFrame
        A row per record and chunk: ``chunk``, ``event_id``, ``site_id``, and the observed ``ln_im`` and the
        predicted ``mean``, ln units.

    Returns
    -------
    mixed_effects.CrossedEffects
        Offsets :math:`b_c` as coefficients, standard deviations tau, phi_S2S and phi_SS, and the terms, ln
        units.

    Raises
    ------
    DataError
        A value is missing, or there are fewer than two events or sites.
    """
    offsets = pd.get_dummies(rows["chunk"].astype(str)).astype(float)
    return mixed_effects.fit(offsets, rows["ln_im"] - rows["mean"], rows["event_id"], rows["site_id"])


def terms_of_members(trained: pd.DataFrame, tau: float, phi_s2s: float, phi_ss: float) -> pd.DataFrame:
    """Return the site and event terms of every member, estimated from the training records of the member.

    The terms are best linear unbiased predictions. For the spatially correlated part of the site terms, the
    table holds the kriging weights of the sites, see `site_kriging.field_at`.

    Parameters
    ----------
    trained : pandas.DataFrame
        Training records, a row per record and member: ``chunk, init, event_id, site_id, x_km, y_km, ln_im,
        mean``.
    tau, phi_s2s, phi_ss : float
        Standard deviations of event terms, of site terms and of the remaining part of a record, ln units.

    Returns
    -------
    pandas.DataFrame
        A row per member and training site or event: ``chunk``, ``init``, ``effect`` (``site`` or
        ``event``), ``id``, and ``term`` and its posterior ``stddev``, ln units. For sites also ``x_km,
        y_km`` (km), ``weight`` (ln units) and ``range_km``.
    """
    tables = [
        _terms_of_member(trained.iloc[rows], tau, phi_s2s, phi_ss).assign(chunk=chunk, init=init)
        for (chunk, init), rows in sorted(rows_of_members(trained).items())
    ]
    return pd.concat(tables, ignore_index=True)


def _terms_of_member(rows: pd.DataFrame, tau: float, phi_s2s: float, phi_ss: float) -> pd.DataFrame:
    """Return the site and event terms of one member, a row per site or event.

    The standard deviations are given. `rows` are the training records of the member; the columns are
    those of `terms_of_members` without ``chunk`` and ``init``. All standard deviations are in ln units.
    """
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
    """Return the site terms of training records, each of the member that predicted the record.

    Parameters
    ----------
    rows : pandas.DataFrame, [n, ...]
        Training records, a row per record and member, with ``chunk``, ``init`` and ``site_id``.
    terms : pandas.DataFrame
        Rows of effect ``site`` of the result of `terms_of_members`.

    Returns
    -------
    ndarray, [n]
        Site terms, ln units; NaN for a site without a term.
    """
    keys = rows[[*MEMBER, "site_id"]].astype({"site_id": str})
    joined = keys.merge(terms, left_on=[*MEMBER, "site_id"], right_on=[*MEMBER, "id"], how="left")
    return joined["term"].to_numpy()
