"""What lies where in a run, and what the run is."""

import dataclasses
import importlib.metadata
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pandas as pd

from tfgmm import files
from tfgmm.errors import DataError, UsageError
from tfgmm.experiment import Experiment, reason
from tfgmm.records import Dataset

_PACKAGES = ("tfgmm", "tensorflow", "keras", "tensorflow-probability", "numpy", "pandas", "pyproj")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    Attributes
    ----------
    path : Path
    experiment : Experiment
    data : dict
        ``digest``, ``simulated``, ``component`` and ``name`` of the dataset.
    """

    path: Path
    experiment: Experiment
    data: dict

    @property
    def simulated(self) -> bool:
        """Whether the records are made, not measured."""
        return self.data["simulated"]

    @property
    def predictions(self) -> Path:
        """The predictions table."""
        return self.path / "predictions.parquet"

    def member(self, im: str, chunk: int, init: int, arm: str | None = None) -> Path:
        """Folder of one member, by default of the run's own arm."""
        return self.path / "members" / im / (arm or self.experiment.arm) / f"chunk-{chunk}_init-{init}"

    def arms(self, im: str) -> list[str]:
        """All arms that have members, the run's own first: the others were trained to compare."""
        own = self.experiment.arm
        others = {folder.name for folder in (self.path / "members" / im).glob("*/")} - {own}
        return [own, *sorted(others)]

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
            table = pd.read_parquet(self.predictions, filters=[("arm", "==", self.experiment.arm)])
            if self.experiment.random_effects != "none" and "phi_field" not in table:
                raise ValueError("made by an earlier version")
            return table
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.predictions} is damaged ({error}): remove it and give the tfgmm train command "
                "again, which writes it anew from the members"
            ) from error

    def write_places(self, events: pd.DataFrame, stations: pd.DataFrame) -> None:
        """Keep what is known of the events and stations in use, for `with_places`."""
        for name, table in (("events", events), ("stations", stations)):
            with files.whole_file(self.path / f"{name}.parquet") as temporary:
                table.to_parquet(temporary, index=False)

    def with_places(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table of records with what is known of their events and stations.

        Parameters
        ----------
        table : pandas.DataFrame
            With ``event_id`` and ``station_id``, as the predictions table.

        Returns
        -------
        pandas.DataFrame
            The rows in their order, with the columns of `tfgmm.pipeline.dataset.places`.

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
                raise UsageError(f"run {self.path} has no station {', '.join(unknown)}")
            table = table.loc[list(ids)]
        return table[["longitude", "latitude", "terms_of"]].reset_index()

    def _places(self, name: str) -> pd.DataFrame:
        path = self.path / f"{name}.parquet"
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} is missing or damaged: give the tfgmm train command of the run again, "
                "which writes it anew"
            ) from error

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
        description = path / "experiment.json"
        if not description.is_file():
            raise UsageError(f"{path} is no run folder: make one with tfgmm train")
        try:
            content = json.loads(description.read_text())
            return cls(path, Experiment(**content["experiment"]), content["data"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{description} is damaged or of another version ({reason(error)}): use another folder"
            ) from error

    @classmethod
    def begin(cls, path: Path, experiment: Experiment, dataset: Dataset, overwrite: bool = False) -> Self:
        """A new run, or the same experiment on the same data to go on with.

        Raises
        ------
        UsageError
            The folder is no run, or it holds another run and `overwrite` is false.
        DataError
            The file system refuses to write.
        """
        data = {
            "name": dataset.provenance.get("name", ""),
            "digest": dataset.digest(),
            "simulated": dataset.simulated,
            "component": dataset.provenance.get("component", ""),
            "truncation": dataset.provenance.get("truncation", ""),
        }
        new = cls(path, experiment, data)
        if path.exists() and not (path / "experiment.json").is_file():
            raise UsageError(f"{path} exists and is no run folder: choose another --out")
        if path.exists() and not overwrite:
            new._refuse_other(cls.open(path))
            return new
        if path.exists():
            shutil.rmtree(path)
        versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
        content = {"experiment": experiment.model_dump(mode="json"), "data": data, "versions": versions}
        with files.whole_file(path / "experiment.json") as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")
        return new

    @classmethod
    def latest(cls, folder: Path = Path("runs")) -> Self:
        """The run in a folder that was begun last, among those that have predictions.

        Raises
        ------
        UsageError
            There is none.
        """
        finished = [path.parent for path in folder.glob("*/predictions.parquet")]
        if not finished:
            raise UsageError(
                f"no run in {folder} has predictions: name a run, or make one with tfgmm train"
            )
        return cls.open(max(finished, key=lambda path: (path / "experiment.json").stat().st_mtime))

    def _refuse_other(self, existing: "RunFolder") -> None:
        mine, theirs = (run.experiment.model_dump() for run in (self, existing))
        different = [name for name in mine if mine[name] != theirs[name]]
        if self.data["digest"] != existing.data["digest"]:
            different.append("content of the data")
        if different:
            raise UsageError(
                f"{self.path} holds another run (different: {', '.join(different)}): "
                "choose another --out, or replace it with --overwrite"
            )
