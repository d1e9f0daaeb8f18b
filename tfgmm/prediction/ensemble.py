"""The members of a run -> mean, aleatory and epistemic standard deviation of ln IM, as maps or at sites."""

import abc
import copy
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import xarray as xr
from threadpoolctl import ThreadpoolController

from tfgmm.core import imt
from tfgmm.core.arguments import checked
from tfgmm.core.errors import UsageError, listed
from tfgmm.core.shown import Shown
from tfgmm.network import member
from tfgmm.network.channels import Rasteriser, event_vectors
from tfgmm.network.member import Networks
from tfgmm.prediction import conditioning, quantities, scenarios
from tfgmm.prediction.conditioning import Condition, Facts, FieldMoments, Known, MemberMoments
from tfgmm.prediction.field_graph import FieldGraph
from tfgmm.prediction.places import Interpolation, Places, Window, projected
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.member_folder import Ranges
from tfgmm.runs.run import RunFolder
from tfgmm.stats import calibration as calibrations
from tfgmm.stats import tectonics
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.field import Field
from tfgmm.stats.support import Shrinkage, Support

_log = logging.getLogger(__name__)

#: Number of input pixels, over all events and measures of a batch, for which the networks predict at once.
_PIXELS_AT_ONCE = 300_000
#: Called with the number of events that are done.
Progress = Callable[[int], None]
#: Nothing is known beyond the tables of events and sites.
UNKNOWN = Known()


