"""Estimates of site amplification as labelled maps and tables, and in files.

The footprint is the land inside the hull of the stations; taught pixels have enough training records near
them. The nugget is the part of a site term that no neighbouring site shares.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import xarray as xr

from tfgmm.core import files
from tfgmm.core.grid import Grid
from tfgmm.prediction import writing
from tfgmm.site_amplification.estimate import Z90, Estimate, significant
from tfgmm.site_amplification.site_terms import InterpolationVariance, correlation

#: Titles of the estimators in figures.
TITLES = {
    "difference": "With minus without site channels",
    "difference_isotropic": "The same, direction hidden",
    "one_ensemble": "One ensemble minus ergodic median",
    "layers": "Response to site layers",
}
LONG_NAMES = {
    "amplification": "ln site amplification, less its mean over the footprint",
    "standard_error": "standard error of amplification: training and interpolation together",
    "jackknife": "standard error due to which stations there are, delete-a-chunk jackknife",
    "initialisation": "standard error due to random initialisation",
    "interpolation": "standard error due to the distances to the trained stations",
    "half_difference": "amplification from one half of the events minus that from the other half",
    "without_chunk": "amplification by the networks that never saw the stations of a chunk",
    "level": "mean over the footprint that was taken off",
    "far_stddev": "interpolation error far from stations",
    "length_km": "distance over which the interpolation error grows",
    "alone_stddev": "standard deviation of what each site has alone, which is on no map",
    "nearest_station": "distance to the nearest trained station",
    "taught": "1 where stations are near enough to have taught the networks",
    "footprint": "1 on land inside the hull of the stations",
    "z_bedrock": "depth to seismic bedrock",
    "difference": "difference of ln site amplification",
    "significant": "1 where the difference is larger than training makes by chance",
}
_UNITS = {"length_km": "km", "nearest_station": "km", "z_bedrock": "m"}
_MAP = ("row", "col")


def measure(
    estimates: Mapping[str, Estimate],
    interpolation: Mapping[str, InterpolationVariance],
    *,
    nearest_km: np.ndarray,
    kriging_variance: np.ndarray,
    taught: np.ndarray,
    footprint: np.ndarray,
) -> xr.Dataset:
    """Return all maps of one intensity measure, with their errors, in one dataset.

    No map is taken to be more accurate than the kriged site terms of the same records, because a few
    held-out sites do not determine the errors of the map well. The part of the kriging variance that the
    jackknife variance lacks counts as interpolation error.

    Parameters
    ----------
    estimates : mapping of str to Estimate
        Estimates by estimator.
    interpolation : mapping of str to InterpolationVariance
        Variances of the interpolation error by estimator.
    nearest_km : ndarray, [row, col]
        Distance to the nearest training station, km.
    kriging_variance : ndarray, [row, col]
        Variance of the kriged site terms without the nugget, squared ln units.
    taught : ndarray of bool, [row, col]
        Pixels with enough training records near them.
    footprint : ndarray of bool, [row, col]
        Pixels on land inside the hull of the stations.

    Returns
    -------
    xarray.Dataset
        Variables of `LONG_NAMES`, on the dimensions ``estimator, chunk, row, col``; amplification and
        standard errors in ln units, distances in km.
    """
    parts = [
        _map_estimate(estimates[name], interpolation[name], nearest_km, kriging_variance)
        for name in estimates
    ]
    maps = xr.concat(parts, pd.Index(list(estimates), name="estimator"))
    masks = {"nearest_station": nearest_km, "taught": taught, "footprint": footprint}
    return maps.assign({name: (_MAP, values) for name, values in masks.items()})


def _map_estimate(
    estimate: Estimate,
    interpolation: InterpolationVariance,
    nearest_km: np.ndarray,
    kriging_variance: np.ndarray,
) -> xr.Dataset:
    """Return the maps [row, col] and single numbers of one estimator, see `measure`."""
    (chunks, inits), jackknife = estimate.members.shape[:2], estimate.jackknife_variance()
    variance = {
        "jackknife": jackknife,
        "initialisation": estimate.initialisation_variance() / (chunks * inits),
        "interpolation": np.maximum(interpolation.variance(nearest_km), kriging_variance - jackknife),
    }
    maps = {
        "amplification": estimate.amplification,
        "standard_error": np.sqrt(sum(variance.values())),
        **{name: np.sqrt(values) for name, values in variance.items()},
        "half_difference": estimate.halves[0] - estimate.halves[1],
    }
    numbers = {
        "level": estimate.level,
        "far_stddev": interpolation.far,
        "length_km": interpolation.length_km,
        "alone_stddev": interpolation.alone,
    }
    return xr.Dataset(
        {name: (_MAP, values) for name, values in maps.items()}
        | {"without_chunk": (("chunk", *_MAP), estimate.without_chunk)}
        | numbers
    )


def at_stations(
    estimates: Mapping[str, Estimate],
    maps: xr.Dataset,
    stations: pd.DataFrame,
    held: pd.DataFrame,
    terms: pd.DataFrame,
) -> pd.DataFrame:
    """Return map values and empirical site terms at the stations, by estimator and station.

    Parameters
    ----------
    estimates : mapping of str to Estimate
        Estimates by estimator.
    maps : xarray.Dataset
        Result of `measure`.
    stations : pandas.DataFrame
        ``station_id, site_id, network``; ``longitude, latitude``, degrees; ``row, col``, the pixel.
    held : pandas.DataFrame
        Result of `tfgmm.site_amplification.site_terms.held_out`, with ``row, col``.
    terms : pandas.DataFrame
        `tfgmm.site_amplification.site_terms.SiteTerms.table`.

    Returns
    -------
    pandas.DataFrame
        One row per estimator and station: ``station_id, site_id, network, longitude, latitude``; the
        columns of `terms`; ``estimator``; ``map_part`` and ``standard_error``, amplification and standard
        error at the station's pixel, ln units; ``held_out``, the amplification at the pixel by the networks
        that were trained without the station, ln units, NaN if there are none; ``taught``, whether the
        pixel has enough training records near it.
    """
    pixel = {axis: xr.DataArray(stations[axis].to_numpy(), dims="station") for axis in _MAP}
    columns = ["station_id", "site_id", "network", "longitude", "latitude"]
    known = stations[columns].merge(terms, left_on="site_id", right_index=True, how="left")
    parts = []
    for name, estimate in estimates.items():
        at_pixels = maps.sel(estimator=name).isel(pixel)
        unseen = estimate.without_chunk[held["chunk"], held["row"], held["col"]]
        parts.append(
            known.assign(
                estimator=name,
                map_part=at_pixels["amplification"].to_numpy(),
                standard_error=at_pixels["standard_error"].to_numpy(),
                held_out=known["station_id"].map(pd.Series(unseen, held["station_id"])),
                taught=at_pixels["taught"].to_numpy(),
            )
        )
    return pd.concat(parts, ignore_index=True)


def summary(maps: xr.Dataset, stations: pd.DataFrame) -> pd.DataFrame:
    """Return root mean squares of maps and errors, and correlations of maps and empirical site terms.

    Parameters
    ----------
    maps : xarray.Dataset
        Result of `measure`, with a dimension ``im``.
    stations : pandas.DataFrame
        Result of `at_stations`, with ``im``.

    Returns
    -------
    pandas.DataFrame
        A row per intensity measure and estimator. ``spread``, ``standard_error`` and ``half_difference``:
        root mean squares over the pixels on land inside the hull of the stations (footprint) that have
        enough training records near them (taught), ln units. ``r_stations`` and ``r_held_out``: Pearson's
        correlation of the site terms of the mixed-effects fit with the maps of all networks, and with the
        maps of the networks that were trained without the station. ``taught_share``: share of the footprint
        that is taught, 0 to 1.
    """
    rows = []
    for (im, name), table in stations.groupby(["im", "estimator"], sort=False):
        selected = maps.sel(im=im, estimator=name)
        where = selected["taught"].astype(bool) & selected["footprint"].astype(bool)
        size = {
            label: float(np.sqrt((selected[variable].where(where) ** 2).mean()))
            for label, variable in (
                ("spread", "amplification"),
                ("standard_error", "standard_error"),
                ("half_difference", "half_difference"),
            )
        }
        agreement = {
            f"r_{label}": correlation(table[column], table["site_term"])
            for label, column in (("stations", "map_part"), ("held_out", "held_out"))
        }
        rows.append(
            {"im": im, "estimator": name}
            | size
            | agreement
            | {"taught_share": float(where.sum() / selected["footprint"].sum())}
        )
    return pd.DataFrame(rows)


def at_places(maps: xr.Dataset, places: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Return the amplification at places: one row per place, intensity measure and estimator.

    Parameters
    ----------
    maps : xarray.Dataset
        Result of `measure`, with a dimension ``im``.
    places : pandas.DataFrame
        ``name``; ``longitude, latitude``, degrees, inside the map.
    grid : Grid
        Map of the run.

    Returns
    -------
    pandas.DataFrame
        ``im, estimator, place``; ``amplification`` and ``standard_error`` at the place's pixel, and ``low``
        and ``high``, the bounds of the central 90 % interval, ln units; ``taught``, whether the pixel has
        enough training records near it.
    """
    row, col, _ = grid.locate(places["longitude"], places["latitude"])
    pixel = {"row": xr.DataArray(row, dims="place"), "col": xr.DataArray(col, dims="place")}
    names = ["amplification", "standard_error", "taught"]
    at_pixels = maps[names].isel(pixel).assign_coords(place=places["name"].to_numpy())
    table = at_pixels.to_dataframe()[names].reset_index()
    half = Z90 * table["standard_error"]
    return table.assign(low=table["amplification"] - half, high=table["amplification"] + half)


