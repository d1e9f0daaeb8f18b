"""An opened run: its files, and the validated objects in them.

An arm of a run is a set of input channels, with or without turned maps, on which members are trained
(`tfgmm.runs.experiment.Experiment.arm`). The run's own arm is the one of its experiment; other arms are
trained for comparison by the study of site amplification. A member is one trained network of the
ensemble, identified by the chunk of held-out stations and the initialisation (chunk, init).
"""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.data import dataset as dataset_files
from tfgmm.data import layers
from tfgmm.data.dataset import Dataset
from tfgmm.data.schemas import SOURCE_XY
from tfgmm.runs import predictions
from tfgmm.runs.experiment import Experiment, reason
from tfgmm.runs.member_folder import TRAIN_AGAIN, Manifest, MemberFolder, Ranges, training_records
from tfgmm.runs.predictions import PREDICTIONS
from tfgmm.stats import calibration
from tfgmm.stats.backbone import Backbone, MedianTables
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.field import Field
from tfgmm.stats.im_correlation import ImCorrelation
from tfgmm.stats.support import Shrinkage, Support

#: Version of the layout of a run folder.
FORMAT = 2
#: Names of files and folders of a run.
DESCRIPTION, DATA, MEMBERS = "experiment.json", "data", "members"
EVENTS, STATIONS = "events.parquet", "stations.parquet"
#: File of the shrinkage of the networks towards the backbone, by intensity measure.
SHRINKAGE = "shrinkage.json"
#: Table of the correlation between intensity measures, in ``tables/``, without its ending.
IM_CORRELATION = "im_correlation"
#: Folder of backbones and fields, which are conditioned on records.
CONDITIONED = "conditioned"
#: Stations of the records that these are conditioned on.
CONDITIONED_STATIONS = f"{CONDITIONED}/{STATIONS}"


