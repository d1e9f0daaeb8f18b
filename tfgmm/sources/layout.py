"""Which column of a table holds what: given by the user, a TOML file, or known of an agency."""

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfgmm import imt
from tfgmm.errors import DataError, TfgmmError, UsageError
from tfgmm.sources import units, wide

#: Keys beside canonical names: a pattern of the columns of spectra.
SPECTRA = "SA"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a table is to be read.

    Attributes
    ----------
    columns : mapping
        What (a canonical name as ``event_id``, an intensity measure, ``SA``, or a name that begins
        with ``event_``, ``station_`` or ``record_``) -> where: a column; ``A|B``, the first of them that
        has a value; or a pattern as ``{network}.{station}``, in which ``{HRMN:4}`` is padded with zeros
        to four characters. For ``SA`` the pattern holds the period in s, ``T{T}S``, or the frequency in
        Hz, ``f{f}SA``.
    constants : mapping
        What -> its value in all rows.
    unit : str or None
        Of all amplitudes, a key of `units.IN_G`; None: g, refused where that is implausible.
    time_format : str or None
        Of the origin time, as ``strptime`` has it; None: ISO 8601.
    time_zone : str
        Of origin times that name none, as ``Asia/Tokyo``.
    name : str
        For the provenance.
    """

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unit: str | None = None
    time_format: str | None = None
    time_zone: str = "UTC"
    name: str = "table"

    def __post_init__(self) -> None:
        if self.unit is not None:
            units.in_g(self.unit)
        for what in [*self.columns, *self.constants]:
            known = what in wide.CANONICAL or what == SPECTRA or what.startswith(wide.PREFIXES)
            if not known and not imt.is_imt(what):
                raise UsageError(
                    f"unknown column {what!r}: expected one of {', '.join(sorted(wide.CANONICAL))}, PGA, "
                    f"SA(T), SA, or a name that begins with {', '.join(wide.PREFIXES)}"
                )


#: Column names of NZ: the agency's own explanation of columns and its files. Of ESM and NGA-West2: the
#: published code of several users of these files.
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
            "SA": "rotD50_T{T}",
        },
        constants={"component": "rotd50"},
        unit="cm/s^2",
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
            "SA": "T{T}S",
        },
        constants={"component": "rotd50", "network": "nga"},
        unit="g",
        time_format="%Y-%m%dT%H%M",
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
        name="New Zealand Strong Motion Database flatfile",
    ),
}


def choose(
    base: str | None = None,
    columns: Sequence[str] = (),
    constants: Sequence[str] = (),
    unit: str | None = None,
    time_zone: str | None = None,
) -> Layout:
    """A layout from what stands on the command line.

    Parameters
    ----------
    base : str or None
        One of `KNOWN`, or the path of a TOML file with the attributes of `Layout`.
    columns, constants : sequence of ``WHAT=WHERE``, ``WHAT=VALUE``
        Added to those of `base`, before which they go.
    unit, time_zone : str or None
        Instead of those of `base`.

    Raises
    ------
    UsageError
        A name is not known, or a pair has no ``=``.
    DataError
        The TOML file is damaged or holds something else.
    """
    start = Layout() if base is None else KNOWN.get(base) or _load(Path(base))
    given, fixed = _pairs(columns, "--map"), _pairs(constants, "--set")
    return dataclasses.replace(
        start,
        # What is mapped anew is no constant any more, and the other way round.
        columns={k: v for k, v in start.columns.items() if k not in fixed} | given,
        constants={k: v for k, v in start.constants.items() if k not in given} | fixed,
        unit=unit or start.unit,
        time_zone=time_zone or start.time_zone,
    )


def spectra(pattern: str, names: Sequence[str]) -> dict[str, str]:
    """Intensity measure -> column, for the columns that match a pattern with ``{T}`` or ``{f}``.

    >>> spectra("rotD50_T{T}", ["rotD50_T0_010", "rotD50_T90"]), spectra("f{f}SA", ["f33.3333SA"])
    ({'SA(0.01)': 'rotD50_T0_010'}, {'SA(0.03)': 'f33.3333SA'})
    """
    if ("{T}" in pattern) == ("{f}" in pattern):
        raise UsageError(
            f"SA={pattern}: write {{T}} where the period or {{f}} where the frequency stands, as T{{T}}S"
        )
    digits = r"(\d+[._]\d+)"
    expression = re.compile(re.escape(pattern).replace(r"\{T\}", digits).replace(r"\{f\}", digits))
    matches = ((name, expression.fullmatch(name)) for name in names)
    numbers = {name: float(match[1].replace("_", ".")) for name, match in matches if match}
    if "{f}" in pattern:
        numbers = {name: float(f"{1 / number:.3g}") for name, number in numbers.items() if number}
    return {imt.canonical(f"SA({number})"): name for name, number in numbers.items() if number}


def _load(path: Path) -> Layout:
    if not path.is_file():
        raise UsageError(
            f"unknown layout {str(path)!r}: write one of {', '.join(KNOWN)} or the path of a TOML file"
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        constants = {what: str(value) for what, value in content.pop("constants", {}).items()}
        return Layout(**{"name": path.stem, **content}, constants=constants)
    except (ValueError, TypeError, AttributeError, OSError, RecursionError) as error:  # nested deeply
        fields = ", ".join(field.name for field in dataclasses.fields(Layout))
        raise DataError(f"{path} is no layout ({error}): a TOML file may hold {fields}") from error
    except TfgmmError as error:
        raise DataError(f"{path}: {error}") from error


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        what, equals, where = text.partition("=")
        if not equals or not where.strip():
            raise UsageError(f"{option} {text}: write it as {option} event_id=VALUE")
        what = what.strip()
        pairs[what if what in wide.CANONICAL or what == SPECTRA else measure(what)] = where.strip()
    return pairs


def measure(name: str) -> str:
    """The one spelling of an intensity measure; any other name as it is."""
    try:
        return imt.canonical(name)
    except UsageError:
        return name
