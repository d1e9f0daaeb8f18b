"""The predictions table of a run: its columns, their groups, reading and writing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.data.schemas import MEMBER, RECORD, ROLES, TERM_STDDEVS, TERMS

#: File name of the predictions table, in a run folder and in the folder of a member (one trained network).
PREDICTIONS = "predictions.parquet"

#: Columns that describe a record, whatever model predicts it: ids, ln IM (IM in g), magnitude, distances
#: in km. ``nearest_added_km`` is the distance to the nearest station of a recording network other than
#: the reference network.
OBSERVED = [*RECORD, "site_id", "network", "ln_im", "magnitude", "depth_km", "r_hyp_km", "nearest_added_km"]
#: Columns of the roles of event and site: training, stopping or validation.
ROLE = ["event_role", "site_role"]
#: Columns that say which intensity measure, arm (set of input channels) and member the row belongs to.
WHICH = ["im", "arm", *MEMBER]
DISTRIBUTION = ["backbone", "mean", "stddev", "support"]
#: Columns that a run with the field adds: its terms and standard deviations of what is unknown, ln units.
FIELD = [*TERMS, *TERM_STDDEVS]
_ORDER = [*WHICH, *OBSERVED, *ROLE, *DISTRIBUTION, *FIELD]


def _is_finite(values: pd.Series) -> pd.Series:
    """Return which values are finite numbers; none of a column of text is."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return pd.Series(False, index=values.index)
    return pd.Series(np.isfinite(values.to_numpy()), index=values.index)


def _is_positive(values: pd.Series) -> pd.Series:
    """Return which values are above 0; none of a column of text is."""
    return pd.to_numeric(values, errors="coerce") > 0


_TEXT = pa.Column()  # as text or as categories
_NUMBER = pa.Column(checks=pa.Check(_is_finite, name="a finite number"))
_POSITIVE = pa.Column(
    checks=[pa.Check(_is_finite, name="a finite number"), pa.Check(_is_positive, name="above 0")]
)
_ANY_NUMBER = pa.Column(checks=pa.Check(pd.api.types.is_numeric_dtype, name="a number or blank"))
_NUMBER_OR_BLANK = pa.Column(checks=_ANY_NUMBER.checks, nullable=True, required=False)
_ROLE = pa.Column(checks=pa.Check.isin(ROLES))

#: Schema of the predictions table: a row per record, intensity measure and member, with ln IM (IM in g),
#: standard deviations in ln units, and distances in km. ``backbone`` is the backbone's median, 0 without a
#: backbone. In the table of a member, ``mean`` is the sum of backbone and network, and ``stddev`` that of
#: the network; in the table of a run both are shrunken by the ``support``, an effective number of training
#: records (`tfgmm.stats.support`). In the table of a run with the field, both include the field, and the
#: columns of `FIELD` are present.
SCHEMA = pa.DataFrameSchema(
    dict.fromkeys(["event_id", "station_id", "site_id", "network", "im", "arm"], _TEXT)
    | dict.fromkeys(["ln_im", "magnitude", "depth_km", "r_hyp_km", "backbone", "mean"], _NUMBER)
    | {"stddev": _POSITIVE, "support": _NUMBER_OR_BLANK}
    | {"nearest_added_km": pa.Column(checks=_ANY_NUMBER.checks, nullable=True)}
    | dict.fromkeys(ROLE, _ROLE)
    | dict.fromkeys(MEMBER, pa.Column(checks=pa.Check.ge(0)))
    | dict.fromkeys(FIELD, _NUMBER_OR_BLANK)
)


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a predictions table to a Parquet file after a check of its columns.

    Parameters
    ----------
    table : pandas.DataFrame
        Table with the columns of `SCHEMA`.
    path : Path
        The file.

    Raises
    ------
    DataError
        A column is missing or has a wrong value, or the file system refuses to write.
    """
    _refuse(table, path)
    ordered = [name for name in _ORDER if name in table]
    files.write_parquet(table[[*ordered, *table.columns.difference(_ORDER, sort=False)]], path)


def read(path: Path, *, field: bool = False, **options) -> pd.DataFrame:
    """Read a predictions table, check its columns, and return it.

    Parameters
    ----------
    path : Path
        Parquet file of the table.
    field : bool
        Whether the columns of `FIELD` must be present.
    **options
        Options of `pandas.read_parquet`, as ``filters``.

    Returns
    -------
    pandas.DataFrame
        Table with the columns of `SCHEMA`.

    Raises
    ------
    DataError
        The file is missing or damaged, or a column is missing or has a wrong value.
    """
    table = _load(path, **options)
    _refuse(table, path)
    absent = [name for name in FIELD if field and name not in table]
    if absent:
        raise DataError(f"{path} has no column {absent[0]}")
    return table


def read_columns(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read some columns of a predictions table and return them.

    Parameters
    ----------
    path : Path
        Parquet file of the table.
    columns : list of str
        Names of the columns.

    Returns
    -------
    pandas.DataFrame
        The columns, without a check of their values.

    Raises
    ------
    DataError
        The file is missing or damaged, or has no such column.
    """
    return _load(path, columns=columns)


def _load(path: Path, **options) -> pd.DataFrame:
    """Read a Parquet file with options of `pandas.read_parquet`; raise `DataError` if that fails."""
    try:
        return files.read_parquet(path, **options)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is missing or damaged ({error})") from error


def _refuse(table: pd.DataFrame, path: Path) -> None:
    """Raise `DataError`, which names the file `path`, if `table` does not fit `SCHEMA`."""
    try:
        SCHEMA.validate(table, lazy=False)
    except pa.errors.SchemaError as error:
        # The message of pandera lists all rows that fail.
        reason = str(error).partition("\n")[0].partition(" failure case")[0][:200]
        raise DataError(f"{path} is no predictions table: {reason}") from error
