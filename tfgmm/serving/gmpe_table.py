"""Write the backbone of a run as a GMPE table, the HDF5 file that OpenQuake's ``GMPETable`` reads."""

import dataclasses
import datetime
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np

from tfgmm import __version__
from tfgmm.core import files, imt, outputs
from tfgmm.core.errors import UsageError, listed
from tfgmm.prediction.conditioning import CONDITIONS, ROCK_VS30_M_S
from tfgmm.runs.run import RunFolder
from tfgmm.stats import tectonics
from tfgmm.stats.backbone import Backbone, chosen_models
from tfgmm.stats.scaling_tables import DEPTHS_KM, LN_R, MAGNITUDES

#: Endings of the names of GMPE tables.
ENDINGS = (".hdf5", ".h5")
#: Groups of a table: medians in g, and standard deviations in ln units.
LEVELS, TOTAL, INTER, INTRA = "IMLs", "Total", "Inter", "Intra"
#: Distances of a table per step of the backbone's own. OpenQuake interpolates IM, not ln IM, linearly in R,
#: not in ln R. The error falls with the square of this number; far away the median falls fastest.
_SUBSTEPS = 15
#: Factor between the two periods under which the SA of a single period is written: OpenQuake interpolates
#: between periods, which needs two.
_SECOND_PERIOD = 1.001


@dataclasses.dataclass(frozen=True)
class GmpeTable:
    """A planned GMPE table of the backbone of a run; `write` carries it out.

    Attributes
    ----------
    run : RunFolder
        The run whose backbone is written.
    path : Path
        The HDF5 file.
    backbones : dict of str to Backbone
        Backbone by intensity measure, fitted to all records of the run, as in predictions.
    depth_km : float
        Depth of the hypocentre, km, for which the table holds.
    tectonic_class : str or None
        Tectonic class for which the table holds; None: the classes that the depth decides.
    """

    run: RunFolder
    path: Path
    backbones: dict[str, Backbone]
    depth_km: float
    tectonic_class: str | None

    @property
    def steps(self) -> int:
        """Return the number of steps that `write` reports: the number of intensity measures."""
        return len(self.backbones)

    @property
    def summary(self) -> str:
        """Return a sentence on what the table holds, and on a depth outside the training records."""
        text = (
            f"{self.path}: {', '.join(self.backbones)} of the backbone alone, without networks and site "
            f"terms; class {self.tectonic_class or 'by depth'}, depth {self.depth_km:g} km, "
            f"Vs30 {ROCK_VS30_M_S:g} m/s"
        )
        low, high = self.run.ranges(next(iter(self.backbones))).depth_km
        if low <= self.depth_km <= high:
            return text
        return f"{text}. The depths of the training records are {low:g} to {high:g} km"

    def write(self, progress: Callable[[int], None] = lambda done: None) -> Path:
        """Write the HDF5 file, completely or not at all, and return its path.

        Parameters
        ----------
        progress : callable
            Called with the number of intensity measures that are done.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        DataError
            The file system refuses to write.
        """
        tables = {}
        for im, backbone in self.backbones.items():
            tables[im] = tabulate(backbone, im, self.depth_km, self.tectonic_class)
            progress(len(tables))
        # From memory: h5py cannot let go of a file on a full disk.
        with io.BytesIO() as content:
            with h5py.File(content, "w") as store:
                store.attrs.update(self._attributes())
                _fill(store, tables)
            with files.whole_file(self.path) as temporary:
                temporary.write_bytes(content.getvalue())
        return self.path

    def _attributes(self) -> dict[str, str | float | bool]:
        """Return the attributes of the file: what it holds, and the run and data that it comes from."""
        every = self.backbones.values()
        known = None if self.tectonic_class is None else [self.tectonic_class]
        classes = dict.fromkeys(tectonics.CLASSES, 0.0)
        for backbone in every:
            weights = backbone.class_weights(np.array([self.depth_km]), known)[0]
            for name, weight in zip(backbone.classes, weights.tolist(), strict=True):
                classes[name] += weight / len(every)
        first, data, given = next(iter(self.backbones)), self.run.data, self.run.conditioned_on
        as_json = {
            "classes": {name: weight for name, weight in classes.items() if weight > 0},
            "models": {im: _models(im, backbone) for im, backbone in self.backbones.items()},
            "training_ranges": self.run.ranges(first).model_dump(),
            "assumptions": sorted({text for backbone in every for text in backbone.assumptions}),
        }
        return {name: json.dumps(value) for name, value in as_json.items()} | {
            "simulated": self.run.simulated,
            "depth_km": self.depth_km,
            "vs30_m_s": ROCK_VS30_M_S,
            "unit": "g, PGV in cm/s; standard deviations in natural logarithmic units",
            "component": str(data["component"]),
            "run": self.run.path.resolve().name,
            "run_hash": self.run.fingerprint,
            **{f"data_{name}": str(data.get(name, "")) for name in ("name", "truncation")},
            "data_digest": given["data"],
            "conditioned_on": CONDITIONS["all"],
            "attribution": str(data.get("attribution", "")),
            "made_by": f"tfgmm {__version__}",
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }


