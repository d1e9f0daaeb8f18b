"""Folders of trained networks (members), hashes of files of a run, training records and their ranges."""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.data.schemas import TRAINING
from tfgmm.runs import predictions
from tfgmm.runs.experiment import FrozenSettings
from tfgmm.runs.predictions import PREDICTIONS
from tfgmm.stats import calibration

#: Names of the file written at the end of the training, of the table of losses by epoch, of the network.
DONE, HISTORY, NETWORK = "done.json", "history.csv", "model.keras"
#: Names of the files of an unfinished training: its state after the last epoch, and the share that is done.
STATE, SHARE = "state.json", "share.txt"
#: Advice where memory is short.
MEMORY_HINT = "give fewer --workers, or train a new run with a smaller --batch-size"
#: Advice in messages about damaged files of a run.
TRAIN_AGAIN = "give the tfgmm train command of the run again, which writes it anew"


def work_folder(folder: Path) -> Path:
    """Return the folder that holds the state of the unfinished training of a member.

    Parameters
    ----------
    folder : Path
        Folder of the member.

    Returns
    -------
    Path
        A hidden folder beside `folder`.
    """
    return folder.with_name(f".{folder.name}.work")


@dataclasses.dataclass(frozen=True)
class MemberFolder:
    """The folder of one member (one network of the ensemble), which may not be trained yet.

    The folder holds the network of all intensity measures (of version 0.1: a network for each), `HISTORY`,
    the predictions table, and `DONE`. `DONE` is written last. It has the hashes of the other files, the
    fingerprint of the run, and which network file predicts which intensity measures.

    Attributes
    ----------
    path : Path
        The folder.
    """

    path: Path

    @property
    def is_trained(self) -> bool:
        """Return True if the training of the member has ended."""
        return (self.path / DONE).is_file()

    @property
    def predictions(self) -> Path:
        """Return the path of the member's predictions table."""
        return self.path / PREDICTIONS

    def done(self) -> dict:
        """Return the content of `DONE`, the record of the finished training.

        Returns
        -------
        dict
            ``files`` (hash by file name), ``run`` (fingerprint of the run) and ``networks`` (intensity
            measures by file name), among others.

        Raises
        ------
        DataError
            `DONE` is missing or damaged.
        """
        path = self.path / DONE
        try:
            return files.read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error}): {TRAIN_AGAIN}") from error

    def ims(self) -> list[str]:
        """Return the intensity measures that the member predicts; an empty list before it is trained.

        Returns
        -------
        list of str
            Intensity measures.

        Raises
        ------
        DataError
            `DONE` is damaged.
        """
        return [im for ims in self.networks().values() for im in ims]

    def network(self, im: str) -> Path:
        """Return the path of the file of the network that predicts an intensity measure.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        Path
            Network file.

        Raises
        ------
        DataError
            The member has no network of this intensity measure, or `DONE` is damaged.
        """
        for name, ims in self.networks().items():
            if im in ims:
                return self.path / name
        raise DataError(f"{self.path} has no network of {im}: {TRAIN_AGAIN}")

    def backbone(self, im: str) -> Path | None:
        """Return the path of the file of the backbone of an intensity measure; None if there is none.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        Path or None
            File of the backbone, to which the network of the measure adds.

        Raises
        ------
        DataError
            The member has no network of this intensity measure, or `DONE` is damaged.
        """
        path = self.path / backbone_name(im, self.ims())
        return path if path.is_file() else None

    def networks(self) -> dict[str, list[str]]:
        """Return the intensity measures by network file; an empty dict before the training has ended.

        Returns
        -------
        dict of str to list of str
            Intensity measures in the order of the network's outputs, by file name.

        Raises
        ------
        DataError
            `DONE` is damaged.
        """
        return self.done().get("networks", {}) if self.is_trained else {}

    def damaged_files(self, fingerprint: str | None = None) -> list[str]:
        """Return the names of the member's files that are missing or changed since they were written.

        Parameters
        ----------
        fingerprint : str or None
            Fingerprint of the run; a member of another run then has a damaged `DONE`. None: not compared.

        Returns
        -------
        list of str
            Names of the files; empty if all are unchanged.
        """
        try:
            done = self.done()
        except DataError:
            return [DONE]
        if fingerprint is not None and done.get("run", fingerprint) != fingerprint:
            return [DONE]
        stated = done.get("files", {})
        return [name for name in stated if not files.is_unchanged(self.path / name, stated[name])]

    def refuse_damaged(self) -> None:
        """Raise `DataError` if a file of the member is missing or changed since it was written."""
        for name in self.damaged_files():
            raise DataError(f"{self.path / name} is missing or damaged: {TRAIN_AGAIN}")


def backbone_name(im: str, ims: Collection[str]) -> str:
    """Return the file name of the backbone of an intensity measure, in a member of the measures `ims`.

    >>> backbone_name("PGA", ["PGA"]), backbone_name("SA(1.0)", ["PGA", "SA(1.0)"])
    ('backbone.npz', 'backbone_SA(1.0).npz')

    Parameters
    ----------
    im : str
        Intensity measure.
    ims : collection of str
        Intensity measures of the member.

    Returns
    -------
    str
        File name.
    """
    return "backbone.npz" if len(ims) == 1 else f"backbone_{im}.npz"


def write_done(folder: Path, facts: dict) -> None:
    """Write `DONE`, which marks a member as trained, with `facts` and hashes of all other files.

    Parameters
    ----------
    folder : Path
        Folder that holds all other files of the member.
    facts : dict
        ``networks``, the intensity measures by file name of their network; ``trainings``, facts of
        each training by the same name; ``seed``, ``seconds``, and ``run``, the fingerprint.
    """
    hashes = {path.name: files.sha256(path) for path in folder.iterdir()}
    files.write_json(folder / DONE, facts | {"files": hashes})


