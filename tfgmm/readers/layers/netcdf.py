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

from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.data import layers
from tfgmm.readers.common import bounded
from tfgmm.readers.layers import extent

#: First bytes of NetCDF 4, which is HDF5.
HDF5 = b"\x89HDF"
#: Short name, units of CF, and largest absolute value of an axis.
AXES = {
    "latitude": (
        "lat",
        ("degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"),
        90,
    ),
    "longitude": (
        "lon",
        ("degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"),
        360,
    ),
}
#: Units of an axis that is known by its name.
DEGREES = ("", "degrees", "degree", "deg")
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
        Both ascend, longitude from -180 to 180 or, across the date line, beyond; NaN where missing.
        Attributes ``units``, and ``title``, the variable's name.

    Raises
    ------
    UsageError
        There is no such variable, or it does not reach into the region.
    DataError
        There is no variable on latitude and longitude, or they are not in degrees.
    OSError, ValueError, TypeError, ...
        The file is damaged.
    """
    with path.open("rb") as stream:
        is_hdf5 = stream.read(4) == HDF5
    if is_hdf5:
        with h5py.File(path) as file:
            return _choose(path, _hdf5_variables(file), value, region)
    with netcdf_file(io.BytesIO(bounded.content(path)), mmap=False) as file:
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
            f"{path} does not say where on the Earth it lies: expected a variable on longitude and "
            f"latitude in degrees, found {_axes_of_largest(variables)}"
        )
    if value is None and len(fields) == 1:
        value = next(iter(fields))
    if value not in fields:
        raise UsageError(f"{path}: --value {value or ''} names no variable; there are {listed(fields)}")
    return _part(path, variables, value, fields[value], region)


def _axes_of_largest(variables: dict[str, Variable]) -> str:
    """Name the axes of the variable that has most, with their units."""
    name, (dims, _, _) = max(
        variables.items(), key=lambda item: len(item[1][0]), default=("nothing", ((),) * 3)
    )
    units = {dim: variables[dim][2].get("units", "") for dim in dims if dim in variables}
    axes = (f"{dim} in {units[dim]!r}" if units.get(dim) else dim for dim in dims)
    return f"{name} on {', '.join(axes) or 'no axis'}"[:200]


def _is_axis(axis: str, name: str, item: Variable) -> bool:
    _, units, _ = AXES[axis]
    dims, _, attrs = item
    if dims != (name,):
        return False
    named = {other for other, (short, *_) in AXES.items() if name.lower() in (short, other)}
    unit = str(attrs.get("units", "")).lower()
    return axis in named or (not named and (unit in units or attrs.get("standard_name") == axis))


def _part(
    path: Path, variables: dict[str, Variable], value: str, names: dict[str, str], region
) -> xr.DataArray:
    """The region of a variable on ascending axes."""
    dims, data, attrs = variables[value]
    if len(dims) != len(data.shape) or any(
        size > 1 for dim, size in zip(dims, data.shape, strict=True) if dim not in names.values()
    ):
        raise DataError(f"{path}: variable {value} has the axes {', '.join(dims)}, expected one map")
    mapping = variables.get(str(attrs.get("grid_mapping")), ((), None, {}))[2].get("grid_mapping_name")
    if mapping not in (None, "latitude_longitude"):
        raise DataError(f"{path}: variable {value} is in the map projection {mapping}, expected degrees")
    latitude, longitude = (_degrees(path, axis, names[axis], variables[names[axis]]) for axis in AXES)
    order = [dims.index(names[axis]) for axis in AXES]

    def block(rows: slice, columns: slice) -> np.ndarray:
        index: list = [0] * len(dims)
        index[order[0]], index[order[1]] = rows, columns
        sizes = [part.stop - part.start for part in (rows, columns)]
        _refuse_large(path, data, sizes)
        values = np.asarray(data[tuple(index)])
        return _decoded(values if order[0] < order[1] else values.T, attrs)

    field = extent.cut(path.name, latitude, longitude, region, block)
    return field.assign_attrs(units=str(attrs.get("units", "")), title=value)


def _refuse_large(path: Path, data, sizes: list[int]) -> None:
    """Refuse a part of a variable, or a chunk in which it is packed, that unpacks beyond all bounds."""
    chunk = getattr(data, "chunks", None) or ()
    points = max(np.prod(sizes, dtype=float), np.prod(chunk, dtype=float))
    bounded.refuse(points * data.dtype.itemsize, path.stat().st_size, path)


def _decoded(values: np.ndarray, attrs: dict) -> np.ndarray:
    """Numbers with scale and offset applied and missing ones as NaN, as CF has it."""
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    dims = [f"axis_{number}" for number in range(values.ndim)]
    coded = xr.Dataset({"values": (dims, native, attrs)})
    decoded = xr.decode_cf(coded, decode_times=False, decode_coords=False)["values"].to_numpy()
    return decoded.astype(float, copy=False)


def _degrees(path: Path, axis: str, name: str, variable: Variable) -> np.ndarray:
    """The values of an axis, unpacked.

    Raises
    ------
    DataError
        Its unit, its standard name or its values are not those of a latitude or longitude in degrees.
    """
    _, data, attrs = variable
    _, units, limit = AXES[axis]
    unit, standard_name = str(attrs.get("units", "")), attrs.get("standard_name", axis)
    if unit.lower() not in (*units, *DEGREES) or standard_name != axis:
        raise DataError(
            f"{path}: the axis {name} is a {standard_name} in {unit!r}, expected a {axis} in degrees: "
            "bring a file on longitude and latitude"
        )
    points = int(np.prod(data.shape, dtype=float))
    extent.refuse_long(f"{path}, {name},", points)
    _refuse_large(path, data, [points])
    degrees = _decoded(np.asarray(data[:]), attrs)
    bad = np.flatnonzero(~(np.abs(degrees) <= limit)) if degrees.ndim == 1 else [0]
    if len(bad) or not len(degrees):
        first = f": {degrees.ravel()[bad[0]]:g}" if len(bad) else ""
        raise DataError(f"{path}: the {axis} is not in degrees{first}, expected at most {limit}")
    return degrees
