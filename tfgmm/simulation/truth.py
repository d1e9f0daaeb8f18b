"""Planted truth of the simulated records: median, site, source, path and event terms, and site layers.

Planted means: chosen by the simulation, and therefore known exactly. The formulas are in
``docs/simulated.md``. Source, path and site terms are Gaussian random fields.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core import imt
from tfgmm.core.coast import on_land
from tfgmm.core.grid import Grid
from tfgmm.data.layers import LAYERS
from tfgmm.stats import ergodic, im_correlation

#: Number of points that are evaluated at once: the waves at so many points fit into the processor's cache.
_BLOCK = 128


@dataclasses.dataclass(frozen=True)
class RandomField:
    r"""Gaussian random fields of unit variance as sums of random waves (Rahimi & Recht, 2007).

    .. math:: f(x) = n^{-1/2} \sum_j a_j \cos(k_j \cdot x) + b_j \sin(k_j \cdot x)

    The n wavenumbers :math:`k_j` are drawn from the spectral density of the correlation function. The
    spectral density of a Matern correlation of smoothness :math:`\nu` is a bivariate t distribution with
    :math:`2 \nu` degrees of freedom (Rasmussen & Williams, 2006, equation 4.15). For the default
    :math:`\nu = 1/2` it is a Cauchy distribution, and the correlation at distance h is
    :math:`\exp(-h / l)` with the correlation length l. A field may also be defined over pairs of a source
    and a site, two planes with one correlation length each; the correlation of such a field is the
    product of the correlations in the two planes.

    Attributes
    ----------
    wavenumbers : ndarray, [n_planes, n_waves, 2]
        Wavenumbers to the east and to the north in each plane, radians per km.
    weights : ndarray, [2 n_waves, n_fields]
        First all a, then all b, divided by the square root of `n_waves`.
    """

    wavenumbers: np.ndarray
    weights: np.ndarray

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        lengths_km: tuple[float, ...],
        mixing=((1.0,),),
        smoothness: float = 0.5,
        waves: int = 2000,
    ) -> Self:
        """Return a random realisation of one field, or of several correlated fields.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of the random numbers.
        lengths_km : tuple of float
            Correlation length in each plane, km.
        mixing : array_like, [n_fields, n_fields]
            Cholesky factor of the correlation matrix of the fields.
        smoothness : float
            Smoothness of the Matern correlation; 1/2 gives the exponential correlation.
        waves : int
            Number of waves; the standard error of the correlation is about waves^(-1/2) / 1.4.

        Returns
        -------
        RandomField
        """
        shape = (len(lengths_km), waves)
        spread = np.sqrt(rng.chisquare(2 * smoothness, shape) / (2 * smoothness))
        scale = spread * np.array(lengths_km)[:, np.newaxis]
        wavenumbers = rng.standard_normal((*shape, 2)) / scale[..., np.newaxis]
        amplitudes = _normals(rng, 2 * waves, len(mixing)) @ np.transpose(mixing)
        return cls(wavenumbers, amplitudes / np.sqrt(waves))

    def at(self, xy_km: np.ndarray) -> np.ndarray:
        """Return all fields at points of the first plane, [n_points, n_fields].

        Parameters
        ----------
        xy_km : ndarray, [n_points, 2]
            Coordinates of the points, km east and north.
        """
        values = np.empty((len(xy_km), self.weights.shape[1]))
        for block in _blocks(len(xy_km)):
            values[block] = _waves(xy_km[block], self.wavenumbers[0]) @ self.weights
        return values

    def waves(self, *planes_km: np.ndarray) -> np.ndarray:
        """Return cosines and sines at points, [n_points, 2 n_waves]; times `weights` they give the fields.

        Parameters
        ----------
        *planes_km : ndarray, [n_points, 2]
            Coordinates in each plane, km east and north; of two planes, row i is a pair of source and site.
        """
        return _waves(np.hstack(planes_km), np.hstack(list(self.wavenumbers)))

    def between(self, source_km: np.ndarray, site_km: np.ndarray, fields: Sequence[int]) -> np.ndarray:
        """Return fields over two planes for every pair of source and site, [n_sources, n_sites, n_fields].

        Parameters
        ----------
        source_km : ndarray, [n_sources, 2]
            Coordinates of the sources, km east and north.
        site_km : ndarray, [n_sites, 2]
            Coordinates of the sites, km east and north.
        fields : sequence of int, [n_fields]
            Indices of the fields, columns of `weights`.
        """
        planes = [(source_km, self.wavenumbers[0]), (site_km, self.wavenumbers[1])]
        # The equation is symmetric in both planes: weights go to the one with fewer points.
        (few_km, few_waves), (many_km, many_waves) = sorted(planes, key=lambda plane: len(plane[0]))
        cos, sin = np.split(_waves(few_km, few_waves), 2, axis=1)
        values = np.empty((len(few_km), len(many_km), len(fields)))
        weighted = []
        for field in fields:
            a, b = np.split(self.weights[:, field], 2)
            weighted.append(np.concatenate([cos * a + sin * b, cos * b - sin * a], axis=1))
        for block in _blocks(len(many_km)):
            waves = _waves(many_km[block], many_waves).T
            for number, few in enumerate(weighted):
                values[:, block, number] = few @ waves
        return values if few_km is source_km else values.swapaxes(0, 1)


def _normals(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return standard normal random numbers; the first four of the last axis do not depend on its length.

    So a seed has the PGA that it had when four intensity measures were simulated.
    """
    first = rng.standard_normal((*shape[:-1], min(shape[-1], 4)))
    if shape[-1] <= 4:
        return first
    others = rng.spawn(1)[0].standard_normal((*shape[:-1], shape[-1] - 4))
    return np.concatenate([first, others], axis=-1)


