"""Reader of NetCDF 3 or 4 -> one variable on longitude and latitude.

GDAL is not used for NetCDF because GDAL crashes on some damaged files.
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
from tfgmm.readers.layers import shared

#: First bytes of NetCDF 4, which is HDF5.
HDF5 = b"\x89HDF"
#: Short name, units in the CF convention, and largest absolute value (degrees) of each axis.
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
#: Units that are accepted, in addition to the units of CF, for an axis with a known name.
DEGREES = ("", "degrees", "degree", "deg")
#: Attributes that NetCDF 4 adds to an HDF5 file for internal use.
HIDDEN = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates")

#: Dimensions, values and attributes of a variable.
Variable = tuple[tuple[str, ...], Any, dict]


def read(path: Path, value: str | None = None, region: layers.Region | None = None) -> xr.DataArray:
    """Read a variable of a NetCDF file, with scale and offset applied; return a map in degrees.

    Parameters
    ----------
    path : Path
        NetCDF 3 or 4 file whose axes are named or marked (CF) as latitude and longitude in degrees.
    value : str, optional
        Name of the variable; needed where the file has several variables on latitude and longitude.
    region : (west, south, east, north), optional
        Part of the map that is returned, with the points next to it, degrees. Of a NetCDF 4 file only this
        part is read.

    Returns
    -------
    DataArray, [latitude, longitude]
        Values in the unit of the file, NaN where missing. Latitude ascends, and so does longitude, from
        -180 to 180 or, across the date line, beyond 180. Attributes: ``units``, and ``title``, the name
        of the variable.

    Raises
    ------
    UsageError
        The file has no such variable, or the variable does not reach into the region.
    DataError
        No variable is on latitude and longitude, or the axes are not in degrees.
    OSError, ValueError, TypeError, ...
        The file is damaged.
    """
    with path.open("rb") as stream:
        is_hdf5 = stream.read(4) == HDF5
    if is_hdf5:
        with h5py.File(path) as file:
            return _read_variable(path, _list_hdf5(file), value, region)
    with netcdf_file(io.BytesIO(bounded.content(path)), mmap=False) as file:
        variables = {
            name: (item.dimensions, item.data, _simplify_attributes(item._attributes))
            for name, item in file.variables.items()
        }
        return _read_variable(path, variables, value, region)


def _list_hdf5(file: h5py.File) -> dict[str, Variable]:
    """Return the variables of a NetCDF 4 file by name, with dimensions, values and attributes.

    The names of the dimensions are read from attributes: the functions of h5py for this abort on some
    damaged files.
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
        variables[name] = dims, item, _simplify_attributes(item.attrs)
    return variables


def _simplify_attributes(attributes) -> dict:
    """Return the attributes that have a single value, by name; bytes become text."""
    values = {name: value for name, value in attributes.items() if name not in HIDDEN}
    return {
        name: value.decode("latin-1") if isinstance(value, bytes) else np.asarray(value).ravel()[0]
        for name, value in values.items()
        if np.size(value) == 1
    }


def _read_variable(path: Path, variables: dict[str, Variable], value: str | None, region) -> xr.DataArray:
    """Return the variable called `value`, or the only variable on latitude and longitude, as a map."""
    axes = {axis: [name for name, item in variables.items() if _is_axis(axis, name, item)] for axis in AXES}
    fields = {
        name: {axis: next((dim for dim in dims if dim in axes[axis]), None) for axis in AXES}
        for name, (dims, _, _) in variables.items()
    }
    fields = {name: dims for name, dims in fields.items() if None not in dims.values()}
    if not fields:
        raise DataError(
            f"{path} does not say where on the Earth it lies: expected a variable on longitude and "
            f"latitude in degrees, found {_describe_largest(variables)}"
        )
    if value is None and len(fields) == 1:
        value = next(iter(fields))
    if value not in fields:
        raise UsageError(f"{path}: --value {value or ''} names no variable; there are {listed(fields)}")
    return _read_region(path, variables, value, fields[value], region)


