"""What was found about site amplification -> maps, figures and tables in one folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core import drawing, files, outputs
from tfgmm.data import layers
from tfgmm.site_amplification import figures, site_maps
from tfgmm.site_amplification.estimates import Measure
from tfgmm.site_amplification.site_study import TITLE, Study

_BANDS = ("amplification", "standard_error", "half_difference")
_BANDS_OF_DIFFERENCE = ("difference", "standard_error", "significant")


def refuse_strangers(folder: Path, ims: Sequence[str], others: Sequence[str], overwrite: bool) -> None:
    """Raise `UsageError` if `write` would replace a file that it did not write, and may not.

    Parameters
    ----------
    folder : Path
    ims : sequence of str
    others : sequence of str
        Names of the runs to compare with.
    overwrite : bool
        Replace any file.
    """
    stems = [*ims, "periods", *(f"minus_{other}_{im}" for other in others for im in ims)]
    names = ["site_amplification.nc", "stations.csv", "summary.csv", "places.csv"]
    names += [f"minus_{other}.nc" for other in others]
    names += [stem + ending for stem in stems for ending in (".tif", ".png", ".pdf")]
    has_ours = outputs.holds(folder / "site_amplification.nc", TITLE)
    outputs.refuse_strangers([folder / name for name in names], lambda path: has_ours, overwrite)


def write(
    studies: Sequence[Study], found: Sequence[Mapping[str, Measure]], folder: Path, places: pd.DataFrame
) -> pd.DataFrame:
    """Write everything about the first study, and its difference to the second if there is one.

    ``site_amplification.nc``; by intensity measure ``IM.tif``, ``IM.png`` and ``IM.pdf``;
    ``stations.csv``, ``summary.csv``; with places ``places.csv`` and ``periods.png``; with a second study
    ``minus_RUN.nc`` and its GeoTIFF and figures.

    Parameters
    ----------
    studies : sequence of Study
        One or two.
    found : sequence of dict of str to Measure
        By intensity measure, for each study.
    folder : Path
        Replaced if it exists.
    places : pandas.DataFrame
        ``name, longitude, latitude``; may be empty.

    Returns
    -------
    pandas.DataFrame
        Of `tfgmm.site_amplification.site_maps.summary`.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    mpl.use("Agg")
    study, measures = studies[0], found[0]
    maps = _with_bedrock(study, xr.concat([one.maps for one in measures.values()], "im"))
    stations = pd.concat([one.stations for one in measures.values()], ignore_index=True)
    table = site_maps.summary(maps, stations)
    with files.whole_files(folder) as temporary:
        _write_maps(study, maps, temporary)
        for name, rows in (("stations", stations), ("summary", table)):
            _csv(rows, temporary / f"{name}.csv", study)
        if len(places):
            _write_places(study, maps, places, temporary)
        for other, others in zip(studies[1:], found[1:], strict=True):
            _write_difference(study, other, measures, others, temporary)
    return table


def _with_bedrock(study: Study, maps: xr.Dataset) -> xr.Dataset:
    """Maps with the depth to bedrock as the networks see it, where the data have it."""
    if study.dataset.layers is None or "z_bedrock" not in study.dataset.layers:
        return maps
    depth, _ = layers.on_grid(study.dataset.layers["z_bedrock"], study.grid, study.grid.output_size)
    return maps.assign(z_bedrock=(("row", "col"), depth))


def _note(study: Study, im: str) -> str:
    networks = ", ".join(study.experiment.networks)
    simulated = f", {drawing.SIMULATED}" * study.run.simulated
    return f"{im}, {networks}; {len(study.events)} {study.options.events}{simulated}"


def _write_maps(study: Study, maps: xr.Dataset, folder: Path) -> None:
    whole = site_maps.conform(maps, study.grid, study.about())
    site_maps.write_netcdf(whole, folder / "site_amplification.nc")
    for im in maps["im"].to_numpy():
        one = whole.sel(im=im)
        site_maps.write_geotiff(one, folder / f"{im}.tif", study.grid, _BANDS)
        drawing.save(figures.amplification(one, study.stations, im, _note(study, im)), folder / im)


def _csv(table: pd.DataFrame, path: Path, study: Study) -> None:
    table.assign(simulated=study.run.simulated).to_csv(path, index=False, float_format="%.6g")


def _write_places(study: Study, maps: xr.Dataset, places: pd.DataFrame, folder: Path) -> None:
    table = site_maps.at_places(maps, places, study.grid)
    _csv(table, folder / "places.csv", study)
    note = _note(study, "Site amplification")
    drawing.save(figures.against_period(table, note), folder / "periods")


def _write_difference(study: Study, other: Study, measures, others, folder: Path) -> None:
    stem = f"minus_{other.run.path.name}"
    found = []
    for im, one in measures.items():
        where = np.logical_and.reduce(
            [
                m.maps[mask].to_numpy().reshape(study.footprint.shape)
                for m in (one, others[im])
                for mask in ("taught", "footprint")
            ]
        )
        differences = site_maps.against(one.estimates, others[im].estimates, where)
        found.append(differences.expand_dims(im=[im]))
    maps = _with_bedrock(study, xr.concat(found, "im"))
    about = study.about() | {"title": f"difference of ln site amplification to run {other.run.path.name}"}
    whole = site_maps.conform(maps, study.grid, about)
    site_maps.write_netcdf(whole, folder / f"{stem}.nc")
    for im in measures:
        one = whole.sel(im=im)
        name = folder / f"{stem}_{im}"
        site_maps.write_geotiff(one, name.with_name(name.name + ".tif"), study.grid, _BANDS_OF_DIFFERENCE)
        note = f"{study.run.path.name} minus {other.run.path.name}\n{_note(study, im)}"
        drawing.save(figures.difference(one, study.stations, im, note), name)
