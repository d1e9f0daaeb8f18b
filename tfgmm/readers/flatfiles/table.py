"""Reader of flatfiles of any layout with one row per record, and writer of such a file from a dataset."""

import dataclasses
import zoneinfo
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfgmm.core import files, imt
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally
from tfgmm.readers.common import selection, sheet, units
from tfgmm.readers.common.sheet import find_column
from tfgmm.readers.flatfiles import layout as layouts
from tfgmm.readers.flatfiles import wide

NUMBERS = {*wide.NEEDED, *wide.OPTIONAL, *wide.RECORD, wide.HIGHPASS}
#: Optional columns of a file that the package uses, and which are read as times or texts.
TIMES = ("station_operating_from", "station_operating_to")
TEXTS = ("station_name", "station_locality", "station_site_id")
REQUIRED = (*wide.IDS, "origin_time", *wide.NEEDED, "component")
#: Pattern of a time that ends in its offset from UTC.
ZONED = r".*:.*(?:Z|[+-]\d\d:?\d\d)"
SIMULATED = "simulated"
#: Number of rows used to check the unit; of a longer table every second, third, ... row is used.
MOST_CHECKED = 100_000
UNREAD = "looks like a spectral acceleration and is not read: name it with --map"


def read(
    paths: Sequence[Path],
    limits: selection.Limits,
    layout: layouts.Layout | None = None,
    progress: Callable[[Path], None] | None = None,
) -> Dataset:
    """Read flatfiles with one row per record (CSV, TSV, Excel or Parquet) into a dataset.

    Columns with canonical names (`wide.CANONICAL`, ``PGA``, ``PGV``, ``SA(1.0)``) need no layout, nor do
    rupture distances in km (`wide.RECORD`: ``Rrup``, ``RuptureDistance``, ...). Other columns are left out,
    unless their names begin with ``event_``, ``station_`` or ``record_``. The column
    ``station_site_id`` says which stations share a site; without this column
    `tfgmm.data.dataset.site_ids` finds them.

    Parameters
    ----------
    paths : sequence of Path
        Files of the same layout.
    limits : Limits
        Region, smallest magnitude, largest distance (km) and smallest number of records per event.
    layout : Layout, optional
        Columns of the quantities, unit of the amplitudes, constant values, time zone.
    progress : callable, optional
        Function called with the path of each file that has been read.

    Returns
    -------
    Dataset
        Events, stations and records within the limits, amplitudes in g, PGV in cm/s.

    Raises
    ------
    UsageError
        A file or a column does not exist, or no station lies in the region.
    DataError
        A file is damaged, a value cannot be trusted, or no record is left.
    """
    layout = layout or layouts.Layout()
    tally = Tally()
    parts, sources = [], []
    for path in paths:
        rows, source = _read_file(path, layout, tally)
        parts.append(rows)
        sources.append(source)
        if progress:
            progress(path)
    rows = pd.concat(parts, ignore_index=True)
    del parts
    raw = wide.split(rows, _provenance(sources, layout, rows), tally)
    dataset = selection.select(raw, limits)
    return dataclasses.replace(
        dataset,
        stations=_name_sites(dataset.stations, raw.stations),
        provenance=dataset.provenance | {"simulated": any(source["simulated"] for source in sources)},
    )


def _read_file(path: Path, layout: layouts.Layout, tally: Tally) -> tuple[pd.DataFrame, dict]:
    """Return the rows of a file with canonical names, amplitudes in g and cm/s, and facts about it."""
    table = sheet.read(path)
    where = _locate_columns(table, layout)
    source = {
        "source": {"file": path.name, "sha256": files.sha256(path)},
        "simulated": SIMULATED in table.columns,
        "encoding": table.encoding,
        "decimal": table.decimal,
        "columns": where,
        "unread": layouts.unread_spectra(table.columns, where.values()),
    }
    rows = _read_rows(table, where, layout)
    del table
    measures = sorted(filter(imt.is_imt, rows), key=imt.order)
    rows = wide.within_passband(wide.without_marks(rows, measures, tally), measures, tally)
    stated = {"g": layout.unit or "g", "cm/s": layout.velocity_unit or "cm/s"}
    source["unit"], source["noted"] = _check_unit(path, rows, measures, stated, layout.unit_as_stated)
    source["noted"] += selection.note("column", UNREAD, source["unread"])
    sizes = {"g": units.in_g(stated["g"]), "cm/s": units.in_cm_s(stated["cm/s"])}
    return rows.assign(**{name: rows[name] * sizes[imt.unit(name)] for name in measures}), source


