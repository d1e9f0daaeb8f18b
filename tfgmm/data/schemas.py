"""Columns of the tables of a dataset: names, groups, allowed values; roles of events and sites."""

import pandas as pd
import pandera.pandas as pa

from tfgmm.core.errors import DataError

#: Optional columns of the records table: distance to the rupture, km, and its variance, km^2, where the
#: distance is an estimate of one whose rupture is unknown.
RUPTURE_DISTANCE = ["r_rup_km", "r_rup_var_km2"]
#: Roles that an event or a site has in one fold of a run.
TRAINING, VALIDATION, STOPPING = ROLES = ("training", "validation", "stopping")

#: Columns that identify a record, and columns that identify a member (one trained network: the chunk is
#: the group of held-out stations, init the number of the random initialisation).
RECORD = ["event_id", "station_id"]
MEMBER = ["chunk", "init"]
#: Columns of the positions of epicentres and of stations, km east and north of the centre of the grid.
SOURCE_XY, SITE_XY = ["event_x_km", "event_y_km"], ["x_km", "y_km"]

#: Columns of the event, site, path (source term included) and within-event terms of a record, ln units.
TERMS = ["event_term", "site_term", "path_term", "within_term"]
#: Mean (ln units) and variance (squared ln units) of a field that has not seen the record.
UNSEEN = ["field_mean", "field_variance"]
#: Columns of the standard deviations of what is unknown, ln units: of the whole field; of its event, site
#: and path terms; of the within-event term together with the noise of a record. Their squares add to the
#: aleatory variance for events without records; for other events only the field's and the site's are known.
TERM_STDDEVS = ["field_stddev", "event_stddev", "site_stddev", "path_stddev", "within_stddev"]


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
#: Lowest and highest plausible Vs30, m/s.
VS30_RANGE = (30, 5000)
#: Smallest and largest plausible amplitude by its unit (`imt.unit`): larger ones have a wrong unit or come
#: from a broken instrument, smaller ones are rounding noise.
AMPLITUDES = {"g": (1e-7, 20.0), "cm/s": (1e-5, 2000.0)}
COMPONENTS = ("geometric_mean", "rotd50")
#: Tectonic classes of earthquakes, in the order of every axis ``class``.
TECTONIC_CLASSES = ("crustal", "interface", "intraslab")

_LONGITUDE = pa.Column(float, pa.Check.in_range(-180, 180))
_LATITUDE = pa.Column(float, pa.Check.in_range(-90, 90))
_OPTIONAL_DISTANCE = pa.Column(float, pa.Check.in_range(0, 1e6), nullable=True, required=False)


def _amplitude(unit: str) -> pa.Column:
    """Return the column of an intensity measure of a unit; a dataset need not have it."""
    positive = pa.Check.in_range(0, AMPLITUDES[unit][1], include_min=False)
    return pa.Column(float, positive, regex=True, nullable=True, required=False)


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
        "tectonic_class": pa.Column(str, pa.Check.isin(TECTONIC_CLASSES), nullable=True, required=False),
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
        "vs30_m_s": pa.Column(float, pa.Check.in_range(*VS30_RANGE), nullable=True),
    }
)
RECORDS = pa.DataFrameSchema(
    {
        "event_id": pa.Column(str),
        "station_id": pa.Column(str),
        r"^(PGA|SA\(.*\))$": _amplitude("g"),
        "^PGV$": _amplitude("cm/s"),
        "component": pa.Column(str, pa.Check.isin(COMPONENTS)),
        **{name: _OPTIONAL_DISTANCE for name in RUPTURE_DISTANCE},
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