class Outputs:
    """The networks of all members of a run as one TensorFlow graph, for several intensity measures.

    The last result is kept: ensembles of several measures share it, and ask for the same events in turn.

    Parameters
    ----------
    members : dict of (chunk, init) to Networks
        Trained networks by station chunk and initialisation, of the same K measures.
    rasteriser : Rasteriser
        Maker of the input maps of the networks.
    """

    def __init__(self, members: dict[tuple[int, int], Networks], rasteriser: Rasteriser) -> None:
        self.members, self.rasteriser = members, rasteriser
        self._graphs: dict[int, Callable] = {}
        self._last: tuple[tuple, list] = ((), [])

    def __call__(self, vectors: np.ndarray, window: Window) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Return mean and standard deviation of ln IM by every member in a window.

        Parameters
        ----------
        vectors : ndarray of float32, [event, 6]
            Event vectors (`tfgmm.network.channels.event_vectors`).
        window : Window
            Part of the input maps that the networks need.

        Returns
        -------
        list of (tensor, tensor), [event, row, col, K]
            Ln units; one pair for each member.
        """
        key, (last, outputs) = (vectors.tobytes(), window), self._last
        if last != key:
            rows, cols = (slice(first, first + window.size) for first in (window.row, window.col))
            maps = self.rasteriser.of_events(vectors)[:, rows, cols]
            outputs = self._graph(window.size)(maps)
            self._last = key, outputs
        return outputs

    def with_rasteriser(self, rasteriser: Rasteriser) -> "Outputs":
        """Return the same networks, with input maps from another rasteriser.

        Parameters
        ----------
        rasteriser : Rasteriser
            Maker of maps of the same channels.

        Returns
        -------
        Outputs
        """
        outputs = copy.copy(self)
        outputs.rasteriser, outputs._last = rasteriser, ((), [])
        return outputs

    @property
    def measures(self) -> int:
        """Return the number K of intensity measures."""
        return len(next(iter(self.members.values())).outputs)

    def _graph(self, size: int) -> Callable[[tf.Tensor], list[tuple[tf.Tensor, tf.Tensor]]]:
        """Return the function from input maps, [event, size, size, channel], to the outputs.

        All members are one TensorFlow graph, in which the computations of different members overlap.
        """
        if size not in self._graphs:
            members = [networks.for_maps_of(size) for networks in self.members.values()]
            maps = tf.TensorSpec([None, *members[0].input_shape[1:]], tf.float32)
            self._graphs[size] = tf.function(functools.partial(_normals, members), [maps])
        return self._graphs[size]


@checked
class Predictor(Shown):
    """Predictor of ground motion: the verbs for all earthquakes at once, on batches of a few.

    Attributes
    ----------
    run : RunFolder
        The run, whose stations it knows.
    """

    run: RunFolder

    def _facts(self) -> dict[str, object]:
        """Return the intensity measures, the number of members and the path of the run."""
        return {"measures": listed(self.ims), "members": len(self.members), "run": self.run.path}

    @property
    @abc.abstractmethod
    def ims(self) -> tuple[str, ...]:
        """Return the names of the predicted intensity measures."""

    @property
    @abc.abstractmethod
    def members(self) -> dict[tuple[int, int], Networks]:
        """Return the trained networks by station chunk and initialisation."""

    @abc.abstractmethod
    def batches(
        self, events: pd.DataFrame, sites: pd.DataFrame | None = None, **options: Any
    ) -> Iterator[xr.Dataset]:
        """Return predictions for a few events at a time, as `Ensemble.batches` does."""

    def maps(
        self,
        events: pd.DataFrame,
        *,
        progress: Progress = lambda done: None,
        calibrated: bool | None = None,
        known: Known = UNKNOWN,
    ) -> xr.Dataset:
        """Predict maps of ln IM for events, all events in memory at once.

        Parameters
        ----------
        events : pandas.DataFrame
            ``longitude, latitude`` (degrees), ``depth_km``, ``magnitude`` (Mw), and optionally
            ``event_id``.
        progress : callable
            Called with the number of events that are done.
        calibrated : bool, optional
            Whether sigma is calibrated; by default, if the run has a calibration. The calibration depends
            on the distance of the pixel's centre to the nearest training station.
        known : Known, optional
            Surfaces of ruptures, and Vs30 in place of the site layer.

        Returns
        -------
        xarray.Dataset
            ``median_g`` (g; of PGV ``median_cm_s``) and ``mean, stddev, aleatory, epistemic`` (ln units),
            [event, row, col], or [event, im, row, col] for several intensity measures. The last three are
            standard deviations: total, aleatory and epistemic. With a field there are also
            ``between_event`` and ``within_event``, another way to split ``stddev``; the latter includes
            what the records leave open of site and path terms. ``r_hyp_km`` [event, row, col] is the
            hypocentral distance, and ``support`` [event, row, col] the effective number of training records
            like the prediction in magnitude, distance, depth and source region at once. True where a value
            lies outside the training ranges: ``outside_magnitude`` and ``outside_depth`` [event],
            ``outside_distance`` [event, row, col], and ``outside_map`` [row, col], false at all pixels. The
            coordinates are ``longitude, latitude`` [row, col], degrees, and ``event_id, event_longitude,
            event_latitude, depth_km, magnitude`` and ``known_rupture`` [event]. With a backbone of
            published models there are also ``tectonic_class``, the class that it takes or the weights of
            several, and ``known_class``, true where that one was given; with a known rupture ``r_rup_km``
            [event, row, col], the distance to it, NaN where the rupture is unknown. The attributes say what
            else is known (`Known.attributes`), and on which records backbone and field are conditioned
            (`Condition.attributes`).

        Raises
        ------
        UsageError
            A column is missing, or a calibration is asked for and the run has none.
        DataError
            A value is missing or out of range, or an epicentre is too far away to be projected on the map.
        """
        events = scenarios.check_events(events)
        return _answer(self.batches(events, calibrated=calibrated, known=known), progress)

    def at_sites(
        self,
        events: pd.DataFrame,
        sites: pd.DataFrame,
        *,
        progress: Progress = lambda done: None,
        interpolation: Interpolation = "nearest",
        calibrated: bool | None = None,
        known: Known = UNKNOWN,
    ) -> xr.Dataset:
        """Predict ln IM of every event at every site.

        Parameters
        ----------
        events : pandas.DataFrame
            As for `maps`.
        sites : pandas.DataFrame
            ``longitude, latitude`` (degrees), and optionally ``site_id`` or ``station_id``, and
            ``vs30_m_s`` (m/s), which counts in place of the site layer where it is given.
        progress : callable
            As for `maps`.
        interpolation : {"nearest", "bilinear"}
            ``nearest``: the values of the site's pixel, as in training; ``bilinear``: each member's mean
            and standard deviation are interpolated between four pixels before the members are combined.
            The field is that of the site's own place in any case.
        calibrated : bool, optional
            As for `maps`, with the distance of the site itself to the nearest training station.
        known : Known, optional
            As for `maps`.

        Returns
        -------
        xarray.Dataset
            As for `maps`, on the dimensions ``event`` and ``site``, with the coordinates ``site_id`` and,
            where it is given for sites and counts, ``vs30_m_s``. A site outside the map has the values of
            the nearest pixel and is marked in ``outside_map``.

        Raises
        ------
        UsageError, DataError
            As for `maps`; or the interpolation is unknown.
        """
        events = scenarios.check_events(events)
        options = {"interpolation": interpolation, "calibrated": calibrated, "known": known}
        return _answer(self.batches(events, sites, **options), progress)

    def at_stations(
        self,
        events: pd.DataFrame,
        stations: Sequence[str] | None = None,
        *,
        progress: Progress = lambda done: None,
        calibrated: bool | None = None,
        known: Known = UNKNOWN,
    ) -> xr.Dataset:
        """Predict ln IM of every event at stations of the run, with what their records tell of the field.

        Parameters
        ----------
        events : pandas.DataFrame
            As for `maps`.
        stations : sequence of str, optional
            Ids of the stations; all stations of the run by default.
        progress, calibrated, known
            As for `at_sites`.

        Returns
        -------
        xarray.Dataset
            As for `at_sites`.

        Raises
        ------
        UsageError
            The run has no station with one of the ids, or as for `at_sites`.
        DataError
            As for `at_sites`.
        """
        events, sites = scenarios.check_events(events), self.run.stations(stations)
        options = {"at_stations": True, "calibrated": calibrated, "known": known}
        return _answer(self.batches(events, sites, **options), progress)


class Ensemble(Predictor):
    """The trained members of a run for one intensity measure.

    Parameters
    ----------
    run : RunFolder
        The run.
    im : str
        Intensity measure.
    outputs : Outputs
        The networks of the members.
    number : int
        Number of the measure among the outputs of the networks.
    calibration : Calibration, optional
        Calibration of sigma, if ``tfgmm evaluate`` has made one.
    ranges : Ranges, optional
        Ranges of magnitude, depth and distance of the training records; read from the run by default.
    condition : Condition, optional
        Backbone and field of each station chunk, to which its networks add; none by default.
    support : Support, optional
        Joint support of predictions by training records, a variable of the predictions.
    shrinkage : Shrinkage, optional
        How far the networks are shrunken towards the backbone where the support is small; not at all by
        default.
    """

    def __init__(
        self,
        run: RunFolder,
        im: str,
        outputs: Outputs,
        number: int = 0,
        *,
        calibration: Calibration | None = None,
        ranges: Ranges | None = None,
        condition: Condition | None = None,
        support: Support | None = None,
        shrinkage: Shrinkage | None = None,
    ) -> None:
        self.condition, self.support, self.shrinkage = condition or Condition(), support, shrinkage
        self.run, self.im, self._outputs, self._number = run, im, outputs, number
        self.calibration, self.ranges = calibration, ranges or run.ranges(im)
        self._fields: dict[tuple[int, bool, int], tuple[Field, Callable]] = {}

    def with_rasteriser(self, rasteriser: Rasteriser) -> "Ensemble":
        """Return an ensemble of the same members whose input maps come from another rasteriser.

        Parameters
        ----------
        rasteriser : Rasteriser
            Maker of maps of the same channels, for example with other site layers.

        Returns
        -------
        Ensemble
        """
        ensemble = copy.copy(self)
        ensemble._outputs = self._outputs.with_rasteriser(rasteriser)
        return ensemble

    @property
    def ims(self) -> tuple[str, ...]:
        """Return the intensity measure, as the only one."""
        return (self.im,)

    @property
    def members(self) -> dict[tuple[int, int], Networks]:
        """Return the trained networks by station chunk and initialisation."""
        return self._outputs.members

    @property
    def experiment(self) -> Experiment:
        """Return the description of the run."""
        return self.run.experiment

    @functools.cached_property
    def stations(self) -> pd.DataFrame:
        """Return the stations with training records, as `RunFolder.trained_stations` lists them."""
        return self.run.trained_stations(self.im)

    def batches(
        self,
        events: pd.DataFrame,
        sites: pd.DataFrame | None = None,
        *,
        at_stations: bool = False,
        interpolation: Interpolation = "nearest",
        calibrated: bool | None = None,
        known: Known = UNKNOWN,
    ) -> Iterator[xr.Dataset]:
        """Return predictions for a few events at a time, as maps or at sites, in constant memory.

        Errors are raised before the first event is computed.

        Parameters
        ----------
        events : pandas.DataFrame
            Events, as returned by `tfgmm.prediction.scenarios.check_events`.
        interpolation, calibrated, known
            As for `maps` and `at_sites`.
        sites : pandas.DataFrame, optional
            As for `at_sites`; without sites, maps are predicted.
        at_stations : bool
            Whether `sites` are stations of the run, as returned by `RunFolder.stations`, whose records
            count for the field.

        Returns
        -------
        iterator of xarray.Dataset
            Datasets of a few events each, as returned by `maps` or `at_sites`.

        Raises
        ------
        UsageError, DataError
            As for `maps` and `at_sites`.
        """
        grid, names = self.experiment.grid, {}
        projected(grid, events, "events")  # raises an error for an event that cannot be projected
        if sites is None:
            places = Places.pixels(grid)
        else:
            checked = scenarios.check_sites(sites)
            places = Places.sites(grid, checked, interpolation)
            names = {"site_id": ("site", checked["site_id"].to_numpy(object))}
            sites = sites if at_stations else checked
        sites = self._without_unused(known, sites)
        if sites is not None and "vs30_m_s" in sites:
            names["vs30_m_s"] = ("site", sites["vs30_m_s"].to_numpy())
        facts = self._facts_at(places, sites, at_stations, calibrated, known)
        step = max(1, _PIXELS_AT_ONCE // (facts.window.size**2 * self._outputs.measures))
        parts = (events.iloc[start : start + step] for start in range(0, len(events), step))
        return (self._predict(part, facts).assign_coords(names) for part in parts)

    def _without_unused(self, known: Known, sites: pd.DataFrame | None) -> pd.DataFrame | None:
        """Return the sites without a Vs30 that does not count, which is logged.

        Raise `UsageError` if something else is known that the backbone of the run cannot use.
        """
        reason, run = "", f"run {self.run.path}"
        if not self._classes:
            reason = f"{run} has no backbone of published models"
            refused = known.vs30_m_s or known.reference_rock or known.ruptures
            advice = "ruptures, Vs30 and reference rock cannot be given. Train with --backbone auto"
        elif self.experiment.hides_vs30:
            reason = f"{run} was trained with --drop {','.join(self.experiment.drop)}, without Vs30"
            refused = known.vs30_m_s or known.reference_rock
            advice = "Vs30 and reference rock cannot be given. Train without this option"
        elif known.vs30_m_s or known.reference_rock:
            reason, refused = "one Vs30 is given for all places", False
        if reason and refused:
            raise UsageError(f"{reason}: {advice}, or leave them out")
        if reason and sites is not None and "vs30_m_s" in sites:
            _log.warning("%s: vs30_m_s of the sites is not used", reason)
            return sites.drop(columns="vs30_m_s")
        return sites

    @property
    def _classes(self) -> tuple[str, ...]:
        """Return the tectonic classes of the backbone; none without a backbone of published models."""
        every = [one.tables for one in self.condition.by_chunk.values()]
        return next((one.classes for one in every if one is not None and not one.hypocentral), ())

    def _of_source(self, events: pd.DataFrame, known: Known) -> dict[str, tuple[str, np.ndarray]]:
        """Return what the backbone takes the earthquakes for, as coordinates: class and rupture.

        A run without published models uses neither, and has ``known_rupture`` alone.
        """
        has_rupture = events["event_id"].isin([*known.ruptures]).to_numpy()
        if not self._classes:
            return {"known_rupture": ("event", has_rupture)}
        given = events.get("tectonic_class")
        weights = tectonics.shared(tectonics.class_weights(events["depth_km"], given), self._classes)
        # A class that the backbone does not have is not the one that it takes.
        is_given = np.zeros(len(events), bool) if given is None else given.isin(self._classes).to_numpy()
        values = {
            "known_rupture": has_rupture,
            "tectonic_class": tectonics.in_words(weights, self._classes),
            "known_class": is_given,
        }
        return {name: ("event", value) for name, value in values.items()}

    def _facts_at(
        self,
        places: Places,
        sites: pd.DataFrame | None,
        at_stations: bool,
        calibrated: bool | None,
        known: Known,
    ) -> Facts:
        """Return the inputs of a prediction at some places that are the same for all events."""
        chosen, vs30 = self._calibration_or_none(calibrated), self._vs30(places)
        if at_stations:
            vs30 = sites["vs30"].to_numpy(float)
        elif sites is not None and "vs30_m_s" in sites:
            own = sites["vs30_m_s"].to_numpy(float)
            vs30 = np.where(np.isnan(own), vs30, own)
        return Facts(
            places=places,
            window=places.window(self.experiment.grid, self.experiment.network.depth),
            site_ids=sites["terms_of"].to_numpy() if at_stations else None,
            calibration=chosen,
            nearest_km=None if chosen is None else places.nearest_km(self.stations),
            vs30=known.vs30(vs30),
            known=known,
        )

    def _vs30(self, places: Places) -> np.ndarray:
        """Return Vs30 at places, as the backbone got it in training, m/s; NaN where unknown."""
        if self._vs30_map is None:
            return np.full(places.x_km.shape, np.nan)
        return places.sample(self._vs30_map[np.newaxis], Window(0, 0, self.experiment.grid.input_size))[0]

    @functools.cached_property
    def _vs30_map(self) -> np.ndarray | None:
        """Return `RunFolder.vs30_map`."""
        return self.run.vs30_map()

    def _calibration_or_none(self, calibrated: bool | None) -> Calibration | None:
        """Return the calibration to apply, if any; raise `UsageError` if a required one is missing."""
        if calibrated and self.experiment.field:
            raise UsageError(f"run {self.run.path} has a field, and no calibration afterwards")
        if calibrated and self.calibration is None:
            calibrations.read(self.run.path)  # raises an error that says how to make one
        return None if calibrated is False else self.calibration

    def _predict(self, events: pd.DataFrame, facts: Facts) -> xr.Dataset:
        """Return the predictions for a batch of events as a labelled dataset."""
        places, epicentres = facts.places, projected(self.experiment.grid, events, "events")
        outputs = self._outputs(event_vectors(events, self.experiment.grid), facts.window)
        r_hyp_km = places.r_hyp_km(*epicentres, events["depth_km"])
        r_rup_km = self._r_rup_by_event(events, facts)
        conditioned = self._conditioned_moments(events, epicentres, r_hyp_km, r_rup_km, facts)
        moments = zip(outputs, *conditioned, strict=True)
        members = []
        for output, backbone, field in moments:
            network, stddev = (
                places.sample(values[..., self._number].numpy(), facts.window) for values in output
            )
            members.append(MemberMoments(network, stddev, backbone, field))
        predicted = conditioning.combined(
            members,
            self._support_at(events, epicentres, r_hyp_km),
            self.shrinkage,
            calibration=facts.calibration,
            nearest_km=facts.nearest_km,
        )
        outside = self.ranges.outside(events["magnitude"], events["depth_km"], r_hyp_km)
        predictions = quantities.labelled(predicted, events, places, r_hyp_km, outside)
        if facts.known.ruptures:
            unknown = np.full(places.x_km.shape, np.nan)
            every = np.stack([r_rup_km.get(number, unknown) for number in range(len(events))])
            predictions["r_rup_km"] = predictions["r_hyp_km"].copy(data=every)
        return predictions.assign_coords(self._of_source(events, facts.known)).assign_attrs(
            intensity_measure=self.im,
            unit=imt.unit(self.im),
            crs=self.experiment.grid.crs,
            members=len(self.members),
            calibrated=int(facts.calibration is not None),
            simulated=int(self.run.simulated),
            **facts.known.attributes,
            **self.condition.attributes,
        )

    def _r_rup_by_event(self, events: pd.DataFrame, facts: Facts) -> dict[int, np.ndarray]:
        """Return the distances from the known ruptures to the places, km, [...], by number of the event."""
        places, ruptures = facts.places, facts.known.ruptures
        return {
            number: ruptures[name].map_distance_km(self.experiment.grid, places.x_km, places.y_km)
            for number, name in enumerate(events["event_id"])
            if name in ruptures
        }

    def _conditioned_moments(
        self,
        events: pd.DataFrame,
        epicentres: tuple[np.ndarray, np.ndarray],
        r_hyp_km: np.ndarray,
        r_rup_km: dict[int, np.ndarray],
        facts: Facts,
    ) -> tuple[list[tuple | None], list[FieldMoments | None]]:
        """Return moments of ln IM of the backbone, and of the field, of each member, [event, ...] each."""
        source_km = np.stack([*epicentres, events["depth_km"]], axis=-1)
        of_backbone = functools.partial(
            conditioning.backbone_moments,
            events=events,
            r_hyp_km=r_hyp_km,
            vs30=facts.vs30,
            r_rup_km=r_rup_km,
        )
        tables, fields = zip(*self.condition.of(self.members), strict=True)
        of_fields = conditioning.of_each(fields, lambda field: self._field_moments(field, source_km, facts))
        # Threads of BLAS wait in a busy loop, and take the cores from the networks.
        with _blas().limit(limits=1, user_api="blas"):
            return conditioning.of_each(tables, of_backbone), of_fields

    def _field_moments(self, field: Field, source_km: np.ndarray, facts: Facts) -> FieldMoments:
        """Return the moments of a field at places, [event, ...], for hypocentres [event, 3], km."""
        rock, xy_km = facts.known.reference_rock, facts.places.xy_km
        inputs = [tf.constant(values, tf.float32) for values in (source_km, xy_km.reshape(-1, 2))]
        # Of rock below a station the records of the station tell nothing.
        if facts.site_ids is not None and not rock:
            inputs.append(tf.constant(conditioning.site_numbers(field, facts.site_ids), tf.int32))
        key = id(field), rock, len(inputs)
        if key not in self._fields:
            kinds = [tf.TensorSpec([None, *values.shape[1:]], values.dtype) for values in inputs]
            at = functools.partial(FieldGraph.of(field).at, site_terms=not rock)
            self._fields[key] = field, tf.function(at, kinds, autograph=False)
        shape = len(source_km), *xy_km.shape[:-1]
        mean, variance = (values.numpy().reshape(shape) for values in self._fields[key][1](*inputs))
        return FieldMoments(mean, variance, field.covariance.event)

    def _support_at(
        self, events: pd.DataFrame, epicentres: tuple[np.ndarray, np.ndarray], r_hyp_km: np.ndarray
    ) -> np.ndarray | None:
        """Return the support of predictions, [event, ...]; None for an ensemble that does not know it."""
        if self.support is None:
            return None
        scenario = (events[name].to_numpy(float) for name in ("magnitude", "depth_km"))
        curve = self.support.curve(*scenario, *epicentres)
        return self.support.at(curve, np.log(np.maximum(r_hyp_km, 1.0)))


@functools.cache
def _blas() -> ThreadpoolController:
    """Return the libraries of linear algebra; to find them takes longer than a prediction."""
    return ThreadpoolController()


def _normals(members: Sequence[Networks], maps: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Return mean and standard deviation of ln IM, [event, row, col, K] each, from every member."""
    normals = [networks(maps) for networks in members]
    return [(normal.loc, normal.scale) for normal in normals]


