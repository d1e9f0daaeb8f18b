"""Roles of events and sites in a fold, and the records that train."""

import pandas as pd

TRAINING, VALIDATION, STOPPING = ROLES = ("training", "validation", "stopping")


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