def _check_unit(
    path: Path, rows: pd.DataFrame, measures: Sequence[str], stated: dict[str, str], as_stated: bool
) -> tuple[str, list[dict]]:
    """Check the units; return a sentence about the first measure, and notes of doubtful columns.

    `stated` are the units of the file, by the unit of the intensity measure (`imt.unit`).
    """
    if not as_stated:
        for name in measures:
            units.refuse_negative(rows[name].to_numpy(), f"values of {name}")
    sample = rows.iloc[:: 1 + len(rows) // MOST_CHECKED]
    results, noted = [], []
    for name in measures:
        expected, what = wide.expected_ln(name, sample), f"values of {name}"
        options: dict = {"beside": measures[0] if results and imt.unit(measures[0]) == "g" else ""}
        if name == "PGV":
            options = {"option": "--velocity-unit"}
            if "PGA" in sample:
                expected, options["limit"] = _by_pga(expected, sample, stated["g"]), units.DOUBTFUL
        result, doubtful = units.check(
            sample[name], expected, stated[imt.unit(name)], what, as_stated=as_stated, **options
        )
        results.append(result)
        noted += selection.note("file", result, [path.name] if doubtful else [])
    return results[0], noted


def _by_pga(expected_ln: np.ndarray, rows: pd.DataFrame, unit: str) -> np.ndarray:
    """Return the expected ln PGV [n] shifted by the residual of ln PGA, where PGA is known.

    An acceleration in cm/s^2 is 6 to 20 times the velocity in cm/s: so it is not taken for one.
    """
    pga = rows["PGA"].where(rows["PGA"] > 0).to_numpy() * units.in_g(unit)
    residual = np.log(pga) - wide.expected_ln("PGA", rows)
    return expected_ln + np.where(np.isfinite(residual), residual, 0.0)


def _name_sites(kept: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    """Return the stations with the site ids of the file, if it has any; other site ids stay."""
    if "site_id" not in listed:
        return kept
    named = kept["station_id"].map(listed.set_index("station_id")["site_id"])
    return kept.assign(site_id=named.fillna(kept["site_id"]))


def write(dataset: Dataset, path: Path) -> Tally:
    """Write a dataset as one CSV file with one row per record, which `read` reads without a layout.

    Reading the file gives the same tables, perhaps with rows in another order. Site layers and provenance
    are not written; a column ``simulated`` marks simulated records.

    Parameters
    ----------
    dataset : Dataset
        Dataset to write.
    path : Path
        CSV file.

    Returns
    -------
    Tally
        Counts of the events, stations and records of the dataset, and of the events and stations that are
        not written because they have no record.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    tally = Tally()
    rows = dataset.records.rename(columns=lambda name: _wide_name(name, "record_", {}))
    for what, names in (("event", wide.EVENT), ("station", wide.STATION)):
        table = getattr(dataset, f"{what}s")
        tally.count(what, len(table))
        silent = ~table[f"{what}_id"].isin(rows[f"{what}_id"])
        tally.drop(what, "no record names it", table.loc[silent, f"{what}_id"])
        own = {column: name for name, column in names.items()}
        table = table.rename(columns=lambda name, what=what, own=own: _wide_name(name, f"{what}_", own))
        rows = rows.merge(table, on=f"{what}_id", how="left")
    tally.count("record", len(rows))
    for name in rows.select_dtypes("datetimetz"):
        rows[name] = rows[name].dt.tz_convert("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if dataset.simulated:
        rows[SIMULATED] = 1
    with files.whole_file(path) as temporary:
        rows.to_csv(temporary, index=False)
    return tally


def _wide_name(name: str, prefix: str, own: dict[str, str]) -> str:
    """Return the name that a column of the events, stations or records table has in the CSV file."""
    if name in own or name in wide.CANONICAL or imt.is_imt(name):
        return own.get(name, name)
    return prefix + name


# ---- a sheet -> rows with canonical names -------------------------------------------------------


def _read_rows(table: sheet.Sheet, where: dict[str, str], layout: layouts.Layout) -> pd.DataFrame:
    """Return the rows of a table in columns with canonical names, converted to numbers, times and texts."""
    columns, origin = {}, None
    for name, expression in where.items():
        if name in NUMBERS or imt.is_imt(name):
            columns[name], source = layouts.read_number(table, expression)
            origin = source if name == "magnitude" else origin
        elif name == "origin_time" or name in TIMES:
            columns[name] = _parse_time(table, layouts.read_text(table, expression), layout, name)
        elif name in wide.CANONICAL or name in TEXTS:
            columns[name] = layouts.read_text(table, expression)
        else:
            columns[name] = layouts.read_any(table, expression)
    rows = pd.DataFrame(columns)
    for name, value in layout.constants.items():
        rows[name] = _convert_constant(name, value)
    if "magnitude_source" not in rows:
        rows["magnitude_source"] = origin if origin is not None else "given"
    for name in TIMES:
        if name not in rows and any(time in rows for time in TIMES):
            rows[name] = pd.Series(pd.NaT, rows.index, dtype="datetime64[us, UTC]")
    file = pd.Categorical.from_codes(np.zeros(len(rows), np.int8), [table.path.name])  # held once
    return rows.assign(file=file, row=table.rows)


def _locate_columns(table: sheet.Sheet, layout: layouts.Layout) -> dict[str, str]:
    """Return the source (a column or an expression) of each canonical name that the table or layout has.

    `UsageError` is raised if a required column or all intensity measures are missing.
    """
    where = {
        name: source
        for name, source in layout.columns.items()
        if name == layouts.SPECTRA or name not in layout.optional or layouts.holds(table, source)
    }
    pattern = where.pop(layouts.SPECTRA, None)
    spectra = layouts.spectra(pattern, table.columns) if pattern else {}
    if pattern and not spectra and layouts.SPECTRA not in layout.optional:
        raise UsageError(
            f"{table.path} has no column that matches SA={pattern}: its columns are "
            f"{listed(table.columns, 100)}"
        )
    fixed = layout.constants.keys()
    own = {name: name for name in table.columns if name in wide.CANONICAL or name.startswith(wide.PREFIXES)}
    distances = {name: find_column(table.columns, names) for name, names in wide.RECORD.items()}
    distances = {name: column for name, column in distances.items() if column is not None}
    where = {**_locate_measures(table), **distances, **own, **spectra, **where}
    where = {name: source for name, source in where.items() if name not in fixed}
    missing = [name for name in REQUIRED if name not in where and name not in fixed]
    if missing:
        raise UsageError(
            f"{table.path} has no column for {', '.join(missing)}: name one with --map {missing[0]}=COLUMN "
            f"or give one value with --set {missing[0]}=VALUE; its columns are {listed(table.columns, 100)}"
        )
    if not any(imt.is_imt(name) for name in where):
        raise UsageError(
            f"{table.path} has no intensity measure: name columns with --map PGA=COLUMN or "
            f"--map 'SA=T{{T}}S'; its columns are {listed(table.columns, 100)}"
        )
    return where


def _locate_measures(table: sheet.Sheet) -> dict[str, str]:
    """Return the columns that are named like an intensity measure in any spelling, by canonical name."""
    measures = {}
    for column in dict.fromkeys(table.columns):
        name = layouts.measure(column)
        if imt.is_imt(name) and measures.setdefault(name, column) != column:
            raise DataError(f"{table.path}: columns {measures[name]!r} and {column!r} are both {name}")
    return measures


def _parse_time(table: sheet.Sheet, text: pd.Series, layout: layouts.Layout, name: str) -> pd.Series:
    """Return times in UTC from texts in the format and the time zone of the layout."""
    form = layout.time_format if layout.time_format and name == "origin_time" else "ISO8601"
    time = pd.to_datetime(text, format=form, utc=True, errors="coerce").astype("datetime64[us, UTC]")
    table.refuse(text, time.isna() & text.notna(), f"a time as {form}")
    if layout.time_zone == "UTC":
        return time
    try:
        zone = zoneinfo.ZoneInfo(layout.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"unknown time zone {layout.time_zone!r}: write one as Asia/Tokyo or UTC"
        ) from error
    local = (
        time.dt.tz_localize(None)
        .dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
        .dt.tz_convert("UTC")
    )
    local = local.where(~text.str.fullmatch(ZONED).fillna(False).astype(bool), time)
    table.refuse(text, local.isna() & text.notna(), f"a time that exists once in {layout.time_zone}")
    return local


def _convert_constant(name: str, value: str):
    """Return a constant of the layout as float if its column holds numbers, else as text."""
    if name not in NUMBERS:
        return value
    try:
        return float(value)
    except ValueError as error:
        raise UsageError(f"--set {name}={value}: write a number") from error


def _provenance(sources: Sequence[dict], layout: layouts.Layout, rows: pd.DataFrame) -> dict:
    """Return the provenance for ``dataset.json``: files with hashes, unit checks, columns and choices."""
    measures = [name for name in rows if imt.is_imt(name)]
    names = [source["source"]["file"] for source in sources]
    encodings = {name: s["encoding"] for name, s in zip(names, sources, strict=True) if s["encoding"]}
    unread = {source["source"]["file"]: source["unread"] for source in sources}
    checks = dict.fromkeys(source["unit"] for source in sources)
    stated = f"{layout.unit}, as stated" if layout.unit else "g, as nothing else is stated"
    return {
        "name": layout.name,
        "component": ", ".join(sorted(set(rows["component"].dropna()))),
        "unit": {name: imt.unit(name) for name in measures},
        "sources": [source["source"] for source in sources],
        "noted": [note for source in sources for note in source["noted"]],
        "choices": {
            "unit": "; ".join([stated, *checks]),
            **({"velocity_unit": layout.velocity_unit or "cm/s"} if "PGV" in measures else {}),
            "columns": sources[0]["columns"],
            "spectra_not_read": {name: columns for name, columns in unread.items() if columns},
            "constants": dict(layout.constants),
            "time_zone": layout.time_zone,
            "encoding": encodings,
            "decimal": sources[0]["decimal"],
            "magnitude": "as listed, taken as Mw; magnitude_source names the column or the type",
        },
    }
