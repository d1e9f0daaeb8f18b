"""Reader of the KiK-net flatfile of Bahrampouri et al. (2021), DesignSafe PRJ-2547."""

import contextlib
import re
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from tfgmm.core import files, imt
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.data.tally import Tally
from tfgmm.readers.common import selection, sheet, units
from tfgmm.readers.flatfiles import jma, wide

#: Names of the two horizontal components in the flatfile, by sensor.
SENSORS = {"surface": ("EW2", "NS2"), "borehole": ("EW1", "NS1")}
NUMBERS = {
    "event_longitude": "lon",
    "event_latitude": "lat",
    "depth_km": "depth",
    "station_longitude": "stationLon",
    "station_latitude": "stationLat",
    "vs30_m_s": "Vs30",
}
QUALITY = ("snr", "fLow", "fHigh")
MOST_PERIODS = 10_000
#: Period, s, at which SA is close enough to PGA to tell the unit of the spectra.
SHORT_S = 0.05
#: Upper estimate of the standard deviation of ln (SA(0.05 s) / PGA), ln units.
SPECTRAL_SCATTER = 0.5


def read(
    attributes: Path,
    limits: selection.Limits,
    *,
    spectra: Path | None = None,
    ims: Sequence[str] = ("PGA",),
    sensor: str = "surface",
    unit: str | None = None,
    spectra_unit: str | None = None,
    unit_as_stated: bool = False,
    time_zone: str = "Asia/Tokyo",
    progress: Callable[[Path], None] | None = None,
) -> Dataset:
    """Read the records of the KiK-net flatfile into a dataset.

    Intensity measures are the geometric mean of the two horizontal components, in g. Mw is
    ``MT_Magnitude_``, else converted from ``JMA_Magnitude_`` as in `jma`. SA(T) comes from the HDF5 file;
    between two of its periods, ln SA is interpolated linearly in ln T.

    Parameters
    ----------
    attributes : Path
        Table ``attributes.csv``.
    limits : Limits
        Region, smallest magnitude, largest distance (km) and smallest number of records per event.
    spectra : Path, optional
        HDF5 file with groups ``ADDRESS/COMPONENT/PSa`` and the periods (s) in ``T``; needed for SA(T).
    ims : sequence of str
        Intensity measures: ``PGA``, ``SA(1.0)``, ...
    sensor : str
        ``surface`` (components EW2, NS2), or ``borehole`` (EW1, NS1), whose station ids end in
        ``-borehole``.
    unit, spectra_unit : str, optional
        Units of PGA and of the spectra, which the flatfile does not document. By default the unit of PGA is
        detected from the PGA expected for magnitude and distance, and that of the spectra from their ratio
        to PGA.
    unit_as_stated : bool
        Whether stated units are accepted even if `units.check` would refuse them.
    time_zone : str
        Time zone of the origin times, which is not documented either; the provider of the records uses JST.
    progress : callable, optional
        Function called with the path of each file that has been read.

    Returns
    -------
    Dataset
        ``event_id`` is ``kik`` and the origin time as listed; a second hypocentre of the same second gets
        ``-2``. Records also have signal-to-noise ratios and corner frequencies as listed.

    Raises
    ------
    UsageError
        A file, column, sensor, unit or intensity measure does not exist.
    DataError
        A file is damaged, a value cannot be trusted, a unit cannot be detected, a period lies outside the
        spectra, or no record is left.
    """
    measures = list(dict.fromkeys(imt.canonical(name) for name in ims))
    if sensor not in SENSORS:
        raise UsageError(f"unknown sensor {sensor!r}: write {' or '.join(SENSORS)}")
    if "PGV" in measures:
        raise UsageError("the KiK-net flatfile has no PGV: ask for PGA and SA(T)")
    periods = [imt.period(name) for name in measures if name != "PGA"]
    if periods and spectra is None:
        raise UsageError("SA(T) needs the HDF5 file of spectra: give it with --spectra")
    table = sheet.read(attributes)
    rows, noted = _read_rows(table, sensor, time_zone)
    surface = _mean_of(table, "pga", SENSORS["surface"])
    chosen, reason, doubts = _pga_unit(unit, unit_as_stated, surface, rows)
    pga = _mean_of(table, "pga", SENSORS[sensor]) * units.in_g(chosen)
    reasons = {"unit": reason}
    if "PGA" in measures:
        rows["PGA"] = pga
    if progress:
        progress(attributes)
    if periods:
        options = {"pga": pga, "wanted": periods, "unit": spectra_unit, "as_stated": unit_as_stated}
        values, reasons["spectra_unit"], absent = _read_spectra(spectra, table, SENSORS[sensor], **options)
        rows, noted = rows.assign(**values), noted + absent
        if progress:
            progress(spectra)
    provenance = _provenance(
        [attributes, *([spectra] if periods else [])], measures, sensor, time_zone, reasons
    )
    raw = wide.split(rows, provenance | {"noted": noted + doubts}, Tally())
    return selection.select(raw, limits)


