"""Reader of J-SHIS ground models on the Japanese standard meshes -> site layers.

Deep structure, ``D-V4-STRUCT_DEEP-LYRD.csv`` (1 km mesh, codes of 8 digits), and surface Vs30,
``Z-V4-JAPAN-AMP-VS400_M250.csv`` (250 m mesh, codes of 10 digits), or the ``.zip`` with one of them.
"""

import contextlib
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import jismesh.utils as jismesh
import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.data import layers
from tfgmm.readers.common import bounded
from tfgmm.readers.layers import shared

#: Number of rows that are read at a time: the national files have millions of rows.
CHUNK = 100_000
#: Level of the mesh in `jismesh`, and number of meshes per degree of latitude and of longitude.
MESHES = {"z_bedrock": (3, 120, 80), "vs30": (5, 480, 320)}
#: Patterns of the mesh codes within Japan, by layer.
CODES = {
    "z_bedrock": r"[2-7]\d[1-5]\d[0-7]{2}\d{2}",
    "vs30": r"[2-7]\d[1-5]\d[0-7]{2}\d{2}[1-4]{2}",
}
METHODS = {
    "z_bedrock": "deepest listed boundary minus the surface, max(D0, D1, ...) - S0",
    "vs30": "AVS; 0 (water) is missing",
}
#: Name of the column that takes surplus fields of a line, beyond the columns in the header.
MORE = "(more)"
#: Least depth of a surface or boundary in m: the highest mountain of Japan rises to -3776.
LEAST_DEPTH_M = -5000.0
#: Margin around the region that is read too, degrees: two steps of the coarser mesh.
PADDING = 0.025


def read(
    path: Path, name: str, *, region: layers.Region | None = None, missing: Sequence[float] = ()
) -> xr.DataArray:
    """Read depth to bedrock or Vs30 from a J-SHIS file; return a map of values at the mesh centres.

    ``z_bedrock`` is the deepest listed layer boundary minus the surface, ``max(D0, D1, ...) - S0``, in m.
    The file lists depths in m, positive downwards, of the surface (S0) and of the lower boundary of each
    layer (D0, D1, ...); an absent layer repeats the boundary above it. ``vs30`` is the column ``AVS``,
    in m/s.

    Parameters
    ----------
    path : Path
        The CSV file, or a ZIP file with one CSV file.
    name : str
        ``z_bedrock`` or ``vs30``.
    region : (west, south, east, north), optional
        Part of the map that is read, degrees; the needed memory then does not grow with the file.
    missing : sequence of float
        Numbers that mark a missing value. ``-``, blanks and an AVS of 0 always mark a missing value.

    Returns
    -------
    DataArray, [latitude, longitude]
        Depth (m) or Vs30 (m/s); NaN where the file has no mesh, or no usable value of a mesh. The attribute
        ``unusable`` is the number of meshes without a usable value.

    Raises
    ------
    UsageError
        The file does not exist, does not hold this layer, is on the Tokyo Datum, or has no mesh in the
        region.
    DataError
        The file is damaged, or a mesh code or a number is invalid.

    References
    ----------
    NIED, J-SHIS data file rules (A-RULES.pdf), and the deep subsurface structure API, j-shis.bosai.go.jp.
    """
    layers.known(name)
    bounded.refuse_irregular(path)
    if re.match(r"D-V[12]\b", path.name):
        raise UsageError(f"{path} is on the Tokyo Datum, 400 m off: bring version V3 or later")
    try:
        with _open_csv(path) as stream:
            points, unusable = _read_points(path, stream, name, region, missing)
    except (
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        pd.errors.ParserWarning,
    ) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is no readable J-SHIS file ({reason}): download it again") from error
    if points.empty:
        raise UsageError(f"{path} has no mesh in the region {region}")
    raster = _make_raster(path, points, name)
    attrs = {
        "source": path.name,
        "sha256": files.sha256(path),
        "method": METHODS[name],
        "unusable": unusable,
    }
    if missing:
        attrs["missing"] = ", ".join(f"{mark:.9g}" for mark in missing)
    return layers.crop(layers.make(name, *raster, **attrs), region)


