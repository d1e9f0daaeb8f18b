"""Scaling of published models with magnitude, distance and depth, as tables at Vs30 760 m/s."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from tfgmm.stats import japanese_models, point_source, published, tectonics
from tfgmm.stats.scaling_tables import DEPTHS_KM, LN_R, MAGNITUDES
from tfgmm.stats.site_response import SiteResponse

#: Vs30 of the tables, m/s: the reference of the site response (`tfgmm.stats.site_response`).
REFERENCE_VS30_M_S = 760.0
#: Distance, km, at which the scaling of pygmm's models with depth is computed; the non-linear site response
#: at 760 m/s, which couples depth and distance by up to 0.02, is nil there.
_DEPTH_SCALING_R_KM = 100.0
#: Magnitudes over which the slope is taken with which a table carries on outside a model's range.
_SLOPE_OVER = 0.5
#: Steps of pygmm's calls in magnitude, at whose multiples its models bend, and in ln(R + 5 km).
_MAGNITUDE_STEP, _LN_R_STEP, _NEAR_KM = 0.1, 0.12, 5.0
#: Crustal models that scale with the depth of the hypocentre; the others scale with that of the top.
_BY_HYPOCENTRE = ("CB14",)
#: Half of the step around the jump of a model.
_SIDE = 1e-6

#: What all published models assume about a rupture of which only the hypocentre and the distance are known.
ASSUMPTIONS = (
    "R is the closest distance to the rupture where known, else exp of the mean of ln R over the ruptures "
    "that the magnitude and the hypocentre allow",
    "top of the rupture at Z - 0.6 W, at least 0 and, for crustal models, at most 20 km, with the width "
    "W = 10^(0.32 M - 1.01) km (Wells & Coppersmith, 1994; Kaklamanos et al., 2011)",
    "Joyner-Boore distance sqrt(R^2 - top^2)",
    "mechanism unspecified if a model allows it, else strike-slip; dip of 90 degrees; no hanging wall",
    "subduction earthquakes in the forearc",
    "basin depth: the average of each model for the Vs30",
    "components of the ground motion taken as equal",
    "PGV of a model without it from its SA, by Abrahamson & Bhasin (2020)",
)


class ScalingModel(Protocol):
    """Published model whose median is computed for arrays; any object of this form can be a backbone.

    Attributes
    ----------
    name : str
        Name in tables and reports.
    tectonic_class : str
        One of `tfgmm.stats.tectonics.CLASSES`.
    magnitudes : (float, float)
        Range of moment magnitude that the authors state.
    max_r_km : float
        Largest distance that the authors state, km.
    jumps : tuple of float
        Magnitudes at which the median is discontinuous.
    """

    @property
    def name(self) -> str: ...
    @property
    def tectonic_class(self) -> str: ...
    @property
    def magnitudes(self) -> tuple[float, float]: ...
    @property
    def max_r_km(self) -> float: ...
    @property
    def jumps(self) -> tuple[float, ...]: ...

    def __hash__(self) -> int: ...

    def medians(self, ims: Sequence[str], magnitude, r_km, depth_km) -> np.ndarray:
        """Return the medians of ln IM (IM in g, PGV in cm/s) at Vs30 760 m/s, [im, n], of arrays [n]."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class FunctionScaling:
    """Published model given by a function of arrays.

    Attributes
    ----------
    name, tectonic_class : str
        Name and tectonic class of the model.
    function : callable
        ``function(im, magnitude, r_km, depth_km, vs30)`` returns the median of ln IM, [n].
    magnitudes, max_r_km, jumps
        See `ScalingModel`.
    """

    name: str
    tectonic_class: str
    function: Callable[..., np.ndarray]
    magnitudes: tuple[float, float]
    max_r_km: float
    jumps: tuple[float, ...] = ()

    @classmethod
    def of_arrays(cls, model: Any) -> Self:
        """Return the scaling of a published model that is computed for arrays at once.

        Parameters
        ----------
        model : object
            With ``name``, ``tectonic_class``, ``ranges`` (of ``magnitude`` and of the column ``distance``),
            ``jumps``, and ``ln_im(im, magnitude, distance_km, depth_km, vs30)``, which returns the median
            and the standard deviation of ln IM (IM in g), [n] each. The distance is that to the rupture.

        Returns
        -------
        FunctionScaling
            The model as a `ScalingModel`.
        """
        return cls(
            name=model.name,
            tectonic_class=model.tectonic_class,
            function=lambda *arguments: model.ln_im(*arguments)[0],
            magnitudes=model.ranges["magnitude"],
            max_r_km=model.ranges[model.distance][1],
            jumps=model.jumps,
        )

    def medians(self, ims: Sequence[str], magnitude, r_km, depth_km) -> np.ndarray:
        """Return the medians of ln IM (IM in g, PGV in cm/s) at Vs30 760 m/s.

        Parameters
        ----------
        ims : sequence of str, [im]
            Intensity measures.
        magnitude, r_km, depth_km : array_like, [n]
            Moment magnitude; distance to the rupture and depth of the hypocentre, km.

        Returns
        -------
        ndarray, [im, n]
            Medians.
        """
        return np.array([self.function(im, magnitude, r_km, depth_km, REFERENCE_VS30_M_S) for im in ims])


