"""Means and variances of members, random effects and calibration -> one distribution of ln IM.

A member is one trained network of a station chunk and an initialisation, (chunk, init).

All functions of predictions are plain arithmetic, for NumPy arrays and tensors alike: the graph of an
exported model computes with these functions the same values as `tfgmm.prediction.ensemble`. Where a
function of NumPy is needed, `xp` is the module that has it: `numpy`, or ``tf.math`` for tensors.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.core.rupture import Rupture
from tfgmm.data.schemas import VS30_RANGE
from tfgmm.prediction.places import Places, Window
from tfgmm.stats import tectonics
from tfgmm.stats.backbone import Earthquakes, MedianTables
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.mixture import moments
from tfgmm.stats.path_terms import PathTerms
from tfgmm.stats.random_effects import RandomEffects
from tfgmm.stats.support import Shrinkage

Member = tuple[int, int]


# ---- site and path terms of places, for each member ------------------------------------------------------


def terms_on_map(effects: RandomEffects, members: Iterable[Member], grid: Grid) -> np.ndarray:
    """Krige the site terms of each member to the pixels of the map, ln units.

    Parameters
    ----------
    effects : RandomEffects
        Random effects of the run.
    members : iterable of (chunk, init)
        The members.
    grid : Grid
        Map with n pixels along a side.

    Returns
    -------
    ndarray, [member, n, n]
        Expected site terms, ln units.
    """
    centres_km = grid.centres_km(grid.output_size)
    return np.stack([effects.field(*member, centres_km) for member in members])


def terms_at_stations(
    effects: RandomEffects, members: Iterable[Member], terms_of, xy_km
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the site terms at stations for each member, ln units.

    Parameters
    ----------
    effects : RandomEffects
        Random effects of the run.
    members : iterable of (chunk, init)
        The members.
    terms_of : array_like of str, [station]
        Id of the site whose site term applies to each station.
    xy_km : array_like, [station, 2]
        Positions of the stations, km east and north of the map's centre.

    Returns
    -------
    term, stddev : ndarray, [member, station]
        Mean of the site term, and standard deviation of site and path term together, ln units, for an event
        that was not in the training set.
    """
    terms = [effects.terms_at(*member, terms_of, xy_km) for member in members]
    term, stddev = (np.stack(parts) for parts in zip(*terms, strict=True))
    return term, stddev


def unknown_place_stddev(effects: RandomEffects) -> float:
    r"""Return the standard deviation of site and path terms at a place without records, ln units.

    .. math:: \sqrt{\phi_{S2S}^2 + \phi_{place}^2}

    Parameters
    ----------
    effects : RandomEffects
        Random effects of the run; phi_place is the standard deviation of the path terms that are not kriged
        to other places.

    Returns
    -------
    float
    """
    return float(np.hypot(effects.phi_s2s, effects.phi_place))


@dataclasses.dataclass(frozen=True, eq=False)
class PlaceTerms:
    """Site and path terms of the members of a run at some places.

    Attributes
    ----------
    paths : PathTerms
        Source and path terms of the members, in the order of the members.
    site_term : ndarray, [member, ...]
        Mean of the site terms at the places, ln units.
    site_stddev : ndarray, [member, ...]
        Standard deviation of site and path terms together at the places, ln units.
    xy_km : ndarray, [k, ..., 2]
        Positions of the k points from which the path terms of a place are interpolated, km east and north
        of the map's centre.
    weight : ndarray, [k, ...]
        Weights of the k points; their sum is 1.
    station_ids : pandas.Series or None
        Ids of the stations, if the places are stations of the run; None otherwise.
    """

    paths: PathTerms
    site_term: np.ndarray
    site_stddev: np.ndarray
    xy_km: np.ndarray
    weight: np.ndarray
    station_ids: pd.Series | None = None

    @classmethod
    def at_stations(
        cls,
        effects: RandomEffects,
        members: Iterable[Member],
        paths: PathTerms,
        places: Places,
        stations: pd.DataFrame,
    ) -> Self:
        """Return the site and path terms of the members at stations of the run.

        Parameters
        ----------
        effects : RandomEffects
            Random effects of the run.
        members : iterable of (chunk, init)
            The members.
        paths : PathTerms
            Source and path terms of the same members.
        places : Places
            The stations as places, [station].
        stations : pandas.DataFrame
            ``station_id`` and ``terms_of`` of the stations, as returned by `RunFolder.stations`.

        Returns
        -------
        PlaceTerms
        """
        site_term, site_stddev = terms_at_stations(effects, members, stations["terms_of"], places.xy_km)
        xy_km, weight = places.xy_km[np.newaxis], np.ones((1, len(stations)))
        return cls(paths, site_term, site_stddev, xy_km, weight, stations["station_id"])

    @classmethod
    def elsewhere(
        cls, effects: RandomEffects, paths: PathTerms, places: Places, grid: Grid, on_map: np.ndarray
    ) -> Self:
        """Return the site and path terms of the members at places without records.

        Parameters
        ----------
        effects : RandomEffects
            Random effects of the run.
        paths : PathTerms
            Source and path terms of the members.
        places : Places
            The places.
        grid : Grid
            Map of the run.
        on_map : ndarray, [member, row, col]
            Site terms of the members at the pixels, ln units, as returned by `terms_on_map`.

        Returns
        -------
        PlaceTerms
        """
        site_term = places.sample(on_map, Window(0, 0, grid.input_size))
        site_stddev = np.full_like(site_term, unknown_place_stddev(effects))
        xy_km = grid.centres_km(grid.output_size)[places.row, places.col]
        return cls(paths, site_term, site_stddev, xy_km, places.weight)

    def by_member(self, source_km) -> Iterator[tuple]:
        """Yield for each member the site terms, their standard deviations, and the path terms of events.

        Parameters
        ----------
        source_km : array_like, [event, 3]
            Hypocentres, km east and north of the map's centre, and down.

        Yields
        ------
        site_term, site_stddev : ndarray, [...]
            See `PlaceTerms`, ln units.
        path_term : ndarray, [event, ...]
            Sum of source and path term, ln units.
        """
        path_term = (self.paths.shared(source_km, self.xy_km) * self.weight).sum(axis=2)
        if self.station_ids is not None:
            path_term = path_term + self.paths.own(source_km, self.station_ids)
        return zip(self.site_term, self.site_stddev, path_term, strict=True)