def is_one(path: Path, start: bytes) -> bool:
    """Return True if a file is a J-SHIS file, or a ZIP file that may hold one.

    Parameters
    ----------
    path : Path
        The file.
    start : bytes
        First bytes of the file, with the comment lines.
    """
    if start.startswith(b"PK"):
        return path.suffix.lower() not in (".xlsx", ".xlsm")
    return re.match(rb"(?:#.*\n)*#\s*CODE\s*,", start) is not None


@contextlib.contextmanager
def _open_csv(path: Path) -> Iterator[IO[bytes]]:
    """Open the CSV file, or the only CSV file in a ZIP file; yield it as a stream of bytes."""
    if not zipfile.is_zipfile(path):
        bounded.refuse(path.stat().st_size, path.stat().st_size, path)
        with path.open("rb") as stream:
            yield stream
        return
    with zipfile.ZipFile(path) as archive:
        tables = [member for member in archive.namelist() if member.lower().endswith(".csv")]
        if len(tables) != 1:
            raise UsageError(f"{path} holds {len(tables)} CSV files: take out the one that is meant")
        member = archive.getinfo(tables[0])  # no more than its listed size is ever read
        bounded.refuse(member.file_size, member.compress_size, f"{path}/{member.filename[:80]}")
        with archive.open(member) as stream:
            yield stream


