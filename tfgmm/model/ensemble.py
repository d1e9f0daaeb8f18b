"""Members -> mean, aleatory and epistemic standard deviation, as maps."""

from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
import xarray as xr

from tfgmm.errors import UsageError
from tfgmm.experiment import Experiment
from tfgmm.mixture import combine
from tfgmm.model import member
from tfgmm.model.normal import GroundMotionModel
from tfgmm.model.training import open_dataset
from tfgmm.pipeline.channels import Rasteriser, event_vectors, select
from tfgmm.run_folder import RunFolder


class Ensemble:
    """The trained members of a run for one intensity measure.

    Parameters
    ----------
    experiment : Experiment
    im : str
    members : dict of (chunk, init) to GroundMotionModel
    rasteriser : Rasteriser
    """

    def __init__(
        self,
        experiment: Experiment,
        im: str,
        members: dict[tuple[int, int], GroundMotionModel],
        rasteriser: Rasteriser,
    ) -> None:
        self.experiment, self.im, self.members = experiment, im, members
        self._rasteriser = rasteriser
        self._calls = {key: tf.function(model) for key, model in members.items()}

    def predict(self, events: pd.DataFrame) -> xr.Dataset:
        """Maps of ln IM for events.

        Parameters
        ----------
        events : pandas.DataFrame
            With ``longitude, latitude, depth_km, magnitude``.

        Returns
        -------
        xarray.Dataset
            ``mean, stddev, aleatory, epistemic`` [event, row, col] in ln units (the last three are
            standard deviations), on coordinates ``longitude`` and ``latitude`` [row, col].
        """
        grid = self.experiment.grid
        lon, lat = grid.lonlat(grid.output_size)
        maps = [self._one(vector) for vector in event_vectors(events, grid)]
        return xr.Dataset(
            {
                name: (("event", "row", "col"), np.stack([m[name] for m in maps]), {"units": "1"})
                for name in ("mean", "stddev", "aleatory", "epistemic")
            },
            coords={"longitude": (("row", "col"), lon), "latitude": (("row", "col"), lat)},
            attrs={"intensity_measure": self.im, "unit": "g", "crs": grid.crs},
        )

    def _one(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        maps = self._rasteriser(tf.constant(vector), tf.zeros(2, tf.int32))[None]
        normals = [call(maps) for call in self._calls.values()]
        moments = combine([n.loc[0] for n in normals], [n.scale[0] for n in normals])
        return {
            "mean": moments.mean,
            "stddev": moments.stddev,
            "aleatory": np.sqrt(moments.aleatory),
            "epistemic": np.sqrt(moments.epistemic),
        }


def load(run: Path | str, im: str | None = None) -> Ensemble:
    """Load the ensemble of a run.

    Parameters
    ----------
    run : path
    im : str, optional
        Intensity measure; the run's first one by default.

    Raises
    ------
    UsageError
        No such run, it has no such intensity measure, or no member of it is trained.
    """
    folder = RunFolder.open(Path(run))
    experiment = folder.experiment
    im = im or experiment.ims[0]
    if im not in experiment.ims:
        raise UsageError(f"run {run} has no {im}: it has {', '.join(experiment.ims)}")
    paths = {
        (c, i): folder.member(im, c, i) for c in range(experiment.chunks) for i in range(experiment.inits)
    }
    members = {key: member.load(path) for key, path in paths.items() if (path / "done.json").is_file()}
    if not members:
        raise UsageError(f"run {run} has no trained member of {im} yet: run tfgmm train")
    site_layers = open_dataset(experiment.data).layers
    names = select(site_layers or (), experiment.drop)
    return Ensemble(experiment, im, members, Rasteriser(experiment.grid, names, site_layers))
