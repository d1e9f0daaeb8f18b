"""Planted truth of the simulated records: medians, site, source and path terms, site layers."""

import dataclasses
import functools

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core import imt
from tfgmm.core.coast import on_land
from tfgmm.core.grid import Grid
from tfgmm.data.layers import LAYERS
from tfgmm.simulation.random_field import RandomField
from tfgmm.stats import ergodic

#: Grid in whose projection, in km, all planted terms are defined.
GRID = Grid()
#: West, south, east, north of the study area, degrees.
BOX = (138.9, 34.9, 141.0, 36.6)
#: Raster of the layers and of ``truth.nc``, degrees: the input window and a margin.
LONGITUDE = np.arange(13770, 14222, 2) / 100
LATITUDE = np.arange(3390, 3758, 2) / 100

#: c0 ... c6 of `ergodic.ErgodicModel.median`; IM in g.
COEFFICIENTS = {
    "PGA": (2.35, 1.05, -0.05, -1.30, 0.05, -0.004, 0.006),
    "SA(0.3)": (2.95, 1.20, -0.08, -1.28, 0.05, -0.004, 0.005),
    "SA(1.0)": (1.30, 1.60, -0.15, -1.15, 0.06, -0.002, 0.003),
    "SA(3.0)": (-0.65, 2.00, -0.20, -1.00, 0.07, -0.001, 0.0),
}
IMS = tuple(COEFFICIENTS)
#: Standard deviations, ln units, the same for all intensity measures.
TAU, PHI_S2S, PHI_SOURCE, PHI_PATH, PHI_SS = 0.35, 0.42, 0.20, 0.25, 0.40
#: Shares of the site variance.
SITE_SHARES = {"layers": 0.25, "correlated": 0.25, "nugget": 0.50}
PHI_NUGGET = PHI_S2S * SITE_SHARES["nugget"] ** 0.5
#: Correlation lengths in km, of exp(-h / length).
SITE_RANGE_KM, SOURCE_RANGE_KM, PATH_RANGES_KM = 12.0, 40.0, (40.0, 20.0)
#: Response to one km more of z_bedrock and to a fall of ln vs30 by 0.4, before standardisation.
LAYER_RESPONSE = {"PGA": (-1.0, 0.4), "SA(0.3)": (-0.4, 0.6), "SA(1.0)": (0.7, 0.5), "SA(3.0)": (1.0, 0.2)}
#: Waves of the site, the source and the path field.
WAVES = 2000
#: Largest number of event-point pairs, and of events, that are worked on at once.
_PAIRS, _EVENTS = 1_000_000, 2048

_PURPOSES = (
    *("kik stations", "meso stations", "kik events", "meso events"),
    *("kik nuggets", "meso nuggets", "kik event terms", "meso event terms"),
    *("kik scatter", "meso scatter", "kik thinning", "meso thinning"),
    *("z_bedrock", "vs30", "site", "source", "path"),
)


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the random numbers of one purpose, which do not depend on how many others are drawn."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PURPOSES.index(purpose),)))


def im_correlation() -> np.ndarray:
    r"""Return the correlation of every random term between `IMS`, [n_ims, n_ims].

    .. math:: \rho = \exp(-|\ln(T_1 / T_2)| / 2)

    with the natural periods T; PGA counts as 0.05 s.
    """
    ln_period = np.log([imt.period(im) or 0.05 for im in IMS])
    return np.exp(-np.abs(ln_period[:, np.newaxis] - ln_period) / 2)