def _blocks(number: int) -> list[slice]:
    """Return slices of at most `_BLOCK` points that together cover `number` points."""
    edges = [*range(0, number, _BLOCK), number]
    return [slice(*pair) for pair in itertools.pairwise(edges)]


def _waves(xy_km: np.ndarray, wavenumbers: np.ndarray) -> np.ndarray:
    """Return all cosines, then all sines, of waves at points [n_points, d], as [n_points, 2 n_waves]."""
    turns = xy_km @ wavenumbers.T / (2 * np.pi)
    # Single precision is 25 times as fast here, and exact enough once whole turns are gone.
    phase = (2 * np.pi * (turns - np.round(turns))).astype("float32")
    return np.concatenate([np.cos(phase), np.sin(phase)], axis=1, dtype=float)


#: Grid whose map projection gives the coordinates, in km, on which all planted terms are defined.
GRID = Grid()
#: West, south, east, north of the study area, degrees.
BOX = (138.9, 34.9, 141.0, 36.6)
#: Raster of the site layers and of ``truth.nc``, degrees: the input window of the network and a margin.
LONGITUDE = np.arange(13770, 14222, 2) / 100
LATITUDE = np.arange(3390, 3758, 2) / 100

#: Coefficients c0 ... c6 of the ergodic median (`ergodic.ErgodicModel.median`) of ln IM (g, PGV cm/s).
COEFFICIENTS = {
    "PGA": (2.35, 1.05, -0.05, -1.30, 0.05, -0.004, 0.006),
    "PGV": (6.10, 1.40, -0.10, -1.22, 0.055, -0.003, 0.004),
    "SA(0.1)": (3.05, 0.98, -0.04, -1.32, 0.05, -0.005, 0.007),
    "SA(0.2)": (3.20, 1.10, -0.06, -1.30, 0.05, -0.0045, 0.006),
    "SA(0.3)": (2.95, 1.20, -0.08, -1.28, 0.05, -0.004, 0.005),
    "SA(0.5)": (2.40, 1.35, -0.11, -1.23, 0.055, -0.003, 0.004),
    "SA(1.0)": (1.30, 1.60, -0.15, -1.15, 0.06, -0.002, 0.003),
    "SA(2.0)": (0.10, 1.85, -0.18, -1.06, 0.065, -0.0015, 0.001),
}
IMS = tuple(COEFFICIENTS)
#: Standard deviations, ln units, the same for all intensity measures.
TAU, PHI_S2S, PHI_SOURCE, PHI_PATH, PHI_SS = 0.35, 0.42, 0.20, 0.25, 0.40
#: Shares of the three parts of the site term in its variance, `PHI_S2S` squared.
SITE_SHARES = {"layers": 0.25, "correlated": 0.25, "nugget": 0.50}
PHI_NUGGET = PHI_S2S * SITE_SHARES["nugget"] ** 0.5
#: Correlation lengths in km, of exp(-h / length).
SITE_RANGE_KM, SOURCE_RANGE_KM, PATH_RANGES_KM = 12.0, 40.0, (40.0, 20.0)
#: Change of the site term, before standardisation, for 1 km more of z_bedrock and for 0.4 less of ln vs30.
LAYER_RESPONSE = {
    "PGA": (-1.0, 0.4),
    "PGV": (0.3, 0.6),
    "SA(0.1)": (-1.1, 0.3),
    "SA(0.2)": (-0.8, 0.5),
    "SA(0.3)": (-0.4, 0.6),
    "SA(0.5)": (0.1, 0.6),
    "SA(1.0)": (0.7, 0.5),
    "SA(2.0)": (0.9, 0.3),
}
#: Period, s, whose correlation with other periods PGV has.
PGV_PERIOD_S = 0.7
#: Number of waves of each of the site, the source and the path field.
WAVES = 2000
#: Largest number of pairs of event and point, and of events, that are worked on at once.
_PAIRS, _EVENTS = 1_000_000, 2048