def _read_rows(table: sheet.Sheet, sensor: str, time_zone: str) -> tuple[pd.DataFrame, list[dict]]:
    """Return a row per record for `wide.split`, without intensity measures, and provenance notes."""
    rows = pd.DataFrame({name: table.number(column) for name, column in NUMBERS.items()})
    origin = _read_origin_times(table)
    same = pd.DataFrame({"time": origin, **{name: rows[name] for name in list(NUMBERS)[:3]}})
    rows["event_id"] = _event_ids(same)
    rows["origin_time"] = (
        origin.dt.tz_localize(_zone(time_zone), ambiguous="NaT", nonexistent="NaT")
        .dt.tz_convert("UTC")
        .astype("datetime64[us, UTC]")
    )
    station = table.text("station")
    rows["station_id"] = station if sensor == "surface" else station + "-borehole"
    magnitude, noted = _read_magnitudes(table, rows["event_id"])
    rows = rows.assign(network="kik", component="geometric_mean", **magnitude)
    rows["sensor_depth_m"] = 0.0 if sensor == "surface" else np.nan
    for name in (f"{quality}_{component}" for quality in QUALITY for component in SENSORS[sensor]):
        if name in table.columns:
            rows[f"record_{name}"] = table.number(name)
    return rows.assign(file=table.path.name, row=table.rows), noted


def _read_origin_times(table: sheet.Sheet) -> pd.Series:
    """Return the origin times as listed, without a time zone."""
    date, time = table.text("originDate"), table.text("originTime")
    text = (date + " " + time).rename("originDate originTime")
    whole = pd.to_datetime(text, format="%m/%d/%Y %H:%M:%S", errors="coerce")
    origin = whole.fillna(pd.to_datetime(text, format="%m/%d/%Y %H:%M:%S.%f", errors="coerce"))
    table.refuse(text, origin.isna() & text.notna(), "M/D/Y H:M:S")
    return origin


def _zone(name: str) -> zoneinfo.ZoneInfo:
    """Return the time zone of the given name; raise `UsageError` if there is none."""
    with contextlib.suppress(KeyError, ValueError, OSError):  # errors of zoneinfo for a wrong name
        return zoneinfo.ZoneInfo(name)
    raise UsageError(f"unknown time zone {name!r}: write one as Asia/Tokyo or UTC")


def _event_ids(hypocentres: pd.DataFrame) -> pd.Series:
    """Return an event id for each row: ``kik`` and the listed origin time; missing without a time."""
    distinct = hypocentres.drop_duplicates()
    stamp = distinct["time"].dt.floor("s")
    twin = distinct.groupby(stamp, dropna=False).cumcount()
    name = "kik" + stamp.dt.strftime("%Y%m%d%H%M%S") + ("-" + (twin + 1).astype("str")).where(twin > 0, "")
    return hypocentres.merge(distinct.assign(name=name), on=list(hypocentres), how="left")["name"]


