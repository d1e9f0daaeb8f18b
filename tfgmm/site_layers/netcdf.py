"""NetCDF 3 or 4 -> one variable on longitude and latitude.

GDAL reads NetCDF too, but its library crashes on some damaged files.
"""

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from scipy.io import netcdf_file

from tfgmm import layers
from tfgmm.errors import DataError, UsageError

#: First bytes of NetCDF 4, which is HDF5.
HDF5 = b"\x89HDF"
AXES = {"latitude": ("lat", "degrees_north", 90), "longitude": ("lon", "degrees_east", 360)}
#: Attributes that make an HDF5 file NetCDF, and are none in NetCDF.
HIDDEN = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates")

#: Dimensions, values and attributes of a variable.
Variable = tuple[tuple[str, ...], Any, dict]


def read(path: Path, value: str | None = None, region: layers.Region | None = None) -> xr.DataArray:
    """A variable of a NetCDF file, decoded; only the region is read from NetCDF 4.

    Parameters
    ----------
    path : Path
        NetCDF 3 or 4 with axes named or marked as latitude and longitude in degrees (CF).
    value : str, optional
        The variable; needed where there are several.
    region : (west, south, east, north), optional
        Only this part and the points next to it.

    Returns
    -------
    DataArray, [latitude, longitude]
        Both ascend, longitude from -180 to 180; NaN where missing.

    Raises
    ------
    UsageError
        There is no such variable, or it does not reach into the region.
    DataError
        There is no variable on latitude and longitude.
    OSError, ValueError, TypeError, ...
        The file is damaged.
    """
    with path.open("rb") as stream:
        if stream.read(4) == HDF5:
            with h5py.File(path) as file:
                return _choose(path, _hdf5_variables(file), value, region)
    with netcdf_file(io.BytesIO(path.read_bytes()), mmap=False) as file:
        items = file.variables.items()
        variables = {
            name: (item.dimensions, item.data, _attributes(item._attributes)) for name, item in items
        }
        return _choose(path, variables, value, region)


def _hdf5_variables(file: h5py.File) -> dict[str, Variable]:
    """Variables whose every dimension has a scale, as NetCDF 4 has it.

    The attributes are read as they are: the functions for scales abort on some damaged files.
    """
    variables = {}
    for name, item in file.items():
        if not isinstance(item, h5py.Dataset):
            continue
        if item.attrs.get("CLASS") == b"DIMENSION_SCALE":
            dims = (name,)
        else:
            scales = item.attrs.get("DIMENSION_LIST", ())
            dims = tuple(file[references[0]].name.rpartition("/")[2] for references in scales)
        variables[name] = dims, item, _attributes(item.attrs)
    return variables


def _attributes(attributes) -> dict:
    values = {name: value for name, value in attributes.items() if name not in HIDDEN}
    return {
        name: value.decode("latin-1") if isinstance(value, bytes) else np.asarray(value).ravel()[0]
        for name, value in values.items()
        if np.size(value) == 1
    }


def _choose(path: Path, variables: dict[str, Variable], value: str | None, region) -> xr.DataArray:
    """The variable that is asked for, or the only one."""
    axes = {axis: [name for name, item in variables.items() if _is_axis(axis, name, item)] for axis in AXES}
    fields = {
        name: {axis: next((dim for dim in dims if dim in axes[axis]), None) for axis in AXES}
        for name, (dims, _, _) in variables.items()
    }
    fields = {name: dims for name, dims in fields.items() if None not in dims.values()}
    if not fields:
        raise DataError(
            f"{path} does not say where on the Earth it lies: no variable on latitude and longitude"
        )
    if value is None and len(fields) == 1:
        value = next(iter(fields))
    if value not in fields:
        raise UsageError(f"{path}: --value {value or ''} names no variable; there are {', '.join(fields)}")
    return _part(path, variables, value, fields[value], region)


def _is_axis(axis: str, name: str, item: Variable) -> bool:
    short, unit, _ = AXES[axis]
    dims, _, attrs = item
    named = (
        name.lower() in (short, axis) or attrs.get("units") == unit or attrs.get("standard_name") == axis
    )
    return dims == (name,) and named


def _part(
    path: Path, variables: dict[str, Variable], value: str, names: dict[str, str], region
) -> xr.DataArray:
    """The region of a variable on ascending axes."""
    dims, data, attrs = variables[value]
    if len(dims) != len(data.shape) or any(
        size > 1 for dim, size in zip(dims, data.shape, strict=True) if dim not in names.values()
    ):
        raise DataError(f"{path}: variable {value} has the axes {', '.join(dims)}, expected one map")
    index, axes = {}, {}
    for axis, limits in (("latitude", (1, 3)), ("longitude", (0, 2))):
        degrees = _degrees(path, axis, variables[names[axis]])
        low, high = (region[i] for i in limits) if region else (-np.inf, np.inf)
        step = np.abs(np.diff(degrees)).max(initial=0.0, where=np.abs(np.diff(degrees)) < 180)
        inside = np.flatnonzero((degrees >= low - 2 * step) & (degrees <= high + 2 * step))
        if not len(inside):
            raise UsageError(f"{path} does not reach into the region {region}")
        index[names[axis]] = slice(inside[0], inside[-1] + 1)
        axes[axis] = degrees[index[names[axis]]]
    layers.refuse_large(path.name, [len(degrees) for degrees in axes.values()])
    block = np.asarray(data[tuple(index.get(dim, slice(None)) for dim in dims)])
    coded = xr.Dataset({value: (dims, block.astype(block.dtype.newbyteorder("=")), attrs)})
    field = xr.decode_cf(coded, decode_times=False, decode_coords=False)[value].squeeze(
        set(dims) - set(index), drop=True
    )
    field = field.rename({names[axis]: axis for axis in names}).assign_coords(axes).astype(float)
    return field.transpose(*AXES).sortby(list(AXES)).drop_duplicates(...)


def _degrees(path: Path, axis: str, variable: Variable) -> np.ndarray:
    """The values of an axis, longitude within -180 to 180."""
    degrees = np.asarray(variable[1], dtype=float)
    limit = AXES[axis][2]
    if degrees.ndim != 1 or not (np.abs(degrees) <= limit).all():
        raise DataError(f"{path}: the {axis} is not in degrees, expected at most {limit}")
    return np.where(degrees > 180, degrees - 360, degrees)
