"""A run, opened to ask what it has learned about its sites."""

import functools

import numpy as np
import pandas as pd
import pydantic
import xarray as xr

from tfgmm.core.coast import footprint
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.core.grid import Grid
from tfgmm.data.roles import VALIDATION
from tfgmm.network import batches as data_pipeline
from tfgmm.network import training
from tfgmm.network.channels import Rasteriser, select
from tfgmm.runs.experiment import Experiment, Settings
from tfgmm.runs.folds import stations_in_use
from tfgmm.runs.run import RunFolder
from tfgmm.site_amplification import layer_response
from tfgmm.site_amplification.amplification import Weighting
from tfgmm.site_amplification.event_selection import Selection
from tfgmm.stats.random_effects import RandomEffects

#: Arms without site channels.
ARMS = ("published", "isotropic")
#: What two runs must share for their members to be pairs.
#: Of the maps; a folder of results is known by it.
TITLE = "ln site amplification learned by tfgmm"
_PAIRED = ("grid", "reference", "split", "chunks", "inits", "stopping", "seed")


class Options(Settings):
    """What is averaged over, and where the result is believed.

    Attributes
    ----------
    arms : tuple of str
        ``published``, ``isotropic``: arms without site channels that are compared with.
    events : Selection
    within_km, min_records
        A pixel is taught by at least so many training records at stations within so many km.
    sectors, cuts_km
        Bins of direction and epicentral distance that are balanced in the estimate from one ensemble.
    layer_events : int
        Events, evenly picked, over which the response to the layers is averaged.
    """

    arms: tuple[str, ...] = ARMS
    events: Selection = Selection()
    within_km: float = pydantic.Field(15.0, gt=0)
    min_records: int = pydantic.Field(10, ge=1)
    sectors: int = pydantic.Field(8, ge=1)
    cuts_km: tuple[float, ...] = (50.0, 100.0, 150.0)
    layer_events: int = pydantic.Field(20, ge=2)


