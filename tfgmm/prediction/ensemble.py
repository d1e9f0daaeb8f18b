"""Members -> mean, aleatory and epistemic standard deviation, as maps or at sites."""

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import xarray as xr

from tfgmm.core import imt
from tfgmm.core.errors import UsageError
from tfgmm.network import member
from tfgmm.network.channels import Rasteriser, event_vectors
from tfgmm.network.normal import GroundMotionModel
from tfgmm.prediction import conditioning, quantities, scenarios
from tfgmm.prediction.conditioning import Facts, PlaceTerms
from tfgmm.prediction.places import Interpolation, Places, Window, projected
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.ranges import Ranges
from tfgmm.runs.run import RunFolder
from tfgmm.stats import calibration as calibrations
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.mixture import moments
from tfgmm.stats.path_terms import PathTerms
from tfgmm.stats.random_effects import RandomEffects

#: Input pixels of the events that members see at once.
_PIXELS_AT_ONCE = 300_000


class Ensemble:
    """The trained members of a run for one intensity measure.

    Parameters
    ----------
    run : RunFolder
    im : str
    members : dict of (chunk, init) to GroundMotionModel
    rasteriser : Rasteriser
        Maker of the maps that the members see.
    effects : RandomEffects, optional
        Random effects of the run, if it has any.
    calibration : Calibration, optional
        Calibration of sigma, if ``tfgmm evaluate`` has made one.
    ranges : Ranges, optional
        Ranges from which the members have learned; read from the run by default.
    """

    def __init__(
        self,
        run: RunFolder,
        im: str,
        members: dict[tuple[int, int], GroundMotionModel],
        rasteriser: Rasteriser,
        effects: RandomEffects | None = None,
        *,
        calibration: Calibration | None = None,
        ranges: Ranges | None = None,
    ) -> None:
        self.run, self.im, self.members, self.effects = run, im, members, effects
        self.calibration, self.ranges = calibration, ranges or run.ranges(im)
        self._rasteriser = rasteriser
        self._graphs: dict[int, Callable] = {}

    def with_rasteriser(self, rasteriser: Rasteriser) -> "Ensemble":
        """Return an ensemble of the same members that see other maps of the same channels."""
        ensemble = copy.copy(self)
        ensemble._rasteriser = rasteriser
        return ensemble

    @property
    def experiment(self) -> Experiment:
        """Return the description of the run."""
        return self.run.experiment

    @functools.cached_property
    def stations(self) -> pd.DataFrame:
        """Return the stations from which the members have learned, as `trained_stations` has them."""
        return self.run.trained_stations(self.im)

    def maps(self, events: pd.DataFrame, *, calibrated: bool | None = None) -> xr.Dataset:
        """Predict maps of ln IM for events, all of them in memory.

        Parameters
        ----------
        events : pandas.DataFrame
            Columns ``longitude, latitude, depth_km, magnitude``, and ``event_id`` if events have names.
        calibrated : bool, optional
            Calibrate sigma; by default, if the run has a calibration. The distance that a calibration
            needs is that of the pixel's centre to the nearest station that trained.

        Returns
        -------
        xarray.Dataset
            ``mean, stddev, aleatory, epistemic`` [event, row, col] in ln units (the last three are
            standard deviations; with random effects also ``between_event`` and ``within_event``, another
            way to split ``stddev``, with the site term of an unknown place in the latter),
            ``r_hyp_km``, and what lies outside the training ranges: ``outside_magnitude``,
            ``outside_depth`` [event], ``outside_distance`` [event, row, col] and ``outside_map``
            [row, col]; on coordinates ``longitude`` and ``latitude`` [row, col] and those of the events.

        Raises
        ------
        UsageError
            A column is missing, or there is no calibration.
        DataError
            A value is missing or cannot be, or a place is too far away for the map's projection.
        """
        return _together(self.batches(events, calibrated=calibrated))

    def at_sites(
        self,
        events: pd.DataFrame,
        sites: pd.DataFrame,
        *,
        interpolation: Interpolation = "nearest",
        calibrated: bool | None = None,
    ) -> xr.Dataset:
        """Predict ln IM of every event at every site.

        Parameters
        ----------
        events : pandas.DataFrame
            As for `maps`.
        sites : pandas.DataFrame
            Columns ``longitude`` and ``latitude``, and ``site_id`` or ``station_id`` if sites have names.
        interpolation : str
            ``nearest``: the site's pixel, as in training; ``bilinear``: each member's mean and sigma
            are interpolated between four pixels before members are combined.
        calibrated : bool, optional
            As for `maps`, with the distance of the site itself.

        Returns
        -------
        xarray.Dataset
            As for `maps`, on the dimensions ``event`` and ``site``. A site outside the map has the
            values of the nearest pixel and is marked in ``outside_map``.

        Raises
        ------
        UsageError, DataError
            As for `maps`; or there is no such interpolation.
        """
        return _together(self.batches(events, sites, interpolation=interpolation, calibrated=calibrated))

    def at_stations(
        self, events: pd.DataFrame, stations: Sequence[str] | None = None, *, calibrated: bool | None = None
    ) -> xr.Dataset:
        """Predict ln IM of every event at stations of the run, with their terms if it has random effects.

        Parameters
        ----------
        events : pandas.DataFrame
            As for `maps`.
        stations : sequence of str, optional
            Ids; all stations of the run by default.
        calibrated : bool, optional
            As for `at_sites`.

        Returns
        -------
        xarray.Dataset
            As for `at_sites`.

        Raises
        ------
        UsageError
            The run has no such station, or as for `at_sites`.
        DataError
            As for `at_sites`.
        """
        sites = self.run.stations(stations)
        return _together(self.batches(events, sites, at_stations=True, calibrated=calibrated))

    def batches(
        self,
        events: pd.DataFrame,
        sites: pd.DataFrame | None = None,
        *,
        at_stations: bool = False,
        interpolation: Interpolation = "nearest",
        calibrated: bool | None = None,
    ) -> Iterator[xr.Dataset]:
        """Predict as `maps` or, with sites, `at_sites` does, a few events at a time: constant memory.

        If `at_stations` is true, the sites are stations of the run, as `RunFolder.stations` lists them.
        Other parameters and errors are those of the methods. Errors are raised before the first event is
        computed.
        """
        events = scenarios.check_events(events)
        grid, names = self.experiment.grid, {}
        station_ids = sites[["station_id", "terms_of"]] if at_stations else None
        projected(grid, events, "events")  # which refuses what has no place on the map's plane
        if sites is None:
            places = Places.pixels(grid)
        else:
            sites = scenarios.check_sites(sites)
            places = Places.sites(grid, sites, interpolation)
            names = {"site_id": ("site", sites["site_id"].to_numpy(object))}
        facts = self._facts(places, station_ids, calibrated)
        step = max(1, _PIXELS_AT_ONCE // facts.window.size**2)
        parts = (events.iloc[start : start + step] for start in range(0, len(events), step))
        return (self._predict(part, facts).assign_coords(names) for part in parts)

    def _facts(self, places: Places, stations: pd.DataFrame | None, calibrated: bool | None) -> Facts:
        """Return all that predictions at unknown places, or at stations of the run, need from the run."""
        chosen = self._calibration_or_none(calibrated)
        return Facts(
            places=places,
            window=places.window(self.experiment.grid, self.experiment.network.depth),
            terms=None if self.effects is None else self._terms(places, stations),
            calibration=chosen,
            nearest_km=None if chosen is None else places.nearest_km(self.stations),
        )

    def _calibration_or_none(self, calibrated: bool | None) -> Calibration | None:
        """Return the calibration that is wanted; refuse to calibrate where that cannot be."""
        if calibrated and self.effects is not None:
            raise UsageError(f"run {self.run.path} has random effects, and no calibration afterwards")
        if calibrated and self.calibration is None:
            calibrations.read(self.run.path)  # whose error says how to make one
        return None if calibrated is False else self.calibration

    def _terms(self, places: Places, stations: pd.DataFrame | None) -> PlaceTerms:
        """Return site and path terms of every member at unknown places, or at stations of the run."""
        effects, paths = self.effects, self._paths
        if stations is not None:
            return PlaceTerms.at_stations(effects, self.members, paths, places, stations)
        grid = self.experiment.grid
        return PlaceTerms.elsewhere(effects, paths, places, grid, self._terms_on_map)

    @functools.cached_property
    def _paths(self) -> PathTerms:
        """Return the source and path terms of the members, in their order."""
        return self.effects.paths.of_members(self.members)

    @functools.cached_property
    def _terms_on_map(self) -> np.ndarray:
        """Return the site terms that each member expects at the pixels, [member, row, col]."""
        return conditioning.terms_on_map(self.effects, self.members, self.experiment.grid)

    def _predict(self, events: pd.DataFrame, facts: Facts) -> xr.Dataset:
        """Predict a batch of events."""
        places, epicentres = facts.places, projected(self.experiment.grid, events, "events")
        outputs = self._graph(facts.window.size)(self._maps(events, facts.window))
        terms = [()] * len(self.members)
        if facts.terms is not None:
            terms = facts.terms.by_member(np.stack([*epicentres, events["depth_km"]], axis=-1))
        members = []
        for output, of_member in zip(outputs, terms, strict=True):
            mean, stddev = (places.sample(values.numpy(), facts.window) for values in output)
            members.append(conditioning.member_moments(mean, stddev, self.effects, of_member))
        distribution = conditioning.distribution(
            moments(*zip(*members, strict=True)),
            effects=self.effects,
            calibration=facts.calibration,
            nearest_km=facts.nearest_km,
        )
        r_hyp_km = places.r_hyp_km(*epicentres, events["depth_km"])
        outside = self.ranges.outside(events["magnitude"], events["depth_km"], r_hyp_km)
        return quantities.labelled(distribution, events, places, r_hyp_km, outside).assign_attrs(
            intensity_measure=self.im,
            unit="g",
            crs=self.experiment.grid.crs,
            members=len(self.members),
            calibrated=int(facts.calibration is not None),
            simulated=int(self.run.simulated),
        )

    def _maps(self, events: pd.DataFrame, window: Window) -> tf.Tensor:
        """Return input maps, [event, size, size, channel]."""
        rows, cols = (slice(first, first + window.size) for first in (window.row, window.col))
        vectors, unmoved = event_vectors(events, self.experiment.grid), tf.zeros(2, tf.int32)
        return tf.stack([self._rasteriser(vector, unmoved)[rows, cols] for vector in vectors])

    def _graph(self, size: int) -> Callable[[tf.Tensor], list[tuple[tf.Tensor, tf.Tensor]]]:
        """Return a function of maps of `size` pixels per side: mean and standard deviation of every member.

        It is one graph, in which a member computes while another one joins its threads.
        """
        if size not in self._graphs:
            models = [_resized(model, size) for model in self.members.values()]
            maps = tf.TensorSpec([None, size, size, len(self._rasteriser.names)], tf.float32)
            self._graphs[size] = tf.function(functools.partial(_normals, models), [maps])
        return self._graphs[size]


def _resized(model: keras.Model, size: int) -> keras.Model:
    """Return a model of the same layers, with the same weights, for maps of another size."""
    if model.input_shape[1] == size:
        return model
    maps = keras.Input((size, size, model.input_shape[-1]))
    return keras.models.clone_model(model, input_tensors=maps, clone_function=lambda layer: layer)


def _normals(models: Sequence[keras.Model], maps: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Return mean and standard deviation by every model."""
    normals = [model(maps, training=False) for model in models]
    return [(normal.loc, normal.scale) for normal in normals]


def _together(batches: Iterator[xr.Dataset]) -> xr.Dataset:
    """Return batches of events as one dataset."""
    options = {"data_vars": "minimal", "coords": "minimal", "compat": "override", "join": "override"}
    return xr.concat(batches, "event", **options)


def load(run: RunFolder | Path | str, im: str | None = None) -> Ensemble:
    """Load the ensemble of a run.

    Parameters
    ----------
    run : RunFolder or path
        The run, open or its folder.
    im : str, optional
        Intensity measure; the run's first one by default.

    Raises
    ------
    UsageError
        There is no such run, it has no such intensity measure, or no member of it is trained.
    DataError
        A file of the run is missing or damaged.
    """
    opened = RunFolder.open(run)
    im = imt.canonical(im) if im else opened.experiment.ims[0]
    networks = {place: opened.network(im, *place) for place in opened.trained(im)}
    site_layers, effects = opened.site_layers(), opened.random_effects(im)
    calibration, ranges = opened.calibration(im), opened.ranges(im)
    rasteriser = Rasteriser(opened.experiment.grid, opened.channels, site_layers)
    members = {place: member.load(path) for place, path in networks.items()}
    return Ensemble(opened, im, members, rasteriser, effects, calibration=calibration, ranges=ranges)