def _describe_largest(variables: dict[str, Variable]) -> str:
    """Return a text that names the variable with most axes, and its axes with their units."""
    name, (dims, _, _) = max(
        variables.items(), key=lambda item: len(item[1][0]), default=("nothing", ((),) * 3)
    )
    units = {dim: variables[dim][2].get("units", "") for dim in dims if dim in variables}
    axes = (f"{dim} in {units[dim]!r}" if units.get(dim) else dim for dim in dims)
    return f"{name} on {', '.join(axes) or 'no axis'}"[:200]


def _is_axis(axis: str, name: str, item: Variable) -> bool:
    """Return True if a variable holds the coordinates of the axis ``latitude`` or ``longitude``."""
    _, units, _ = AXES[axis]
    dims, _, attrs = item
    if dims != (name,):
        return False
    named = {other for other, (short, *_) in AXES.items() if name.lower() in (short, other)}
    unit = str(attrs.get("units", "")).lower()
    return axis in named or (not named and (unit in units or attrs.get("standard_name") == axis))


def _read_region(
    path: Path, variables: dict[str, Variable], value: str, names: dict[str, str], region
) -> xr.DataArray:
    """Return the part of a variable in a region, [latitude, longitude], on ascending axes in degrees.

    `names` are the names of the variable's dimensions by axis, ``latitude`` and ``longitude``.
    """
    dims, data, attrs = variables[value]
    if len(dims) != len(data.shape) or any(
        size > 1 for dim, size in zip(dims, data.shape, strict=True) if dim not in names.values()
    ):
        raise DataError(f"{path}: variable {value} has the axes {', '.join(dims)}, expected one map")
    mapping = variables.get(str(attrs.get("grid_mapping")), ((), None, {}))[2].get("grid_mapping_name")
    if mapping not in (None, "latitude_longitude"):
        raise DataError(f"{path}: variable {value} is in the map projection {mapping}, expected degrees")
    latitude, longitude = (_read_axis(path, axis, names[axis], variables[names[axis]]) for axis in AXES)
    order = [dims.index(names[axis]) for axis in AXES]

    def block(rows: slice, columns: slice) -> np.ndarray:
        index: list = [0] * len(dims)
        index[order[0]], index[order[1]] = rows, columns
        sizes = [part.stop - part.start for part in (rows, columns)]
        _refuse_large(path, data, sizes)
        values = np.asarray(data[tuple(index)])
        return _decode(values if order[0] < order[1] else values.T, attrs)

    field = shared.cut(path.name, latitude, longitude, region, block)
    return field.assign_attrs(units=str(attrs.get("units", "")), title=value)


def _refuse_large(path: Path, data, sizes: list[int]) -> None:
    """Raise `DataError` where a part of a variable, or a chunk of the file, unpacks to too many bytes."""
    chunk = getattr(data, "chunks", None) or ()
    points = max(np.prod(sizes, dtype=float), np.prod(chunk, dtype=float))
    bounded.refuse(points * data.dtype.itemsize, path.stat().st_size, path)


def _decode(values: np.ndarray, attrs: dict) -> np.ndarray:
    """Return values with scale, offset and missing values (CF attributes) applied; NaN where missing."""
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    dims = [f"axis_{number}" for number in range(values.ndim)]
    coded = xr.Dataset({"values": (dims, native, attrs)})
    decoded = xr.decode_cf(coded, decode_times=False, decode_coords=False)["values"].to_numpy()
    return decoded.astype(float, copy=False)


def _read_axis(path: Path, axis: str, name: str, variable: Variable) -> np.ndarray:
    """Return the values of an axis in degrees.

    Raises
    ------
    DataError
        Unit, standard name or values of the axis are not those of a latitude or longitude in degrees.
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
    shared.refuse_long(f"{path}, {name},", points)
    _refuse_large(path, data, [points])
    degrees = _decode(np.asarray(data[:]), attrs)
    bad = np.flatnonzero(~(np.abs(degrees) <= limit)) if degrees.ndim == 1 else [0]
    if len(bad) or not len(degrees):
        first = f": {degrees.ravel()[bad[0]]:g}" if len(bad) else ""
        raise DataError(f"{path}: the {axis} is not in degrees{first}, expected at most {limit}")
    return degrees