@dataclasses.dataclass(frozen=True, eq=False)
class PygmmScaling:
    """Published model of pygmm, interpolated between some 3,000 calls of about 0.5 ms.

    Depth and distance add up in ln IM in all of these models, so that calls over (M, R) and over (M, Z)
    suffice; between them the interpolation is linear in M, ln(R + 5 km) and Z.

    Attributes
    ----------
    model : PublishedModel
        The model with the terms of its region.
    """

    model: published.PublishedModel

    @property
    def name(self) -> str:
        """Return the name of the model."""
        return self.model.name

    @property
    def tectonic_class(self) -> str:
        """Return the tectonic class of the model."""
        return self.model.tectonic_class

    @property
    def magnitudes(self) -> tuple[float, float]:
        """Return the range of moment magnitude that the authors state."""
        return self.model.ranges["magnitude"]

    @property
    def max_r_km(self) -> float:
        """Return the largest distance that the authors state, km."""
        return self.model.ranges[self.model.distance][1]

    @property
    def jumps(self) -> tuple[float, ...]:
        """Return the magnitudes at which the median jumps."""
        return self.model.jumps

    def medians(self, ims: Sequence[str], magnitude, r_km, depth_km) -> np.ndarray:
        """Return the medians of ln IM (IM in g, PGV in cm/s) at Vs30 760 m/s.

        Parameters
        ----------
        ims : sequence of str, [im]
            Intensity measures.
        magnitude, r_km, depth_km : array_like, [n]
            Moment magnitude; distance to the rupture and depth of the hypocentre, km.

        Returns
        -------
        ndarray, [im, n]
            Medians; NaN for a period that the model does not have.
        """
        magnitude, r_km, depth_km = (np.asarray(a, float) for a in (magnitude, r_km, depth_km))
        top = depth_to_top(magnitude, depth_km)
        crustal = self.tectonic_class == "crustal"
        deepest = self.model.depths_km[-1]
        by_hypocentre = not crustal or self.model.name in _BY_HYPOCENTRE
        depth = np.clip(depth_km if by_hypocentre else top, 0, deepest)
        if self.model.distance == "r_epi_km":
            top = np.minimum(top, published.DEEPEST_CRUSTAL_KM)
            r_km = np.sqrt(np.maximum(r_km**2 - top**2, 0))

        m = _enclosing(magnitude, _MAGNITUDE_STEP)
        m = np.union1d(m, [jump + side for jump in self.jumps for side in (-_SIDE, _SIDE)])
        x = np.log(r_km + _NEAR_KM)
        farthest = max(x.max(), x.min() + _LN_R_STEP)  # nodes differ, also for a single distance
        r_nodes = np.linspace(x.min(), farthest, 2 + int((farthest - x.min()) / _LN_R_STEP))
        depths = np.union1d(self.model.depths_km, [0.0])
        by_r = self._called(ims, m, np.exp(r_nodes) - _NEAR_KM, depths[:1])
        by_depth = self._called(ims, m, np.array([_DEPTH_SCALING_R_KM]), depths)
        by_depth = by_depth - by_depth[..., :1]
        points = np.column_stack([magnitude, x])
        values = RegularGridInterpolator((m, r_nodes), np.moveaxis(by_r[..., 0], 0, -1))(points)
        if len(depths) > 1:
            points = np.column_stack([magnitude, depth])
            values += RegularGridInterpolator((m, depths), np.moveaxis(by_depth[:, :, 0], 0, -1))(points)
        return values.T

    def _called(self, ims, magnitudes, r_km, depths) -> np.ndarray:
        """Return the results of pygmm on the product of its arguments, [im, M, R, Z]."""
        deepest = published.DEEPEST_CRUSTAL_KM
        with published._without_warnings():
            values = [
                self.model.medians(ims, m, r, depth_km=z, top_km=min(z, deepest), vs30=REFERENCE_VS30_M_S)
                for m in magnitudes.tolist()
                for r in r_km.tolist()
                for z in depths.tolist()
            ]
        return np.array(values).T.reshape(len(ims), len(magnitudes), len(r_km), len(depths))


