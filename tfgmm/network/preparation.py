"""Prepare a station chunk of an arm: fit once, and keep in the run, what all members of the chunk share.

A chunk is a group of stations whose sites are held out; an arm is a set of input channels. The members of a
chunk and an arm share the backbones, the covariances of the field, and what the field tells of records that
it has not seen.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.core.lease import Lease, held
from tfgmm.data.dataset import Dataset
from tfgmm.data.schemas import is_training
from tfgmm.network import backbones, batches, fields
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.folds import Fold
from tfgmm.runs.member_folder import backbone_name
from tfgmm.runs.run import RunFolder
from tfgmm.stats.backbone import Backbone
from tfgmm.stats.field_covariance import Covariance

#: File of a prepared chunk that is written last, with the hashes of the others.
PREPARED = "prepared.json"
#: File of the covariances of the field, by intensity measure; without field there are none in it.
COVARIANCES = "covariances.json"
#: Column of the number of the record in `tfgmm.network.batches.flat_table`.
_ROW = "row"


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Backbones and field that the members of a chunk and an arm share.

    Attributes
    ----------
    backbones : dict of str to Backbone
        Median of ln IM to which the networks add, by intensity measure; empty without backbone.
    unseen : dict of str to pandas.DataFrame
        Mean and variance of the field that has not seen a record (`tfgmm.network.fields.unseen`), by
        intensity measure; empty without field.
    """

    backbones: dict[str, Backbone]
    unseen: dict[str, pd.DataFrame]

    @classmethod
    def read(cls, folder: Path, experiment: Experiment) -> Self:
        """Read a prepared chunk from its folder.

        Parameters
        ----------
        folder : Path
            Folder that `prepare` has written.
        experiment : Experiment
            Description of the arm.

        Returns
        -------
        Preparation

        Raises
        ------
        DataError
            A file is missing or damaged.
        """
        medians = {im: folder / backbone_name(im, experiment.ims) for im in experiment.ims}
        unseen = {im: read_unseen(folder, im) for im in experiment.ims} if experiment.field else {}
        return cls(
            {} if experiment.backbone == "none" else {im: Backbone.load(p) for im, p in medians.items()},
            unseen,
        )


def read_unseen(folder: Path, im: str) -> pd.DataFrame:
    """Read what the field tells of records that it has not seen, from the folder of a prepared chunk.

    Parameters
    ----------
    folder : Path
        Folder that `prepare` has written.
    im : str
        Intensity measure.

    Returns
    -------
    pandas.DataFrame
        As of `tfgmm.network.fields.unseen`; the index is that of `tfgmm.network.batches.flat_table`.

    Raises
    ------
    DataError
        The file is missing or damaged.
    """
    return files.read_parquet(folder / _unseen_name(im)).set_index(_ROW)


def read_covariances(folder: Path) -> dict[str, Covariance]:
    """Read the covariance of the field of each intensity measure, from the folder of a prepared chunk.

    Parameters
    ----------
    folder : Path
        Folder that `prepare` has written.

    Returns
    -------
    dict of str to Covariance
        By intensity measure; empty without field.

    Raises
    ------
    DataError
        The file is missing or damaged.
    """
    try:
        return {im: Covariance(**values) for im, values in files.read_json(folder / COVARIANCES).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder / COVARIANCES} is missing or damaged ({error}): remove the folder {folder} and give "
            "tfgmm train again, which makes it anew"
        ) from error


def is_prepared(folder: Path, fingerprint: str) -> bool:
    """Return True if a folder holds the whole and unchanged preparation of a chunk of a run.

    Parameters
    ----------
    folder : Path
        Folder of the chunk, `RunFolder.chunk`.
    fingerprint : str
        Hash of settings and data of the run.

    Returns
    -------
    bool
    """
    try:
        stated = files.read_json(folder / PREPARED)
        whole = all(files.is_unchanged(folder / name, hashed) for name, hashed in stated["files"].items())
        return whole and stated["run"] == fingerprint and COVARIANCES in stated["files"]
    except (OSError, ValueError, KeyError):
        return False


def prepare(run: RunFolder, dataset: Dataset, experiment: Experiment, fold: Fold, chunk: int) -> Path:
    """Fit what the members of a chunk share and write it into the run, unless it is there already.

    One process at a time prepares a chunk; others wait for it.

    Parameters
    ----------
    run : RunFolder
        The run.
    dataset : Dataset
        Records and site layers of the run.
    experiment : Experiment
        Description of the arm.
    fold : Fold
        Roles of events and stations while the chunk is held out.
    chunk : int
        Number of the chunk, from 0.

    Returns
    -------
    Path
        Folder of the prepared chunk, which is written whole or not at all.

    Raises
    ------
    UsageError
        Another process prepares the chunk and does not end.
    DataError
        The training records are too few, or the file system refuses to write.
    """
    folder, fingerprint = run.chunk(chunk, experiment.arm), run.fingerprint
    if is_prepared(folder, fingerprint) and not Lease(folder).path.exists():
        return folder
    with held(folder):
        if not is_prepared(folder, fingerprint):
            with files.whole_folder(folder, overwrite=True) as temporary:
                medians = {im: _fit(dataset, experiment, im, fold, temporary) for im in experiment.ims}
                covariances = {}
                if experiment.field:
                    covariances = _write_unseen(dataset, experiment, fold, medians, temporary)
                of_measures = {im: dataclasses.asdict(one) for im, one in covariances.items()}
                files.write_json(temporary / COVARIANCES, of_measures)
                hashes = {path.name: files.sha256(path) for path in temporary.iterdir()}
                files.write_json(temporary / PREPARED, {"run": fingerprint, "files": hashes})
    return folder


def _fit(dataset: Dataset, experiment: Experiment, im: str, fold: Fold, folder: Path) -> Backbone | None:
    """Fit and write the backbone of an intensity measure, and return it as it is in its file."""
    backbone = backbones.fit(dataset, experiment, im, fold)
    if backbone is not None:
        path = folder / backbone_name(im, experiment.ims)
        backbone.save(path)
        # Members read it from the file, whose numbers may be rounded.
        backbone = Backbone.load(path)
    return backbone


def _write_unseen(
    dataset: Dataset,
    experiment: Experiment,
    fold: Fold,
    medians: Mapping[str, Backbone | None],
    folder: Path,
) -> dict[str, Covariance]:
    """Write what the field of residuals from medians tells of records unseen by it; return its covariances.

    The files are by intensity measure, and so are the covariances.
    """
    times = dataset.events.set_index("event_id")["origin_time"]
    records = {
        im: batches.with_backbone(fold.roles(batches.flat_table(dataset, experiment, im)), im, median)
        for im, median in medians.items()
    }
    training = {im: rows[is_training(rows)] for im, rows in records.items()}
    covariances = fields.covariances(training)
    for im, covariance in covariances.items():
        unseen = fields.unseen(records[im], covariance, times)
        # Records without a role have no row, so that the rows have numbers with gaps.
        files.write_parquet(unseen.reset_index(names=_ROW), folder / _unseen_name(im))
    return covariances


def _unseen_name(im: str) -> str:
    """Return the file name of what the field tells of the records of an intensity measure."""
    return f"unseen_{im}.parquet"
