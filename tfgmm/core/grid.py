"""Map projection, pixel geometry, input and output windows.

Row 0 is north, column 0 is west; no other module needs to know.
"""

import functools

import numpy as np
import pydantic
import pyproj
import pyproj.aoi
import pyproj.database

from tfgmm.core.errors import UsageError

#: Largest share by which a length on the map may differ from that on the Earth.
SCALE_TOLERANCE = 0.01


def output_size(input_size: int, depth: int) -> int | None:
    """Return how many pixels a U-Net of valid 3x3 convolutions leaves of an input of `input_size` pixels.

    Two convolutions a level take 4 pixels, pooling halves and the transposed convolution doubles
    (Ronneberger et al., 2015, Figure 1): 572 -> 388 at depth 4. `None` if an odd size would have
    to be halved or nothing is left.
    """
    size = input_size
    for _ in range(depth):
        size -= 4
        if size % 2 or size <= 0:
            return None
        size //= 2
    size -= 4
    for _ in range(depth):
        size = 2 * size - 4
    return size if size > 0 else None


def check_size(input_size: int, depth: int) -> int:
    """Return the output size, or raise an error that names the nearest input sizes that work.

    Raises
    ------
    UsageError
        The size cannot be halved `depth` times.
    """
    size = output_size(input_size, depth)
    if size is None:
        near = sorted(range(8, input_size + 1000), key=lambda n: abs(n - input_size))
        works = sorted([n for n in near if output_size(n, depth)][:2])
        raise UsageError(
            f"input size {input_size} does not fit a U-Net of depth {depth}; "
            f"the nearest sizes that do are {' and '.join(map(str, works))}"
        )
    return size