#: Vs30 of reference rock, m/s.
ROCK_VS30_M_S = 760.0


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """Facts about ruptures and the ground beyond the tables of events and sites.

    Attributes
    ----------
    ruptures : dict of str to Rupture
        Surfaces of ruptures by event id; the others are unknown.
    vs30_m_s : float or None
        Vs30 of all places, m/s, in place of the site layer and of the stations.
    reference_rock : bool
        If True, places are rock of `ROCK_VS30_M_S` unless `vs30_m_s` is given, and site terms are left out.
    rupture_file : str or None
        Name of the file from which the surface of the one rupture comes, for the record.

    Raises
    ------
    UsageError
        Vs30 is out of range.
    """

    ruptures: Mapping[str, Rupture] = dataclasses.field(default_factory=dict)
    vs30_m_s: float | None = None
    reference_rock: bool = False
    rupture_file: str | None = None

    def __post_init__(self) -> None:
        """Check the Vs30; raise `UsageError` for one that is out of range."""
        lowest, highest = VS30_RANGE
        if self.vs30_m_s is not None and not lowest <= self.vs30_m_s <= highest:
            raise UsageError(f"vs30 {self.vs30_m_s}: expected a number from {lowest} to {highest} m/s")

    def vs30(self, of_places: np.ndarray) -> np.ndarray:
        """Return Vs30 of places, m/s: as known here, else as given.

        Parameters
        ----------
        of_places : ndarray, [...]
            Vs30 of the places from the run, m/s; NaN where unknown.

        Returns
        -------
        ndarray, [...]
        """
        value = self.vs30_of_all
        return of_places if value is None else np.full(of_places.shape, value)

    @property
    def vs30_of_all(self) -> float | None:
        """Return Vs30 of all places, m/s; None if each has its own."""
        rock = ROCK_VS30_M_S if self.reference_rock else None
        return rock if self.vs30_m_s is None else float(self.vs30_m_s)

    @property
    def attributes(self) -> dict[str, float | int | str]:
        """Return what is known as attributes of a dataset of predictions.

        ``reference_rock`` is 0 or 1; ``vs30_m_s``, the Vs30 of all places, and ``rupture_file`` are there
        only where they are given.
        """
        given = {"vs30_m_s": self.vs30_of_all, "rupture_file": self.rupture_file if self.ruptures else None}
        given = {name: value for name, value in given.items() if value is not None}
        return {"reference_rock": int(self.reference_rock)} | given


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """Inputs of a prediction that are the same for every event.

    Attributes
    ----------
    places : Places
        Places for which ln IM is predicted.
    window : Window
        Part of the input maps that the networks need for these places.
    terms : PlaceTerms or None
        Site and path terms at the places; None for a run without random effects.
    calibration : Calibration or None
        Calibration of sigma; None for uncalibrated predictions.
    nearest_km : ndarray or None
        Distance of each place to the nearest training station, km, for the calibration.
    vs30 : ndarray
        Vs30 of each place, m/s, for the backbone; NaN where unknown.
    known : Known
        What is known of ruptures and of the ground.
    """

    places: Places
    window: Window
    terms: PlaceTerms | None
    calibration: Calibration | None
    nearest_km: np.ndarray | None
    vs30: np.ndarray
    known: Known