def prepare(
    run: RunFolder | Path | str,
    out: Path | str | None = None,
    im: str | Sequence[str] | None = None,
    *,
    depth_km: float | None = None,
    tectonic_class: str | None = None,
    overwrite: bool = False,
) -> GmpeTable:
    """Check that a run can be written as a GMPE table, and return the planned table; write nothing.

    Parameters
    ----------
    run : path
        Run folder.
    out : path, optional
        HDF5 file, ``RUN.hdf5`` by default.
    im : str, optional
        Intensity measure; all of the run by default.
    depth_km : float, optional
        Depth of the hypocentre, km; by default the median depth of the training records of the class.
    tectonic_class : {"crustal", "interface", "intraslab"}, optional
        Tectonic class. By default the class with most training records; if only `depth_km` is given, the
        classes that the depth decides (`tfgmm.stats.tectonics.class_weights`).
    overwrite : bool
        If True, replace an existing file.

    Returns
    -------
    GmpeTable
        The planned table.

    Raises
    ------
    UsageError
        The run has no backbone of published models or no such measure or class, it was trained without
        Vs30, the depth is out of range, or the file exists or has another ending.
    DataError
        The run is damaged.
    """
    folder = RunFolder.open(run)
    path = Path(out) if out else Path(f"{folder.path.resolve().name}.hdf5")
    outputs.ending_of(path, ENDINGS, "GMPE tables")
    files.refuse_existing(path, overwrite)
    if depth_km is not None and not 0 <= depth_km <= DEPTHS_KM[-1]:
        raise UsageError(f"a depth of {depth_km:g} km: give 0 to {DEPTHS_KM[-1]:g} km")
    _refuse_hidden_vs30(folder)
    names = ["all"] if im is None else [im] if isinstance(im, str) else im
    ims = tuple(folder.experiment.ims if "all" in names else map(imt.canonical, names))
    backbones = _of_all_records(folder, ims)
    # A measure whose records lack a class would give the mean of its other classes.
    classes = [name for name in tectonics.CLASSES if all(name in one.classes for one in backbones.values())]
    if tectonic_class is not None and tectonic_class not in classes:
        raise UsageError(
            f"the backbone of run {folder.path} does not have the class {tectonic_class!r}: "
            f"choose {' or '.join(classes) or 'a depth alone (--depth)'}"
        )
    if depth_km is None:
        if not classes:
            raise UsageError(f"the measures of run {folder.path} share no class: give --depth alone")
        depth_km, tectonic_class = _most_recorded(folder, ims[0], classes, tectonic_class)
    return GmpeTable(folder, path, backbones, depth_km, tectonic_class)


def tabulate(
    backbone: Backbone, im: str, depth_km: float, tectonic_class: str | None = None
) -> dict[str, np.ndarray]:
    r"""Return medians and standard deviations of a backbone on the nodes of a table, at Vs30 760 m/s.

    .. math:: \sigma_{inter}^2 = \tau^2, \quad \sigma_{intra}^2 = \phi_{S2S}^2 + \phi_{SS}^2, \quad
        \sigma^2 = \sigma_{inter}^2 + \sigma_{intra}^2

    Parameters
    ----------
    backbone : Backbone
        The backbone.
    im : str
        Intensity measure.
    depth_km : float
        Depth of the hypocentre, km.
    tectonic_class : str, optional
        Tectonic class; by default the classes that the depth decides.

    Returns
    -------
    dict of str to ndarray, [R, M]
        ``IMLs``, medians in g; ``Total``, ``Inter`` and ``Intra``, standard deviations in ln units; at
        distances `distances_km` and magnitudes `tfgmm.stats.scaling_tables.MAGNITUDES`.
    """
    count = len(MAGNITUDES)
    ln_r = np.tile(np.log(distances_km()), (count, 1))
    known = None if tectonic_class is None else [tectonic_class] * count
    depths = np.full(count, depth_km)
    ln_median = backbone.median(im, MAGNITUDES, depths, ln_r, vs30=ROCK_VS30_M_S, tectonic_class=known).T
    tau, phi_s2s, phi_ss = backbone.stddevs[backbone.ims.index(im)]
    phi = np.hypot(phi_s2s, phi_ss)
    stddevs = {TOTAL: np.hypot(tau, phi), INTER: tau, INTRA: phi}
    return {LEVELS: np.exp(ln_median)} | {
        name: np.full_like(ln_median, stddev) for name, stddev in stddevs.items()
    }