def _read_points(path: Path, stream: IO[bytes], name: str, region, missing) -> tuple[pd.DataFrame, int]:
    """Return latitude, longitude (degrees) and value by line number, and the number of unusable meshes."""
    columns, lines = _read_header(path, stream)
    wanted = _choose_columns(path, name, columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        chunks = pd.read_csv(
            stream, names=[*columns, MORE], dtype={"CODE": str}, na_values=["-"],
            chunksize=CHUNK, skip_blank_lines=False, skipinitialspace=True, index_col=False,
            encoding="latin-1", low_memory=False,
        )  # fmt: skip
        numbered = (chunk.set_index(chunk.index + lines + 1) for chunk in chunks)
        try:
            kept = [
                _select_meshes(path, chunk, name, wanted=wanted, region=region, missing=missing)
                for chunk in numbered
            ]
        except pd.errors.ParserError as error:  # counts lines from the first one of data
            reason = re.sub(r"(?<=line )\d+", lambda line: str(int(line[0]) + lines), str(error).strip())
            raise DataError(f"{path} is no readable J-SHIS file ({reason}): download it again") from error
    points = pd.concat([points for points, _ in kept])
    return points, sum(unusable for _, unusable in kept)


def _read_header(path: Path, stream: IO[bytes]) -> tuple[list[str], int]:
    """Return the column names in the last comment line with names, and the number of comment lines."""
    columns, lines, start = None, 0, 0
    while (line := stream.readline(100_000)).startswith(b"#"):
        fields = [field.strip() for field in line.decode("latin-1").lstrip("# ").split(",")]
        columns = fields if fields[0] == "CODE" else columns
        lines, start = lines + 1, stream.tell()
    if columns is None or len(set(columns)) < len(columns):
        raise DataError(
            f"{path} has no line '# CODE,...' with column names before the data: is it of J-SHIS?"
        )
    stream.seek(start)
    return columns, lines


def _choose_columns(path: Path, name: str, columns: list[str]) -> list[str]:
    """Return the names of the columns with surface and boundaries (z_bedrock), or with AVS (vs30)."""
    if name == "vs30":
        wanted, complete = ["AVS"], "AVS" in columns
    else:
        boundaries = [column for column in columns if re.fullmatch(r"D\d+", column)]
        wanted, complete = ["S0", *boundaries], "S0" in columns and boundaries
    if not complete:
        raise UsageError(f"{path} has no {name}: its columns are {listed(columns)}")
    return wanted


def _select_meshes(
    path: Path, table: pd.DataFrame, name: str, *, wanted, region, missing
) -> tuple[pd.DataFrame, int]:
    """Return the meshes in the region with a usable value, and the number without a usable value.

    The table of meshes has ``latitude``, ``longitude`` (degrees) and ``value``, in the layer's unit.
    """
    table = table.dropna(how="all")
    level = MESHES[name][0]
    _refuse(
        path, table["CODE"], ~table["CODE"].str.fullmatch(CODES[name], na=False), f"a code of mesh {level}"
    )
    _refuse(path, table[MORE], table[MORE].notna(), "no more columns than the header names")
    numbers = table[wanted].apply(pd.to_numeric, errors="coerce").astype(float)
    for column in wanted:
        bad = ~np.isfinite(numbers[column]) & table[column].notna()
        _refuse(path, table[column], bad, "a number")
    numbers = numbers.mask(shared.is_declared(numbers, missing))
    latitude, longitude = _compute_centres(table["CODE"])
    points = pd.DataFrame({"latitude": latitude, "longitude": longitude}, table.index)
    points["value"] = numbers["AVS"].replace(0, np.nan) if name == "vs30" else _compute_depth(path, numbers)
    if region is not None:
        west, south, east, north = np.add(region, PADDING * np.array([-1, -1, 1, 1]))
        points = points[points["longitude"].between(west, east) & points["latitude"].between(south, north)]
    what = "AVS" if name == "vs30" else "depth of the deepest boundary below the surface"
    points["value"], _ = shared.in_unit(
        name,
        points["value"].to_numpy(copy=True),
        lambda index: f"{path}, line {points.index[index[0]]}, {what}",
    )
    usable = points["value"].notna()
    return points[usable], int((~usable).sum())


def _compute_depth(path: Path, numbers: pd.DataFrame) -> pd.Series:
    """Return the deepest boundary minus the surface, m; NaN where the depth is unknown or negative."""
    for _, depths in numbers.items():
        expected = f"a depth of {LEAST_DEPTH_M:g} m or more, or --missing {depths.min():g}"
        _refuse(path, depths, depths < LEAST_DEPTH_M, expected)
    depth = numbers.filter(regex=r"^D").max(axis=1) - numbers["S0"]
    return depth.where(depth >= 0)


def _make_raster(path: Path, points: pd.DataFrame, name: str) -> tuple[np.ndarray, ...]:
    """Return latitudes, longitudes (degrees) and values [latitude, longitude] of mesh centres."""
    index, axes = [], []
    for axis, per_degree in zip(("latitude", "longitude"), MESHES[name][1:], strict=True):
        number = np.rint(points[axis] * per_degree - 0.5).astype(int)
        index.append(number - number.min())
        axes.append(((np.arange(number.min(), number.max() + 1) + 0.5) / per_degree).round(9))
    shape = tuple(len(axis) for axis in axes)
    layers.refuse_large(path.name, shape)
    shared.refuse_repeats(path, index[0] * shape[1] + index[1])
    raster = np.full(shape, np.nan)
    raster[tuple(index)] = points["value"]
    return *axes, raster


def _compute_centres(codes: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return latitude and longitude of the centres of meshes, degrees, from the mesh codes, [n] each."""
    numbers = codes.to_numpy().astype("int64")
    if not len(numbers):
        return numbers.astype(float), numbers.astype(float)
    # jismesh 2.1 fails on an array of one element.
    lat, lon = jismesh.to_meshpoint(np.append(numbers, numbers[0]), 0.5, 0.5)
    return lat[:-1], lon[:-1]


def _refuse(path: Path, column: pd.Series, bad: pd.Series, expected: str) -> None:
    """Raise `DataError` if `bad` is True on a line of a column; the message names the first such line."""
    if bad.any():
        line = bad.idxmax()
        value = column[line] if isinstance(column[line], str) else float(column[line])
        raise DataError(f"{path}, line {line}, column {column.name}: {value!r}, expected {expected}")
