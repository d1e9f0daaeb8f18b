"""What lies where in a run, and what the run is."""

import dataclasses
import hashlib
import importlib.metadata
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pandas as pd
import xarray as xr

from tfgmm import __version__
from tfgmm.core import files, lease
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.data.dataset import Dataset, read_digest, read_layers
from tfgmm.runs.experiment import Experiment, reason
from tfgmm.stats import calibration, random_effects
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.random_effects import RandomEffects

#: Files of a run.
DESCRIPTION, PREDICTIONS, DATA, DONE = "experiment.json", "predictions.parquet", "data", "done.json"
#: Hashes of the tables of a run, and the members whose predictions are in them.
MANIFEST = "files.json"
#: All that commands put into a run folder, and what replacing a run removes.
_OWN = (
    *("members", DATA, "tables", "figures", "baselines", "site_amplification"),
    *("events.parquet", "stations.parquet", PREDICTIONS, "report.html", "calibration.json", MANIFEST),
    *("random_effects.json", "random_effects.parquet", "path_terms.npz", "path_covariance.parquet"),
)
_OLD = "was made by an earlier version: give its tfgmm train command again, with the dataset it trained on"
_AGAIN = "give the tfgmm train command of the run again, which writes it anew"
#: Files that `tfgmm evaluate` writes.
_EVALUATED = ("calibration.json",)
_EVALUATE = "give tfgmm evaluate for the run again, which writes it anew"
_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy", "pandas", "pyproj")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    Attributes
    ----------
    path : Path
    experiment : Experiment
    data : dict
        ``digest``, ``simulated``, ``component`` and ``name`` of the dataset.
    channels : tuple of str
        The maps that the networks see, in order; empty in a run of version 0.1.0.
    """

    path: Path
    experiment: Experiment
    data: dict
    channels: tuple[str, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the records are made, not measured."""
        return self.data["simulated"]

    @property
    def predictions(self) -> Path:
        """The predictions table."""
        return self.path / PREDICTIONS

    @property
    def data_folder(self) -> Path:
        """The run's own copy of the dataset that it was trained on."""
        return self.path / DATA

    def dataset(self) -> Dataset:
        """Read the records and site layers that the run was trained on, from its own copy.

        Raises
        ------
        UsageError
            The run was made by an earlier version.
        DataError
            The copy is damaged.
        """
        return self._own_data(Dataset.read)

    def site_layers(self) -> xr.Dataset | None:
        """Read the site layers that the networks see; errors as for `dataset`."""
        return self._own_data(read_layers)

    def _own_data(self, read):
        if not self.channels:
            raise UsageError(f"run {self.path} {_OLD}")
        try:
            if read_digest(self.data_folder) != self.data["digest"]:
                raise DataError(
                    f"{self.data_folder} is not the data that the run was trained on (data hash)"
                )
            return read(self.data_folder)
        except (UsageError, DataError) as error:
            raise DataError(
                f"{error}: give the tfgmm train command of the run again, which brings the data back"
            ) from error

    @property
    def fingerprint(self) -> str:
        """Hash of the settings and of the data, which every member bears."""
        content = self.experiment.model_dump_json(exclude={"data"}) + self.data["digest"]
        return hashlib.sha256(content.encode()).hexdigest()

    def refuse_replaced(self) -> None:
        """Raise `DataError` if another process has begun another run in the folder."""
        if self.open(self.path).fingerprint != self.fingerprint:
            raise DataError(f"{self.path} was replaced by another run: this training ends")

    # ---- hashes of the tables of a run

    def note(self, *names: str, **more) -> None:
        """Keep the hashes of files of the run, as they are now, and more facts in `MANIFEST`.

        The caller holds the lease of the run.
        """
        try:
            manifest = self._manifest()
        except DataError:
            manifest = {}  # there is none yet, or it is made anew
        hashes = {name: files.sha256(self.path / name) for name in names}
        manifest |= more | {"files": manifest.get("files", {}) | hashes}
        with files.whole_file(self.path / MANIFEST) as temporary:
            files.write_json(temporary, manifest)

    def _manifest(self) -> dict:
        path = self.path / MANIFEST
        if not self.channels:
            return {}  # a run of version 0.1.0 has none
        try:
            return files.read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is missing or damaged ({error}): {_AGAIN}") from error

    def noted(self) -> dict[str, str]:
        """Return the hashes of the files of the run by name; errors as for `file`."""
        return self._manifest().get("files", {})

    def lost(self, im: str) -> list[tuple[int, int]]:
        """Return the members whose predictions are in the table, and whose folders are not whole."""
        members = map(tuple, self._manifest().get("members", {}).get(im, []))
        return [member for member in members if not (self.member(im, *member) / DONE).is_file()]

    def file(self, name: str) -> Path:
        """Return the path of a file of the run, which is what was written.

        Raises
        ------
        DataError
            It is missing, or was damaged or changed.
        """
        stated = self.noted()
        if name in stated:
            files.refuse_changed(
                self.path, {name: stated[name]}, _EVALUATE if name in _EVALUATED else _AGAIN
            )
        return self.path / name

    def member(self, im: str, chunk: int, init: int, arm: str | None = None) -> Path:
        """Folder of one member, by default of the run's own arm."""
        return self.path / "members" / im / (arm or self.experiment.arm) / f"chunk-{chunk}_init-{init}"

    def arms(self, im: str) -> list[str]:
        """All arms that have members, the run's own first: the others were trained to compare."""
        own = self.experiment.arm
        others = {folder.name for folder in (self.path / "members" / im).glob("*/")} - {own}
        return [own, *sorted(others)]

    def trained(self, im: str) -> list[tuple[int, int]]:
        """Return chunk and initialisation of the trained members of the run's own arm.

        Raises
        ------
        UsageError
            The run has no such intensity measure, or no trained member of it.
        DataError
            A member is damaged.
        """
        experiment = self.experiment
        if im not in experiment.ims:
            raise UsageError(f"run {self.path} has no {im}: it has {', '.join(experiment.ims)}")
        members = [(c, i) for c in range(experiment.chunks) for i in range(experiment.inits)]
        members = [member for member in members if is_trained(self.member(im, *member))]
        for lost in self.lost(im):
            raise DataError(f"{self.member(im, *lost)} is missing or not whole: {_AGAIN}")
        if not members:
            raise UsageError(f"run {self.path} has no trained member of {im} yet: run tfgmm train")
        return members

    def read_predictions(self) -> pd.DataFrame:
        """The predictions table of the run's own arm.

        Raises
        ------
        UsageError
            The run is not finished.
        DataError
            The table is damaged.
        """
        if not self.predictions.is_file():
            raise UsageError(
                f"run {self.path} has no predictions yet: finish it with the tfgmm train command "
                "that began it; it goes on where it stopped"
            )
        try:
            table = files.read_parquet(self.file(PREDICTIONS), filters=[("arm", "==", self.experiment.arm)])
            if self.experiment.random_effects != "none" and "phi_field" not in table:
                raise ValueError("made by an earlier version")
            return table
        except (OSError, ValueError) as error:
            raise DataError(f"{self.predictions} is damaged ({error}): {_AGAIN}") from error

    def write_places(self, events: pd.DataFrame, stations: pd.DataFrame) -> None:
        """Keep what is known of the events and stations in use, for `with_places`.

        The caller holds the lease of the run.
        """
        for name, table in (("events", events), ("stations", stations)):
            with files.whole_file(self.path / f"{name}.parquet") as temporary:
                files.write_parquet(table, temporary)
        self.note("events.parquet", "stations.parquet")

    def random_effects(self, im: str) -> RandomEffects | None:
        """Read the random effects of one intensity measure, None for a run without.

        Raises
        ------
        DataError
            A file is missing or damaged.
        """
        if self.experiment.random_effects == "none":
            return None
        for name in random_effects.FILES:
            self.file(name)
        return random_effects.read(self.path)[im]

    def calibration(self, im: str) -> Calibration | None:
        """Read the calibration of one intensity measure, None for a run that has none.

        Raises
        ------
        DataError
            It was there and is lost, damaged, or has no such measure.
        """
        path = self.file(calibration.FILE)
        if not path.is_file():
            return None
        calibrations = calibration.read(self.path)
        if im not in calibrations:
            raise DataError(f"{path} has no {im}: give tfgmm evaluate again")
        return calibrations[im]

    def with_places(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table of records with what is known of their events and stations.

        Parameters
        ----------
        table : pandas.DataFrame
            With ``event_id`` and ``station_id``, as the predictions table.

        Returns
        -------
        pandas.DataFrame
            The rows in their order, with the columns of `tfgmm.network.batches.places`.

        Raises
        ------
        DataError
            The tables of places are missing or damaged.
        """
        for name, key in (("events", "event_id"), ("stations", "station_id")):
            places = self._places(name)
            new = places.columns.difference(table.columns, sort=False)
            table = table.merge(places[[key, *new.drop(key, errors="ignore")]], on=key, how="left")
        return table

    def stations(self, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Stations in use; all of them, or those with the given ids in their order.

        Returns
        -------
        pandas.DataFrame
            ``station_id, longitude, latitude`` and ``terms_of``, the site whose terms are theirs.

        Raises
        ------
        UsageError
            There is no such station.
        DataError
            The table is missing or damaged.
        """
        table = self._places("stations").rename(columns={"site_id": "terms_of"}).set_index("station_id")
        if ids is not None:
            unknown = [name for name in ids if name not in table.index]
            if unknown:
                raise UsageError(f"run {self.path} has no station {listed(unknown)}")
            table = table.loc[list(ids)]
        return table[["longitude", "latitude", "terms_of"]].reset_index()

    def _places(self, name: str) -> pd.DataFrame:
        path = self.file(f"{name}.parquet")
        try:
            return files.read_parquet(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is missing or damaged: {_AGAIN}") from error

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing run.

        Raises
        ------
        UsageError
            There is no run.
        DataError
            Its description is damaged.
        """
        description = path / DESCRIPTION
        if not description.is_file():
            raise UsageError(f"{path} is no run folder: make one with tfgmm train")
        try:
            content = files.read_json(description)
            channels = tuple(content.get("channels", ()))
            return cls(path, Experiment(**content["experiment"]), content["data"], channels)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{description} is damaged or of another version ({reason(error)}): use another folder"
            ) from error

    @classmethod
    def begin(
        cls,
        path: Path,
        experiment: Experiment,
        dataset: Dataset,
        overwrite: bool = False,
        *,
        channels: tuple[str, ...],
    ) -> Self:
        """Begin a new run, or go on with the same experiment on the same data.

        The run gets a copy of the dataset. A run of version 0.1.0 gets what it lacks.

        Raises
        ------
        UsageError
            The folder is no run, or it holds another run and `overwrite` is false, or another process is
            at work in it.
        DataError
            The file system refuses to write.
        """
        names = ("digest", "simulated", "component", "name", "truncation", "attribution")
        data = {name: dataset.provenance.get(name, "") for name in names}
        data |= {"digest": dataset.digest(), "simulated": dataset.simulated}
        new = cls(path, experiment, data, tuple(channels))
        is_run = (path / DESCRIPTION).is_file()
        if not is_run and not files.is_vacant(path):
            raise UsageError(f"{path} exists and is no run folder: choose another --out")
        with lease.held(path / "run"):
            existing = cls.open(path) if is_run and not overwrite else None
            if existing is not None:
                new._refuse_other(existing)
            elif is_run:
                new._clear()
            if existing is None or not existing.channels:
                new._describe()
            new._copy(dataset)
            if not (path / MANIFEST).is_file():
                new.note()
        return new

    def _describe(self) -> None:
        content = {
            "experiment": self.experiment.model_dump(mode="json"),
            "data": self.data,
            "channels": self.channels,
            "versions": {"tfgmm": __version__}
            | {name: importlib.metadata.version(name) for name in _PACKAGES},
        }
        with files.whole_file(self.path / DESCRIPTION) as temporary:
            files.write_json(temporary, content)

    def _copy(self, dataset: Dataset) -> None:
        """Keep a copy of the dataset, unless there is a whole one."""
        try:
            self.dataset()
        except (UsageError, DataError):
            shutil.rmtree(self.data_folder, ignore_errors=True)
            dataset.write(self.data_folder)

    def _clear(self) -> None:
        """Remove what commands have put into the folder; the description last, by being replaced."""
        lease.refuse_held(self.path / "members")
        for name in _OWN:
            target = self.path / name
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    @classmethod
    def latest(cls, folder: Path = Path("runs")) -> Self:
        """The run in a folder that was begun last, among those that have predictions.

        Raises
        ------
        UsageError
            There is none.
        """
        finished = [path.parent for path in folder.glob(f"*/{PREDICTIONS}")]
        if not finished:
            raise UsageError(
                f"no run in {folder} has predictions: name a run, or make one with tfgmm train"
            )
        return cls.open(max(finished, key=lambda path: (path / DESCRIPTION).stat().st_mtime))

    def _refuse_other(self, existing: "RunFolder") -> None:
        mine, theirs = (run.experiment.model_dump() for run in (self, existing))
        # The dataset may have moved: its content counts, not its path.
        different = [name for name in mine if mine[name] != theirs[name] and name != "data"]
        if self.data["digest"] != existing.data["digest"]:
            different.append("content of the data")
        if different:
            raise UsageError(
                f"{self.path} holds another run (different: {', '.join(different)}): "
                "choose another --out, or replace it with --overwrite"
            )


# ---- trained members ---------------------------------------------------------------------------------


def damaged_files(folder: Path, fingerprint: str | None = None) -> list[str]:
    """Return the names of a trained member's files that are missing or not what was written.

    With a fingerprint, a member of another run has a damaged ``done.json``. One of version 0.1.0 bears
    none, and has no hashes.
    """
    try:
        done = files.read_json(folder / DONE)
        stated = done.get("files", {})
    except (OSError, ValueError):
        return [DONE]
    if fingerprint is not None and done.get("run", fingerprint) != fingerprint:
        return [DONE]
    return [
        name for name, hexadecimal in stated.items() if not files.is_unchanged(folder / name, hexadecimal)
    ]


def is_trained(folder: Path) -> bool:
    """Return whether a member's folder holds a whole training.

    Raises
    ------
    DataError
        Its ``done.json`` is damaged.
    """
    path = folder / DONE
    if not path.is_file():
        return False
    try:
        files.read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}): {_AGAIN}") from error
    return True


def refuse_damaged(folder: Path) -> None:
    """Raise `DataError` unless all files of a trained member are what was written."""
    for name in damaged_files(folder):
        raise DataError(f"{folder / name} is missing or damaged: {_AGAIN}")
