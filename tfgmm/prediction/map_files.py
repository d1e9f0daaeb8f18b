"""Maps of earthquakes on disk: CF NetCDF that grows event by event, and GeoTIFF."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyproj
import rasterio
import xarray as xr
from scipy.io import netcdf_file

from tfgmm.core import files
from tfgmm.core.grid import Grid

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
}


def flags(maps: xr.Dataset) -> xr.DataArray:
    """What lies outside the training ranges, as one integer with the bits of `FLAGS`."""
    bits = sum(maps[name].astype("int32") * bit for bit, name in FLAGS.items())
    meanings = " ".join(name.removeprefix("outside_") for name in FLAGS.values())
    return bits.transpose(*maps["mean"].dims).assign_attrs(
        long_name="lies outside the training range of",
        flag_masks=np.array(list(FLAGS), "int32"),
        flag_meanings=meanings,
    )


def axes_m(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Eastings of the columns and northings of the rows of the output window, pixel centres, m."""
    transformer = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    east, north = transformer.transform(grid.longitude, grid.latitude)
    x, y = grid.axes_km(grid.output_size)
    return east + x * 1000, north + y * 1000


# ---- NetCDF ------------------------------------------------------------------------------------


def write_netcdf(batches: Iterator[xr.Dataset], path: Path, grid: Grid, id_bytes: int) -> None:
    """Write maps as NetCDF-3 with 64-bit offsets; one batch is in memory at a time.

    The first batch makes the file. Every later event is a record at its end, in the layout of the
    classic format: the record variables one after the other in the order of the header, big-endian.

    Parameters
    ----------
    batches : iterator of xarray.Dataset
        [event, row, col], with coordinates and attributes as of `tfgmm.prediction.writing`.
    path : Path
    grid : Grid
    id_bytes : int
        Length of the longest ``event_id`` in UTF-8.

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
    """Names, types and shapes of the record variables; all are multiples of 4 bytes, none is padded."""
    with netcdf_file(path, mmap=False) as file:
        return np.dtype(
            [(name, v.data.dtype, v.shape[1:]) for name, v in file.variables.items() if v.isrec]
        )


def _conform(maps: xr.Dataset, grid: Grid, id_bytes: int) -> xr.Dataset:
    """The maps, with projection, attributes and big-endian types as the file has them."""
    outside = flags(maps).astype(">i4")
    maps = maps.drop_vars(FLAGS.values()).assign(outside=outside).rename(row="y", col="x")
    for name, variable in maps.data_vars.items():
        kind = variable.dtype if name == "outside" else ">f4"
        maps[name] = variable.astype(kind).assign_attrs(grid_mapping="crs")
    for name in _OF_EVENT:
        maps[name] = maps[name].astype(">f8")
    ids = np.char.encode(maps["event_id"].to_numpy().astype(str), "utf-8")
    ids = ids.astype(f"S{-(-id_bytes // 4) * 4}")
    x, y = axes_m(grid)
    # A text: scipy 1.17 would write a number without dimension over the second record.
    maps = maps.assign(crs=((), np.bytes_(grid.crs), pyproj.CRS(grid.crs).to_cf())).assign_coords(
        x=("x", x), y=("y", y), event_id=("event", ids, {"_Encoding": "utf-8"})
    )
    for name, attributes in _COORDINATES.items():
        maps[name].attrs.update(attributes)
    return maps.assign_attrs(Conventions="CF-1.11")


# ---- GeoTIFF -----------------------------------------------------------------------------------


def write_geotiff(maps: xr.Dataset, path: Path, grid: Grid) -> None:
    """Write the maps of one event, [row, col], one band a quantity; tags tell the event and the rest.

    The last band, ``outside``, holds the bits of `FLAGS`.
    """
    bands = maps.drop_vars(FLAGS.values()).assign(outside=flags(maps))
    scalars = {name: c.item() for name, c in maps.coords.items() if not c.dims}
    write_bands(bands, path, grid, scalars | maps.attrs)


def write_bands(bands: xr.Dataset, path: Path, grid: Grid, tags: dict) -> None:
    """Write every variable, [row, col], as a band with its name and unit."""
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
    for number, (name, band) in enumerate(bands.data_vars.items(), start=1):
        file.write(band.to_numpy().astype("float32"), number)
        file.set_band_description(number, name)
        file.set_band_unit(number, band.attrs.get("units", ""))
    file.update_tags(**{name: str(value) for name, value in tags.items()})
