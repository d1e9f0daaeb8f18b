"""Names of columns that several tables of records share, and the roles of events and sites.

In one fold of a run, each event and each site has a role: training, validation (held out, for scores) or
stopping (held out, to decide when the training of a network ends).
"""

import pandas as pd

#: Roles that an event or a site has in one fold of a run.
TRAINING, VALIDATION, STOPPING = ROLES = ("training", "validation", "stopping")

#: Columns that identify a record, and columns that identify a member (one trained network: the chunk is
#: the group of held-out stations, init the number of the random initialisation).
RECORD = ["event_id", "station_id"]
MEMBER = ["chunk", "init"]
#: Optional columns of the records table: distance to the rupture, km, and its variance, km^2, where the
#: distance is an estimate of one whose rupture is unknown.
RUPTURE_DISTANCE = ["r_rup_km", "r_rup_var_km2"]
#: Columns of the positions of epicentres and of stations, km east and north of the centre of the grid.
SOURCE_XY, SITE_XY = ["event_x_km", "event_y_km"], ["x_km", "y_km"]

#: Columns of the event, site, path and within-event terms of a record, and of the standard deviations of
#: the terms, ln units.
TERMS = ["event_term", "site_term", "path_term", "within_term"]
TERM_STDDEVS = ["event_stddev", "site_stddev", "path_stddev", "within_stddev"]
#: Columns of the standard deviations, ln units, for an unknown event at an unknown site: event term, site
#: term about its kriged mean, kriged mean of the site term (phi_field), path term, remaining residual.
UNKNOWN_STDDEVS = ["tau", "phi_s2s", "phi_field", "phi_p2p", "phi_ss"]


def is_training(roles: pd.DataFrame) -> pd.Series:
    """Return which records may be used to fit a model: records of a training event at a training site.

    Records of all networks are included.

    Parameters
    ----------
    roles : pandas.DataFrame
        Columns ``event_role`` and ``site_role``, each one of `ROLES`; one row per record.

    Returns
    -------
    pandas.Series of bool, [n_records]
        True for training records, with the index of `roles`.
    """
    return (roles["event_role"] == TRAINING) & (roles["site_role"] == TRAINING)


def training_records(roles: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table that are training records: a training event at a training site.

    Parameters
    ----------
    roles : pandas.DataFrame
        Columns ``event_role`` and ``site_role``, each one of `ROLES`, and any others; one row per record.

    Returns
    -------
    pandas.DataFrame
        The rows of the training records, with all columns.
    """
    return roles[is_training(roles)]