def distances_km() -> np.ndarray:
    """Return the rupture distances of a table, km: 1 to 1000 km, the nodes of the backbone among them.

    Returns
    -------
    ndarray, [R]
        Distances, with equal steps of ln R.
    """
    return np.exp(np.linspace(LN_R[0], LN_R[-1], (len(LN_R) - 1) * _SUBSTEPS + 1))


def _fill(store: h5py.File, tables: dict[str, dict[str, np.ndarray]]) -> None:
    """Write nodes and tables, [R, M] by measure and group, in the layout that OpenQuake reads."""
    distances = distances_km()
    every_magnitude = np.broadcast_to(distances[:, None, None], (len(distances), 1, len(MAGNITUDES)))
    store["Mw"] = MAGNITUDES
    # Zipped, as distances and standard deviations repeat themselves.
    store.create_dataset("Distances", data=every_magnitude, compression="gzip").attrs["metric"] = "rrup"
    spectral = sorted((im for im in tables if im.startswith("SA")), key=imt.period)
    periods = [imt.period(im) for im in spectral]
    if len(spectral) == 1:
        spectral, periods = spectral * 2, [periods[0], periods[0] * _SECOND_PERIOD]
    for name in (LEVELS, TOTAL, INTER, INTRA):
        group = store.create_group(name)
        columns = {im: [im] for im in ("PGA", "PGV") if im in tables} | {"SA": spectral}
        for key, ims in columns.items():
            if ims:
                values = np.stack([tables[im][name] for im in ims], axis=1).astype("float32")
                group.create_dataset(key, data=values, compression="gzip")
        if spectral:
            group["T"] = np.array(periods)


def _models(im: str, backbone: Backbone) -> str:
    """Return the published models of a measure with their weights, by class."""
    return chosen_models(backbone.report[backbone.report["im"] == im])


def _refuse_hidden_vs30(run: RunFolder) -> None:
    """Raise `UsageError` if Vs30 was hidden from the backbone of a run."""
    if run.experiment.hides_vs30:
        raise UsageError(
            f"run {run.path} was trained with --drop {','.join(run.experiment.drop)}, without Vs30, and a "
            f"GMPE table is for Vs30 {ROCK_VS30_M_S:g} m/s: train without this option"
        )


def _of_all_records(run: RunFolder, ims: Iterable[str]) -> dict[str, Backbone]:
    """Return the backbones fitted to all records; raise `UsageError` if they do not know Vs30 760 m/s."""
    unknown = [im for im in ims if im not in run.experiment.ims]
    if unknown:
        raise UsageError(f"run {run.path} has no {listed(unknown)}: it has {listed(run.experiment.ims)}")
    if run.experiment.backbone not in ("none", "ergodic") and not run.conditioned_on:
        raise UsageError(f"run {run.path} is not finished: give its tfgmm train command again")
    backbones = {im: run.backbone_of_all(im) for im in ims}
    if any(backbone is None or backbone.hypocentral for backbone in backbones.values()):
        raise UsageError(
            f"run {run.path} has no backbone of published models, and its networks are no table of "
            "magnitude and distance: train with --backbone auto, or export a SavedModel"
        )
    return backbones


def _most_recorded(
    run: RunFolder, im: str, classes: list[str], tectonic_class: str | None
) -> tuple[float, str]:
    """Return the median depth (km) of the training records of a class, and the class.

    Without a class take the one with most training records. An earthquake of unknown class counts in
    each class with the weight that its depth gives.
    """
    records = run.training_records(im)
    depth_km = records["depth_km"].to_numpy(float)
    weights = tectonics.class_weights(depth_km, records["tectonic_class"])
    totals = {name: weights[:, tectonics.CLASSES.index(name)].sum() for name in classes}
    chosen = tectonic_class or max(totals, key=totals.__getitem__)
    if not totals[chosen]:
        raise UsageError(f"no training record of {im} is {chosen}: give the depth too (--depth)")
    of_class = weights[:, tectonics.CLASSES.index(chosen)]
    return float(np.quantile(depth_km, 0.5, weights=of_class, method="inverted_cdf")), chosen