def depth_to_top(magnitude, depth_km) -> np.ndarray:
    r"""Return the depth to the top of a vertical rupture of average width, km, at least 0.

    .. math:: Z_{TOR} = \max(Z - 0.6 W, 0), \quad W = 10^{0.32 M - 1.01}

    Parameters
    ----------
    magnitude : array_like
        Moment magnitude M.
    depth_km : array_like
        Depth Z of the hypocentre, km.

    Returns
    -------
    ndarray
        Depth, km, of the broadcast shape.

    References
    ----------
    Wells & Coppersmith (1994), Bull. Seismol. Soc. Am. 84(4), 974-1002. Kaklamanos, Baise & Boore (2011),
    Estimating unknown input parameters when implementing the NGA ground-motion prediction equations in
    engineering practice, Earthquake Spectra 27(4), 1219-1235.
    """
    width = 10 ** (0.32 * np.asarray(magnitude, float) - 1.01)
    return np.maximum(np.asarray(depth_km, float) - 0.6 * width, 0)


def models_of_pygmm(region: str) -> tuple[ScalingModel, ...]:
    """Return the published models of pygmm with the terms of a region.

    Parameters
    ----------
    region : str
        Region (`tfgmm.stats.tectonics.region_at`).

    Returns
    -------
    tuple of ScalingModel
        The models of `tfgmm.stats.published.MODELS`.
    """
    return tuple(PygmmScaling(model.in_region(region)) for model in published.MODELS)


@functools.lru_cache
def models(region: str) -> tuple[ScalingModel, ...]:
    """Return the published models for a region: those of pygmm, and in Japan those of Japan as well.

    Parameters
    ----------
    region : str
        Region (`tfgmm.stats.tectonics.region_at`).

    Returns
    -------
    tuple of ScalingModel
        Models of all tectonic classes; the same objects in each call.
    """
    return (*models_of_pygmm(region), *(models_of_japan() if region == "japan" else ()))


@functools.lru_cache
def models_of_japan() -> tuple[ScalingModel, ...]:
    """Return the published models of Zhao et al. (2006) and Morikawa & Fujiwara (2013).

    Returns
    -------
    tuple of ScalingModel
        The models of `tfgmm.stats.japanese_models.MODELS`.
    """
    return tuple(FunctionScaling.of_arrays(model) for model in japanese_models.MODELS)


