"""Columns that tables of records share, and the roles of events and sites in them."""

import pandas as pd

#: Roles of events and of sites.
TRAINING, VALIDATION, STOPPING = ROLES = ("training", "validation", "stopping")

#: Columns that identify a record, and a member.
RECORD = ["event_id", "station_id"]
MEMBER = ["chunk", "init"]
#: Columns of epicentres and stations, in km east and north of the centre of the grid.
SOURCE_XY, SITE_XY = ["event_x_km", "event_y_km"], ["x_km", "y_km"]

#: Columns of the terms of a record that random effects add, ln units, and of their standard deviations.
TERMS = ["event_term", "site_term", "path_term", "within_term"]
TERM_STDDEVS = ["event_stddev", "site_stddev", "path_stddev", "within_stddev"]
#: Columns of the standard deviations of event, site, field, path and remaining terms that are unknown.
UNKNOWN_STDDEVS = ["tau", "phi_s2s", "phi_field", "phi_p2p", "phi_ss"]


def is_training(roles: pd.DataFrame) -> pd.Series:
    """Return which records a model may be fitted to: training events at training sites, of all networks.

    Parameters
    ----------
    roles : pandas.DataFrame
        ``event_role, site_role``, each one of `ROLES`, a row per record.
    """
    return (roles["event_role"] == TRAINING) & (roles["site_role"] == TRAINING)


def training_records(roles: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose records train, see `is_training`."""
    return roles[is_training(roles)]