def _answer(batches: Iterator[xr.Dataset], progress: Progress) -> xr.Dataset:
    """Return batches of events as one dataset, with the median; report the number of events done."""

    def reported() -> Iterator[xr.Dataset]:
        done = 0
        for batch in batches:
            yield batch
            done += batch.sizes["event"]
            progress(done)

    return quantities.Quantities().of(together(reported()))


def together(batches: Iterator[xr.Dataset]) -> xr.Dataset:
    """Return batches of events as one dataset, joined along ``event``.

    Parameters
    ----------
    batches : iterator of xarray.Dataset
        As returned by `Ensemble.batches`.

    Returns
    -------
    xarray.Dataset
    """
    options = {"data_vars": "minimal", "coords": "minimal", "compat": "override", "join": "override"}
    return xr.concat(batches, "event", **options)


def load(run: RunFolder | Path | str, im: str | None = None, condition: str = "all") -> Ensemble:
    """Load the ensemble of the trained members of a run for one intensity measure.

    Parameters
    ----------
    run : RunFolder or path
        The run, opened or as a folder.
    im : str, optional
        Intensity measure; the first one of the run by default.
    condition : {"all", "training"}
        Records on which backbone and field are conditioned: all of the run, or for each chunk its training
        records (`tfgmm.prediction.conditioning.Condition`).

    Returns
    -------
    Ensemble
        With the backbone, the field and the calibration of the run, if there are any.

    Raises
    ------
    UsageError
        There is no such run, the run has no such intensity measure, no member is trained, there is no such
        condition, or the run is not finished and nothing is conditioned on all of its records.
    DataError
        A file of the run is missing or damaged.
    """
    opened = RunFolder.open(run)
    im = imt.canonical(im) if im else opened.experiment.ims[0]
    return load_all(opened, [im], condition)[im]


def load_all(run: RunFolder, ims: Sequence[str], condition: str = "all") -> dict[str, Ensemble]:
    """Load the ensembles of intensity measures of a run, which share their networks.

    Parameters
    ----------
    run : RunFolder
        The run.
    ims : sequence of str
        Intensity measures of the run.
    condition : {"all", "training"}
        As for `load`.

    Returns
    -------
    dict of str to Ensemble
        By intensity measure.

    Raises
    ------
    UsageError, DataError
        As for `load`.
    """
    places = run.trained(ims[0])
    networks = {place: member.load_networks(run.member(*place), ims) for place in places}
    outputs = Outputs(networks, Rasteriser(run.experiment.grid, run.channels, run.site_layers()))
    return {
        im: Ensemble(
            *(run, im, outputs, number),
            calibration=run.calibration(im),
            ranges=run.ranges(im),
            condition=Condition.of_run(run, im, networks, condition),
            support=run.support(im),
            shrinkage=run.shrinkage(im),
        )
        for number, im in enumerate(ims)
    }
