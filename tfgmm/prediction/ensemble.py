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
from tfgmm.prediction import scenarios
from tfgmm.prediction.places import Interpolation, Places, Window, projected
from tfgmm.prediction.ranges import Ranges, trained_stations
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder
from tfgmm.stats import calibration
from tfgmm.stats.mixture import Mixture, combine
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
    effects : RandomEffects, optional
        Where the run has random effects.
    """

    def __init__(
        self,
        run: RunFolder,
        im: str,
        members: dict[tuple[int, int], GroundMotionModel],
        rasteriser: Rasteriser,
        effects: RandomEffects | None = None,
    ) -> None:
        self.run, self.im, self.members, self.effects = run, im, members, effects
        self._rasteriser = rasteriser
        self._graphs: dict[int, Callable] = {}

    def shown(self, rasteriser: Rasteriser) -> "Ensemble":
        """The same members, which see other maps of the same channels."""
        other = copy.copy(self)
        other._rasteriser = rasteriser
        return other

    @property
    def experiment(self) -> Experiment:
        """What the run is."""
        return self.run.experiment

    @functools.cached_property
    def ranges(self) -> Ranges:
        """What the members have learned from."""
        return Ranges.of(self.run, self.im)

    @functools.cached_property
    def stations(self) -> pd.DataFrame:
        """The stations from which the members have learned, as `trained_stations` has them."""
        return trained_stations(self.run, self.im)

    @functools.cached_property
    def calibration(self) -> calibration.Calibration | None:
        """The run's calibration of sigma, if ``tfgmm evaluate`` has made one."""
        return self.run.calibration(self.im)

    def maps(self, events: pd.DataFrame, *, calibrated: bool | None = None) -> xr.Dataset:
        """Maps of ln IM for events, all of them in memory.

        Parameters
        ----------
        events : pandas.DataFrame
            With ``longitude, latitude, depth_km, magnitude``, and ``event_id`` if they have names.
        calibrated : bool, optional
            Whether sigma is calibrated; by default, if the run has a calibration. Its distance is that
            of the pixel's centre to the nearest station that trained.

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
        """Ln IM of every event at every site.

        Parameters
        ----------
        events : pandas.DataFrame
            As for `maps`.
        sites : pandas.DataFrame
            With ``longitude`` and ``latitude``, and ``site_id`` or ``station_id`` if they have names.
        interpolation : str
            ``nearest``: the site's pixel, as in training; ``bilinear``: each member's mean and sigma
            are interpolated between four pixels before members are combined.
        calibrated : bool, optional
            As for `maps`; the distance is that of the site itself.

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
        """Ln IM of every event at stations of the run, with their site terms where it has random effects.

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
        found = self.run.stations(stations)
        return _together(self.batches(events, found, known=True, calibrated=calibrated))

    def batches(
        self,
        events: pd.DataFrame,
        sites: pd.DataFrame | None = None,
        *,
        known: bool = False,
        interpolation: Interpolation = "nearest",
        calibrated: bool | None = None,
    ) -> Iterator[xr.Dataset]:
        """What `maps` or, with sites, `at_sites` returns, a few events at a time: constant memory.

        With `known` the sites are stations of the run, of `RunFolder.stations`, as for `at_stations`. Other
        parameters, errors: as for these. What is wrong with them shows before the first is computed.
        """
        events = scenarios.check_events(events)
        grid, names = self.experiment.grid, {}
        ids = sites[["station_id", "terms_of"]] if known else None
        projected(grid, events, "events")  # which refuses what has no place on the map's plane
        if sites is None:
            places = Places.pixels(grid)
        else:
            sites = scenarios.check_sites(sites)
            places = Places.sites(grid, sites, interpolation)
            names = {"site_id": ("site", sites["site_id"].to_numpy(object))}
        calibrated = self._whether(calibrated)
        known_km = places.nearest_km(self.stations) if calibrated else None
        window = places.window(grid, self.experiment.network.depth)
        step = max(1, _PIXELS_AT_ONCE // window.size**2)
        parts = (events.iloc[start : start + step] for start in range(0, len(events), step))
        terms = self._terms(places, ids)
        given = {"window": window, "places": places, "known_km": known_km}
        return (
            self._predict(
                part, self._maps(part, window), terms, self._path_terms(part, places, ids), **given
            ).assign_coords(names)
            for part in parts
        )

    def _whether(self, calibrated: bool | None) -> bool:
        if calibrated and self.effects is not None:
            raise UsageError(f"run {self.run.path} has random effects, and no calibration afterwards")
        if calibrated and self.calibration is None:
            calibration.read(self.run.path)  # whose error says how to make one
        return calibrated is not False and self.calibration is not None

    def _terms(self, places: Places, ids: pd.DataFrame | None) -> list[tuple]:
        """Of each member: site terms of stations or unknown places, and what is unknown of them."""
        if self.effects is None:
            return [(0.0, 0.0)] * len(self.members)
        if ids is None:
            whole = Window(0, 0, self.experiment.grid.input_size)
            unknown = np.hypot(self.effects.phi_s2s, self.effects.phi_place)
            return [(places.sample(one[None], whole)[0], unknown) for one in self._fields]
        return [self.effects.terms_at(*one, ids["terms_of"], places.xy_km) for one in self.members]

    def _path_terms(self, events: pd.DataFrame, places: Places, ids: pd.DataFrame | None) -> np.ndarray:
        """Of each member: source and path terms at stations or unknown places, [member, event, ...]."""
        if self.effects is None:
            return np.zeros(len(self.members))
        grid, paths = self.experiment.grid, self._paths
        source_km = np.stack([*projected(grid, events, "events"), events["depth_km"]], axis=-1)
        if ids is not None:
            return paths.shared(source_km, places.xy_km) + paths.own(source_km, ids["station_id"])
        centres_km = grid.centres_km(grid.output_size)[places.row, places.col]
        return (paths.shared(source_km, centres_km) * places.weight).sum(axis=2)

    @functools.cached_property
    def _paths(self) -> PathTerms:
        """What the members know of paths, in their order."""
        return self.effects.paths.of_members(self.members)

    @functools.cached_property
    def _fields(self) -> list[np.ndarray]:
        """Of each member: what the sites that it knows tell of the pixels, [row, col]."""
        grid = self.experiment.grid
        centres_km = grid.centres_km(grid.output_size)
        return [self.effects.field(*member_of, centres_km) for member_of in self.members]

    def _predict(
        self,
        events: pd.DataFrame,
        maps: tf.Tensor,
        terms: list[tuple],
        path_terms: np.ndarray,
        *,
        window: Window,
        places: Places,
        known_km: np.ndarray | None,
    ) -> xr.Dataset:
        """A batch; terms of `_terms` and `_path_terms`, `known_km` the distances of the calibration."""
        normals = []
        normal = zip(self._graph(window.size)(maps), terms, path_terms, strict=True)
        for parts, (term, of_site), of_path in normal:
            mean, stddev = (places.sample(part.numpy(), window) for part in parts)
            if self.effects is not None:
                mean = mean + term + of_path
                stddev = np.sqrt(self.effects.variance(stddev, of_site))
            normals.append((mean, stddev))
        found = combine(*zip(*normals, strict=True))
        if known_km is not None:
            found = Mixture(
                found.mean, *self.calibration.variance(known_km, found.aleatory, found.epistemic)
            )
        epicentres = projected(self.experiment.grid, events, "events")
        r_hyp = places.r_hyp_km(*epicentres, events["depth_km"])
        outside = self.ranges.outside(events["magnitude"], events["depth_km"], r_hyp)
        everywhere = ("event", *places.dims)
        split = {}
        if self.effects is not None:
            within = np.sqrt(found.stddev**2 - self.effects.tau**2)
            split = {
                "between_event": (everywhere, np.full_like(within, self.effects.tau), {"units": "1"}),
                "within_event": (everywhere, within, {"units": "1"}),
            }
        return xr.Dataset(
            {
                "mean": (everywhere, found.mean, {"units": "1"}),
                "stddev": (everywhere, found.stddev, {"units": "1"}),
                "aleatory": (everywhere, np.sqrt(found.aleatory), {"units": "1"}),
                "epistemic": (everywhere, np.sqrt(found.epistemic), {"units": "1"}),
                **split,
                "r_hyp_km": (everywhere, r_hyp, {"units": "km"}),
                "outside_magnitude": ("event", outside["magnitude"]),
                "outside_depth": ("event", outside["depth_km"]),
                "outside_distance": (everywhere, outside["r_hyp_km"]),
                "outside_map": (places.dims, places.outside),
            },
            coords={
                "longitude": (places.dims, places.longitude),
                "latitude": (places.dims, places.latitude),
                **_event_coordinates(events),
            },
            attrs={
                "intensity_measure": self.im,
                "unit": "g",
                "crs": self.experiment.grid.crs,
                "members": len(self.members),
                "calibrated": int(known_km is not None),
                "simulated": int(self.run.simulated),
            },
        )

    def _maps(self, events: pd.DataFrame, window: Window) -> tf.Tensor:
        """Input maps [event, size, size, channel]."""
        rows, cols = (slice(first, first + window.size) for first in (window.row, window.col))
        vectors, unmoved = event_vectors(events, self.experiment.grid), tf.zeros(2, tf.int32)
        return tf.stack([self._rasteriser(vector, unmoved)[rows, cols] for vector in vectors])

    def _graph(self, size: int) -> Callable[[tf.Tensor], list[tuple[tf.Tensor, tf.Tensor]]]:
        """Maps of `size` pixels a side -> mean and standard deviation by every member, as one graph.

        In one graph another member computes while one joins its threads.
        """
        if size not in self._graphs:
            models = [_resized(model, size) for model in self.members.values()]
            maps = tf.TensorSpec([None, size, size, len(self._rasteriser.names)], tf.float32)
            self._graphs[size] = tf.function(functools.partial(_normals, models), [maps])
        return self._graphs[size]


def _resized(model: keras.Model, size: int) -> keras.Model:
    """The same layers, weights included, on maps of another size."""
    if model.input_shape[1] == size:
        return model
    maps = keras.Input((size, size, model.input_shape[-1]))
    return keras.models.clone_model(model, input_tensors=maps, clone_function=lambda layer: layer)


def _normals(models: Sequence[keras.Model], maps: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
    normals = [model(maps, training=False) for model in models]
    return [(one.loc, one.scale) for one in normals]


def _event_coordinates(events: pd.DataFrame) -> dict:
    named = {"longitude": "event_longitude", "latitude": "event_latitude"}
    columns = ["event_id", "longitude", "latitude", "depth_km", "magnitude"]
    return {named.get(name, name): ("event", events[name].to_numpy()) for name in columns}


def _together(batches: Iterator[xr.Dataset]) -> xr.Dataset:
    return xr.concat(
        batches, "event", data_vars="minimal", coords="minimal", compat="override", join="override"
    )


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
    im = imt.canonical(im) if im else folder.experiment.ims[0]
    rasteriser = Rasteriser.of_run(folder)
    members = {one: member.load(folder.member(*one), im) for one in folder.trained(im)}
    return Ensemble(folder, im, members, rasteriser, folder.random_effects(im))