def _read_magnitudes(table: sheet.Sheet, event: pd.Series) -> tuple[dict[str, pd.Series], list[dict]]:
    """Return Mw and its source for each row, and notes for the provenance.

    If the rows of an event have different magnitudes, the first one is used for all rows.
    """
    kinds, noted = {}, []
    for column in ("MT_Magnitude_", "JMA_Magnitude_"):
        known = table.number(column)
        groups = known.where(known > 0).groupby(event)  # zero is no magnitude
        several = groups.nunique() > 1
        noted += selection.note("event", f"{column} differs: the first is kept", several.index[several])
        kinds[column] = groups.transform("first")
    slope, intercept = jma.MW_FROM_MJ
    moment, agency = kinds.values()
    source = pd.Series("none", event.index).mask(agency.notna(), "JMA converted").mask(moment.notna(), "MT")
    return {"magnitude": moment.fillna(slope * agency + intercept), "magnitude_source": source}, noted


def _mean_of(table: sheet.Sheet, quantity: str, components: Sequence[str]) -> pd.Series:
    """Return the geometric mean of a quantity over two components; NaN unless both are known.

    A negative value counts as 0.
    """
    first, second = (table.number(f"{quantity}_{name}").clip(lower=0) for name in components)
    return np.sqrt(first) * np.sqrt(second)


def _pga_unit(
    unit: str | None, as_stated: bool, surface: pd.Series, rows: pd.DataFrame
) -> tuple[str, str, list[dict]]:
    """Return the unit of PGA, a sentence with the reason, and notes for the provenance."""
    what = "values of surface PGA"
    if unit is None:
        return *units.detect(surface, wide.expected_ln_pga(rows), what), []
    result, doubtful = units.check(surface, wide.expected_ln("PGA", rows), unit, what, as_stated=as_stated)
    noted = selection.note("file", result, rows["file"].unique() if doubtful else [])
    return unit, f"{unit}, as stated; {result}", noted


# ---- spectra ------------------------------------------------------------------------------------


def _read_spectra(
    path: Path,
    table: sheet.Sheet,
    components,
    *,
    pga: pd.Series,
    wanted: Sequence[float],
    unit: str | None,
    as_stated: bool,
) -> tuple[dict[str, np.ndarray], str, list[dict]]:
    """Return SA(T) in g by name, [n_rows] each, the reason for the unit of the spectra, and notes.

    SA is NaN for a row without spectrum.
    """
    values, short = _read_ordinates(path, table.text("Adress"), components, wanted)
    what = f"values of SA({short:g}), PGA being what is expected,"
    unit, reason = _spectral_unit(unit, as_stated, values[:, 0], pga, what)
    absent = table.text("Code")[np.isnan(values).all(axis=1)]
    noted = selection.note("record", "no spectrum at its address: SA is missing", absent)
    names = [imt.canonical(f"SA({period})") for period in wanted]
    return dict(zip(names, values[:, 1:].T * units.in_g(unit), strict=True)), reason, noted


def _read_ordinates(
    path: Path, addresses: pd.Series, components: Sequence[str], wanted: Sequence[float]
) -> tuple[np.ndarray, float]:
    """Return SA at a short period and at the wanted ones, [n_rows, 1 + n_wanted], and the short period, s.

    SA has the unit of the file, and is NaN if the file has no spectrum for an address.
    """
    with _open(path) as store:
        periods = _read_periods(path, store, wanted)
        short = max(periods[0], min(SHORT_S, periods[-1]))
        at = np.log([short, *wanted])
        ln = np.full((len(addresses), len(at)), np.nan)
        for row, address in enumerate(addresses):
            if isinstance(address, str):
                spectrum = _read_ln_spectrum(path, store, address, components, len(periods))
                ln[row] = np.interp(at, np.log(periods), spectrum)
    if np.isnan(ln).all():
        raise DataError(f"{path} has no spectrum of the addresses in the table: are both of one version?")
    return np.exp(ln), short