# ---- the backbone ----------------------------------------------------------------------------------------


def backbone_moments(
    tables: MedianTables, events: pd.DataFrame, r_hyp_km, vs30, r_rup_km: Mapping[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return median, variance and variance of classes of ln IM of the backbone for earthquakes at places.

    Parameters
    ----------
    tables : MedianTables
        Backbone of a chunk.
    events : pandas.DataFrame, [event, ...]
        ``magnitude`` and ``depth_km``; optionally ``tectonic_class``, missing where unknown.
    r_hyp_km : ndarray, [event, ...]
        Hypocentral distances, km; below 1 km they count as 1 km.
    vs30 : ndarray, [...]
        Vs30, m/s; NaN where unknown.
    r_rup_km : dict of int to ndarray, [...]
        Distances to the rupture, km, by number of the event, where the rupture is known.

    Returns
    -------
    median, variance, class_variance : ndarray, [event, ...]
        Ln units; squared ln units; see `MedianTables.at`.
    """
    known = np.where(np.isnan(vs30), tables.vs30_m_s, vs30).reshape(1, -1)
    magnitude, depth_km = (events[name].to_numpy(float) for name in ("magnitude", "depth_km"))
    classes = tectonics.class_weights(depth_km, events.get("tectonic_class"))
    earthquakes = np.column_stack([magnitude, depth_km, tectonics.shared(classes, tables.classes)])
    moments = [np.empty(r_hyp_km.shape) for _ in range(3)]
    r_rup_km = {} if tables.hypocentral else r_rup_km
    unknown = [number for number in range(len(events)) if number not in r_rup_km]
    groups = [({"ln_r_hyp": r_hyp_km[unknown]}, unknown)] if unknown else []
    groups += [({"ln_r_rup": distance[np.newaxis]}, [number]) for number, distance in r_rup_km.items()]
    for distances, rows in groups:
        ln_r = {name: np.log(np.maximum(km, 1.0)).reshape(len(rows), -1) for name, km in distances.items()}
        own = earthquakes[rows]
        at_rows = tables.at(Earthquakes(own[:, 0], own[:, 1], own[:, 2:]), known, **ln_r)
        for moment, values in zip(moments, at_rows, strict=True):
            moment[rows] = values.reshape(len(rows), *vs30.shape)
    return tuple(moments)


def shrunken(of_ensemble: tuple, network_mean, support, shrinkage: Shrinkage, xp=np) -> tuple:
    r"""Return moments of an ensemble whose networks are shrunken towards the backbone, by support.

    .. math:: \mu' = \mu - (1 - w) \bar u, \quad
        \sigma_{epi}'^2 = \sigma_{epi}^2 + \frac{n_0}{n + n_0} \max(\sigma_u^2 - \sigma_{epi}^2, 0)

    with the share w of the networks (`tfgmm.stats.support.Shrinkage.share`). The variance does not fall
    while the support n falls.

    Parameters
    ----------
    of_ensemble : tuple of array or tensor
        Mean, aleatory and epistemic variance, as returned by `tfgmm.stats.mixture.moments`.
    network_mean : array or tensor
        Mean over the members of the means of the networks, u, ln units.
    support : array or tensor
        Effective number n of training records.
    shrinkage : Shrinkage
        n_0 and the prior variance of u.
    xp : module
        `numpy`, or ``tf.math`` for tensors.

    Returns
    -------
    mean, aleatory, epistemic : array or tensor
    """
    mean, aleatory, epistemic = of_ensemble
    withheld = (1.0 - shrinkage.share(support)) * network_mean
    more = xp.maximum(shrinkage.variance_u - epistemic, 0.0)
    return mean - withheld, aleatory, epistemic + shrinkage.unsupported(support) * more


# ---- one member ----------------------------------------------------------------------------------------


def member_moments(mean, stddev, effects: RandomEffects | None = None, terms: tuple = ()) -> tuple:
    r"""Return mean and variance of ln IM from one member, with random effects if the run has any.

    .. math:: \mu = f + \delta S2S_s + \delta L2L_e + \delta P2P_{es}, \quad
        \sigma^2 = \phi_{SS,es}^2 + \phi_f^2 + \tau^2 + \sigma_s^2

    with the terms and variances of `tfgmm.stats.random_effects.RandomEffects`.

    Parameters
    ----------
    mean, stddev : array or tensor
        :math:`f`, the sum of the backbone and the mean of the network, and :math:`\phi_{SS,es}` of the
        network, ln units.
    effects : RandomEffects, optional
        Random effects of the run; without them, mean and variance of the network are returned.
    terms : tuple of (array, tensor or float)
        With random effects: site term :math:`\delta S2S_s`, standard deviation :math:`\sigma_s` of site and
        path terms together, and path term :math:`\delta L2L_e + \delta P2P_{es}`, ln units.

    Returns
    -------
    mean, variance : array or tensor
        Of the shape of `mean`; ln units and squared ln units.
    """
    if effects is None:
        return mean, stddev**2
    site_term, site_stddev, path_term = terms
    return mean + site_term + path_term, effects.variance(stddev, site_stddev)


# ---- the ensemble --------------------------------------------------------------------------------------


def distribution(
    of_ensemble: tuple,
    *,
    effects: RandomEffects | None = None,
    calibration: Calibration | None = None,
    nearest_km=None,
    backbone_variance=0.0,
    xp=np,
) -> dict:
    """Return mean and standard deviations of ln IM of an ensemble, by name.

    Parameters
    ----------
    of_ensemble : tuple of array or tensor
        Mean (ln units), aleatory and epistemic variance (squared ln units), as returned by
        `tfgmm.stats.mixture.moments`.
    effects : RandomEffects, optional
        Random effects of the run, which split the variance into between-event and within-event parts.
    calibration : Calibration, optional
        Calibration of the aleatory and epistemic variance.
    nearest_km : array or tensor, optional
        Distance to the nearest training station, km, for the calibration.
    backbone_variance : array or tensor, optional
        Variance of the median of the backbone, squared ln units, a part of the epistemic variance.
    xp : module
        `numpy`, or ``tf.math`` for tensors.

    Returns
    -------
    dict of str to array or tensor
        ``mean`` and standard deviations, ln units: ``stddev`` (total) and its parts ``aleatory`` and
        ``epistemic``; with random effects also ``between_event`` and ``within_event``, another way to split
        the total.
    """
    mean, aleatory, epistemic = of_ensemble
    if calibration is not None:
        aleatory, epistemic = calibration.variance(nearest_km, aleatory, epistemic, xp)
    epistemic = epistemic + backbone_variance
    total = aleatory + epistemic
    parts = {
        "mean": mean,
        "stddev": xp.sqrt(total),
        "aleatory": xp.sqrt(aleatory),
        "epistemic": xp.sqrt(epistemic),
    }
    if effects is not None:
        parts["between_event"] = total * 0.0 + effects.tau
        parts["within_event"] = xp.sqrt(total - effects.tau**2)
    return parts


class MemberMoments(NamedTuple):
    """Moments of ln IM from one member, as arrays or tensors of one shape.

    Attributes
    ----------
    network : array or tensor
        Mean of the network alone, ln units.
    mean, variance : array or tensor
        Mean without the backbone, and variance, as returned by `member_moments`.
    backbone : tuple of array or tensor, or None
        Median and variance of the backbone, and variance of its classes (`MedianTables.at`); None for a
        member without one.
    """

    network: Any
    mean: Any
    variance: Any
    backbone: tuple[Any, Any, Any] | None


def combined(
    members: Sequence[MemberMoments], support=None, shrinkage: Shrinkage | None = None, xp=np, **parts
) -> dict:
    """Return mean and standard deviations of ln IM of an ensemble, by name, from those of its members.

    Parameters
    ----------
    members : sequence of MemberMoments
        The members.
    support : array or tensor, optional
        Effective number of training records like the predictions.
    shrinkage : Shrinkage, optional
        How far networks are shrunken towards the backbone where the support is small; not by default.
    xp : module
        `numpy`, or ``tf.math`` for tensors.
    **parts
        ``effects, calibration, nearest_km`` of `distribution`.

    Returns
    -------
    dict of str to array or tensor
        As returned by `distribution`; and ``support``, if it is given.
    """
    on_backbone = [member for member in members if member.backbone is not None]
    means = [m.mean if m.backbone is None else m.mean + m.backbone[0] for m in members]
    of_ensemble = moments(means, [member.variance for member in members])
    if support is not None and shrinkage is not None:
        network_mean = sum(member.network for member in on_backbone) / len(members)
        of_ensemble = shrunken(of_ensemble, network_mean, support, shrinkage, xp)
    variance = sum(member.backbone[1] for member in on_backbone) / len(members)
    if support is not None and shrinkage is not None:
        of_classes = sum(member.backbone[2] for member in on_backbone) / len(members)
        variance = variance + shrinkage.unsupported(support) * of_classes
    predicted = distribution(of_ensemble, backbone_variance=variance, xp=xp, **parts)
    return predicted if support is None else predicted | {"support": support}