def subtract(
    first: Mapping[str, Estimate], second: Mapping[str, Estimate], where: np.ndarray
) -> xr.Dataset:
    """Return maps of the differences of two runs by estimator, with standard errors and significance.

    Parameters
    ----------
    first, second : mapping of str to Estimate
        Estimates by estimator of two runs, whose members of equal chunk and initialisation are pairs.
    where : ndarray of bool, [row, col]
        Pixels to compare: on land inside the hull of the stations, with enough training records near them,
        in both runs. The mean difference over these pixels is subtracted.

    Returns
    -------
    xarray.Dataset
        ``difference``, ``standard_error`` (due to training) and ``half_difference``, ln units;
        ``significant`` and ``compared``, bool; on the dimensions ``estimator, row, col``.
    """
    differences = {}
    for name in first:
        members = first[name].members - second[name].members
        halves = np.broadcast_to(
            (first[name].halves - second[name].halves), (*members.shape[:2], 2, *where.shape)
        )
        sets = np.concatenate([members[:, :, np.newaxis], halves], axis=2)
        difference = Estimate.from_maps(sets, where, first[name].smooth_px)
        differences[name] = xr.Dataset(
            {
                "difference": (_MAP, difference.amplification),
                "standard_error": (_MAP, np.sqrt(difference.training_variance())),
                "half_difference": (_MAP, difference.halves[0] - difference.halves[1]),
                "significant": (_MAP, significant(difference, where)),
                "compared": (_MAP, where),
            }
        )
    return xr.concat(list(differences.values()), pd.Index(list(differences), name="estimator"))


