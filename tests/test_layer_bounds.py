"""Memory of the readers of layers: bounded whatever a file claims. Measured in a process of its own."""

import gzip
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from test_raster import write_tif

from tfgmm.core.errors import UsageError
from tfgmm.readers.layers import jshis, point_table, raster, recognise

pytestmark = [
    # rasterio 1.4 multiplies in a way that affine 3 announces to drop.
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc"),
]
#: Print what comes of each file, and last the most memory that was used, in bytes.
CHILD = """
import sys
from pathlib import Path
from tfgmm.core.errors import TfgmmError
from tfgmm.readers.layers import recognise

for argument in sys.argv[1:]:
    path, _, region = argument.partition("?")
    try:
        region = tuple(map(float, region.split(","))) if region else None
        print(recognise.read_layer(Path(path), "vs30", region=region).shape)
    except TfgmmError as error:
        print(error)
print([int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""
PART = "?131,36,131.1,36.1"
REPEATED = b" " * 10**7


def results(*arguments) -> tuple[list[str], int]:
    """Read the files in a process; return its printed lines and its peak memory in bytes."""
    command = [sys.executable, "-W", "ignore", "-c", CHILD, *map(str, arguments)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    *lines, peak = printed.splitlines()
    return lines, int(peak)


def hdf5(path, rows, columns, axis=None, **options):
    """Write a NetCDF 4 file that stores only the axes chosen by `axis`."""
    with h5py.File(path, "w") as file:
        for name, points in (("lat", rows), ("lon", columns)):
            file.create_dataset(name, points, "f8")
            file[name].make_scale(name)
        if axis:
            file["lat"][:], file["lon"][:] = np.linspace(30, 40, rows), np.linspace(130, 140, columns)
        file.create_dataset("vs30", (rows, columns), "f8", **options)
        for index, name in enumerate(("lat", "lon")):
            file["vs30"].dims[index].attach_scale(file[name])
    return path


def packed_chunk(path):
    """Write one chunk of 3.2 GB of zeros in 3 MB."""
    hdf5(path, 20_000, 20_000, axis=True, chunks=(20_000, 20_000), compression="gzip")
    packer = zlib.compressobj(9)
    piece = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    with h5py.File(path, "r+") as file:
        file["vs30"].id.write_direct_chunk((0, 0), piece * 3052)
    return path


def sparse_tif(path, size, step, **options):
    """Write a GeoTIFF that stores no values."""
    profile = {"height": size, "width": size, "count": 1, "dtype": "float64", "crs": "EPSG:4326"}
    options |= {"transform": from_origin(130, 40, step, step), "SPARSE_OK": True, "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", **profile, **options):
        return path


def zipped(path, member, start):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(member, "w") as stream:
        stream.write(start)
        for _ in range(10):
            stream.write(REPEATED)
    return path


@pytest.mark.slow
def test_files_that_claim_to_be_huge_are_refused_in_one_line_each(tmp_path):
    with gzip.open(tmp_path / "points.csv.gz", "wb") as stream:
        stream.write(b"lat,lon,vs30\n" + 10 * REPEATED)
    refused = {
        hdf5(tmp_path / "axes.nc", 10**9, 10**9, chunks=(1000, 1000)): "an axis of 1000000000 points",
        hdf5(tmp_path / "map.nc", 30_000, 30_000, axis=True): "30000 x 30000 points are more than",
        hdf5(tmp_path / "sparse.nc", 4000, 4000, axis=True): "more than 200 times its",
        f"{packed_chunk(tmp_path / 'chunk.nc')}{PART}": "more than 2 GB unpacked",
        sparse_tif(tmp_path / "map.tif", 2**17, 7e-5, tiled=True): "131072 x 131072 points are more than",
        sparse_tif(tmp_path / "sparse.tif", 4400, 1e-3, tiled=True): "more than 200 times its",
        f"{sparse_tif(tmp_path / 'strip.tif', 16_000, 6e-4, blockysize=16_000)}{PART}": "more than 2 GB",
        zipped(tmp_path / "meshes.zip", "meshes.csv", b"# CODE,AVS\n"): "more than 200 times its",
        tmp_path / "points.csv.gz": "more than 200 times its",
    }
    lines, peak = results(*refused)
    assert len(lines) == len(refused)
    for line, message in zip(lines, refused.values(), strict=True):
        assert message in line
    assert peak < 500e6


@pytest.mark.slow
def test_the_largest_raster_that_is_read_fits(tmp_path):
    """20 million values of one byte: at most 500 MB and five times their size."""
    values = np.random.default_rng(0).integers(100, 250, (4400, 4400), dtype="uint8")
    in_degrees = write_tif(tmp_path / "d.tif", values, from_origin(130, 40, 1e-3, 1e-3))
    projected = write_tif(tmp_path / "p.tif", values, from_origin(3e5, 4e6, 50, 50), "EPSG:32654")
    lines, peak = results(in_degrees, projected)
    assert lines == ["(4400, 4400)", "(3981, 4859)"]
    assert peak < 500e6 + 5 * values.nbytes


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, kind):
    path = tmp_path / "layer"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    for read in (recognise.read_layer, raster.read, jshis.read, point_table.read):
        with pytest.raises(UsageError, match=rf"layer is a {kind}: give a regular file"):
            read(path, "vs30")
