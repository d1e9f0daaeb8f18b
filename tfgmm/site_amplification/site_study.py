"""A run opened to estimate site amplification: events to average over and their weights, maps, arms.

An arm is a set of input channels, with or without turned maps, on which the members of a run are trained.
The run's own arm has site channels; the arms in `ARMS` have none and are trained for comparison. A member
is one trained network of a station chunk, whose sites are held out, and an initialisation. The footprint is
the land inside the hull of the stations.
"""

import functools
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import pandas as pd
import pydantic
import xarray as xr

from tfgmm.core.coast import footprint
from tfgmm.core.errors import DataError, UsageError, listed
from tfgmm.core.grid import Grid
from tfgmm.data.schemas import VALIDATION
from tfgmm.network import batches as data_pipeline
from tfgmm.network import training
from tfgmm.network.channels import Rasteriser, select
from tfgmm.runs.experiment import Experiment, FrozenSettings, reason
from tfgmm.runs.folds import stations_in_use
from tfgmm.runs.run import RunFolder
from tfgmm.site_amplification.estimate import Weighting

#: Names of the arms without site channels.
ARMS = ("published", "isotropic")
#: Title of the maps; a folder of results is recognised by it.
TITLE = "ln site amplification learned by tfgmm"
#: Factors by which a site layer is multiplied, one at a time.
FACTORS = (0.7, 1.4)
#: Settings that two runs must share for their members to be pairs.
_PAIRED = ("grid", "reference", "split", "chunks", "inits", "stopping", "seed")
_USAGE = (
    "write role:validation, role:training or role:all, magnitude:FROM,TO, distance:FROM,TO (km from the "
    "centre of the map) or region:WEST,SOUTH,EAST,NORTH"
)