def conditioned_file(what: str, im: str, chunk: int | None = None) -> str:
    """Return the name of a file of `CONDITIONED`, relative to the run folder.

    >>> conditioned_file("field", "SA(1.0)"), conditioned_file("field", "PGA", 0)
    ('conditioned/field_SA(1.0).npz', 'conditioned/field_PGA_chunk-0.npz')

    Parameters
    ----------
    what : str
        ``backbone`` or ``field``.
    im : str
        Intensity measure.
    chunk : int, optional
        Chunk of held-out stations on whose training records it is conditioned; by default it is all
        records of the run.

    Returns
    -------
    str
    """
    return f"{CONDITIONED}/{what}_{im}{'' if chunk is None else f'_chunk-{chunk}'}.npz"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A run on disk: a folder with the settings, the data, the trained networks and the tables.

    Attributes
    ----------
    path : Path
        The folder.
    experiment : Experiment
        Settings of the run.
    data : dict
        Digest, and ``simulated``, ``component``, ``name``, ``truncation`` and ``attribution`` of the
        dataset.
    channels : tuple of str
        Names of the input maps of the networks, in order.
    """

    path: Path
    experiment: Experiment
    data: dict
    channels: tuple[str, ...]

    @property
    def simulated(self) -> bool:
        """Return True if the records are simulated, not measured."""
        return self.data["simulated"]

    @property
    def predictions(self) -> Path:
        """Return the path of the predictions table of the run."""
        return self.path / PREDICTIONS

    @property
    def data_folder(self) -> Path:
        """Return the path of the run's own copy of its dataset."""
        return self.path / DATA

    def dataset(self) -> Dataset:
        """Return the dataset on which the run was trained, read from the copy in the run folder.

        Returns
        -------
        Dataset
            Events, stations, records and site layers.

        Raises
        ------
        DataError
            The copy is missing or damaged.
        """
        return self._read_data(Dataset.read)

    def site_layers(self) -> xr.Dataset | None:
        """Return the site layers that the networks were trained on, read from the copy in the run folder.

        Returns
        -------
        xarray.Dataset or None
            Layers by longitude and latitude in degrees; None if the dataset has no layers.

        Raises
        ------
        DataError
            The copy is missing or damaged.
        """
        return self._read_data(dataset_files.read_layers)

    def _read_data(self, read):
        """Return the result of `read` on the dataset copy; a wrong digest raises `DataError`."""
        try:
            if dataset_files.read_digest(self.data_folder) != self.data["digest"]:
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
        """Return the hash of the settings and the data, which is also stored with every member."""
        content = self.experiment.model_dump_json(exclude={"data"}) + self.data["digest"]
        return hashlib.sha256(content.encode()).hexdigest()

    def refuse_replaced(self) -> None:
        """Raise `DataError` if another process has begun another run in the folder."""
        if self.open(self.path).fingerprint != self.fingerprint:
            raise DataError(f"{self.path} was replaced by another run: this training ends")

    @functools.cached_property
    def manifest(self) -> Manifest:
        """Return the manifest of the run, with the hashes of its tables."""
        return Manifest(self.path)

    def member(self, chunk: int, init: int, arm: str | None = None) -> MemberFolder:
        """Return the folder of one member of the ensemble.

        Parameters
        ----------
        chunk : int
            Chunk of held-out stations, from 0.
        init : int
            Initialisation of the network, from 0.
        arm : str, optional
            Set of channels on which the member was trained, one of `arms`; by default the run's own arm.

        Returns
        -------
        MemberFolder
            The folder, which may not exist yet.
        """
        arm = arm or self.experiment.arm
        return MemberFolder(self.path / MEMBERS / arm / f"chunk-{chunk}_init-{init}")

    def chunk(self, chunk: int, arm: str) -> Path:
        """Return the folder of what the members of a station chunk and an arm share.

        Parameters
        ----------
        chunk : int
            Chunk of held-out stations, from 0.
        arm : str
            Set of channels on which the members are trained.

        Returns
        -------
        Path
            The folder, which may not exist yet.
        """
        return self.path / MEMBERS / arm / f"chunk-{chunk}"

    def arms(self) -> list[str]:
        """Return all arms that have members: the run's own arm first, then the arms trained for comparison.

        Returns
        -------
        list of str
            Names of the arms.
        """
        own = self.experiment.arm
        # While a run of version 0.1 is upgraded, its old folders, one per measure, stand there as well.
        no_arms = {own, *self.experiment.ims}
        compared = {folder.name for folder in (self.path / MEMBERS).glob("*/")} - no_arms
        return [own, *sorted(compared)]

    def lost(self, im: str) -> list[tuple[int, int]]:
        """Return the members in the predictions table that have no complete folder.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        list of (int, int)
            Chunk and initialisation of each member.

        Raises
        ------
        DataError
            The manifest is missing or damaged.
        """
        return [place for place in self.manifest.members(im) if not self.member(*place).is_trained]

    def backbone(self, im: str, chunk: int, init: int) -> MedianTables | None:
        """Return the backbone to which the network of a member adds; None for a run without backbone.

        Parameters
        ----------
        im : str
            Intensity measure.
        chunk : int
            Chunk of held-out stations, from 0.
        init : int
            Initialisation of the network, from 0.

        Returns
        -------
        MedianTables or None
            Tables of the median.

        Raises
        ------
        DataError
            The member is not trained, or the file of the backbone is damaged.
        """
        path = self.member(chunk, init).backbone(im)
        return None if path is None else Backbone.load(path).tables(im)

    def backbones(self, im: str) -> dict[int, Backbone]:
        """Return the backbone of each station chunk with a trained network, with the report on its fit.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        dict of int to Backbone
            Backbones by chunk; empty for a run without backbone.

        Raises
        ------
        UsageError
            The run has no such intensity measure, or no trained member for it.
        DataError
            A member or the file of a backbone is damaged.
        """
        paths = {chunk: self.member(chunk, init).backbone(im) for chunk, init in reversed(self.trained(im))}
        return {chunk: Backbone.load(path) for chunk, path in sorted(paths.items()) if path is not None}

    def support(self, im: str) -> Support:
        """Return the joint support of predictions by the training records of all chunks.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        Support

        Raises
        ------
        UsageError
            No member is trained.
        DataError
            A table of the run or of a member is damaged.
        """
        records = self._training_records(im)
        return Support.fit(records.merge(self._places("events")[["event_id", *SOURCE_XY]], on="event_id"))

    def shrinkage(self, im: str) -> Shrinkage | None:
        """Return how far networks are shrunken towards the backbone; None without backbone or predictions.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        Shrinkage or None

        Raises
        ------
        DataError
            The file `SHRINKAGE` is lost or damaged.
        """
        path = self.manifest.file(SHRINKAGE)
        if not path.is_file():
            return None
        try:
            return Shrinkage(**files.read_json(path)[im])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}): {TRAIN_AGAIN}") from error

    def vs30_map(self) -> np.ndarray | None:
        """Return Vs30 of the site layer at the pixels of the output window, m/s, for the backbones.

        Returns
        -------
        ndarray, [row, col], or None
            None if the run has no such layer or leaves the channel out.

        Raises
        ------
        DataError
            The file of the site layers is missing or damaged.
        """
        site_layers = self.site_layers() if "vs30" in self.channels else None
        if site_layers is None or self.experiment.hides_vs30:
            return None
        grid = self.experiment.grid
        return layers.on_grid(site_layers["vs30"], grid, grid.output_size)[0]

    def trained(self, im: str) -> list[tuple[int, int]]:
        """Return the trained members of the run's own arm for one intensity measure.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        list of (int, int)
            Chunk and initialisation of each member, sorted.

        Raises
        ------
        UsageError
            The run has no such intensity measure, or no trained member for it.
        DataError
            A member is damaged.
        """
        experiment = self.experiment
        if im not in experiment.ims:
            raise UsageError(f"run {self.path} has no {im}: it has {', '.join(experiment.ims)}")
        places = [(c, i) for c in range(experiment.chunks) for i in range(experiment.inits)]
        places = [place for place in places if im in self.member(*place).ims()]
        for lost in self.lost(im):
            raise DataError(f"{self.member(*lost).path} is missing or not whole: {TRAIN_AGAIN}")
        if not places:
            raise UsageError(f"run {self.path} has no trained member of {im} yet: run tfgmm train")
        return places

    def read_predictions(self) -> pd.DataFrame:
        """Return the predictions table of the run's own arm.

        Returns
        -------
        pandas.DataFrame
            A row per record, intensity measure and member, see `tfgmm.runs.predictions.SCHEMA`.

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
        path = self.manifest.file(PREDICTIONS)
        own_arm = [("arm", "==", self.experiment.arm)]
        try:
            return predictions.read(path, field=self.experiment.field, filters=own_arm)
        except DataError as error:
            raise DataError(f"{error}: {TRAIN_AGAIN}") from error

    def write_places(self, events: pd.DataFrame, stations: pd.DataFrame) -> None:
        """Write the tables of the run's events and stations, which `with_places` adds to records.

        The caller holds the lease of the run, which allows a single process to write.

        Parameters
        ----------
        events, stations : pandas.DataFrame
            Results of `tfgmm.network.batches.places`.

        Raises
        ------
        DataError
            The file system refuses to write.
        """
        for name, table in (("events", events), ("stations", stations)):
            with files.whole_file(self.path / f"{name}.parquet") as temporary:
                files.write_parquet(table, temporary)
        self.manifest.note(EVENTS, STATIONS)

    def field(self, im: str, chunk: int | None = None) -> Field | None:
        """Return the field of one intensity measure; None for a run without field.

        Parameters
        ----------
        im : str
            Intensity measure.
        chunk : int, optional
            Chunk of held-out stations; by default the field is conditioned on all records, else on the
            training records of the chunk.

        Returns
        -------
        Field or None
            Field of the residuals from the backbone that is conditioned on the same records.

        Raises
        ------
        DataError
            The file is missing or damaged.
        """
        if not self.experiment.field:
            return None
        advice = TRAIN_AGAIN if chunk is not None else self._refit_again
        return Field.load(self.manifest.file(conditioned_file("field", im, chunk), advice))

    def whole_backbone(self, im: str) -> MedianTables | None:
        """Return the backbone that is fitted to all records; None for a run without backbone.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        MedianTables or None
            Tables of the median.

        Raises
        ------
        DataError
            The file is missing or damaged.
        """
        backbone = self.backbone_of_all(im)
        return None if backbone is None else backbone.tables(im)

    def backbone_of_all(self, im: str) -> Backbone | None:
        """Return the backbone that is fitted to all records, with the report on its fit; None without one.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        Backbone or None
            Backbone, of which `whole_backbone` has the tables.

        Raises
        ------
        DataError
            The file is missing or damaged.
        """
        if not self.has_backbone(im):
            return None
        path = self.manifest.file(conditioned_file("backbone", im), self._refit_again)
        return Backbone.load(path)

    def has_backbone(self, im: str) -> bool:
        """Return True if the networks of an intensity measure add to a backbone outside of them.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        bool
            False for networks of version 0.1 too, which hold their regression themselves, and without any
            trained network.
        """
        places = itertools.product(range(self.experiment.chunks), range(self.experiment.inits))
        members = (self.member(*place) for place in places)
        first = next((member for member in members if im in member.ims()), None)
        return first is not None and first.backbone(im) is not None

    @property
    def conditioned_on(self) -> dict:
        """Return hash (``data``) and numbers (``records, events, stations``) of what predictions rest on.

        Empty for a run without backbone.
        """
        return self.manifest.facts().get("conditioned", {})

    @property
    def is_refitted(self) -> bool:
        """Return True if backbone and field are conditioned on other data than those of the training."""
        return self.conditioned_on.get("data", self.data["digest"]) != self.data["digest"]

    @property
    def _refit_again(self) -> str:
        """Return the advice on a damaged file of what is conditioned on all records."""
        data = "DATA, with the newer data," if self.is_refitted else self.data_folder
        return f"make it again with tfgmm refit {self.path} --data {data}"

    def calibration(self, im: str) -> Calibration | None:
        """Return the calibration of the standard deviation for one intensity measure; None without one.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        Calibration or None
            Parameters of the calibration.

        Raises
        ------
        DataError
            The file of the calibration is lost or damaged, or lacks the intensity measure.
        """
        path = self.manifest.file(calibration.FILE)
        if not path.is_file():
            return None
        calibrations = calibration.read(self.path)
        if im not in calibrations:
            raise DataError(f"{path} has no {im}: give tfgmm evaluate again")
        return calibrations[im]

    def im_correlation(self) -> ImCorrelation:
        """Return the correlation between the intensity measures of the run, which an evaluation estimates.

        Returns
        -------
        ImCorrelation
            Correlations and standard deviations of the parts of the cross-fitted residuals.

        Raises
        ------
        UsageError
            The run is not evaluated, or has no two measures with enough records.
        DataError
            The table is damaged, or of other data.
        """
        path = self.path / "tables" / f"{IM_CORRELATION}.csv"
        if not path.is_file():
            raise UsageError(
                f"run {self.path} has no correlation between measures: it needs two or more, and tfgmm "
                "evaluate"
            )
        try:
            table = pd.read_csv(path, dtype={"data_hash": str})  # a hash may look like a number
            if set(table["data_hash"]) != {self.data["digest"]}:
                raise ValueError("of other data")
            return ImCorrelation.of_table(table)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{path} is damaged or of another run ({error}): give tfgmm evaluate {self.path} again"
            ) from error

    def with_places(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table of records with coordinates and other columns of their events and stations added.

        Parameters
        ----------
        table : pandas.DataFrame, [n, ...]
            Records with ``event_id`` and ``station_id``, as the predictions table.

        Returns
        -------
        pandas.DataFrame, [n, ...]
            The rows in their order, with the columns of `tfgmm.network.batches.places` added.

        Raises
        ------
        DataError
            The tables of events and stations are missing or damaged.
        """
        for name, key in (("events", "event_id"), ("stations", "station_id")):
            places = self._places(name)
            new = places.columns.difference(table.columns, sort=False)
            table = table.merge(places[[key, *new.drop(key, errors="ignore")]], on=key, how="left")
        return table

    def stations(self, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the coordinates of the run's stations, or of the stations with the given ids.

        The stations are those of the run's recording networks inside the output window of the map, in the
        data of the training and of ``tfgmm refit``.

        Parameters
        ----------
        ids : sequence of str, optional
            Station ids; by default all stations.

        Returns
        -------
        pandas.DataFrame, [n, 5]
            A row per station, in the order of `ids`: ``station_id``; ``longitude, latitude``, degrees;
            ``terms_of``, the id of the site whose site term applies to the station; and ``vs30``, m/s, for
            the backbone, NaN if unknown or if the networks must not know it.

        Raises
        ------
        UsageError
            The run has no station with one of the ids.
        DataError
            A file ``stations.parquet`` is missing or damaged.
        """
        table = self._places("stations")
        if CONDITIONED_STATIONS in self.manifest.hashes():
            # First, for a site of newer data may unite other stations than one of the training.
            newer = self._places(f"{CONDITIONED}/stations")
            table = pd.concat([newer, table[~table["station_id"].isin(newer["station_id"])]])
            table = table.sort_values("station_id")
        table = table.rename(columns={"site_id": "terms_of"}).set_index("station_id")
        if ids is not None:
            unknown = [name for name in ids if name not in table.index]
            if unknown:
                raise UsageError(f"run {self.path} has no station {listed(unknown)}")
            table = table.loc[list(ids)]
        if self.experiment.hides_vs30:
            table["vs30"] = np.nan
        elif "vs30" not in table:  # there is no such layer
            table["vs30"] = table["vs30_m_s"]
        return table[["longitude", "latitude", "terms_of", "vs30"]].reset_index()

    def _places(self, name: str) -> pd.DataFrame:
        """Return a table of events or stations; a missing or damaged file raises `DataError`."""
        path = self.manifest.file(f"{name}.parquet")
        try:
            return files.read_parquet(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is missing or damaged: {TRAIN_AGAIN}") from error

    def ranges(self, im: str) -> Ranges:
        """Return the ranges of magnitude, depth and distance of the training records of the members.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        Ranges
            Ranges of magnitude, event depth (km) and hypocentral distance (km).

        Raises
        ------
        UsageError
            No member is trained.
        DataError
            A member's table of predictions is damaged.
        """
        return Ranges.of_records(self._training_records(im))

    def trained_stations(self, im: str) -> pd.DataFrame:
        """Return the stations with training records of at least one trained member.

        A calibration of the standard deviation depends on the distance to the nearest of these stations.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        pandas.DataFrame
            A row per station with the columns of `tfgmm.network.batches.places`.

        Raises
        ------
        UsageError
            No member is trained.
        DataError
            A table of the run or of a member is missing or damaged.
        """
        stations = self._places("stations")
        trained = self._training_records(im)["station_id"].unique()
        return stations[stations["station_id"].isin(trained)].reset_index(drop=True)

    def training_records(self, im: str) -> pd.DataFrame:
        """Return the training records of all chunks, each once, with the tectonic class of the event.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        pandas.DataFrame
            A row per record: ``event_id, station_id``; ``magnitude``; ``depth_km`` and ``r_hyp_km``, km;
            ``tectonic_class``, None where unknown.

        Raises
        ------
        UsageError
            No member is trained.
        DataError
            A table of the run or of a member is missing or damaged.
        """
        classes = self._places("events").reindex(columns=["event_id", "tectonic_class"])
        return self._training_records(im).merge(classes, on="event_id", how="left")

    def _training_records(self, im: str) -> pd.DataFrame:
        """Return the training records of all chunks, each once, read once from one member per chunk."""
        first_of_chunk = {chunk: (chunk, init) for chunk, init in reversed(self.trained(im))}
        key = im, tuple(first_of_chunk.values())  # another one as soon as a further member is trained
        if key not in self._read_records:
            folders = [self.member(*place) for place in first_of_chunk.values()]
            columns = ["event_id", "station_id", *Ranges.model_fields]
            self._read_records[key] = training_records(folders, columns, im).drop_duplicates()
        return self._read_records[key]

    @functools.cached_property
    def _read_records(self) -> dict[tuple, pd.DataFrame]:
        """Return the training records that have been read, by intensity measure and members."""
        return {}

    @classmethod
    def open(cls, path: "str | Path | RunFolder") -> "RunFolder":
        """Open an existing run folder and return the run; an opened run is returned unchanged.

        Parameters
        ----------
        path : str, Path or RunFolder
            The folder, or an opened run.

        Returns
        -------
        RunFolder
            The run.

        Raises
        ------
        UsageError
            The path is no run folder, or another version of tfgmm made the run.
        DataError
            The file ``experiment.json`` of the run is damaged.
        """
        if isinstance(path, RunFolder):
            return path
        path = Path(path)
        description = path / DESCRIPTION
        if not description.is_file():
            raise UsageError(f"{path} is no run folder: make one with tfgmm train")
        try:
            content = files.read_json(description)
            refuse_format(path, content)
            experiment = Experiment(**content["experiment"])
            return cls(path, experiment, content["data"], tuple(content["channels"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{description} is damaged or of another version ({reason(error)}): use another folder"
            ) from error

    @classmethod
    def latest(cls, folder: Path = Path("runs")) -> "RunFolder":
        """Return the run whose training began last, among the runs in a folder that have predictions.

        Parameters
        ----------
        folder : Path
            Folder of run folders.

        Returns
        -------
        RunFolder
            The run.

        Raises
        ------
        UsageError
            No run in the folder has predictions.
        """
        finished = [path.parent for path in folder.glob(f"*/{PREDICTIONS}")]
        if not finished:
            raise UsageError(
                f"no run in {folder} has predictions: name a run, or make one with tfgmm train"
            )
        return cls.open(max(finished, key=lambda path: (path / DESCRIPTION).stat().st_mtime))


def refuse_format(path: Path, description: dict) -> None:
    """Raise `UsageError` if the layout of a run folder is of another version than `FORMAT`.

    Parameters
    ----------
    path : Path
        The run folder, for the message.
    description : dict
        Content of ``experiment.json``.

    Raises
    ------
    UsageError
        The layout is of an earlier or of a later version.
    """
    # Version 0.1 stated no format, but the hash of the data.
    version = description["format"] if "digest" not in description["data"] else description.get("format", 1)
    if version < FORMAT:
        raise UsageError(
            f"run {path} is of version 0.1: bring it up to this version with tfgmm upgrade {path}"
        )
    if version > FORMAT:
        raise UsageError(
            f"run {path} was made by a later version (format {version}): install that version of tfgmm"
        )