#: Name of the manifest in a run folder.
MANIFEST = "files.json"
#: Advice in the message about a damaged file that ``tfgmm evaluate`` writes.
_EVALUATE_AGAIN = "give tfgmm evaluate for the run again, which writes it anew"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The file `MANIFEST` of a run folder, with the hashes of the files of the run.

    Attributes
    ----------
    folder : Path
        The run folder.
    """

    folder: Path

    def note(self, *names: str, **facts) -> None:
        """Write the current hashes of files of the run, and other entries, into the manifest.

        The caller holds the lease of the run, which allows a single process to write.

        Parameters
        ----------
        *names : str
            Names of the files, relative to the run folder.
        **facts
            Other entries, for instance ``members``: chunk and initialisation of members, by intensity
            measure.

        Raises
        ------
        DataError
            The file system refuses to write.
        """
        try:
            content = self._read()
        except DataError:
            content = {}  # there is none yet, or it is made anew
        hashes = {name: files.sha256(self.folder / name) for name in names}
        content |= facts | {"files": content.get("files", {}) | hashes}
        with files.whole_file(self.folder / MANIFEST) as temporary:
            files.write_json(temporary, content)

    def hashes(self) -> dict[str, str]:
        """Return the hashes of the files of the run, by file name.

        Returns
        -------
        dict of str to str
            SHA-256 hashes, hexadecimal.

        Raises
        ------
        DataError
            The manifest is missing or damaged.
        """
        return self._read().get("files", {})

    def facts(self) -> dict:
        """Return all entries of the manifest.

        Returns
        -------
        dict
            Entries by name, see `note`.

        Raises
        ------
        DataError
            The manifest is missing or damaged.
        """
        return self._read()

    def members(self, im: str) -> list[tuple[int, int]]:
        """Return the members whose predictions are in the predictions table of the run.

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
        return [(chunk, init) for chunk, init in self._read().get("members", {}).get(im, [])]

    def file(self, name: str, advice: str = TRAIN_AGAIN) -> Path:
        """Return the path of a file of the run after a check of its content against the hash, if known.

        Parameters
        ----------
        name : str
            Name of the file, relative to the run folder.
        advice : str
            What the user can do about a damaged file, for the message.

        Returns
        -------
        Path
            Path of the file.

        Raises
        ------
        DataError
            The file is missing, damaged or changed since it was written, or the manifest is damaged.
        """
        stated = self.hashes()
        if name in stated:
            advice = _EVALUATE_AGAIN if name == calibration.FILE else advice
            files.refuse_changed(self.folder, {name: stated[name]}, advice)
        return self.folder / name

    def _read(self) -> dict:
        """Return the content of the manifest; a missing or damaged manifest raises `DataError`."""
        path = self.folder / MANIFEST
        try:
            return files.read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is missing or damaged ({error}): {TRAIN_AGAIN}") from error


class Ranges(FrozenSettings):
    """Lowest and highest values among training records; ``model_dump_json`` returns a JSON object.

    Attributes
    ----------
    magnitude : (float, float)
        Lowest and highest moment magnitude.
    depth_km : (float, float)
        Lowest and highest event depth, km.
    r_hyp_km : (float, float)
        Lowest and highest hypocentral distance, km.
    """

    magnitude: tuple[float, float]
    depth_km: tuple[float, float]
    r_hyp_km: tuple[float, float]

    @classmethod
    def of_records(cls, records: pd.DataFrame) -> Self:
        """Return the ranges of magnitude, depth and hypocentral distance of records.

        Parameters
        ----------
        records : pandas.DataFrame, [n, ...]
            ``magnitude``, ``depth_km`` and ``r_hyp_km`` (km).

        Returns
        -------
        Ranges
            The ranges.
        """
        return cls(**{n: (float(records[n].min()), float(records[n].max())) for n in cls.model_fields})

    def outside(self, magnitude, depth_km, r_hyp_km) -> dict[str, np.ndarray]:
        """Return True for values outside the ranges, and for NaN.

        Parameters
        ----------
        magnitude : array_like
            Moment magnitudes.
        depth_km : array_like
            Event depths, km.
        r_hyp_km : array_like
            Hypocentral distances, km. The three shapes may differ.

        Returns
        -------
        dict of str to ndarray of bool
            By name of the parameter, an array of the shape of the parameter.
        """
        quantities = {"magnitude": magnitude, "depth_km": depth_km, "r_hyp_km": r_hyp_km}
        return {name: ~_within(values, *getattr(self, name)) for name, values in quantities.items()}


def _within(values, lowest: float, highest: float) -> np.ndarray:
    """Return True for values between the bounds, both included; NaN gives False."""
    values = np.asarray(values, float)
    return (values >= lowest) & (values <= highest)


def training_records(members: Iterable[MemberFolder], columns: Sequence[str], im: str) -> pd.DataFrame:
    """Return columns of the records of a measure that trained members, from their predictions tables.

    Parameters
    ----------
    members : iterable of MemberFolder
        Folders of trained members.
    columns : sequence of str
        Names of the columns.
    im : str
        Intensity measure; records that lack it are left out.

    Returns
    -------
    pandas.DataFrame
        The columns of the records of training events at training sites, for all members together.

    Raises
    ------
    DataError
        A predictions table is damaged.
    """
    try:
        tables = [
            predictions.read_columns(member.predictions, [*columns, "im", *predictions.ROLE])
            for member in members
        ]
    except DataError as error:
        raise DataError(f"{error}: {TRAIN_AGAIN}") from error
    table = pd.concat(tables, ignore_index=True)
    trained = (table[predictions.ROLE] == TRAINING).all(axis=1) & (table["im"] == im)
    return table[trained][[*columns]]
