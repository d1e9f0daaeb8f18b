"""Published ergodic ground-motion models, computed by the library pygmm."""

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pygmm
from scipy.interpolate import RegularGridInterpolator

from tfgmm.core import imt
from tfgmm.stats import conditional_pgv

#: Vs30, m/s, of records for which neither the site layer nor the station has a value.
UNKNOWN_VS30_M_S = 400.0
#: Hypocentral depth, km, below which the crustal models do not scale with depth.
DEEPEST_CRUSTAL_KM = 20.0

# Steps of the interpolation in ln(distance + 5 km) and in ln Vs30 (m/s), and the 5 km of the former.
_DISTANCE_STEP, _VS30_STEP = 0.12, 0.2
_NEAR_KM = 5.0


@dataclasses.dataclass(frozen=True)
class PublishedModel:
    """A published ground-motion model of pygmm, with its inputs and its range of application.

    Attributes
    ----------
    name : str
        Name in tables and figures.
    tectonic_class : str
        ``crustal``, ``interface`` or ``intraslab``.
    gmm : type
        Class of pygmm that computes the model.
    fixed : dict of str to str
        Properties of the pygmm scenario that are the same for all records.
    ranges : dict of str to (float, float)
        Range of application that the authors state, by column of the records (magnitude, km, m/s).
    distance : str
        Column of the distance: ``r_hyp_km`` (hypocentral) or ``r_epi_km`` (epicentral).
    depths_km : tuple of float
        Hypocentral depths at which the scaling with depth begins, bends and ends; 0 alone if there is none.
    vs30 : tuple of float
        Vs30 at which the scaling with Vs30 bends, m/s.
    jumps : tuple of float
        Magnitudes at which the model is discontinuous.
    """

    name: str
    tectonic_class: str
    gmm: type[Any]
    fixed: dict[str, str]
    ranges: dict[str, tuple[float, float]]
    distance: str = "r_hyp_km"
    depths_km: tuple[float, ...] = (0.0,)
    vs30: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()

    def ln_im(self, im: str, magnitude, distance_km, depth_km, vs30) -> tuple[float, float]:
        """Return the median and the standard deviation of ln IM of one record, computed by pygmm.

        PGV of a model without it follows from its SA (`tfgmm.stats.conditional_pgv`).

        Parameters
        ----------
        im : str
            Intensity measure: PGA or SA(T) in g, PGV in cm/s.
        magnitude : float
            Moment magnitude.
        distance_km : float
            Distance of the column `distance`, km.
        depth_km : float
            Hypocentral depth, km.
        vs30 : float
            Vs30, m/s.

        Returns
        -------
        median, stddev : float
            Median of ln IM, and total standard deviation in ln units; both are NaN for a period that the
            model does not have.
        """
        model = self._computed(magnitude, distance_km, depth_km, min(depth_km, DEEPEST_CRUSTAL_KM), vs30)
        if im == "PGA":
            return np.log(model.pga), model.ln_std_pga
        if im == "PGV":
            return self._pgv(model, magnitude, distance_km, vs30)
        periods = [imt.period(im)]
        return model.interp_ln_spec_accels(periods)[0], model.interp_ln_stds(periods)[0]

    def medians(self, ims: Sequence[str], magnitude, distance_km, *, depth_km, top_km, vs30) -> np.ndarray:
        """Return the medians of ln IM of one record for several measures, in one call of pygmm.

        Parameters
        ----------
        ims : sequence of str, [im]
            Intensity measures: PGA or SA(T) in g, PGV in cm/s.
        magnitude : float
            Moment magnitude.
        distance_km : float
            Distance of the column `distance`, km.
        depth_km : float
            Hypocentral depth, km.
        top_km : float
            Depth to the top of the rupture, km.
        vs30 : float
            Vs30, m/s.

        Returns
        -------
        ndarray, [im]
            Medians of ln IM; NaN for a period that the model does not have.
        """
        model = self._computed(magnitude, distance_km, depth_km, top_km, vs30)
        peaks = {"PGA": np.log(model.pga)}
        if "PGV" in ims:
            peaks["PGV"] = self._pgv(model, magnitude, distance_km, vs30)[0]
        periods = [np.nan if im in peaks else imt.period(im) for im in ims]
        values = model.interp_ln_spec_accels(periods)
        return np.array([peaks.get(im, value) for im, value in zip(ims, values, strict=True)])

    def _pgv(self, model: Any, magnitude: float, distance_km: float, vs30: float) -> tuple[float, float]:
        """Return the median and the standard deviation of ln PGV (cm/s) of one record."""
        if model.INDEX_PGV is not None:
            return np.log(model.pgv), model.ln_std_pgv
        periods = [imt.period(conditional_pgv.spectral_measure(magnitude))]
        ln_sa, stddev = model.interp_ln_spec_accels(periods)[0], model.interp_ln_stds(periods)[0]
        pgv = conditional_pgv.conditional_pgv(ln_sa, magnitude, distance_km, vs30, phi=stddev)
        return float(pgv.median), float(np.hypot(pgv.tau, pgv.phi))

    def _computed(self, magnitude, distance_km, depth_km, top_km, vs30) -> Any:
        """Return pygmm's model of one record; the parameters are those of `medians`."""
        scenario = pygmm.Scenario(
            mag=magnitude,
            **dict.fromkeys(("dist_rup", "dist_hyp", "dist_jb"), distance_km),
            dist_x=-1.0,  # not on the hanging wall
            dip=90.0,
            depth_hyp=depth_km,
            depth_tor=top_km,
            v_s30=vs30,
            **self.fixed,
        )
        return self.gmm(scenario)

    def in_region(self, region: str) -> "PublishedModel":
        """Return the model with the terms of a region, or its global terms if it has none for the region.

        Parameters
        ----------
        region : str
            Region as pygmm spells it: ``global``, ``california``, ``japan``, ``italy``, ``taiwan``,
            ``china``, ``turkey`` or ``new_zealand``.

        Returns
        -------
        PublishedModel
            The same model if it has no regional terms at all.
        """
        options = [name for p in self.gmm.PARAMS if p.name == "region" for name in p.options]
        if not options:
            return self
        # Chiou & Youngs call their terms without adjustment those of California.
        own = next(name for name in (region, "global", "california") if name in options)
        return dataclasses.replace(self, fixed=self.fixed | {"region": own})