def medians_at_places(
    region: str, im: str, magnitude: float, depth_km: float, *, r_hyp_km, r_rup_km=None, vs30: float
) -> dict[str, np.ndarray]:
    """Return the medians of the published models for an earthquake of unknown tectonic class at places.

    The models are those of the classes that the depth allows.

    Parameters
    ----------
    region : str
        Region of the models, as of `models`.
    im : str
        Intensity measure.
    magnitude, depth_km : float
        Moment magnitude, and depth of the hypocentre, km.
    r_hyp_km : ndarray, [n]
        Hypocentral distances, km.
    r_rup_km : ndarray, [n], optional
        Distances to the rupture, km; by default the most likely of the class for the hypocentre.
    vs30 : float
        Vs30 of all places, m/s.

    Returns
    -------
    dict of str to ndarray, [n]
        Median of ln IM (IM in g) by name of the model; NaN for a period that a model does not have.
    """
    weights = dict(zip(tectonics.CLASSES, tectonics.class_weights(depth_km)[0], strict=True))
    site, medians = SiteResponse.published(im), {}
    r_hyp_km = np.maximum(np.asarray(r_hyp_km, float), 1.0)
    for model in models(region):
        if weights[model.tectonic_class] == 0:
            continue
        likely, _ = point_source.ln_rupture_distance(magnitude, r_hyp_km, depth_km, model.tectonic_class)
        r_km = np.maximum(np.exp(likely) if r_rup_km is None else r_rup_km, 1.0)
        scenario = (np.full(len(r_km), magnitude), r_km, np.full(len(r_km), depth_km))
        at_760, ln_pga = (model.medians([name], *scenario)[0] for name in (im, "PGA"))
        medians[model.name] = at_760 + site.amplification(np.full(len(r_km), float(vs30)), ln_pga)
    return medians


@functools.lru_cache
def tabulate(model: ScalingModel, ims: tuple[str, ...]) -> np.ndarray:
    """Return the median of ln IM (IM in g) of a published model at Vs30 760 m/s on the nodes of the tables.

    At a jump the node is the mean of both sides. Outside the magnitudes that the authors state, the table
    carries on along a straight line in M, with the slope over the half magnitude inside; so a quadratic
    does not turn. Near the source it saturates at R = 1 km, the first node, and where the
    Joyner-Boore distance would be imaginary (R less than the depth to the top), at its value for 0 km.
    Beyond the largest distance the model's own equation goes on.

    Parameters
    ----------
    model : ScalingModel
        The published model.
    ims : tuple of str, [im]
        Intensity measures.

    Returns
    -------
    ndarray, [im, M, R, Z]
        Medians on `MAGNITUDES`, `LN_R` and `DEPTHS_KM`; NaN for a period that the model does not have.
    """
    low, high = model.magnitudes
    inside = np.union1d(np.clip(MAGNITUDES, low, high), [low, high])
    around = [jump + side for jump in model.jumps for side in (-_SIDE, _SIDE) if low < jump + side < high]
    computed = np.union1d(inside, around)
    m, ln_r, z = (a.ravel() for a in np.meshgrid(computed, LN_R, DEPTHS_KM, indexing="ij"))
    values = model.medians(ims, m, np.exp(ln_r), z).reshape(
        len(ims), len(computed), len(LN_R), len(DEPTHS_KM)
    )

    def at(magnitude: float) -> np.ndarray:
        """Return the values, [im, R, Z], at a magnitude inside the range."""
        right = int(np.clip(np.searchsorted(computed, magnitude), 1, len(computed) - 1))
        share = (magnitude - computed[right - 1]) / (computed[right] - computed[right - 1])
        return (1 - share) * values[:, right - 1] + share * values[:, right]

    table = np.empty((len(ims), len(MAGNITUDES), len(LN_R), len(DEPTHS_KM)))
    for number, magnitude in enumerate(MAGNITUDES):
        if any(np.isclose(magnitude, jump) for jump in model.jumps):
            table[:, number] = (at(magnitude - _SIDE) + at(magnitude + _SIDE)) / 2
        elif low <= magnitude <= high:
            table[:, number] = at(magnitude)
        else:
            edge, inward = (low, _SLOPE_OVER) if magnitude < low else (high, -_SLOPE_OVER)
            slope = (at(edge + inward) - at(edge)) / inward
            table[:, number] = at(edge) + slope * (magnitude - edge)
    table.flags.writeable = False  # the same array in each call
    return table


def _enclosing(values: np.ndarray, step: float) -> np.ndarray:
    """Return the multiples of `step` from below the smallest to above the largest value."""
    first, last = np.floor(values.min() / step + 1e-9), np.ceil(values.max() / step - 1e-9)
    return np.round(np.arange(first, max(last, first + 1) + 1) * step, 10)