def _spectral_unit(
    unit: str | None, as_stated: bool, short: np.ndarray, pga: pd.Series, what: str
) -> tuple[str, str]:
    """Return the unit of the spectra, and a sentence with the reason; `short` is SA at a short period."""
    expected = np.log(pga.where(pga > 0)).to_numpy()
    if unit is None:
        return units.detect(short, expected, what, SPECTRAL_SCATTER, "--spectra-unit")
    result, _ = units.check(short, expected, unit, what, as_stated=as_stated, option="--spectra-unit")
    return unit, f"{unit}, as stated; {result}"


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """Open the HDF5 file of spectra; errors of h5py in the block become `DataError`."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist: give the path of the HDF5 file of spectra")
    try:
        with h5py.File(path, "r") as store:
            yield store
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:  # as h5py has it
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is no whole HDF5 file of spectra ({reason}): fetch it again") from error


def _read_periods(path: Path, store: h5py.File, wanted: Sequence[float]) -> np.ndarray:
    """Return the periods of the spectra, s; raise `DataError` if a wanted period is out of range."""
    if store["T"].size > MOST_PERIODS:
        raise DataError(f"{path}, T: {store['T'].size} values, expected at most {MOST_PERIODS} periods")
    periods = np.atleast_1d(np.asarray(store["T"][()], float))
    if periods.ndim != 1 or not np.all(np.isfinite(periods)) or not np.all(np.diff(periods, prepend=0) > 0):
        raise DataError(
            f"{path}, T: expected ascending periods above zero, found {periods.tolist()[:5]} ..."
        )
    for period in wanted:
        if not periods[0] <= period <= periods[-1]:
            raise DataError(
                f"{path}, T: SA({period:g}) lies outside its periods {periods[0]:g} to {periods[-1]:g} s"
            )
    return periods


def _read_ln_spectrum(
    path: Path, store: h5py.File, address: str, components: Sequence[str], count: int
) -> np.ndarray:
    """Return ln of the geometric mean spectrum of a record, [count]; NaN if the file has no spectrum.

    `address` is a text such as ``['/20141103230700/AOMH05']``; `count` is the number of periods.
    """
    group = "/".join(re.findall(r"['\"]([^'\"]*)['\"]", address) or [address])
    total = np.zeros(count)
    for component in components:
        name = f"{group}/{component}/PSa"
        if name not in store:
            return np.full(count, np.nan)
        if store[name].shape != (count,):  # before it is read: it may claim to fill any memory
            raise DataError(f"{path}, {name}: {store[name].shape} values, expected {count}, one a period")
        values = np.asarray(store[name][()], float)
        total += np.log(np.where(values > 0, values, np.nan)) / len(components)
    return total


def _provenance(
    paths: Sequence[Path], measures, sensor: str, time_zone: str, reasons: dict[str, str]
) -> dict:
    """Return the provenance for ``dataset.json``: files with hashes, choices, units and attribution."""
    slope, intercept = jma.MW_FROM_MJ
    return {
        "name": "KiK-net flatfile (Bahrampouri et al. 2021)",
        "component": "geometric_mean",
        "unit": {name: imt.unit(name) for name in measures},
        "sources": [{"file": path.name, "sha256": files.sha256(path)} for path in paths],
        "choices": {
            "magnitude": f"Mw is MT_Magnitude_, else {slope} JMA_Magnitude_ + {intercept}",
            "sensor": f"{sensor}: {' and '.join(SENSORS[sensor])}",
            "hypocentre": "lat, lon and depth as listed",
            "time_zone": f"{time_zone} (not documented in the flatfile; its provider's records are in JST)",
            **reasons,
        },
        "attribution": "Made from the KiK-net flatfile of Bahrampouri, Rodriguez-Marek, Shahi and Dawood "
        "(2021), DesignSafe PRJ-2547, doi 10.17603/ds2-e0ts-c070; records by the National Research "
        "Institute for Earth Science and Disaster Resilience (NIED).",
    }