_JAPAN = {"region": "japan", "mechanism": "SS"}
_UNSPECIFIED = {"region": "japan", "mechanism": "U"}
_SUBDUCTION = {"tectonic_region": "forearc"}

#: Abrahamson, Silva & Kamai; Boore, Stewart, Seyhan & Atkinson; Campbell & Bozorgnia; Chiou & Youngs
#: (2014, Earthquake Spectra 30(3), 1025-1153); Abrahamson, Gregor & Addo (2016, 32(1), 23-44).
MODELS = (
    PublishedModel(
        *("ASK14", "crustal", pygmm.AbrahamsonSilvaKamai2014, _JAPAN),
        {"magnitude": (3, 8.5), "r_hyp_km": (0, 300), "vs30": (180, 1000)},
        depths_km=(0, DEEPEST_CRUSTAL_KM),
        vs30=(250, 350, 450, 600, 660, 850),
    ),
    PublishedModel(
        *("BSSA14", "crustal", pygmm.BooreStewartSeyhanAtkinson2014, _UNSPECIFIED),
        {"magnitude": (3, 8.5), "r_epi_km": (0, 400), "vs30": (150, 1500)},
        distance="r_epi_km",
        vs30=(760,),
    ),
    PublishedModel(
        *("CB14", "crustal", pygmm.CampbellBozorgnia2014, _JAPAN),
        {"magnitude": (3.3, 8.5), "r_hyp_km": (0, 300), "depth_km": (0, 20), "vs30": (150, 1500)},
        depths_km=(0, 7, DEEPEST_CRUSTAL_KM),
        vs30=(200, 865),
    ),
    PublishedModel(
        *("CY14", "crustal", pygmm.ChiouYoungs2014, _UNSPECIFIED),
        {"magnitude": (3.5, 8.5), "r_hyp_km": (0, 300), "depth_km": (0, 20), "vs30": (180, 1500)},
        depths_km=(0, DEEPEST_CRUSTAL_KM),
        jumps=(6.0, 6.9),
    ),
    PublishedModel(
        *("AGA16 interface", "interface", pygmm.AbrahamsonGregorAddo2016),
        _SUBDUCTION | {"event_type": "interface"},
        {"magnitude": (6, 8.4), "r_hyp_km": (0, 300)},
        vs30=(865, 1000),
    ),
    PublishedModel(
        *("AGA16 intraslab", "intraslab", pygmm.AbrahamsonGregorAddo2016),
        _SUBDUCTION | {"event_type": "intraslab"},
        {"magnitude": (5, 7.9), "r_hyp_km": (0, 300)},
        depths_km=(0, 40, 80, 120),
        vs30=(865, 1000),
    ),
)
CLASSES = tuple(dict.fromkeys(model.tectonic_class for model in MODELS))


