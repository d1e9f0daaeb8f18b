"""GeoTIFF -> a band, as far as the region needs it."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from rasterio.enums import Interleaving
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window

from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.data import layers
from tfgmm.readers.common import bounded
from tfgmm.readers.layers import extent
from tfgmm.readers.layers.extent import PADDING

DEGREES = rasterio.CRS.from_epsg(4326)
#: How far two datums may be apart to count as one, as a share of the step of a raster.
SAME_PLACE = 0.01


@dataclasses.dataclass(frozen=True)
class Source:
    """A part of a raster in a map projection: values [row, col], NaN where unknown, and where they are."""

    values: np.ndarray
    transform: rasterio.Affine
    crs: rasterio.CRS
    attrs: dict = dataclasses.field(default_factory=dict)

    @property
    def bounds(self) -> tuple[float, ...]:
        """West, south, east, north in the file's own map projection."""
        height, width = self.values.shape
        corners = [self.transform * corner for corner in _corners(0, 0, width, height)]
        return *np.min(corners, axis=0).tolist(), *np.max(corners, axis=0).tolist()

    def place(self, row: int, col: int) -> tuple[float, float]:
        """Latitude and longitude of a cell's centre."""
        x, y = self.transform * (col + 0.5, row + 0.5)
        (longitude,), (latitude,) = transform(self.crs, DEGREES, [x], [y])
        return latitude, longitude


def read(
    path: Path, value: str | None = None, region: layers.Region | None = None
) -> xr.DataArray | Source:
    """Read the region of a band: on parallels and meridians, else in the file's map projection.

    Parameters
    ----------
    path : Path
        A GeoTIFF.
    value : str, optional
        Number of the band; needed where there are several.
    region : (west, south, east, north), optional
        Only this part and the cells next to it.

    Returns
    -------
    DataArray, [latitude, longitude], or Source
        Scale and offset of the file applied, NaN where it says so. Attributes ``units``, and
        ``title``, the band's description.

    Raises
    ------
    UsageError
        There is no such band, or it does not reach into the region.
    DataError
        The file does not say where it lies, or unpacks beyond all bounds.
    RasterioError, ...
        The file is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        file = rasterio.open(path, driver="GTiff")
    with file:
        band = 1 + _choice(path, [str(index) for index in file.indexes], value)
        if file.crs is None or file.transform.is_identity:
            raise DataError(
                f"{path} does not say where on the Earth it lies: save it with a map projection"
            )
        for points in file.shape:
            extent.refuse_long(str(path), points)
        part = _parallels(path, file, band, region) if _on_parallels(file) else None
        if part is None:
            window = _window(path, file, region)
            layers.refuse_large(path.name, (window.height, window.width))
            # What will be reprojected has the seven digits of 32 bits, and half the memory.
            values = _band(path, file, band, window, np.float32)
            part = Source(values, file.window_transform(window), file.crs)
        part.attrs["units"] = file.units[band - 1] or ""
        part.attrs["title"] = file.descriptions[band - 1] or ""
        return part


def _parallels(path: Path, file, band: int, region: layers.Region | None) -> xr.DataArray:
    """The region of a band whose rows are parallels and whose columns are meridians."""
    rows, columns = (np.arange(points) + 0.5 for points in file.shape)
    latitude = file.transform.f + rows * file.transform.e
    longitude = file.transform.c + columns * file.transform.a
    if np.abs(latitude).max() > 90:
        raise DataError(f"{path} reaches to a latitude of {latitude[np.abs(latitude).argmax()]:g} degrees")

    def block(rows: slice, columns: slice) -> np.ndarray:
        return _band(path, file, band, Window.from_slices(rows, columns), float)

    return extent.cut(path.name, latitude, longitude, region, block)


def _on_parallels(file) -> bool:
    """Whether rows and columns are parallels and meridians of WGS 84, or of a datum that agrees with it."""
    if not file.crs.is_geographic or file.transform.b or file.transform.d:
        return False
    corners = [file.transform * corner for corner in _corners(0, 0, file.width, file.height)]
    x, y = np.transpose(corners)
    longitude, latitude = np.array(transform(file.crs, DEGREES, x, y))
    off = np.abs([layers.beside(longitude - x, 0), latitude - y]).max()
    return off < SAME_PLACE * min(abs(file.transform.a), abs(file.transform.e))


def _corners(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (left, bottom), (right, bottom)]


def _band(path: Path, file, band: int, window: Window, dtype) -> np.ndarray:
    """A part of a band, in memory as large as it is and one packed block of the file."""
    packed_together = file.count if file.interleaving == Interleaving.pixel else 1
    size = np.dtype(file.dtypes[band - 1]).itemsize
    if np.dtype(file.dtypes[band - 1]).kind == "c":
        raise DataError(f"{path}: band {band} holds complex numbers, expected values of a layer")
    points = max(
        np.prod(file.block_shapes[band - 1], dtype=float) * packed_together, window.width * window.height
    )
    bounded.refuse(points * size, path.stat().st_size, path)
    numbers = file.read(band, window=window, out_dtype=dtype)
    numbers[file.read_masks(band, window=window) == 0] = np.nan
    numbers *= file.scales[band - 1]
    numbers += file.offsets[band - 1]
    return numbers


def _choice(path: Path, names: list[str], value: str | None) -> int:
    """Index of the band that is asked for, or of the only one."""
    if value is None and len(names) == 1:
        return 0
    if value not in names:
        raise UsageError(f"{path}: --value {value or ''} names no band; there are {listed(names)}")
    return names.index(value)


def _window(path: Path, file, region: layers.Region | None) -> Window:
    """Rows and columns that hold the region and `PADDING` around it."""
    whole = Window(0, 0, file.width, file.height)
    if region is None:
        return whole
    west, south, east, north = region
    left, bottom, right, top = transform_bounds(DEGREES, file.crs, west, south, _wrapped(east), north)
    if left > right:  # the date line is the edge of the map
        edges = [(file.transform * corner)[0] for corner in _corners(0, 0, file.width, file.height)]
        left, right = min(edges), max(edges)
    cells = np.array([~file.transform * corner for corner in _corners(left, top, right, bottom)])
    if not np.isfinite(cells).all():
        raise UsageError(f"{path} does not reach into the region {region}")
    first = np.floor(cells.min(axis=0)).astype(int) - PADDING
    last = np.ceil(cells.max(axis=0)).astype(int) + PADDING + 1
    try:
        columns, rows = zip(first.tolist(), last.tolist(), strict=True)
        return whole.intersection(Window.from_slices(rows, columns, boundless=True))
    except RasterioError as error:
        raise UsageError(f"{path} does not reach into the region {region}") from error


def _wrapped(longitude: float) -> float:
    return longitude - 360 if longitude > 180 else longitude
