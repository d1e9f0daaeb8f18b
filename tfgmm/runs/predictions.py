"""The predictions table of a run: its columns, their groups, reading and writing."""

from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.data.columns import MEMBER, RECORD, ROLES, TERM_STDDEVS, TERMS, UNKNOWN_STDDEVS

#: Name of the table, in a run and in the folder of a member.
PREDICTIONS = "predictions.parquet"

#: What a record is, whatever predicts it.
OBSERVED = [*RECORD, "site_id", "network", "ln_im", "magnitude", "depth_km", "r_hyp_km", "nearest_added_km"]
ROLE = ["event_role", "site_role"]
#: Which distribution of which member.
WHICH = ["im", "arm", *MEMBER]
DISTRIBUTION = ["mean", "stddev"]
#: What random effects add.
EFFECTS = [*TERMS, *TERM_STDDEVS, *UNKNOWN_STDDEVS]
_ORDER = [*WHICH, *OBSERVED, *ROLE, *DISTRIBUTION, *EFFECTS]

_TEXT = pa.Column()  # as text or as categories
_NUMBER = pa.Column(
    checks=pa.Check(
        lambda values: pd.api.types.is_numeric_dtype(values) and values.notna(), name="a number"
    )
)
_ANY_NUMBER = pa.Column(checks=pa.Check(pd.api.types.is_numeric_dtype, name="a number or blank"))
_EFFECT = pa.Column(checks=_ANY_NUMBER.checks, nullable=True, required=False)
_ROLE = pa.Column(checks=pa.Check.isin(ROLES))

#: One row per record, intensity measure and member: natural logarithms of g, and distances in km.
#: ``mean`` and ``stddev`` are the network's in the table of a member; in that of a run with random
#: effects they hold the terms, and the columns of `EFFECTS` are there.
SCHEMA = pa.DataFrameSchema(
    dict.fromkeys(["event_id", "station_id", "site_id", "network", "im", "arm"], _TEXT)
    | dict.fromkeys(["ln_im", "magnitude", "depth_km", "r_hyp_km", *DISTRIBUTION], _NUMBER)
    | {"nearest_added_km": pa.Column(checks=_ANY_NUMBER.checks, nullable=True)}
    | dict.fromkeys(ROLE, _ROLE)
    | dict.fromkeys(MEMBER, pa.Column(checks=pa.Check.ge(0)))
    | dict.fromkeys(EFFECTS, _EFFECT)
)


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a predictions table after a check of its columns.

    Raises
    ------
    DataError
        A column is missing or holds what it cannot, or the file system refuses to write.
    """
    _refuse(table, path)
    ordered = [name for name in _ORDER if name in table]
    files.write_parquet(table[[*ordered, *table.columns.difference(_ORDER, sort=False)]], path)


def read(path: Path, *, effects: bool = False, **options) -> pd.DataFrame:
    """Read a predictions table and check its columns.

    Parameters
    ----------
    path : Path
    effects : bool
        Whether the columns of `EFFECTS` are expected.
    **options
        Of `pandas.read_parquet`, as ``filters``.

    Raises
    ------
    DataError
        The file is missing, damaged or not such a table.
    """
    try:
        table = files.read_parquet(path, **options)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged ({error})") from error
    _refuse(table, path)
    absent = [name for name in EFFECTS if effects and name not in table]
    if absent:
        raise DataError(f"{path} has no column {absent[0]}")
    return table


def read_columns(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read some columns of a predictions table.

    Raises
    ------
    DataError
        The file is missing, damaged or has no such column.
    """
    try:
        return files.read_parquet(path, columns=columns)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is missing or damaged ({error})") from error


def _refuse(table: pd.DataFrame, path: Path) -> None:
    try:
        SCHEMA.validate(table, lazy=False)
    except pa.errors.SchemaError as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is no predictions table: {reason}") from error