def with_assumptions(records: pd.DataFrame) -> pd.DataFrame:
    """Return records with ``r_epi_km`` and ``vs30`` added, and assumptions where the values are unknown.

    The rupture is a point: its closest distance is the hypocentral distance and its Joyner-Boore distance
    the epicentral distance; its top lies at the hypocentre, at most 20 km deep for the crustal models. The
    mechanism is unspecified if a model allows it, else strike-slip on a vertical fault, which has no
    hanging wall; subduction events are in the forearc. Basin depths are the average of each model for
    the Vs30. Components of the ground motion are taken as equal.

    Parameters
    ----------
    records : pandas.DataFrame, [n, ...]
        ``r_hyp_km`` and ``depth_km``; optionally ``vs30`` of the site layer and ``vs30_m_s`` of the
        station.

    Returns
    -------
    pandas.DataFrame, [n, ...]
        The same records with ``r_epi_km`` (km) and ``vs30``, m/s: of the site layer, else of the station,
        else 400 m/s.
    """
    epicentral = np.sqrt(np.maximum(records["r_hyp_km"] ** 2 - records["depth_km"] ** 2, 0))
    vs30 = pd.Series(np.nan, records.index)
    for name in ("vs30", "vs30_m_s"):
        if name in records:
            vs30 = vs30.fillna(records[name].astype(float))
    return records.assign(r_epi_km=epicentral, vs30=vs30.fillna(UNKNOWN_VS30_M_S))


def evaluate(model: PublishedModel, im: str, records: pd.DataFrame) -> np.ndarray:
    """Return the median and the standard deviation of ln IM of each record, computed by pygmm.

    One record takes a call of pygmm of 0.3 ms.

    Parameters
    ----------
    model : PublishedModel
        The published model.
    im : str
        Intensity measure: PGA or SA(T) in g, PGV in cm/s.
    records : pandas.DataFrame, [n, ...]
        Result of `with_assumptions`: ``magnitude, depth_km, vs30`` (m/s), ``r_hyp_km, r_epi_km``.

    Returns
    -------
    ndarray, [n, 2]
        Median of ln IM and total standard deviation (ln units).
    """
    columns = ["magnitude", model.distance, "depth_km", "vs30"]
    with _without_warnings():
        return np.array([model.ln_im(im, *row) for row in records[columns].to_numpy(float).tolist()])


def interpolate(model: PublishedModel, im: str, records: pd.DataFrame) -> np.ndarray:
    """Return the results of `evaluate`, interpolated between a few calls of pygmm.

    The interpolation is linear in magnitude, ln(distance + 5 km), depth and ln Vs30. Outside the depths
    of `PublishedModel.depths_km`, the nearest depth is taken.

    Parameters
    ----------
    model : PublishedModel
        The published model.
    im : str
        Intensity measure: PGA or SA(T) in g, PGV in cm/s.
    records : pandas.DataFrame, [n, ...]
        Result of `with_assumptions`.

    Returns
    -------
    ndarray, [n, 2]
        Median of ln IM and total standard deviation (ln units).
    """
    depth = records["depth_km"].clip(model.depths_km[0], model.depths_km[-1])
    distance = np.log(records[model.distance] + _NEAR_KM)
    points = np.column_stack([records["magnitude"], distance, depth, np.log(records["vs30"])]).astype(float)
    nodes = (
        _magnitudes(points[:, 0], model.jumps),
        _nodes(points[:, 1], _DISTANCE_STEP),
        np.array(model.depths_km, float),
        _nodes(points[:, 3], _VS30_STEP, np.log(model.vs30)),
    )
    m, r, z, v = (axis.ravel() for axis in np.meshgrid(*nodes, indexing="ij"))
    scenarios = {"magnitude": m, model.distance: np.exp(r) - _NEAR_KM, "depth_km": z, "vs30": np.exp(v)}
    values = evaluate(model, im, pd.DataFrame(scenarios)).reshape(*map(len, nodes), 2)
    return RegularGridInterpolator(nodes, values)(points)


def _magnitudes(magnitude: np.ndarray, jumps: tuple[float, ...]) -> np.ndarray:
    """Return the multiples of 0.1 that enclose all magnitudes, and a node on either side of each jump.

    The published models bend at multiples of 0.1 of the magnitude.
    """
    around = np.arange(np.floor(magnitude.min() * 10), np.ceil(magnitude.max() * 10) + 1) / 10
    return _add_nodes(around, [jump + side for jump in jumps for side in (-1e-9, 1e-9)])


def _nodes(values: np.ndarray, step: float, bends=()) -> np.ndarray:
    """Return grid nodes from the smallest to the largest of `values`, ascending, at most `step` apart.

    `bends` are values at which the slope of a published model changes; those in the range are nodes too.
    """
    low, high = values.min(), values.max()
    return _add_nodes(np.linspace(low, high, 1 + int(np.ceil((high - low) / step))), bends)


def _add_nodes(nodes: np.ndarray, added: Iterable[float]) -> np.ndarray:
    """Return the nodes, ascending, with those added nodes that lie between the first and the last node."""
    return np.union1d(nodes, [node for node in added if nodes[0] < node < nodes[-1]])


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence the warnings of pygmm for scenarios outside a model's range, which are counted elsewhere."""
    library, root = str(Path(pygmm.__file__).parent), logging.getLogger()

    def is_of_others(record: logging.LogRecord) -> bool:
        """Return True for log messages that do not come from pygmm."""
        return not record.pathname.startswith(library)

    root.addFilter(is_of_others)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"pygmm\.")
            yield
    finally:
        root.removeFilter(is_of_others)
