"""Layouts of flatfiles, which say which column holds which quantity.

A layout comes from options of the command line, from a TOML file, or from `KNOWN` for some agencies.
"""

import dataclasses
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from tfgmm.core import imt
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.readers.common import bounded, sheet, units
from tfgmm.readers.flatfiles import wide

#: Key of a layout for the pattern of the names of the columns of spectra.
SPECTRA = "SA"
#: Placeholder of the period {T} or the frequency {f} in the pattern of spectra; {T:3} has three decimals.
PERIOD = re.compile(r"\{([Tf])(?::(\d))?\}")
#: Placeholder of a column in a pattern; {NAME:4} pads the cells with zeros to four characters.
FIELD = re.compile(r"\{([^{}:]+)(?::(\d+))?\}")
#: Columns that look like a spectral acceleration: SA or PSA beside a number.
SPECTRAL = re.compile(r"(?:^|[^a-z])p?sa[\W_]*t?[\W_]*\d|\dp?sa(?:$|[^a-z])", re.IGNORECASE)
#: Longest period of a response spectrum, s; a larger number in the name of a column is no period.
LONGEST_S = 50.0
#: Keys whose columns are present or absent in flatfiles of one agency, depending on the version.
UNPROMISED = ("elevation_m", "sensor_depth_m", "vs30_m_s", "magnitude_source", "PGA", "PGV", SPECTRA)
UNPROMISED += (wide.HIGHPASS,)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Layout of a flatfile: which column holds which quantity, constant values, unit and time zone.

    Attributes
    ----------
    columns : mapping of str to str
        Source of each quantity in the file. The key is a canonical name (`wide.CANONICAL`, as
        ``event_id``), an intensity measure, ``SA`` for all spectra, or a name that begins with ``event_``,
        ``station_`` or ``record_``. The value is the name of a column; or ``A|B``, the first of these
        columns that has a value; or a pattern as ``{network}.{station}``, in which ``{HRMN:4}`` is padded
        with zeros to four characters. For ``SA`` the pattern holds the period in s, as ``T{T}S``, or the
        frequency in Hz, as ``f{f}SA``; ``{T:3}`` matches only numbers with three decimals.
    constants : mapping of str to str
        Value of a quantity that is the same in all rows, by key.
    optional : collection of str
        Keys in `columns` that a file may lack.
    unit : str or None
        Unit of all accelerations, a key of `units.IN_G`; None means g.
    velocity_unit : str or None
        Unit of PGV, a key of `units.IN_CM_S`; None means cm/s.
    unit_as_stated : bool
        Whether the unit is accepted even if `units.check` would refuse it.
    time_format : str or None
        Format of the origin time for ``strptime``; None means ISO 8601.
    time_zone : str
        Time zone of origin times without an offset of their own, as ``Asia/Tokyo``.
    name : str
        Name of the kind of file, for the provenance.

    Raises
    ------
    UsageError
        The unit or a key of `columns` or `constants` is unknown.
    """

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, str] = dataclasses.field(default_factory=dict)
    optional: Collection[str] = ()
    unit: str | None = None
    velocity_unit: str | None = None
    unit_as_stated: bool = False
    time_format: str | None = None
    time_zone: str = "UTC"
    name: str = "table"

    def __post_init__(self) -> None:
        if self.unit is not None:
            units.in_g(self.unit)
        if self.velocity_unit is not None:
            units.in_cm_s(self.velocity_unit)
        for what in [*self.columns, *self.constants]:
            known = what in wide.CANONICAL or what == SPECTRA or what.startswith(wide.PREFIXES)
            if not known and not imt.is_imt(what):
                raise UsageError(
                    f"unknown column {what!r}: expected one of {', '.join(sorted(wide.CANONICAL))}, PGA, "
                    f"PGV, SA(T), SA, or a name that begins with {', '.join(wide.PREFIXES)}"
                )


#: Layouts of agencies. Column names of NZ are from the agency's explanation of columns and its files;
#: those of ESM and NGA-West2 from published code of several users of these files.
KNOWN = {
    "esm": Layout(
        columns={
            "event_id": "event_id",
            "origin_time": "event_time",
            "event_longitude": "ev_longitude",
            "event_latitude": "ev_latitude",
            "depth_km": "ev_depth_km",
            "magnitude": "EMEC_Mw|Mw",
            "station_id": "{network_code}.{station_code}",
            "network": "network_code",
            "station_longitude": "st_longitude",
            "station_latitude": "st_latitude",
            "elevation_m": "st_elevation",
            "vs30_m_s": "vs30_m_sec",
            "PGA": "rotD50_pga",
            "PGV": "rotD50_pgv",  # cm/s
            "SA": "rotD50_T{T:3}",  # rotD50_T90 is a duration
        },
        constants={"component": "rotd50"},
        unit="cm/s^2",
        optional=UNPROMISED,
        name="Engineering Strong-Motion flatfile",
    ),
    "nga-west2": Layout(
        columns={
            "event_id": "EQID",
            "origin_time": "{YEAR}-{MODY:4}T{HRMN:4}",
            "event_longitude": "Hypocenter Longitude (deg)",
            "event_latitude": "Hypocenter Latitude (deg)",
            "depth_km": "Hypocenter Depth (km)",
            "magnitude": "Earthquake Magnitude",
            "station_id": "Station Sequence Number",
            "station_longitude": "Station Longitude",
            "station_latitude": "Station Latitude",
            "vs30_m_s": "Vs30 (m/s) selected for analysis",
            "PGA": "PGA (g)",
            "PGV": "PGV (cm/sec)",
            "SA": "T{T}S",
        },
        constants={"component": "rotd50", "network": "nga"},
        unit="g",
        time_format="%Y-%m%dT%H%M",
        optional=UNPROMISED,
        name="NGA-West2 flatfile",
    ),
    "nz": Layout(
        columns={
            "event_id": "CuspID",
            "origin_time": "Origin_time",
            "event_longitude": "HypLon",
            "event_latitude": "HypLat",
            "depth_km": "HypDepth_km",
            "magnitude": "Mw",
            "station_id": "SiteCode",
            "station_longitude": "StationLon",
            "station_latitude": "StationLat",
            "vs30_m_s": "Vs30",
            "PGA": "PGA_Geomean",
            "SA": "f{f}SA_GeoMean",
        },
        constants={"component": "geometric_mean", "network": "nz"},
        unit="g",
        optional=UNPROMISED,
        name="New Zealand Strong Motion Database flatfile",
    ),
}


def choose(
    base: str | None = None,
    columns: Sequence[str] = (),
    constants: Sequence[str] = (),
    unit: str | None = None,
    time_zone: str | None = None,
    *,
    velocity_unit: str | None = None,
    unit_as_stated: bool = False,
) -> Layout:
    """Make a layout from the options of the command line.

    Parameters
    ----------
    base : str or None
        Layout to start from: a key of `KNOWN`, or the path of a TOML file with the attributes of `Layout`.
    columns : sequence of str
        Texts ``KEY=COLUMN``, which are added to the columns of `base` or replace them.
    constants : sequence of str
        Texts ``KEY=VALUE``, which are added to the constants of `base` or replace them.
    unit : str or None
        Unit of the accelerations; None means that of `base`.
    time_zone : str or None
        Time zone of the origin times; None means that of `base`.
    velocity_unit : str or None
        Unit of PGV; None means that of `base`.
    unit_as_stated : bool
        Whether the units are accepted even if `units.check` would refuse them.

    Returns
    -------
    Layout
        The layout.

    Raises
    ------
    UsageError
        A layout, key or unit is unknown, or a text has no ``=``.
    DataError
        The TOML file is damaged or has other entries.
    """
    start = Layout() if base is None else KNOWN.get(base) or _load(Path(base))
    mapped, fixed = _split_pairs(columns, "--map"), _split_pairs(constants, "--set")
    return dataclasses.replace(
        start,
        # A name that is mapped anew is no constant any more, and the other way round.
        columns={k: v for k, v in start.columns.items() if k not in fixed} | mapped,
        constants={k: v for k, v in start.constants.items() if k not in mapped} | fixed,
        optional=[name for name in start.optional if name not in mapped],
        unit=unit or start.unit,
        velocity_unit=velocity_unit or start.velocity_unit,
        unit_as_stated=unit_as_stated or start.unit_as_stated,
        time_zone=time_zone or start.time_zone,
    )


def spectra(pattern: str, names: Sequence[str]) -> dict[str, str]:
    """Find the columns of spectral accelerations by a pattern; return column names by intensity measure.

    Parameters
    ----------
    pattern : str
        Name of the columns with ``{T}`` (period, s) or ``{f}`` (frequency, Hz) in place of the number,
        which may be written ``1``, ``0.5``, ``.5``, ``0_5`` or ``0p5``.
    names : sequence of str
        Names of the columns in the file.

    Returns
    -------
    dict of str to str
        Name of the column by canonical intensity measure; a period or frequency of 0 is PGA.

    Raises
    ------
    UsageError
        The pattern does not have one ``{T}`` or ``{f}``, or a number is no period of a response spectrum.
    DataError
        Two columns are the same intensity measure.

    Examples
    --------
    >>> spectra("rotD50_T{T:3}", ["rotD50_T0_010", "rotD50_T90"]), spectra("f{f}SA", ["f33.3333SA"])
    ({'SA(0.01)': 'rotD50_T0_010'}, {'SA(0.03)': 'f33.3333SA'})
    """
    if len(PERIOD.findall(pattern)) != 1:
        raise UsageError(
            f"SA={pattern}: write {{T}} where the period or {{f}} where the frequency stands, as T{{T}}S"
        )
    before, kind, decimals, after = PERIOD.split(pattern)
    number = rf"(\d*[._p]\d{{{decimals}}})" if decimals else r"(\d+|\d*[._p]\d+)"
    expression = re.compile(re.escape(before) + number + re.escape(after))
    columns: dict[str, str] = {}
    for name in names:
        if match := expression.fullmatch(name):
            value = float(re.sub("[_p]", ".", match[1]))
            period = value if kind == "T" else float(f"{1 / value:.3g}") if value else 0.0
            if period > LONGEST_S:
                raise UsageError(
                    f"SA={pattern}: column {name} would be SA({period:g}), expected up to {LONGEST_S:g} s; "
                    "write {T:3} for {T} if all periods have three decimals, or map each SA(T) by itself"
                )
            measure = imt.canonical(f"SA({period})") if period else "PGA"
            if columns.setdefault(measure, name) != name:
                raise DataError(f"SA={pattern}: columns {columns[measure]} and {name} are both {measure}")
    return columns


def unread_spectra(names: Sequence[str], sources: Collection[str]) -> list[str]:
    """Return the columns that look like a spectral acceleration but are not read.

    Parameters
    ----------
    names : sequence of str
        Names of the columns in the file.
    sources : collection of str
        Columns that are read: names, or alternatives ``A|B``.

    Returns
    -------
    list of str
        Names of the columns that are not read.

    Examples
    --------
    >>> unread_spectra(["PSA_1", "psa_0,5", "SA(1.0)", "Sample 3"], ["SA(1.0)"])
    ['PSA_1', 'psa_0,5']
    """
    read = {*sources}.union(*(re.split(r"\s*\|\s*", source) for source in sources))
    return [name for name in names if name not in read and SPECTRAL.search(name)]


def _load(path: Path) -> Layout:
    """Read a layout from a TOML file; raise an error if there is no such file or it holds no layout."""
    if not path.is_file():
        raise UsageError(
            f"unknown layout {str(path)!r}: write one of {', '.join(KNOWN)} or the path of a TOML file"
        )
    try:
        content = tomllib.loads(bounded.content(path).decode("utf-8"))
        constants = {what: str(value) for what, value in content.pop("constants", {}).items()}
        return Layout(**{"name": path.stem, **content}, constants=constants)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        fields = ", ".join(field.name for field in dataclasses.fields(Layout))
        raise DataError(f"{path} is no layout ({error}): a TOML file may hold {fields}") from error
    except TfgmmError as error:
        raise DataError(f"{path}: {error}") from error


def _split_pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Split texts ``KEY=VALUE`` of a command-line option, and return the values by key."""
    pairs = {}
    for text in texts:
        what, equals, where = text.partition("=")
        if not equals or not where.strip():
            raise UsageError(f"{option} {text}: write it as {option} event_id=VALUE")
        what = what.strip()
        pairs[what if what in wide.CANONICAL or what == SPECTRA else measure(what)] = where.strip()
    return pairs


