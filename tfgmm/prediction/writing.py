"""Predictions -> files: maps as NetCDF, GeoTIFF or figures, or a table of sites."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pyproj
import rasterio
import xarray as xr
from matplotlib.colors import LogNorm
from scipy.io import netcdf_file

from tfgmm.core import drawing, files, imt, outputs
from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.prediction import spectrum_figure
from tfgmm.prediction.conditioning import Known
from tfgmm.prediction.ensemble import UNKNOWN, Ensemble
from tfgmm.prediction.places import Interpolation
from tfgmm.prediction.quantities import Quantities, by_measure, median_name
from tfgmm.prediction.sanity import FEW_RECORDS, Sanity
from tfgmm.prediction.spectra import Spectra
from tfgmm.readers.common import catalogue

_OUTSIDE = {"outside_magnitude": "magnitude", "outside_depth": "depth"}


def draw_scenario(maps: xr.Dataset, stations: pd.DataFrame) -> plt.Figure:
    """Draw maps of the median of IM and of the total standard deviation of ln IM, and return the figure.

    Pixels with a support of less than 10 training records, and those outside the training range of
    distances, are hatched. The title says whether magnitude or depth lies outside the training range.

    Parameters
    ----------
    maps : xarray.Dataset, [row, col]
        One event of the dataset that `tfgmm.prediction.quantities.Quantities.of` returns.
    stations : pandas.DataFrame
        ``longitude`` and ``latitude`` (degrees) of the stations, which are drawn as triangles.

    Returns
    -------
    matplotlib.figure.Figure
    """
    im = maps.attrs["intensity_measure"]
    panels = {
        "(a) Median": (median_name(im), f"{im} ({imt.unit(im)})", {"norm": LogNorm(), "cmap": "magma_r"}),
        "(b) Total sigma": ("stddev", f"Standard deviation of ln {im}", {"cmap": "YlGnBu"}),
    }
    event = {"longitude": maps["event_longitude"], "latitude": maps["event_latitude"]}
    with mpl.rc_context(drawing.STYLE | {"hatch.linewidth": 0.3}):
        figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.2))
        for ax, (title, panel) in zip(axes, panels.items(), strict=True):
            _map(ax, maps, *panel)
            drawing.stations(ax, stations, s=4, linewidth=0.25)
            drawing.epicentre(ax, event)
            ax.set_title(title, loc="left")
            ax.label_outer()
        figure.suptitle(_title(maps), fontsize=10)
    return figure


def _map(ax: plt.Axes, maps: xr.Dataset, name: str, label: str, style: dict) -> None:
    """Draw one variable as a map with a colour bar."""
    longitude, latitude = (maps[axis].to_numpy() for axis in ("longitude", "latitude"))
    image = drawing.ln_im_map(ax, longitude, latitude, maps[name].to_numpy(), label, **style)
    if isinstance(image.norm, LogNorm):
        drawing.plain_ticks(image.colorbar)
    hatched = _without_support(maps).to_numpy()
    if hatched.any():
        little = ax.contourf(longitude, latitude, hatched, levels=(0.5, 1), colors="none", hatches=["//"])
        little.set_edgecolor((0.5, 0.5, 0.5, 0.6))  # the map is to be seen through it
        little.set_linewidth(0)
    drawing.crop(ax, longitude, latitude)


def _without_support(maps: xr.Dataset) -> xr.DataArray:
    """Return True where the training records say little: few are like the prediction, or none so far."""
    far = maps["outside_distance"]
    return far | (maps["support"] < FEW_RECORDS) if "support" in maps else far


def _title(maps: xr.Dataset) -> str:
    """Return the title of a figure: the earthquake, and a line with notes on the prediction."""
    notes = [drawing.SIMULATED] if maps.attrs["simulated"] else []
    notes += ["calibrated sigma"] if maps.attrs["calibrated"] else []
    notes += ["known rupture"] if maps["known_rupture"] else []
    notes += ["reference rock"] if maps.attrs["reference_rock"] else []
    notes += [f"interpolated between {maps.attrs['interpolated']}"] if "interpolated" in maps.attrs else []
    notes += [f"Vs30 {maps.attrs['vs30_m_s']:g} m/s"] if "vs30_m_s" in maps.attrs else []
    outside = [what for name, what in _OUTSIDE.items() if maps[name].any()]
    notes += [f"outside the training range: {', '.join(outside)}"] if outside else []
    if "site" not in maps.dims and _without_support(maps).any():
        notes += [f"hatched: fewer than {FEW_RECORDS} training records like it"]
    event = (
        f"M {maps['magnitude'].item():.1f}, depth {maps['depth_km'].item():.0f} km, "
        f"{drawing.degrees(maps['event_longitude'].item(), maps['event_latitude'].item())}"
    )
    return "\n".join([event, "; ".join(notes)]).strip()


_NO_MORE = Quantities()
#: Number of rows of a table that are written at once.
_ROWS = 100_000
#: First columns of a table of sites.
_FIRST = (
    "event_id",
    "event_longitude",
    "event_latitude",
    "depth_km",
    "magnitude",
    "site_id",
    "longitude",
    "latitude",
)
#: Bits of the flag ``outside``, and the variables that they stand for.
FLAGS = {1: "outside_magnitude", 2: "outside_depth", 4: "outside_distance", 8: "outside_map"}

_OF_EVENT = ("event_longitude", "event_latitude", "depth_km", "magnitude")
_COORDINATES = {
    "x": {"units": "m", "axis": "X", "standard_name": "projection_x_coordinate"},
    "y": {"units": "m", "axis": "Y", "standard_name": "projection_y_coordinate"},
    "longitude": {"units": "degrees_east", "standard_name": "longitude"},
    "latitude": {"units": "degrees_north", "standard_name": "latitude"},
    "event_longitude": {"units": "degrees_east"},
    "event_latitude": {"units": "degrees_north"},
    "depth_km": {"units": "km"},
    "magnitude": {"units": "1"},
    "known_rupture": {"units": "1", "long_name": "1 where the surface of the rupture is known"},
    "known_class": {
        "units": "1",
        "long_name": "1 where the tectonic class that the backbone takes was given",
    },
    "tectonic_class": {"long_name": "tectonic class that the backbone takes, or the weights of several"},
}
#: Coordinates of an event that are true or false, and the length of the longest text of classes, bytes.
_KNOWN, _CLASS_BYTES = ("known_rupture", "known_class"), 48


@dataclasses.dataclass(frozen=True)
class Target:
    """The file or the folder into which predictions are written.

    Attributes
    ----------
    path : Path
        Output file; or output folder, for several events or measures in a format that holds one per file.
    ending : str
        Ending of the files: ``.nc``, ``.tif``, ``.tiff``, ``.png`` or ``.pdf`` for maps, ``.csv`` or
        ``.parquet`` for a table of sites.
    is_folder : bool
        Whether `path` is a folder.
    """

    path: Path
    ending: str
    is_folder: bool

    @classmethod
    def choose(cls, out: Path, at_sites: bool, n_maps: int, overwrite: bool = False) -> Self:
        """Return where predictions go, after checking that they can be written there.

        Parameters
        ----------
        out : Path
            Output file; the ending gives the format. Maps: ``.nc`` (CF NetCDF, all in one file), ``.tif``,
            ``.png`` or ``.pdf`` (one file per event and measure; several files are written into a folder,
            named like `out` without the ending). Table of sites: ``.csv`` or ``.parquet``; figure of their
            spectra: ``.png`` or ``.pdf`` (one file per event).
        at_sites : bool
            True for a table of sites, False for maps.
        n_maps : int
            Number of events times number of intensity measures.
        overwrite : bool
            Whether an existing output may be replaced.

        Returns
        -------
        Target

        Raises
        ------
        UsageError
            The ending does not fit, or the output exists and must not be replaced.
        """
        ending = outputs.prediction_ending(out, at_sites)
        is_folder = ending not in (".nc", *outputs.TABLES) and n_maps > 1
        path = out.with_suffix("") if is_folder else out
        files.refuse_existing(path, overwrite)
        if is_folder and path.exists():
            strangers = [file.name for file in path.iterdir() if file.suffix.lower() != ending]
            if strangers:  # a run, say, of the same name
                raise UsageError(f"{path} holds {strangers[0]} and is not replaced: choose another name")
        elif path.is_dir():
            raise UsageError(f"{path} is a folder and is not replaced: choose another name")
        return cls(path, ending, is_folder)


def write(
    ensemble: Ensemble | Spectra,
    events: pd.DataFrame,
    target: Target,
    sites: pd.DataFrame | None = None,
    *,
    at_stations: bool = False,
    quantities: Quantities = _NO_MORE,
    interpolation: Interpolation = "nearest",
    calibrated: bool | None = None,
    known: Known = UNKNOWN,
    progress: Callable[[], None] = lambda: None,
) -> Path:
    """Predict ln IM for events, write maps or a table of sites, and return the path of what was written.

    The memory does not depend on the number of events.

    Parameters
    ----------
    ensemble : Ensemble or Spectra
        Trained members of a run for one intensity measure, or for several.
    events : pandas.DataFrame
        Events, as returned by `tfgmm.prediction.scenarios.check_events`.
    target : Target
        Where the predictions go, and in which format.
    sites : pandas.DataFrame, optional
        ``longitude`` and ``latitude`` (degrees); without sites, maps are written.
    at_stations : bool
        Whether `sites` are stations of the run, as returned by `RunFolder.stations`, whose records count
        for the field.
    quantities : Quantities
        Exceedance probabilities and percentiles to write as well.
    interpolation : {"nearest", "bilinear"}
        As for `Ensemble.at_sites`.
    calibrated, known
        As for `Ensemble.maps`.
    progress : callable
        Called after each event, without arguments.

    Returns
    -------
    Path
        The file or folder, which is written whole or not at all.

    Raises
    ------
    UsageError
        A calibration is asked for and the run has none.
    DataError
        A value of a site is missing or out of range, or the file system refuses to write.
    """
    draws_spectra = sites is not None and target.ending in outputs.FIGURES
    if draws_spectra:
        spectrum_figure.refuse_no_spectrum(ensemble.ims, len(sites))
    batches = ensemble.batches(
        *(events, sites),
        at_stations=at_stations,
        interpolation=interpolation,
        calibrated=calibrated,
        known=known,
    )
    sanity = Sanity(ensemble.experiment, known.ruptures)
    predictions = _count_events(sanity.watched(map(quantities.of, batches)), progress)
    with (files.whole_files if target.is_folder else files.whole_file)(target.path) as temporary:
        if target.ending in outputs.TABLES:
            _write_table(predictions, temporary, target.ending)
        elif target.ending == ".nc":
            id_bytes = max(len(name.encode()) for name in events["event_id"])
            write_netcdf(predictions, temporary, ensemble.experiment.grid, id_bytes)
        else:
            names = events["event_id"].tolist()
            if len(ensemble.ims) > 1 and not draws_spectra:
                names = [f"{name}_{im}" for name in names for im in ensemble.ims]
            paths = _paths(temporary, names, target.ending) if target.is_folder else [temporary]
            _write_each(predictions, paths, target.ending, ensemble)
    sanity.warn()
    return target.path


def _count_events(batches: Iterator[xr.Dataset], progress: Callable[[], None]) -> Iterator[xr.Dataset]:
    """Yield the batches, and call `progress` once per event when the next batch is requested."""
    for batch in batches:
        yield batch
        for _ in range(batch.sizes["event"]):
            progress()


def _paths(folder: Path, names: list[str], ending: str) -> list[Path]:
    """Return one path per name, in which special characters are replaced by ``_``."""
    names = catalogue.unique(pd.Series([re.sub(r"[^\w.-]", "_", name) for name in names]))
    return [folder / f"{name}{ending}" for name in names]


def _write_each(
    batches: Iterator[xr.Dataset], paths: list[Path], ending: str, ensemble: Ensemble | Spectra
) -> None:
    """Write the maps of every event and measure to a GeoTIFF or a figure, or the spectra of every event."""
    events = (
        one.isel(event=number)
        for batch in batches
        for number in range(batch.sizes["event"])
        for one in ([batch] if "site" in batch.dims else by_measure(batch))
    )
    for maps, path in zip(events, paths, strict=True):
        if "site" in maps.dims:
            drawing.save(spectrum_figure.draw(maps, _title(maps)), path, ("",))
        elif ending in (".tif", ".tiff"):
            write_geotiff(maps, path, ensemble.experiment.grid)
        else:
            drawing.save(draw_scenario(maps, ensemble.stations), path, ("",))


# ---- tables of sites --------------------------------------------------------------------------------


def _write_table(batches: Iterator[xr.Dataset], path: Path, ending: str) -> None:
    """Write a table of events and sites as CSV or Parquet, a few events at a time."""
    writer_type = pa.csv.CSVWriter if ending == ".csv" else pa.parquet.ParquetWriter
    tables = _row_groups(pa.Table.from_pandas(table(batch), preserve_index=False) for batch in batches)
    first = next(tables)
    with writer_type(path, first.schema) as writer:
        for rows in itertools.chain([first], tables):
            writer.write_table(rows)


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows in tables of `_ROWS` rows or more.

    Fewer tables save memory: the Parquet writer keeps a description of each table in memory until the end.
    """
    waiting: list[pa.Table] = []
    for rows in tables:
        waiting.append(rows)
        if sum(map(len, waiting)) >= _ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def table(predictions: xr.Dataset) -> pd.DataFrame:
    """Return predictions as a table with one row per event and site, and all quantities as columns.

    Parameters
    ----------
    predictions : xarray.Dataset, [event, site]
        As returned by `tfgmm.prediction.quantities.Quantities.of`.

    Returns
    -------
    pandas.DataFrame
        Event and site columns (`_FIRST`), the variables of `predictions` (floats as float32, in their
        units), ``im``, the flags ``calibrated``, ``simulated`` and ``reference_rock``, and ``vs30_m_s`` and
        ``rupture_file`` where these are given for all, ``conditioned_on`` and ``data_hash`` (on which
        records the prediction rests) with a backbone.
    """
    if "im" in predictions.dims:
        tables = [table(one) for one in by_measure(predictions)]
        columns = dict.fromkeys(itertools.chain.from_iterable(tables))
        return pd.concat(tables, ignore_index=True)[[*columns]]
    rows = predictions.to_dataframe(["event", "site"]).reset_index(drop=True)
    quantities = rows.columns.difference(_FIRST, sort=False)
    single = dict.fromkeys([name for name in quantities if rows[name].dtype.kind == "f"], "float32")
    attributes = {"im": predictions.attrs["intensity_measure"]}
    flags_of_file = ("calibrated", "simulated", "reference_rock")
    attributes |= {name: bool(predictions.attrs[name]) for name in flags_of_file}
    given = ("vs30_m_s", "rupture_file", "interpolated", "conditioned_on", "data_hash")
    attributes |= {name: predictions.attrs[name] for name in given if name in predictions.attrs}
    return rows[[*_FIRST, *quantities]].astype(single).assign(**attributes)