# ---- on disk -------------------------------------------------------------------------------------


def conform(maps: xr.Dataset, grid: Grid, about: Mapping) -> xr.Dataset:
    """Return maps with axes, projection and attributes of the CF conventions, in types that NetCDF 3 has.

    Parameters
    ----------
    maps : xarray.Dataset
        Result of `measure` or `subtract`, on the dimensions ``row, col``.
    grid : Grid
        Map of the run.
    about : mapping
        Further attributes, from `Study.about`.

    Returns
    -------
    xarray.Dataset
        On the dimensions ``y, x`` (m) in place of ``row, col``; masks as int8, other variables as float32.
    """
    x, y = writing.axes_m(grid)
    longitude, latitude = grid.lonlat(grid.output_size)
    maps = maps.assign_coords(
        x=("col", x, {"units": "m", "axis": "X", "standard_name": "projection_x_coordinate"}),
        y=("row", y, {"units": "m", "axis": "Y", "standard_name": "projection_y_coordinate"}),
        longitude=(_MAP, longitude, {"units": "degrees_east", "standard_name": "longitude"}),
        latitude=(_MAP, latitude, {"units": "degrees_north", "standard_name": "latitude"}),
    ).swap_dims(row="y", col="x")
    for name, variable in maps.data_vars.items():
        kind = "int8" if variable.dtype == bool else "float32"
        attributes = {"units": _UNITS.get(name, "1"), "long_name": LONG_NAMES.get(name, name)}
        mapping = {"grid_mapping": "crs"} if "x" in variable.dims else {}
        maps[name] = variable.astype(kind).assign_attrs(attributes | mapping)
    crs = xr.DataArray(np.int32(0), attrs=pyproj.CRS(grid.crs).to_cf())
    return maps.assign(crs=crs).assign_attrs(Conventions="CF-1.11", **about)


def write_netcdf(maps: xr.Dataset, path: Path) -> None:
    """Write the result of `conform` as NetCDF 3; the same maps give the same bytes.

    Parameters
    ----------
    maps : xarray.Dataset
        Result of `conform`.
    path : Path
        File to write.
    """
    files.write_netcdf(maps, path, format="NETCDF3_64BIT")


def write_geotiff(maps: xr.Dataset, path: Path, grid: Grid, names: tuple[str, ...]) -> None:
    """Write maps of one intensity measure as GeoTIFF, a band per estimator and variable, then the masks.

    Parameters
    ----------
    maps : xarray.Dataset
        Result of `conform` for one intensity measure.
    path : Path
        File to write.
    grid : Grid
        Map of the run.
    names : tuple of str
        Names of the variables; the masks ``taught`` and ``footprint``, if present, are the last bands.
    """
    bands = {
        f"{estimator} {name}": maps[name].sel(estimator=estimator, drop=True)
        for estimator in maps["estimator"].to_numpy()
        for name in names
    }
    masks = {name: maps[name] for name in ("taught", "footprint") if name in maps}
    writing.write_bands(xr.Dataset(bands | masks, attrs={}), path, grid, maps.attrs)