def measure(name: str) -> str:
    """Return the canonical name of an intensity measure; any other name is returned unchanged.

    Parameters
    ----------
    name : str
        Name of a column or quantity.

    Returns
    -------
    str
        Canonical name (`imt.canonical`), or `name`.
    """
    try:
        return imt.canonical(name)
    except UsageError:
        return name


# ---- expressions: a column, A|B or a pattern -> cells -------------------------------------------


def holds(table: sheet.Sheet, expression: str) -> bool:
    """Return True if a table has the columns that an expression needs.

    Parameters
    ----------
    table : Sheet
        Table as read from a file.
    expression : str
        Name of a column, alternatives ``A|B`` or a pattern ``{A}.{B}``, as in `Layout`.

    Returns
    -------
    bool
        True if the table has one of the alternatives, or all columns of the pattern.
    """
    fields = [field[1] for field in FIELD.finditer(expression)]
    if fields and expression not in table.columns:
        return all(name in table.columns for name in fields)
    return any(name in table.columns for name in _alternatives(table, expression))


def _alternatives(table: sheet.Sheet, expression: str) -> list[str]:
    """Return the columns of ``A|B`` that a table has; if it has none, all names, for the error message."""
    if expression in table.columns:
        return [expression]
    names = [name.strip() for name in expression.split("|")]
    return [name for name in names if name in table.columns] or names