class Selection(FrozenSettings):
    """Conditions that select the events over which maps are averaged.

    Attributes
    ----------
    role : {"validation", "training", "all"}
        Role of the events; ``training`` includes the stopping events, which decide when a training ends.
    magnitude : (float, float), optional
        Lowest and highest moment magnitude, both included.
    distance : (float, float), optional
        Lowest and highest epicentral distance from the centre of the map, both included, km.
    region : (float, float, float, float), optional
        West, south, east and north bounds, included, degrees.
    """

    role: Literal["validation", "training", "all"] = "validation"
    magnitude: tuple[float, float] | None = None
    distance: tuple[float, float] | None = None
    region: tuple[float, float, float, float] | None = None

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Return the selection that texts such as ``role:all`` or ``magnitude:5,7`` describe.

        Parameters
        ----------
        texts : sequence of str
            ``role:ROLE``, ``magnitude:FROM,TO``, ``distance:FROM,TO``, ``region:WEST,SOUTH,EAST,NORTH``,
            each at most once.

        Returns
        -------
        Selection

        Raises
        ------
        UsageError
            A text has none of these forms.
        """
        limits = {}
        for text in texts:
            name, _, value = text.partition(":")
            limits[name.strip()] = value.strip() if name.strip() == "role" else value.split(",")
        try:
            return cls(**limits)
        except pydantic.ValidationError as error:
            raise UsageError(f"--events {' '.join(texts)}: {reason(error)}; {_USAGE}") from error

    def select(self, events: pd.DataFrame, validation: Sequence[str], grid: Grid) -> pd.DataFrame:
        """Return the selected events, in the order of their origin times.

        Parameters
        ----------
        events : pandas.DataFrame
            Events of a dataset: ``event_id, origin_time``; ``longitude, latitude``, degrees; ``magnitude``.
        validation : sequence of str
            Ids of the validation events.
        grid : Grid
            Map of the run.

        Returns
        -------
        pandas.DataFrame
            Rows of `events` with a new index from 0.

        Raises
        ------
        UsageError
            Fewer than two events are selected.
        """
        keep = np.ones(len(events), bool)
        if self.role != "all":
            keep &= events["event_id"].isin(validation) == (self.role == "validation")
        if self.magnitude:
            keep &= events["magnitude"].between(*self.magnitude)
        if self.distance:
            x, y = grid.project(events["longitude"], events["latitude"])
            keep &= (np.hypot(x, y) >= self.distance[0]) & (np.hypot(x, y) <= self.distance[1])
        if self.region:
            west, south, east, north = self.region
            keep &= events["longitude"].between(west, east) & events["latitude"].between(south, north)
        if keep.sum() < 2:
            raise UsageError(
                f"{keep.sum()} of {len(events)} events are {self}: at least 2 are needed, "
                "choose others with --events"
            )
        return events[keep].sort_values("origin_time", ignore_index=True)

    def __str__(self) -> str:
        """Return the selection in words, for titles and attributes."""
        parts = ["of any role" if self.role == "all" else f"{self.role} events"]
        parts += [f"magnitude {self.magnitude[0]:g} to {self.magnitude[1]:g}"] if self.magnitude else []
        distance = self.distance
        parts += [f"{distance[0]:g} to {distance[1]:g} km from the centre"] if distance else []
        parts += ["in the region " + ",".join(f"{n:g}" for n in self.region)] if self.region else []
        return ", ".join(parts)


class Options(FrozenSettings):
    """Options of a study of site amplification.

    Attributes
    ----------
    arms : tuple of str
        Arms without site channels with which the run is compared: ``published`` (as in the
        publication), ``isotropic`` (trained on randomly turned maps, which hide the direction to the
        source).
    events : Selection
        Events over which maps are averaged.
    within_km : float
        Largest distance of a station that counts for a pixel, km.
    min_records : int
        Smallest number of training records at the stations within `within_km` of a pixel for which the
        estimate at the pixel counts.
    sectors : int
        Number of azimuth bins of equal weight, in the estimate from one ensemble.
    cuts_km : tuple of float
        Bounds between the bins of epicentral distance of equal weight, in the same estimate, km.
    layer_events : int
        Number of events, evenly picked, over which the response to the site layers is averaged.
    """

    arms: tuple[str, ...] = ARMS
    events: Selection = Selection()
    within_km: float = pydantic.Field(15.0, gt=0)
    min_records: int = pydantic.Field(10, ge=1)
    sectors: int = pydantic.Field(8, ge=1)
    cuts_km: tuple[float, ...] = (50.0, 100.0, 150.0)
    layer_events: int = pydantic.Field(20, ge=2)

    @classmethod
    def of(cls, **settings) -> Self:
        """Return options, or raise `UsageError` that says which of them is out of range.

        Parameters
        ----------
        **settings
            Attributes by name.
        """
        try:
            return cls(**settings)
        except pydantic.ValidationError as error:
            raise UsageError(f"site amplification: {reason(error)}") from error


class Study:
    """A finished run, opened to estimate the site amplification that its networks have learned.

    Parameters
    ----------
    run : RunFolder
        The run.
    options : Options
        Options of the study.

    Attributes
    ----------
    training : Training
        Training of the run's own arm.
    dataset : Dataset
        The run's own copy of the data.
    folds : list of Fold
        Roles of events and stations, one fold per chunk.
    events : pandas.DataFrame
        Selected events in the order of their origin times.
    stations : pandas.DataFrame
        Stations of the run's networks inside the map.
    footprint : ndarray of bool, [row, col]
        Pixels on land inside the hull of the stations.

    Raises
    ------
    UsageError
        Fewer than two events are selected.
    DataError
        The data have changed, or no pixel lies on land inside the hull of the stations.
    """

    def __init__(self, run: RunFolder, options: Options) -> None:
        self.run, self.options = run, options
        self.training = training.reopen(run)
        self.dataset, self.folds = self.training.dataset, self.training.folds
        role = self.folds[0].event_role
        known = self.dataset.events[self.dataset.events["event_id"].isin(role.index)]
        self.events = options.events.select(known, role.index[role == VALIDATION], self.grid)
        self.stations = stations_in_use(self.dataset, self.experiment)
        self.footprint = footprint(self.stations, self.grid)
        if not self.footprint.any():
            raise DataError(f"run {run.path}: no pixel on land lies inside the hull of the stations")

    @property
    def experiment(self) -> Experiment:
        """Return the description of the run."""
        return self.run.experiment

    @property
    def grid(self) -> Grid:
        """Return the map projection and windows of the run."""
        return self.experiment.grid

    @functools.cached_property
    def pixels_km(self) -> np.ndarray:
        """Return the pixel centres, [row, col, 2], km east and north of the map's centre."""
        return self.grid.centres_km(self.grid.output_size)

    @functools.cached_property
    def layer_events(self) -> pd.DataFrame:
        """Return at most `Options.layer_events` events, over which the layer response is averaged.

        The events are picked evenly from the selected events in the order of their origin times.
        """
        count = min(self.options.layer_events, len(self.events))
        return self.events.iloc[np.linspace(0, len(self.events) - 1, count).round().astype(int)]

    def arm(self, name: str) -> training.Training:
        """Return the training of networks without site channels, in the same run and on the same folds.

        Parameters
        ----------
        name : {"published", "isotropic"}
            ``isotropic`` also hides the direction to the source, by turning the maps.

        Returns
        -------
        Training

        Raises
        ------
        UsageError
            The run itself has no site channels.
        """
        experiment = self.experiment.without_site(isotropic=name == "isotropic")
        return self.training.arm(experiment)

    def refuse_unfinished(self, ims: tuple[str, ...]) -> None:
        """Raise an error unless the run has all members of some intensity measures.

        Parameters
        ----------
        ims : tuple of str
            Intensity measures.

        Raises
        ------
        UsageError
            The run has no such intensity measure, or members are missing or damaged.
        """
        for im in ims:
            if im not in self.experiment.ims:
                raise UsageError(f"run {self.run.path} has no {im}: it has {listed(self.experiment.ims)}")
        missing = [member.name for member in self.training.arm(self.experiment).missing]
        if missing:
            raise UsageError(
                f"run {self.run.path} lacks {len(missing)} members, the first {missing[0]}: finish it with "
                "the tfgmm train command that began it"
            )

    @functools.cached_property
    def varied_layers(self) -> list[tuple[str, xr.DataArray]]:
        """Return (name, varied layer) for each factor of `FACTORS` and each site layer of the input."""
        names = select(self.dataset.layers or (), self.experiment.drop)
        _, at_stations = data_pipeline.places(self.dataset, self.experiment)
        return [
            (name, vary_layer(layer, factor, (at_stations[name].min(), at_stations[name].max())))
            for name, layer in (self.dataset.layers or {}).items()
            if name in names
            for factor in FACTORS
        ]

    @property
    def steps(self) -> int:
        """Return how many times `estimators.average_networks` calls `progress` in total.

        Returns
        -------
        int
        """
        layer_averages = len(self.varied_layers) + 1 if self.varied_layers else 0
        events = (1 + len(self.options.arms)) * len(self.events) + layer_averages * len(self.layer_events)
        return self.experiment.chunks * self.experiment.inits * events

    def weighting(self, events: pd.DataFrame, **balance) -> Weighting:
        """Return the weights of events in averages over all events and over each of two halves.

        Parameters
        ----------
        events : pandas.DataFrame
            ``longitude, latitude`` (degrees), in the order of time; alternate events belong to alternate
            halves.
        **balance
            ``sectors, cuts_km`` of `Weighting`; without them, all events have the same weight.

        Returns
        -------
        Weighting
        """
        xy = np.stack(self.grid.project(events["longitude"], events["latitude"]), axis=-1)
        # Alternate events in time: both halves contain the same years.
        return Weighting(xy, self.pixels_km, np.arange(len(events)) % 2, **balance)

    @functools.cached_property
    def balanced(self) -> Weighting:
        """Return event weights that give all bins of azimuth and epicentral distance the same share."""
        return self.weighting(self.events, sectors=self.options.sectors, cuts_km=self.options.cuts_km)

    def rasteriser(self, site_layers: xr.Dataset | None = None, drop=None) -> Rasteriser:
        """Return a maker of input maps with some site layers and channels.

        Parameters
        ----------
        site_layers : xarray.Dataset, optional
            Site layers to use in place of those of the dataset.
        drop : sequence of str, optional
            Channels or groups of channels to leave out; by default those that the run leaves out.

        Returns
        -------
        Rasteriser
        """
        drop = self.experiment.drop if drop is None else drop
        names = select(self.dataset.layers or (), drop)
        return Rasteriser(self.grid, names, self.dataset.layers if site_layers is None else site_layers)

    @functools.cached_property
    def located(self) -> pd.DataFrame:
        """Return the stations of the run with pixel, ``row, col``, and position, ``x_km, y_km``.

        Positions are km east and north of the map's centre.
        """
        lon, lat = self.stations["longitude"], self.stations["latitude"]
        (x, y), (row, col, _) = self.grid.project(lon, lat), self.grid.locate(lon, lat)
        return self.stations.assign(x_km=x, y_km=y, row=row, col=col)

    def records(self, im: str) -> pd.DataFrame:
        """Return the records at the stations of the run, for one intensity measure.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        pandas.DataFrame
            Result of `tfgmm.network.batches.flat_table`.
        """
        return data_pipeline.flat_table(self.dataset, self.experiment, im)

    def about(self) -> dict[str, str]:
        """Return the attributes of the maps: title, run, networks, events, settings and data hash.

        Returns
        -------
        dict
            Values by the name of the attribute, text or numbers.
        """
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


