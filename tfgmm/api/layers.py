"""Read site layers (rasters of depth to bedrock or Vs30) and add them to a dataset on disk."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from tfgmm.api.choices import Region
from tfgmm.api.dataset import Dataset, PathLike
from tfgmm.core import lease
from tfgmm.data import layers
from tfgmm.readers.common import bounded, sheet


def read_layer(
    path: PathLike,
    name: str,
    *,
    value: str | None = None,
    latitude: str | None = None,
    longitude: str | None = None,
    region: Region | None = None,
    scale: float = 1.0,
    step: float | None = None,
    missing: Sequence[float] = (),
    large: bool = False,
    decimal_comma: bool = False,
) -> xr.DataArray:
    """Read a site layer, a raster of depth to bedrock or Vs30, from a file.

    Parameters
    ----------
    path : path
        GeoTIFF or NetCDF file, file of J-SHIS, or CSV file of points.
    name : {"z_bedrock", "vs30"}
        Name of the layer: depth to seismic bedrock (m), or Vs30 (m/s).
    value : str, optional
        Column of a CSV file, variable of a NetCDF file or band of a GeoTIFF file that holds the values.
    latitude, longitude : str, optional
        Columns of a CSV file that hold the coordinates.
    region : (west, south, east, north), optional
        Box in degrees; only values inside the box are read. If west is greater than east, the box crosses
        the date line.
    scale : float
        Factor from the unit of the file to m or m/s; 1000 for km.
    step : float, optional
        Spacing of the raster, degrees; needed for scattered points.
    missing : sequence of float
        Values in the file that stand for missing values.
    large : bool
        If True, also unpack files that have more than 2 GB, or 200 times their packed size, when unpacked.
    decimal_comma : bool
        If True, the comma is the decimal sign in text tables.

    Returns
    -------
    xarray.DataArray, [latitude, longitude]
        The layer, m or m/s, on latitude and longitude in degrees.

    Raises
    ------
    UsageError
        An option does not fit the file.
    DataError
        The file is damaged, or its values cannot be trusted.

    Examples
    --------
    >>> layer = tfgmm.read_layer("Z-V4-JAPAN-AMP-VS400_M250.zip", "vs30")  # doctest: +SKIP
    """
    from tfgmm.readers.layers import recognise

    with bounded.large(large), sheet.decimal_comma(decimal_comma):
        return recognise.read_layer(
            Path(path),
            name,
            value=value,
            latitude=latitude,
            longitude=longitude,
            region=region,
            scale=scale,
            step=step,
            missing=missing,
        )


def add_layer(folder: PathLike, path: PathLike, name: str, **options) -> Dataset:
    """Read a site layer, add it to a dataset on disk, and return the dataset with the layer.

    The other files of the dataset stay as they are.

    Parameters
    ----------
    folder : path
        Folder of the dataset.
    path : path
        File of the layer, as for `read_layer`.
    name : {"z_bedrock", "vs30"}
        Name of the layer, as for `read_layer`.
    **options
        Further arguments of `read_layer`.

    Returns
    -------
    Dataset
        The dataset with the layer.

    Raises
    ------
    UsageError, DataError
        As for `read_layer` and `tfgmm.open_dataset`.

    Examples
    --------
    >>> tfgmm.add_layer("data/kanto", "vs30.tif", "vs30")  # doctest: +SKIP
    """
    folder = Path(folder)
    Dataset.open(folder)  # a damaged dataset is refused before the layer is read
    layer = read_layer(path, name, **options)
    with lease.held(folder / "dataset"):  # another import into the same dataset waits
        return layers.attach(Dataset.open(folder), layer).write_layers(folder)