# ---- maps -------------------------------------------------------------------------------------------


def flags(maps: xr.Dataset) -> xr.DataArray:
    """Return one integer per pixel, whose bits (`FLAGS`) say which values lie outside the training ranges.

    Parameters
    ----------
    maps : xarray.Dataset
        Predictions with the variables of `FLAGS`.

    Returns
    -------
    xarray.DataArray of int32
        Of the dimensions of ``maps["mean"]``; 0 where all values are inside.
    """
    bits = sum(maps[name].astype("int32") * bit for bit, name in FLAGS.items())
    meanings = " ".join(name.removeprefix("outside_") for name in FLAGS.values())
    return bits.transpose(*maps["mean"].dims).assign_attrs(
        long_name="lies outside the training range of",
        flag_masks=np.array(list(FLAGS), "int32"),
        flag_meanings=meanings,
    )


def axes_m(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel centres of the output window in the grid's projection, m.

    Parameters
    ----------
    grid : Grid
        Map of the run, with n pixels along a side of the output window.

    Returns
    -------
    easting, northing : ndarray, [n]
        Easting of the columns and northing of the rows, m.
    """
    transformer = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    east, north = transformer.transform(grid.longitude, grid.latitude)
    x, y = grid.axes_km(grid.output_size)
    return east + x * 1000, north + y * 1000


# ---- NetCDF ------------------------------------------------------------------------------------


def write_netcdf(batches: Iterator[xr.Dataset], path: Path, grid: Grid, id_bytes: int) -> None:
    """Write maps as NetCDF-3 with 64-bit offsets, with one batch in memory at a time.

    The first batch makes the file. Every later event is appended as a record, in the layout of the
    classic format: the record variables one after the other in the order of the header, big-endian.

    Parameters
    ----------
    batches : iterator of xarray.Dataset, [event, row, col]
        As returned by `tfgmm.prediction.quantities.Quantities.of`.
    path : Path
        File to write.
    grid : Grid
        Map of the run.
    id_bytes : int
        Length of the longest ``event_id`` in UTF-8, bytes.

    References
    ----------
    Unidata, NetCDF Classic Format Specification, version 2 (64-bit offset).
    """
    conform = (_conform(batch, grid, id_bytes) for batch in batches)
    first = next(conform)
    files.write_netcdf(first, path, format="NETCDF3_64BIT", unlimited_dims=["event"])
    count, record = first.sizes["event"], _record_type(path)
    with path.open("r+b") as stream:
        stream.seek(0, 2)
        for batch in conform:
            records = np.empty(batch.sizes["event"], record)
            for name in record.names:
                records[name] = batch[name].to_numpy().view(record[name].base).reshape(records[name].shape)
            stream.write(records.tobytes())
            count += len(records)
        stream.seek(4)  # where the number of records stands
        stream.write(count.to_bytes(4, "big"))


def _record_type(path: Path) -> np.dtype:
    """Return names, types and shapes of the record variables of a NetCDF file, as a structured type.

    All sizes are multiples of 4 bytes, so that the format adds no padding.
    """
    with netcdf_file(path, mmap=False) as file:
        return np.dtype(
            [
                (name, variable.data.dtype, variable.shape[1:])
                for name, variable in file.variables.items()
                if variable.isrec
            ]
        )


def _conform(maps: xr.Dataset, grid: Grid, id_bytes: int) -> xr.Dataset:
    """Return the maps with projection, attributes and big-endian types, ready for the NetCDF file."""
    outside = flags(maps).astype(">i4")
    maps = maps.drop_vars(FLAGS.values()).assign(outside=outside).rename(row="y", col="x")
    for name, variable in maps.data_vars.items():
        kind = variable.dtype if name == "outside" else ">f4"
        maps[name] = variable.astype(kind).assign_attrs(grid_mapping="crs")
    for name in _OF_EVENT:
        maps[name] = maps[name].astype(">f8")
    for name in [name for name in _KNOWN if name in maps.coords]:
        maps[name] = maps[name].astype(">i4")
    texts = {"event_id": id_bytes} | (
        {"tectonic_class": _CLASS_BYTES} if "tectonic_class" in maps.coords else {}
    )
    for name, length in texts.items():
        encoded = np.char.encode(maps[name].to_numpy().astype(str), "utf-8")
        encoded = encoded.astype(f"S{-(-length // 4) * 4}")
        maps = maps.assign_coords({name: ("event", encoded, {"_Encoding": "utf-8"})})
    x, y = axes_m(grid)
    # A text: scipy 1.17 would write a number without dimension over the second record.
    maps = maps.assign(crs=((), np.bytes_(grid.crs), pyproj.CRS(grid.crs).to_cf())).assign_coords(
        x=("x", x), y=("y", y)
    )
    for name, attributes in _COORDINATES.items():
        if name in maps.coords:
            maps[name].attrs.update(attributes)
    return maps.assign_attrs(Conventions="CF-1.11")


# ---- GeoTIFF -----------------------------------------------------------------------------------


def write_geotiff(maps: xr.Dataset, path: Path, grid: Grid) -> None:
    """Write the maps of one event as a GeoTIFF with one band per quantity.

    The tags hold the columns of the event and the attributes of the maps. The last band, ``outside``, holds
    the bits of `FLAGS`.

    Parameters
    ----------
    maps : xarray.Dataset, [row, col]
        One event of the dataset that `tfgmm.prediction.quantities.Quantities.of` returns.
    path : Path
        File to write.
    grid : Grid
        Map of the run.
    """
    bands = maps.drop_vars(FLAGS.values()).assign(outside=flags(maps))
    scalars = {name: axis.item() for name, axis in maps.coords.items() if not axis.dims}
    write_bands(bands, path, grid, scalars | maps.attrs)


def write_bands(bands: xr.Dataset, path: Path, grid: Grid, tags: dict) -> None:
    """Write every variable of a dataset as a float32 band of a GeoTIFF, with name and unit.

    Parameters
    ----------
    bands : xarray.Dataset, [row, col]
        Variables on the output window of the grid.
    path : Path
        File to write.
    grid : Grid
        Map of the run: projection and pixel size.
    tags : dict
        Names and values of the tags of the file.
    """
    x, y = axes_m(grid)
    side = grid.pixel_km * 1000
    profile = {
        "driver": "GTiff",
        "count": len(bands.data_vars),
        "height": grid.output_size,
        "width": grid.output_size,
        "dtype": "float32",
        "crs": rasterio.CRS.from_wkt(pyproj.CRS(grid.crs).to_wkt()),
        "transform": rasterio.Affine(side, 0, x[0] - side / 2, 0, -side, y[0] + side / 2),
        "compress": "deflate",
    }
    # Through memory: on a full disk GDAL leaves a broken file behind and reports no error.
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            _fill(file, bands, tags)
        path.write_bytes(memory.getbuffer())


def _fill(file: rasterio.DatasetBase, bands: xr.Dataset, tags: dict) -> None:
    """Write bands and tags into an open GeoTIFF."""
    for number, (name, band) in enumerate(bands.data_vars.items(), start=1):
        file.write(band.to_numpy().astype("float32"), number)
        file.set_band_description(number, name)
        file.set_band_unit(number, band.attrs.get("units", ""))
    file.update_tags(**{name: str(value) for name, value in tags.items()})