def refuse_unpaired(first: Study, second: Study) -> None:
    """Raise an error unless the members of two runs are pairs: same data, chunks and seeds.

    Parameters
    ----------
    first, second : Study
        The two runs.

    Raises
    ------
    UsageError
        The runs differ in the data or in a setting of `_PAIRED`.
    """
    different = [n for n in _PAIRED if getattr(first.experiment, n) != getattr(second.experiment, n)]
    if first.run.data["digest"] != second.run.data["digest"]:
        different.append("data")
    if different:
        raise UsageError(
            f"runs {first.run.path} and {second.run.path} cannot be compared member by member, they differ "
            f"in {', '.join(different)}: train one of them with the settings of the other"
        )


def vary_layer(layer: xr.DataArray, factor: float, seen: tuple[float, float]) -> xr.DataArray:
    """Return a site layer multiplied by a factor and limited to the range of values at the stations.

    Where the layer itself lies outside this range, the value of the layer is the limit.

    Parameters
    ----------
    layer : xarray.DataArray
        Site layer with positive values, m or m/s.
    factor : float
        Factor, without unit.
    seen : (float, float)
        Lowest and highest value of the layer at the stations.

    Returns
    -------
    xarray.DataArray
        In the unit of `layer`.
    """
    low, high = np.minimum(layer, seen[0]), np.maximum(layer, seen[1])
    return (layer * factor).clip(low, high).rename(layer.name).transpose(*layer.dims)
