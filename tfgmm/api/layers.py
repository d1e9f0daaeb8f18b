"""Site layers: read, and added to a dataset on disk."""

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
    """Read a site layer from a GeoTIFF or NetCDF file, a J-SHIS file, or a CSV file of points.

    Parameters
    ----------
    path : path
    name : {"z_bedrock", "vs30"}
        Depth to seismic bedrock (m), or Vs30 (m/s).
    value : str, optional
        Column of a CSV file, variable of a NetCDF file, band of a GeoTIFF.
    latitude, longitude : str, optional
        Columns of a CSV file.
    region : (west, south, east, north), optional
        Only this part, degrees; a west beyond the east means across the date line.
    scale : float
        Factor from the file's unit to m or m/s, 1000 for km.
    step : float, optional
        Step of the raster, degrees; needed for scattered points.
    missing : sequence of float
        Values, as in the file, that stand for a missing one.
    large, decimal_comma
        As in `Choices`.

    Returns
    -------
    xarray.DataArray, [latitude, longitude]

    Raises
    ------
    UsageError
        An option does not fit the file.
    DataError
        The file cannot be trusted.

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
    """Read a site layer and add it to a dataset on disk, whose other files stay as they are.

    Parameters
    ----------
    folder : path
        Of the dataset.
    path, name, **options
        As for `read_layer`.

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
    Dataset.open(folder)  # what is wrong with it shows before the layer is read
    layer = read_layer(path, name, **options)
    with lease.held(folder / "dataset"):  # another import into the same dataset waits
        return layers.attach(Dataset.open(folder), layer).write_layers(folder)