def read_number(table: sheet.Sheet, expression: str) -> tuple[pd.Series, pd.Series]:
    """Read a column, or alternatives ``A|B`` of which the first number in each row is used, as numbers.

    Parameters
    ----------
    table : Sheet
        Table as read from a file.
    expression : str
        Name of a column, or alternatives ``A|B``.

    Returns
    -------
    value : pandas.Series of float, [n_rows]
        Numbers in the unit of the file; NaN where all columns are blank.
    origin : pandas.Series of str, [n_rows]
        Name of the column from which each number is; missing where the number is missing.

    Raises
    ------
    UsageError
        The table has none of the columns.
    DataError
        A cell is no number.
    """
    value, origin = None, None
    for name in _alternatives(table, expression):
        column = table.number(name)
        source = pd.Series(name, column.index, dtype="str").mask(column.isna())
        value = column if value is None else value.fillna(column)
        origin = source if origin is None else origin.fillna(source)
    return value, origin


def read_text(table: sheet.Sheet, expression: str) -> pd.Series:
    """Read a column, alternatives ``A|B`` or a pattern ``{A}.{B}`` as text.

    Parameters
    ----------
    table : Sheet
        Table as read from a file.
    expression : str
        Name of a column, alternatives, of which the first with a value is used in each row, or a pattern,
        which is filled with the cells of each row.

    Returns
    -------
    pandas.Series of str, [n_rows]
        Texts; missing where all alternatives, or any column of the pattern, are blank.

    Raises
    ------
    UsageError
        The table has none of the alternatives, or lacks a column of the pattern.
    """
    if expression not in table.columns and FIELD.search(expression):
        return _fill_pattern(table, expression)
    value = None
    for name in _alternatives(table, expression):
        column = table.text(name)
        value = column if value is None else value.fillna(column)
    return value


def _fill_pattern(table: sheet.Sheet, pattern: str) -> pd.Series:
    """Return a pattern filled with the cells of each row, [n_rows]; missing where a cell is blank."""
    value, end = pd.Series("", range(table.table.num_rows), dtype="str", name=pattern), 0
    for field in FIELD.finditer(pattern):
        value = value + pattern[end : field.start()] + table.text(field[1]).str.zfill(int(field[2] or 0))
        end = field.end()
    return (value + pattern[end:]).rename(pattern)


def read_any(table: sheet.Sheet, expression: str) -> pd.Series:
    """Read a column, alternatives or a pattern as numbers if all cells are numbers, else as text.

    Parameters
    ----------
    table : Sheet
        Table as read from a file.
    expression : str
        Name of a column, alternatives ``A|B`` or a pattern ``{A}.{B}``.

    Returns
    -------
    pandas.Series of float or str, [n_rows]
        Values; missing where blank.

    Raises
    ------
    UsageError
        The table has none of the alternatives, or lacks a column of the pattern.
    """
    text = read_text(table, expression)
    try:
        return table.to_number(text)
    except DataError:
        return text