def correlated_normals(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Draw standard normal numbers, [*shape, n_ims], correlated between `IMS`."""
    return rng.standard_normal((*shape, len(IMS))) @ np.linalg.cholesky(im_correlation()).T


def project(longitude, latitude) -> np.ndarray:
    """Return points, degrees, in km east and north of the centre of `GRID`, [n, 2]."""
    return np.stack(GRID.project(longitude, latitude), axis=-1)


def r_hyp_km(events: pd.DataFrame, longitude, latitude) -> np.ndarray:
    """Return the hypocentral distance of each event at each point, km, [n_events, n_points]."""
    source, site = project(events["longitude"], events["latitude"]), project(longitude, latitude)
    dx, dy = (source[:, np.newaxis] - site).transpose(2, 0, 1)
    return np.sqrt(dx**2 + dy**2 + events["depth_km"].to_numpy()[:, np.newaxis] ** 2)


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """Planted terms, maps and layers at any place; see ``docs/simulated.md`` for the formulas.

    Points are one-dimensional arrays of longitude and latitude in degrees, events a table with
    ``longitude, latitude, depth_km, magnitude``; all terms are in ln units.

    Attributes
    ----------
    seed : int
        Root of all random numbers; everything but the two tables depends on it alone.
    event_terms : pandas.DataFrame
        Event terms of standard deviation `TAU` by event id, a column per intensity measure.
    nuggets : pandas.DataFrame
        Part of the site term that is on no map, by station id; equal for all stations of a site.
    """

    seed: int
    event_terms: pd.DataFrame
    nuggets: pd.DataFrame

    def median(self, im: str, events: pd.DataFrame, longitude, latitude) -> np.ndarray:
        """Return the planted median of ln IM (IM in g): all terms but event term, nugget and scatter.

        Returns
        -------
        ndarray, [n_events, n_points]
        """
        site = self.site_map(im, longitude, latitude)
        values = np.empty((len(events), len(site)))
        step = max(1, min(_EVENTS, _PAIRS // max(1, len(site))))
        for start in range(0, len(events), step):
            block = events.iloc[start : start + step]
            source = self.source_term(im, block["longitude"], block["latitude"])
            values[start : start + step] = (
                self.ergodic_median(im, block, longitude, latitude)
                + self.path_term(im, block, longitude, latitude)
                + source[:, np.newaxis]
                + site
            )
        return values

    def ergodic_median(self, im: str, events: pd.DataFrame, longitude, latitude) -> np.ndarray:
        """Return the part of the median by magnitude, distance and depth, [n_events, n_points]."""
        magnitude, depth = (events[c].to_numpy()[:, np.newaxis] for c in ("magnitude", "depth_km"))
        return ergodic.design(magnitude, r_hyp_km(events, longitude, latitude), depth) @ COEFFICIENTS[im]

    def site_map(self, im: str, longitude, latitude) -> np.ndarray:
        """Return the map part of the site term, layer-driven plus correlated, [n_points]."""
        return self.site_parts(longitude, latitude)[..., IMS.index(im)].sum(axis=0)

    def site_parts(self, longitude, latitude) -> np.ndarray:
        """Return the layer-driven and the correlated part of the site term, [2, n_points, n_ims].

        Either has mean zero and its planted variance over the land of `BOX`.
        """
        mean, stddev = self._over_box
        shares = np.array([SITE_SHARES["layers"], SITE_SHARES["correlated"]]).reshape(2, 1, 1)
        return PHI_S2S * np.sqrt(shares) * (self._site(longitude, latitude) - mean) / stddev

    def source_term(self, im: str, longitude, latitude) -> np.ndarray:
        """Return the source-region term of epicentres, [n_epicentres]."""
        return PHI_SOURCE * self.source_field.at(project(longitude, latitude))[:, IMS.index(im)]

    def path_term(self, im: str, events: pd.DataFrame, longitude, latitude) -> np.ndarray:
        """Return the path term of each event at each point, [n_events, n_points]."""
        source, site = project(events["longitude"], events["latitude"]), project(longitude, latitude)
        return PHI_PATH * self.path_field.between(source, site, IMS.index(im))

    def z_bedrock(self, longitude, latitude) -> np.ndarray:
        """Return the depth to bedrock, m, [n_points]: an oval bowl, and sediment off the eastern coast."""
        xy = project(longitude, latitude)
        bowl = np.exp(-(_oval(xy, (0.0, 0.0), (75.0, 60.0), 120.0) ** 3))
        offshore = 1 / (1 + np.exp((95.0 - xy[:, 0]) / 8.0))
        return (150 + 3500 * bowl + 1200 * offshore) * np.exp(0.12 * self._z_texture.at(xy)[:, 0])

    def vs30(self, longitude, latitude) -> np.ndarray:
        """Return Vs30, m/s, [n_points]: 200 in an oval plain, 700 in the mountains, with texture."""
        xy = project(longitude, latitude)
        plain = np.exp(-(_oval(xy, (8.0, 2.0), (90.0, 68.0), 150.0) ** 4))
        return 700 * (200 / 700) ** plain * np.exp(0.15 * self._vs30_texture.at(xy)[:, 0])

    def layers(self) -> xr.Dataset:
        """Return ``z_bedrock`` and ``vs30`` on the raster `LATITUDE` x `LONGITUDE`."""
        lat, lon = raster_points()
        return raster(
            {
                name: (getattr(self, name)(lon, lat).round(1), {"units": unit, "long_name": long_name})
                for name, (unit, long_name) in LAYERS.items()
            }
        )

    def _site(self, longitude, latitude) -> np.ndarray:
        """Return layer response and correlated field, not yet standardised, [2, n_points, n_ims]."""
        depth = self.z_bedrock(longitude, latitude) / 1000
        softness = -np.log(self.vs30(longitude, latitude)) / 0.4
        response = np.stack([depth, softness], axis=1) @ np.transpose(list(LAYER_RESPONSE.values()))
        return np.stack([response, self.site_field.at(project(longitude, latitude))])

    @functools.cached_property
    def _over_box(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of `_site` over the land of `BOX`, [2, 1, n_ims] each."""
        parts = self._site(*land_of_box())
        return parts.mean(axis=1, keepdims=True), parts.std(axis=1, keepdims=True)

    def correlated_scale(self, im: str) -> float:
        """Return the factor of `site_field`, less its mean over `land_of_box`, in the site term."""
        _, stddev = self._over_box
        return PHI_S2S * SITE_SHARES["correlated"] ** 0.5 / stddev[1, 0, IMS.index(im)]

    @functools.cached_property
    def site_field(self) -> RandomField:
        """Return the fields of unit variance, one for each of `IMS`, of the correlated site term."""
        return self._draw("site", (SITE_RANGE_KM,))

    @functools.cached_property
    def source_field(self) -> RandomField:
        """Return the fields of unit variance of the source-region term, over epicentres."""
        return self._draw("source", (SOURCE_RANGE_KM,))

    @functools.cached_property
    def path_field(self) -> RandomField:
        """Return the fields of unit variance of the path term, over epicentres and sites."""
        return self._draw("path", PATH_RANGES_KM)

    def _draw(self, purpose: str, lengths_km: tuple[float, ...]) -> RandomField:
        """Draw fields, one for each of `IMS`, with the random numbers of a purpose."""
        mixing = np.linalg.cholesky(im_correlation())
        return RandomField.draw(stream(self.seed, purpose), lengths_km, mixing, waves=WAVES)

    @functools.cached_property
    def _z_texture(self) -> RandomField:
        """Return the field that varies the depth to bedrock."""
        return RandomField.draw(stream(self.seed, "z_bedrock"), (25.0,), smoothness=1.5, waves=500)

    @functools.cached_property
    def _vs30_texture(self) -> RandomField:
        """Return the field that varies Vs30."""
        return RandomField.draw(stream(self.seed, "vs30"), (8.0,), smoothness=1.5, waves=500)


def raster_points() -> tuple[np.ndarray, np.ndarray]:
    """Return latitude and longitude of the raster `LATITUDE` x `LONGITUDE`, flat, row by row."""
    lat, lon = np.meshgrid(LATITUDE, LONGITUDE, indexing="ij")
    return lat.ravel(), lon.ravel()


def land_of_box() -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude of the raster points on the land of `BOX`, [n_points] each."""
    west, south, east, north = BOX
    lat, lon = raster_points()
    box = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
    box[box] = on_land(lon[box], lat[box])
    return lon[box], lat[box]


def raster(variables: dict[str, tuple[np.ndarray, dict]]) -> xr.Dataset:
    """Return flat values with attributes as a CF dataset on `LATITUDE` x `LONGITUDE`.

    Parameters
    ----------
    variables : dict of str to (ndarray, dict)
        Values, [n] or [n_ims, n], row by row, and attributes.
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
    """Return the distance of points from the centre of an ellipse, in units of its half axes, [n].

    The first half axis points along `azimuth`, degrees.
    """
    angle = np.radians(azimuth)
    turn = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]])
    return np.linalg.norm((xy_km - center_km) @ turn.T / half_axes_km, axis=1)
