"""Members, and what is known of site, path and event -> one distribution of ln IM.

All functions of predictions are plain arithmetic, for NumPy arrays and tensors alike: the graph of an
exported model computes with them what `tfgmm.prediction.ensemble` computes. Where a function of NumPy is
needed, `xp` is the module that has it: `numpy`, or ``tf.math`` for tensors.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np
import pandas as pd

from tfgmm.core.grid import Grid
from tfgmm.prediction.places import Places, Window
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.path_terms import PathTerms
from tfgmm.stats.random_effects import RandomEffects

Member = tuple[int, int]


# ---- what the records tell of a place, for each member -------------------------------------------------


def terms_on_map(effects: RandomEffects, members: Iterable[Member], grid: Grid) -> np.ndarray:
    """Return the site terms that each member expects at the pixels of the map, ln units.

    Parameters
    ----------
    effects : RandomEffects
    members : iterable of (chunk, init)
    grid : Grid

    Returns
    -------
    ndarray, [member, row, col]
    """
    centres_km = grid.centres_km(grid.output_size)
    return np.stack([effects.field(*member, centres_km) for member in members])


def terms_at_stations(
    effects: RandomEffects, members: Iterable[Member], terms_of, xy_km
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the stations' site terms for each member, ln units.

    Parameters
    ----------
    effects : RandomEffects
    members : iterable of (chunk, init)
    terms_of : array_like of str, [station]
        Sites whose terms are those of the stations.
    xy_km : array_like, [station, 2]
        Km east and north of the map's centre.

    Returns
    -------
    term, stddev : ndarray, [member, station]
    """
    terms = [effects.terms_at(*member, terms_of, xy_km) for member in members]
    term, stddev = (np.stack(parts) for parts in zip(*terms, strict=True))
    return term, stddev


def unknown_place_stddev(effects: RandomEffects) -> float:
    """Return the standard deviation of site and path terms where no record is known, ln units."""
    return float(np.hypot(effects.phi_s2s, effects.phi_place))


@dataclasses.dataclass(frozen=True, eq=False)
class PlaceTerms:
    """Site and path terms that the members of a run expect at some places.

    Attributes
    ----------
    paths : PathTerms
        Source and path terms of the members, in their order.
    site_term, site_stddev : ndarray, [member, ...]
        Site terms at the places, and what is unknown of site and path there; ln units.
    xy_km, weight : ndarray, [k, ..., 2] and [k, ...]
        The k points from which a place takes its path terms, and their shares.
    station_ids : pandas.Series or None
        Stations of the run, where the places are stations whose own terms are asked for.
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
        """Return the terms at stations of a run, as `RunFolder.stations` lists them."""
        site_term, site_stddev = terms_at_stations(effects, members, stations["terms_of"], places.xy_km)
        xy_km, weight = places.xy_km[np.newaxis], np.ones((1, len(stations)))
        return cls(paths, site_term, site_stddev, xy_km, weight, stations["station_id"])

    @classmethod
    def elsewhere(
        cls, effects: RandomEffects, paths: PathTerms, places: Places, grid: Grid, on_map: np.ndarray
    ) -> Self:
        """Return the terms at places without records, from those on the map, of `terms_on_map`."""
        site_term = places.sample(on_map, Window(0, 0, grid.input_size))
        site_stddev = np.full_like(site_term, unknown_place_stddev(effects))
        xy_km = grid.centres_km(grid.output_size)[places.row, places.col]
        return cls(paths, site_term, site_stddev, xy_km, places.weight)

    def by_member(self, source_km) -> Iterator[tuple]:
        """Yield for each member the site terms, what is unknown of them, and the path terms of events.

        Parameters
        ----------
        source_km : array_like, [event, 3]
            Hypocentres: km east, north, down.
        """
        path_term = (self.paths.shared(source_km, self.xy_km) * self.weight).sum(axis=2)
        if self.station_ids is not None:
            path_term = path_term + self.paths.own(source_km, self.station_ids)
        return zip(self.site_term, self.site_stddev, path_term, strict=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """Facts of a prediction that are the same for every event.

    Attributes
    ----------
    places : Places
    window : Window
        Part of the input maps that the members need to see.
    terms : PlaceTerms or None
        Site and path terms, in a run with random effects.
    calibration : Calibration or None
    nearest_km : ndarray or None
        Distance of the places to the nearest trained station, for the calibration.
    """

    places: Places
    window: Window
    terms: PlaceTerms | None
    calibration: Calibration | None
    nearest_km: np.ndarray | None


# ---- one member ----------------------------------------------------------------------------------------


def member_moments(mean, stddev, effects: RandomEffects | None = None, terms: tuple = ()) -> tuple:
    r"""Return mean and variance of ln IM from one member's network, and from the random effects if any.

    .. math:: \mu = f + \delta S2S_s + \delta L2L_e + \delta P2P_{es}, \quad
        \sigma^2 = \phi_{SS,es}^2 + \phi_f^2 + \tau^2 + \sigma_s^2

    with the terms and variances of `tfgmm.stats.random_effects.RandomEffects`.

    Parameters
    ----------
    mean, stddev : array or tensor
        :math:`f` and :math:`\phi_{SS,es}`, the output of the network.
    effects : RandomEffects, optional
        Without them the network's mean and variance are returned as they are.
    terms : tuple of (array, tensor or float)
        With random effects: site term :math:`\delta S2S_s`, standard deviation :math:`\sigma_s` of what
        is unknown of site and path, and path term :math:`\delta L2L_e + \delta P2P_{es}`.
    """
    if effects is None:
        return mean, stddev**2
    site_term, site_stddev, path_term = terms
    return mean + site_term + path_term, effects.variance(stddev, site_stddev)


# ---- the ensemble --------------------------------------------------------------------------------------


def distribution(
    moments: tuple,
    *,
    effects: RandomEffects | None = None,
    calibration: Calibration | None = None,
    nearest_km=None,
    xp=np,
) -> dict:
    """Return the distribution of ln IM by the names of what is predicted.

    Parameters
    ----------
    moments : tuple of array or tensor
        Mean, aleatory and epistemic variance, of `tfgmm.stats.mixture.moments`.
    effects : RandomEffects, optional
        Splits the variance into parts between and within events.
    calibration : Calibration, optional
        Scales both parts of the variance.
    nearest_km : array or tensor, optional
        Distance to the nearest trained site, for the calibration.
    xp : module
        `numpy`, or ``tf.math`` for tensors.

    Returns
    -------
    dict of str to array or tensor
        ``mean``, and the standard deviations ``stddev`` (total), ``aleatory`` and ``epistemic``, its
        parts; with random effects also ``between_event`` and ``within_event``, another way to split it.
    """
    mean, aleatory, epistemic = moments
    if calibration is not None:
        aleatory, epistemic = calibration.variance(nearest_km, aleatory, epistemic, xp)
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
