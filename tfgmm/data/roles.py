"""Roles of events and of sites, and the records that train."""

import pandas as pd

TRAINING, VALIDATION, STOPPING = ROLES = ("training", "validation", "stopping")


def is_training(roles: pd.DataFrame) -> pd.Series:
    """Whether ``fit`` may see a record: training events at training sites, of all networks."""
    return (roles["event_role"] == TRAINING) & (roles["site_role"] == TRAINING)


def training_records(roles: pd.DataFrame) -> pd.DataFrame:
    """The rows of which `is_training` is true."""
    return roles[is_training(roles)]
