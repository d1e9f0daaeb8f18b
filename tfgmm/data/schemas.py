"""Schemas of the tables of a dataset: required columns, types and ranges of values; and their check."""

import pandas as pd
import pandera.pandas as pa

from tfgmm.core.errors import DataError
from tfgmm.data import columns

#: Possible years of origin times; another year is an error in the file, and overflows in nanoseconds.
YEARS = range(1700, 2200)
#: Lowest and highest value of the parameters of an event in a file (degrees, km, magnitude). Readers wrap
#: longitudes from 0 to 360 degrees with `sphere.wrapped`.
EVENT_RANGES = {
    "longitude": (-180, 360),
    "latitude": (-90, 90),
    "depth_km": (-5, 800),
    "magnitude": (-1, 10),
}
COMPONENTS = ("geometric_mean", "rotd50")

_LONGITUDE = pa.Column(float, pa.Check.in_range(-180, 180))
_LATITUDE = pa.Column(float, pa.Check.in_range(-90, 90))
_OPTIONAL_DISTANCE = pa.Column(float, pa.Check.in_range(0, 1e6), nullable=True, required=False)

EVENTS = pa.DataFrameSchema(
    {
        "event_id": pa.Column(str, unique=True),
        "origin_time": pa.Column(
            pd.DatetimeTZDtype("us", "UTC"),
            pa.Check(lambda time: time.dt.year.isin(YEARS), name="year 1700 to 2199"),
            coerce=True,
        ),
        "longitude": _LONGITUDE,
        "latitude": _LATITUDE,
        "depth_km": pa.Column(float, pa.Check.in_range(-5, 800)),
        "magnitude": pa.Column(float, pa.Check.in_range(-1, 10)),
        "magnitude_source": pa.Column(str),
    }
)
STATIONS = pa.DataFrameSchema(
    {
        "station_id": pa.Column(str, unique=True),
        "site_id": pa.Column(str),
        "network": pa.Column(str, pa.Check.str_matches(r"^[a-z0-9_]+$")),
        "longitude": _LONGITUDE,
        "latitude": _LATITUDE,
        "elevation_m": pa.Column(float, nullable=True),
        "sensor_depth_m": pa.Column(float, pa.Check.ge(0), nullable=True),
        "vs30_m_s": pa.Column(float, pa.Check.in_range(30, 5000), nullable=True),
    }
)
RECORDS = pa.DataFrameSchema(
    {
        "event_id": pa.Column(str),
        "station_id": pa.Column(str),
        r"^(PGA|SA\(.*\))$": pa.Column(
            float, pa.Check.in_range(0, 20, include_min=False), regex=True, nullable=True
        ),
        "component": pa.Column(str, pa.Check.isin(COMPONENTS)),
        **{name: _OPTIONAL_DISTANCE for name in columns.RUPTURE_DISTANCE},
    },
    unique=["event_id", "station_id"],
)


def validate(schema: pa.DataFrameSchema, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Check a table against its schema; return it with a new index from 0 and the types of the schema.

    Parameters
    ----------
    schema : pandera.DataFrameSchema
        `EVENTS`, `STATIONS` or `RECORDS`.
    table : pandas.DataFrame
        Table to check.
    name : str
        Name of the table, for messages.

    Returns
    -------
    pandas.DataFrame
        The checked table.

    Raises
    ------
    DataError
        A column is missing, or a value is not allowed; the message names the first bad row.
    """
    try:
        return schema.validate(table.reset_index(drop=True), lazy=True)
    except pa.errors.SchemaErrors as error:
        case = error.failure_cases.iloc[0]
        if "column" in str(case["check"]):  # column_in_dataframe, no_regex_column_match(...)
            column = case["failure_case"] if case["column"] is None else "such as PGA or SA(1.0)"
            raise DataError(f"{name} table has no column {column}") from error
        row = "" if pd.isna(case["index"]) else f", row {case['index']}"
        raise DataError(
            f"{name} table{row}, column {case['column']}: {case['failure_case']} "
            f"fails the check {case['check']}"
        ) from error