class Grid(pydantic.BaseModel):
    """A square raster in a map projection: an input window and the output window inside it.

    Parameters
    ----------
    crs : str
        A metric coordinate reference system, as ``EPSG:6677`` (Japan Plane Rectangular CS IX).
    longitude, latitude : float
        Centre of both windows, degrees.
    pixel_km : float
        Side of a pixel.
    input_size, output_size : int
        Pixels along a side; their difference is even.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    crs: str = "EPSG:6677"
    longitude: float = pydantic.Field(139.95, ge=-180, le=180)
    latitude: float = pydantic.Field(35.75, ge=-90, le=90)
    pixel_km: float = pydantic.Field(2.0, gt=0)
    input_size: int = pydantic.Field(188, gt=0)
    output_size: int = pydantic.Field(100, gt=0)

    @pydantic.field_validator("crs")
    @classmethod
    def _metric(cls, crs: str) -> str:
        """Refuse a coordinate reference system that is unknown or not in metres."""
        try:
            system = pyproj.CRS(crs)
        except pyproj.exceptions.CRSError as error:
            raise ValueError(f"{crs} is no coordinate reference system that PROJ knows") from error
        if not system.is_projected or any(axis.unit_name != "metre" for axis in system.axis_info):
            raise ValueError(f"{crs} is not metric; choose a projected system such as EPSG:6677")
        return crs

    @property
    def margin(self) -> int:
        """Return the number of pixels between the edges of the input and the output window."""
        return (self.input_size - self.output_size) // 2

    @functools.cached_property
    def _transformer(self) -> pyproj.Transformer:
        """Return the transformation from degrees to metres on the map."""
        return pyproj.Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)

    @functools.cached_property
    def _center_m(self) -> tuple[float, float]:
        """Return the centre of the windows on the map, m."""
        return self._transformer.transform(self.longitude, self.latitude)

    def refuse_distortion(self) -> None:
        """Refuse a map projection whose lengths are wrong by more than 1 % within the input window.

        Distances and pixel sizes are taken from the map. The scale is that of Tissot's indicatrix,
        largest and smallest over all directions, at the corners, the edges and the centre.

        Raises
        ------
        UsageError
            The scale leaves 0.99 to 1.01, or the projection does not reach so far. The message names
            the scale and a coordinate reference system that fits.
        """
        low, high = self._scale_range()
        if _is_undistorted(low, high):
            return
        scale = f"a scale of {low:.3f} to {high:.3f}" if np.isfinite(high) else "no position"
        raise UsageError(
            f"{self.crs} has {scale} in parts of the {self.input_size * self.pixel_km:g} km wide window "
            f"around {self.longitude:g} E {self.latitude:g} N, expected {1 - SCALE_TOLERANCE:g} to "
            f"{1 + SCALE_TOLERANCE:g}: {self._advice()}"
        )

    def _scale_range(self) -> tuple[float, float]:
        """Return the smallest and largest scale factor in the input window, infinite where none is."""
        half = self.input_size * self.pixel_km / 2
        x, y = np.meshgrid([-half, 0, half], [-half, 0, half])
        longitude, latitude = self.unproject(x.ravel(), y.ravel())
        factors = pyproj.Proj(self.crs).get_factors(longitude, latitude)
        axes = np.array([factors.tissot_semiminor, factors.tissot_semimajor])
        axes = np.where(np.isfinite(axes), axes, np.inf)
        return float(axes.min()), float(axes.max())

    def _advice(self) -> str:
        """Name a projection that fits the window: the UTM zone, else a local azimuthal one."""
        local = (
            f"+proj=aeqd +lat_0={self.latitude:g} +lon_0={self.longitude:g} +datum=WGS84 +units=m +type=crs"
        )
        place = pyproj.aoi.AreaOfInterest(*[self.longitude, self.latitude] * 2)
        zones = pyproj.database.query_utm_crs_info(datum_name="WGS 84", area_of_interest=place)
        for crs in [*(f"{zone.auth_name}:{zone.code}" for zone in zones), local]:
            if _is_undistorted(*self.model_copy(update={"crs": crs})._scale_range()):
                return f"choose --crs '{crs}'" if " " in crs else f"choose --crs {crs}"
        return "no projection is true over so wide a window, make it smaller"

    def project(self, longitude, latitude) -> tuple[np.ndarray, np.ndarray]:
        """Return points as km east and km north of the centre.

        Parameters
        ----------
        longitude, latitude : array_like
            Degrees.
        """
        x, y = self._transformer.transform(np.asarray(longitude), np.asarray(latitude))
        return (x - self._center_m[0]) / 1000.0, (y - self._center_m[1]) / 1000.0

    def unproject(self, x_km, y_km) -> tuple[np.ndarray, np.ndarray]:
        """Return the longitude and latitude, degrees, of points in km east and north of the centre."""
        x, y = self._center_m
        return self._transformer.transform(
            np.asarray(x_km) * 1000.0 + x, np.asarray(y_km) * 1000.0 + y, direction="INVERSE"
        )

    def axes_km(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return pixel centres of a window in km: x of columns, y of rows (falling), [size] each."""
        offset = (np.arange(size) - (size - 1) / 2) * self.pixel_km
        return offset, -offset

    def centres_km(self, size: int) -> np.ndarray:
        """Return km east and km north of all pixel centres of a window, [size, size, 2]."""
        return np.stack(np.meshgrid(*self.axes_km(size)), axis=-1)

    def lonlat(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return longitude and latitude of all pixel centres of a window, degrees, [size, size] each."""
        return self.unproject(*np.moveaxis(self.centres_km(size), -1, 0))

    def locate(self, longitude, latitude) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the pixels of the output window in which points lie.

        Parameters
        ----------
        longitude, latitude : array_like
            Degrees.

        Returns
        -------
        row, col : ndarray of int
            Pixel that contains the point; outside the window also negative or too large.
        inside : ndarray of bool
            True for points in the output window.
        """
        row, col, inside = self.pixel_at(*self.project(longitude, latitude))
        return row.astype(int), col.astype(int), inside

    def pixel_at(self, x_km, y_km, xp=np) -> tuple:
        """Return what `locate` returns for places on the map's plane; rows and columns are whole floats.

        Plain arithmetic, for NumPy arrays and tensors alike.

        Parameters
        ----------
        x_km, y_km : array or tensor
            Km east and north of the grid's centre.
        xp : module
            Where ``floor`` of these arrays is: `numpy`, or ``tf.math`` for tensors.
        """
        size, half = self.output_size, self.output_size * self.pixel_km / 2
        row, col = xp.floor((half - y_km) / self.pixel_km), xp.floor((x_km + half) / self.pixel_km)
        inside = (row >= 0) & (row < size) & (col >= 0) & (col < size)
        return row, col, inside


def _is_undistorted(low: float, high: float) -> bool:
    """Return True if scale factors are one within `SCALE_TOLERANCE`."""
    return low >= 1 - SCALE_TOLERANCE and high <= 1 + SCALE_TOLERANCE