class Study:
    """A finished run, opened to ask what it has learned about its sites.

    Parameters
    ----------
    run : RunFolder
    options : Options

    Raises
    ------
    UsageError
        Too few events are selected.
    DataError
        The data have changed, or no pixel on land lies between the stations.
    """

    def __init__(self, run: RunFolder, options: Options) -> None:
        self.run, self.options = run, options
        self.training = training.reopen(run)
        self.dataset, self.folds = self.training.dataset, self.training.folds
        role = self.folds[0].event_role
        known = self.dataset.events[self.dataset.events["event_id"].isin(role.index)]
        self.events = options.events.of(known, role.index[role == VALIDATION], self.grid)
        self.stations = stations_in_use(self.dataset, self.experiment)
        self.footprint = footprint(self.stations, self.grid)
        if not self.footprint.any():
            raise DataError(f"run {run.path}: no pixel on land lies inside the hull of the stations")

    @property
    def experiment(self) -> Experiment:
        """What the run is."""
        return self.run.experiment

    @property
    def grid(self) -> Grid:
        """Its pixels."""
        return self.experiment.grid

    @functools.cached_property
    def pixels_km(self) -> np.ndarray:
        """Pixel centres, [row, col, 2]."""
        return self.grid.centres_km(self.grid.output_size)

    @functools.cached_property
    def layer_events(self) -> pd.DataFrame:
        """Few of the events, evenly picked in time."""
        count = min(self.options.layer_events, len(self.events))
        return self.events.iloc[np.linspace(0, len(self.events) - 1, count).round().astype(int)]

    def arm(self, name: str, ims: tuple[str, ...]) -> training.Training:
        """The training of an arm without site channels, of some intensity measures."""
        experiment = self.experiment.without_site(isotropic=name == "isotropic")
        return self.training.arm(experiment, ims)

    def refuse_unfinished(self, ims: tuple[str, ...]) -> None:
        """Raise `UsageError` unless the run has all members of these intensity measures."""
        for im in ims:
            if im not in self.experiment.ims:
                raise UsageError(f"run {self.run.path} has no {im}: it has {listed(self.experiment.ims)}")
        missing = [one.name for one in self.training.arm(self.experiment, ims).missing]
        if missing:
            raise UsageError(
                f"run {self.run.path} lacks {len(missing)} members, the first {missing[0]}: finish it with "
                "the tfgmm train command that began it"
            )

    @functools.cached_property
    def varied_layers(self) -> list[tuple[str, xr.DataArray]]:
        """Site layers that the networks see, each times each factor, with their names."""
        names = select(self.dataset.layers or (), self.experiment.drop)
        _, at_stations = data_pipeline.places(self.dataset, self.experiment)
        return [
            (name, layer_response.varied(layer, factor, (at_stations[name].min(), at_stations[name].max())))
            for name, layer in (self.dataset.layers or {}).items()
            if name in names
            for factor in layer_response.FACTORS
        ]

    def steps(self, ims: tuple[str, ...]) -> int:
        """How often `estimates.measure` calls `watch` for these intensity measures."""
        shown = len(self.varied_layers) + 1 if self.varied_layers else 0
        events = (1 + len(self.options.arms)) * len(self.events) + shown * len(self.layer_events)
        return len(ims) * self.experiment.chunks * self.experiment.inits * events

    def weighting(self, events: pd.DataFrame, **balance) -> Weighting:
        """How events are averaged, in two halves; the plain mean without `balance`."""
        xy = np.stack(self.grid.project(events["longitude"], events["latitude"]), axis=-1)
        # Every other event in time: the halves have seen the same years.
        return Weighting(xy, self.pixels_km, np.arange(len(events)) % 2, **balance)

    @functools.cached_property
    def balanced(self) -> Weighting:
        """Directions and distances of all events balanced."""
        return self.weighting(self.events, sectors=self.options.sectors, cuts_km=self.options.cuts_km)

    def rasteriser(self, site_layers: xr.Dataset | None = None, drop=None) -> Rasteriser:
        """Maker of the maps that the networks see, or those of an arm without the channels `drop`."""
        drop = self.experiment.drop if drop is None else drop
        names = select(self.dataset.layers or (), drop)
        return Rasteriser(self.grid, names, self.dataset.layers if site_layers is None else site_layers)

    def effects(self, im: str) -> RandomEffects | None:
        """Return the random effects of an intensity measure, if the run has any."""
        return self.run.random_effects(im)

    @functools.cached_property
    def located(self) -> pd.DataFrame:
        """Stations in use with their pixels, ``row, col, x_km, y_km``."""
        lon, lat = self.stations["longitude"], self.stations["latitude"]
        (x, y), (row, col, _) = self.grid.project(lon, lat), self.grid.locate(lon, lat)
        return self.stations.assign(x_km=x, y_km=y, row=row, col=col)

    def records(self, im: str) -> pd.DataFrame:
        """Records in use, with the places of their stations, ``x_km, y_km``."""
        table = data_pipeline.flat_table(self.dataset, self.experiment, im)
        return table.merge(self.located[["station_id", "x_km", "y_km"]], on="station_id")

    def about(self) -> dict[str, str]:
        """What the maps rest on, for their attributes."""
        return {
            "title": TITLE,
            "run": self.run.path.name,
            "networks": ",".join(self.experiment.networks),
            "preset": self.experiment.preset,
            "events": f"{len(self.events)}: {self.options.events}",
            "taught": f"{self.options.min_records} training records within {self.options.within_km:g} km",
            "data_hash": self.run.data["digest"],
            "simulated": int(self.run.simulated),
        }


def refuse_unpaired(one: Study, other: Study) -> None:
    """Raise `UsageError` unless the members of two runs are pairs: same data, chunks and seeds."""
    different = [n for n in _PAIRED if getattr(one.experiment, n) != getattr(other.experiment, n)]
    if one.run.data["digest"] != other.run.data["digest"]:
        different.append("data")
    if different:
        raise UsageError(
            f"runs {one.run.path} and {other.run.path} cannot be compared member by member, they differ in "
            f"{', '.join(different)}: train one of them with the settings of the other"
        )