_PURPOSES = (
    *("kik stations", "meso stations", "kik events", "meso events"),
    *("kik nuggets", "meso nuggets", "kik event terms", "meso event terms"),
    *("kik scatter", "meso scatter", "kik thinning", "meso thinning"),
    *("z_bedrock", "vs30", "site", "source", "path"),
)


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the random number generator of one purpose, independent of all other generators.

    Parameters
    ----------
    seed : int
        Seed of the simulation.
    purpose : str
        One of `_PURPOSES`, for example ``kik events``.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PURPOSES.index(purpose),)))


@functools.cache
def planted_im_correlation() -> np.ndarray:
    """Return the correlation of each random term between intensity measures, [n_ims, n_ims], as in `IMS`.

    That of Baker & Jayaram (2008) between periods; PGA counts as 0.01 s and PGV as `PGV_PERIOD_S`.
    """
    periods = [PGV_PERIOD_S if im == "PGV" else imt.period(im) or im_correlation.PGA_PERIOD_S for im in IMS]
    return im_correlation.baker_jayaram_2008_by_period(periods)


def correlated_normals(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return standard normal random numbers, [*shape, n_ims], with the correlation planted between `IMS`.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the random numbers.
    *shape : int
        Leading dimensions of the result.
    """
    return _normals(rng, *shape, len(IMS)) @ np.linalg.cholesky(planted_im_correlation()).T


def project(longitude, latitude) -> np.ndarray:
    """Return the position of points on the map of `GRID`, km east and north of its centre, [n, 2].

    Parameters
    ----------
    longitude, latitude : array_like, [n]
        Coordinates of the points, degrees.
    """
    return np.stack(GRID.project(longitude, latitude), axis=-1)


def r_hyp_km(events: pd.DataFrame, longitude, latitude) -> np.ndarray:
    """Return the hypocentral distance of each event at each point, km, [n_events, n_points].

    Parameters
    ----------
    events : pandas.DataFrame
        ``longitude`` and ``latitude`` (degrees), ``depth_km``.
    longitude, latitude : array_like, [n_points]
        Coordinates of the points, degrees.
    """
    source, site = project(events["longitude"], events["latitude"]), project(longitude, latitude)
    dx, dy = (source[:, np.newaxis] - site).transpose(2, 0, 1)
    return np.sqrt(dx**2 + dy**2 + events["depth_km"].to_numpy()[:, np.newaxis] ** 2)


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """Planted terms, maps and site layers, which can be evaluated at any point.

    ``docs/simulated.md`` has the formulas. All terms are in ln units.

    Attributes
    ----------
    seed : int
        Seed of all random numbers; all terms and layers except the two tables depend on the seed alone.
    event_terms : pandas.DataFrame
        Event terms, with standard deviation `TAU`, by event id; one column per intensity measure.
    nuggets : pandas.DataFrame
        Part of the site term that is independent from site to site, with standard deviation `PHI_NUGGET`,
        by station id; one column per intensity measure. Stations of one site have the same nugget.
    """

    seed: int
    event_terms: pd.DataFrame
    nuggets: pd.DataFrame

    def median(self, im: str, events: pd.DataFrame, longitude, latitude) -> np.ndarray:
        """Return the planted median of ln IM: no event term, nugget or within-event scatter.

        The planted median is the sum of the ergodic median, the map of the site term, the source-region
        term and the path term.

        Parameters
        ----------
        im : str
            Intensity measure, one of `IMS`; in g, PGV in cm/s.
        events : pandas.DataFrame
            ``longitude`` and ``latitude`` (degrees), ``depth_km``, ``magnitude``.
        longitude, latitude : array_like, [n_points]
            Coordinates of the points, degrees.

        Returns
        -------
        ndarray, [n_events, n_points]
        """
        return self.medians((im,), events, longitude, latitude)[..., 0]

    def medians(self, ims: Sequence[str], events: pd.DataFrame, longitude, latitude) -> np.ndarray:
        """Return the planted medians (`median`) of several intensity measures, [n_events, n_points, n_ims].

        Parameters
        ----------
        ims : sequence of str, [n_ims]
            Intensity measures out of `IMS`.
        events : pandas.DataFrame
            ``longitude`` and ``latitude`` (degrees), ``depth_km``, ``magnitude``.
        longitude, latitude : array_like, [n_points]
            Coordinates of the points, degrees.
        """
        numbers = [IMS.index(im) for im in ims]
        site = self.site_parts(longitude, latitude)[..., numbers].sum(axis=0)
        points = project(longitude, latitude)
        values = np.empty((len(events), len(site), len(ims)))
        step = max(1, min(_EVENTS, _PAIRS // max(1, len(site))))
        for start in range(0, len(events), step):
            block = events.iloc[start : start + step]
            epicentres = project(block["longitude"], block["latitude"])
            source = PHI_SOURCE * self.source_field.at(epicentres)[:, numbers]
            median = values[start : start + step]
            median[:] = self._ergodic_medians(ims, block, longitude, latitude)
            median += PHI_PATH * self.path_field.between(epicentres, points, numbers)
            median += source[:, np.newaxis]
            median += site
        return values

    def ergodic_median(self, im: str, events: pd.DataFrame, longitude, latitude) -> np.ndarray:
        r"""Return the part of the median of ln IM that depends on magnitude, distance and depth.

        .. math:: c_0 + c_1 (M-6) + c_2 (M-6)^2 + (c_3 + c_4 (M-6)) \ln R + c_5 R + c_6 Z

        with magnitude M, hypocentral distance R and depth Z in km.

        Parameters
        ----------
        im : str
            Intensity measure, one of `IMS`.
        events : pandas.DataFrame
            ``longitude`` and ``latitude`` (degrees), ``depth_km``, ``magnitude``.
        longitude, latitude : array_like, [n_points]
            Coordinates of the points, degrees.

        Returns
        -------
        ndarray, [n_events, n_points]
        """
        return self._ergodic_medians((im,), events, longitude, latitude)[..., 0]

    def _ergodic_medians(self, ims, events: pd.DataFrame, longitude, latitude) -> np.ndarray:
        """Return `ergodic_median` of several intensity measures, [n_events, n_points, n_ims]."""
        magnitude, depth = (events[c].to_numpy()[:, np.newaxis] for c in ("magnitude", "depth_km"))
        design = ergodic.design(magnitude, r_hyp_km(events, longitude, latitude), depth)
        return design @ np.transpose([COEFFICIENTS[im] for im in ims])

    def site_map(self, im: str, longitude, latitude) -> np.ndarray:
        """Return the site term without nugget, the sum of both `site_parts`, ln units, [n_points].

        Parameters
        ----------
        im : str
            Intensity measure, one of `IMS`.
        longitude, latitude : array_like, [n_points]
            Coordinates of the points, degrees.
        """
        return self.site_parts(longitude, latitude)[..., IMS.index(im)].sum(axis=0)

    def site_parts(self, longitude, latitude) -> np.ndarray:
        """Return the layer-driven and the correlated part of the site term, ln units, [2, n_points, n_ims].

        The layer-driven part depends on the site layers, the correlated part is a random field. Over the
        land of the study area `BOX`, each part has mean zero and its share (`SITE_SHARES`) of the site
        variance.

        Parameters
        ----------
        longitude, latitude : array_like, [n_points]
            Coordinates of the points, degrees.
        """
        mean, stddev = self._over_box
        shares = np.array([SITE_SHARES["layers"], SITE_SHARES["correlated"]]).reshape(2, 1, 1)
        return PHI_S2S * np.sqrt(shares) * (self._site(longitude, latitude) - mean) / stddev

    def source_term(self, im: str, longitude, latitude) -> np.ndarray:
        """Return the source-region term, which depends on the epicentre alone, ln units, [n_epicentres].

        Parameters
        ----------
        im : str
            Intensity measure, one of `IMS`.
        longitude, latitude : array_like, [n_epicentres]
            Epicentres, degrees.
        """
        return PHI_SOURCE * self.source_field.at(project(longitude, latitude))[:, IMS.index(im)]

    def path_term(self, im: str, events: pd.DataFrame, longitude, latitude) -> np.ndarray:
        """Return the path term of each event at each point, ln units, [n_events, n_points].

        Parameters
        ----------
        im : str
            Intensity measure, one of `IMS`.
        events : pandas.DataFrame
            ``longitude`` and ``latitude`` of the epicentres, degrees.
        longitude, latitude : array_like, [n_points]
            Coordinates of the points, degrees.
        """
        source, site = project(events["longitude"], events["latitude"]), project(longitude, latitude)
        return PHI_PATH * self.path_field.between(source, site, [IMS.index(im)])[..., 0]

    def z_bedrock(self, longitude, latitude) -> np.ndarray:
        """Return the depth to bedrock, m, [n_points].

        The bedrock is an oval bowl, with additional sediment off the eastern coast and a random texture.

        Parameters
        ----------
        longitude, latitude : array_like, [n_points]
            Coordinates of the points, degrees.
        """
        xy = project(longitude, latitude)
        bowl = np.exp(-(_oval(xy, (0.0, 0.0), (75.0, 60.0), 120.0) ** 3))
        offshore = 1 / (1 + np.exp((95.0 - xy[:, 0]) / 8.0))
        return (150 + 3500 * bowl + 1200 * offshore) * np.exp(0.12 * self._z_texture.at(xy)[:, 0])

    def vs30(self, longitude, latitude) -> np.ndarray:
        """Return Vs30, m/s, [n_points].

        Vs30 is about 200 m/s in an oval plain and 700 m/s in the mountains, with a random texture.

        Parameters
        ----------
        longitude, latitude : array_like, [n_points]
            Coordinates of the points, degrees.
        """
        xy = project(longitude, latitude)
        plain = np.exp(-(_oval(xy, (8.0, 2.0), (90.0, 68.0), 150.0) ** 4))
        return 700 * (200 / 700) ** plain * np.exp(0.15 * self._vs30_texture.at(xy)[:, 0])

    def layers(self) -> xr.Dataset:
        """Return the site layers ``z_bedrock`` (m) and ``vs30`` (m/s), [latitude, longitude].

        The raster is `LATITUDE` x `LONGITUDE`.
        """
        lat, lon = raster_points()
        return raster(
            {
                name: (getattr(self, name)(lon, lat).round(1), {"units": unit, "long_name": long_name})
                for name, (unit, long_name) in LAYERS.items()
            }
        )

    def _site(self, longitude, latitude) -> np.ndarray:
        """Return layer response and correlated field before standardisation, [2, n_points, n_ims]."""
        depth = self.z_bedrock(longitude, latitude) / 1000
        softness = -np.log(self.vs30(longitude, latitude)) / 0.4
        response = np.stack([depth, softness], axis=1) @ np.transpose(list(LAYER_RESPONSE.values()))
        return np.stack([response, self.site_field.at(project(longitude, latitude))])

    @functools.cached_property
    def _over_box(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of `_site` over the land of `BOX`, each [2, 1, n_ims]."""
        parts = self._site(*land_of_box())
        return parts.mean(axis=1, keepdims=True), parts.std(axis=1, keepdims=True)

    def correlated_scale(self, im: str) -> float:
        """Return the factor that turns `site_field` into the correlated site term, ln units.

        The factor applies after subtracting the mean of `site_field` over `land_of_box`.

        Parameters
        ----------
        im : str
            Intensity measure, one of `IMS`.
        """
        _, stddev = self._over_box
        return PHI_S2S * SITE_SHARES["correlated"] ** 0.5 / stddev[1, 0, IMS.index(im)]

    @functools.cached_property
    def site_field(self) -> RandomField:
        """Return the random fields, one for each of `IMS`, of the correlated site term; unit variance."""
        return self._draw("site", (SITE_RANGE_KM,))

    @functools.cached_property
    def source_field(self) -> RandomField:
        """Return the random fields, one for each of `IMS`, of the source-region term; unit variance."""
        return self._draw("source", (SOURCE_RANGE_KM,))

    @functools.cached_property
    def path_field(self) -> RandomField:
        """Return the random fields, one for each of `IMS`, of the path term; unit variance.

        The fields are defined over pairs of an epicentre and a site.
        """
        return self._draw("path", PATH_RANGES_KM)

    def _draw(self, purpose: str, lengths_km: tuple[float, ...]) -> RandomField:
        """Return random fields, one for each of `IMS`, from the random numbers of a purpose."""
        mixing = np.linalg.cholesky(planted_im_correlation())
        return RandomField.draw(stream(self.seed, purpose), lengths_km, mixing, waves=WAVES)

    @functools.cached_property
    def _z_texture(self) -> RandomField:
        """Return the random field by which the logarithm of the depth to bedrock varies."""
        return RandomField.draw(stream(self.seed, "z_bedrock"), (25.0,), smoothness=1.5, waves=500)

    @functools.cached_property
    def _vs30_texture(self) -> RandomField:
        """Return the random field by which the logarithm of Vs30 varies."""
        return RandomField.draw(stream(self.seed, "vs30"), (8.0,), smoothness=1.5, waves=500)


def raster_points() -> tuple[np.ndarray, np.ndarray]:
    """Return latitude and longitude of all points of the raster, degrees, [n] each, row by row.

    The raster is `LATITUDE` x `LONGITUDE`.
    """
    lat, lon = np.meshgrid(LATITUDE, LONGITUDE, indexing="ij")
    return lat.ravel(), lon.ravel()


def land_of_box() -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude of the raster points on land in `BOX`, degrees, [n_points] each."""
    west, south, east, north = BOX
    lat, lon = raster_points()
    box = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
    box[box] = on_land(lon[box], lat[box])
    return lon[box], lat[box]


def raster(variables: dict[str, tuple[np.ndarray, dict]]) -> xr.Dataset:
    """Return a dataset in the CF convention, on `LATITUDE` x `LONGITUDE`, from values in a flat order.

    Parameters
    ----------
    variables : dict of str to (ndarray, dict)
        By name of the variable: values, [n] or [n_ims, n], with points in the order of `raster_points`; and
        attributes.

    Returns
    -------
    xarray.Dataset
        Variables [latitude, longitude] or [im, latitude, longitude].
    """
    size = len(LATITUDE), len(LONGITUDE)
    coordinates: dict[str, tuple] = {
        "latitude": ("latitude", LATITUDE, {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": ("longitude", LONGITUDE, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    data = {
        name: (
            ("im", *coordinates)[-values.ndim - 1 :],
            values.reshape(*values.shape[:-1], *size),
            attributes,
        )
        for name, (values, attributes) in variables.items()
    }
    if any("im" in dims for dims, *_ in data.values()):
        coordinates["im"] = ("im", list(IMS), {"long_name": "intensity measure"})
    return xr.Dataset(data, coordinates, {"Conventions": "CF-1.11", "source": "simulated by tfgmm"})


def _oval(xy_km: np.ndarray, center_km: tuple, half_axes_km: tuple, azimuth: float) -> np.ndarray:
    """Return the distance of points from the centre of an ellipse as a multiple of its half axes, [n].

    The distance is 1 on the ellipse. `xy_km` are points [n, 2], km; the first half axis points along
    `azimuth`, degrees.
    """
    angle = np.radians(azimuth)
    turn = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]])
    return np.linalg.norm((xy_km - center_km) @ turn.T / half_axes_km, axis=1)
