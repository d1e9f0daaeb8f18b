"""Map projection and pixels of the images that the network reads and returns.

The network reads an image of the input window and returns an image of the output window in its middle.
Row 0 of an image is the northern edge, column 0 is the western edge.
"""

import functools

import numpy as np
import pydantic
import pyproj
import pyproj.aoi
import pyproj.database

from tfgmm.core.errors import UsageError

#: Largest relative difference between a length on the map and the same length on the Earth.
SCALE_TOLERANCE = 0.01


def output_size(input_size: int, depth: int) -> int | None:
    """Return the output size of a U-Net with unpadded 3x3 convolutions, in pixels along one side.

    Two convolutions per level remove 4 pixels, pooling halves the size, and the transposed convolution
    doubles it. With the depth 4, an input of 572 pixels gives an output of 388 pixels.

    Parameters
    ----------
    input_size : int
        Pixels along one side of the square input.
    depth : int
        Number of pooling steps.

    Returns
    -------
    int or None
        Pixels along one side of the square output; None if a size to be halved is odd or no pixel is left.

    References
    ----------
    Ronneberger, Fischer & Brox (2015), U-Net: convolutional networks for biomedical image segmentation,
    Figure 1.
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
    """Return the output size of a U-Net in pixels, or raise an error that names possible input sizes.

    Parameters
    ----------
    input_size : int
        Pixels along one side of the square input.
    depth : int
        Number of pooling steps of the U-Net.

    Returns
    -------
    int
        Pixels along one side of the square output, see `output_size`.

    Raises
    ------
    UsageError
        The network has no output for this input size; the message names the two nearest possible sizes.
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
    """Square raster in a map projection, with an input window and, in its middle, an output window.

    The network reads an image of the input window and predicts an image of the output window.

    Parameters
    ----------
    crs : str
        Projected coordinate reference system in metres, such as ``EPSG:6677`` (Japan Plane Rectangular
        CS IX).
    longitude, latitude : float
        Centre of both windows, degrees.
    pixel_km : float
        Length of the side of a pixel, km.
    input_size, output_size : int
        Pixels along one side of the input window and of the output window; the difference is even.
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
        """Return the name of a coordinate reference system; refuse one that is unknown or not in metres."""
        try:
            system = pyproj.CRS(crs)
        except pyproj.exceptions.CRSError as error:
            raise ValueError(f"{crs} is no coordinate reference system that PROJ knows") from error
        if not system.is_projected or any(axis.unit_name != "metre" for axis in system.axis_info):
            raise ValueError(f"{crs} is not metric; choose a projected system such as EPSG:6677")
        return crs

    @property
    def margin(self) -> int:
        """Return the number of pixels from the edge of the input window to that of the output window."""
        return (self.input_size - self.output_size) // 2

    @functools.cached_property
    def _transformer(self) -> pyproj.Transformer:
        """Return the pyproj transformation from longitude, latitude (degrees) to map coordinates (m)."""
        return pyproj.Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)

    @functools.cached_property
    def _center_m(self) -> tuple[float, float]:
        """Return the map coordinates of the centre of both windows, m east and m north."""
        return self._transformer.transform(self.longitude, self.latitude)

    def refuse_distortion(self) -> None:
        """Raise an error if the projection distorts lengths by more than 1 % in the input window.

        Distances and pixel sizes are measured on the map, so the map must be true to scale. The scale
        factors are the semi-axes of Tissot's indicatrix at the corners, the mid-points of the edges and the
        centre.

        Raises
        ------
        UsageError
            A scale factor lies outside 0.99 to 1.01, or the projection is not defined in the whole window.
            The message names the scale factors and a coordinate reference system that fits.
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
        """Return the smallest and the largest scale factor in the input window; infinity if undefined."""
        half = self.input_size * self.pixel_km / 2
        x, y = np.meshgrid([-half, 0, half], [-half, 0, half])
        longitude, latitude = self.unproject(x.ravel(), y.ravel())
        factors = pyproj.Proj(self.crs).get_factors(longitude, latitude)
        axes = np.array([factors.tissot_semiminor, factors.tissot_semimajor])
        axes = np.where(np.isfinite(axes), axes, np.inf)
        return float(axes.min()), float(axes.max())

    def _advice(self) -> str:
        """Return advice that names a projection fit for the window: a UTM zone, else an azimuthal one."""
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
        """Project points to the map: return km east and km north of the centre of the grid.

        Parameters
        ----------
        longitude, latitude : array_like
            Coordinates of the points, degrees; two arrays of the same shape.

        Returns
        -------
        x_km, y_km : ndarray
            Km east and km north of the centre, in the shape of the input.
        """
        x, y = self._transformer.transform(np.asarray(longitude), np.asarray(latitude))
        return (x - self._center_m[0]) / 1000.0, (y - self._center_m[1]) / 1000.0

    def unproject(self, x_km, y_km) -> tuple[np.ndarray, np.ndarray]:
        """Return longitude and latitude of points that are given in km east and km north of the centre.

        Parameters
        ----------
        x_km, y_km : array_like
            Km east and km north of the centre of the grid; two arrays of the same shape.

        Returns
        -------
        longitude, latitude : ndarray
            Coordinates of the points, degrees, in the shape of the input.
        """
        x, y = self._center_m
        return self._transformer.transform(
            np.asarray(x_km) * 1000.0 + x, np.asarray(y_km) * 1000.0 + y, direction="INVERSE"
        )

    def axes_km(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the coordinates of the pixel centres along the two axes of a window, km from its centre.

        Parameters
        ----------
        size : int
            Pixels along one side of the window, which is centred on the grid.

        Returns
        -------
        x_km, y_km : ndarray, [size] each
            Km east of the columns (ascending) and km north of the rows (descending).
        """
        offset = (np.arange(size) - (size - 1) / 2) * self.pixel_km
        return offset, -offset

    def centres_km(self, size: int) -> np.ndarray:
        """Return the pixel centres of a window in km east and km north of the centre of the grid.

        Parameters
        ----------
        size : int
            Pixels along one side of the window.

        Returns
        -------
        ndarray, [size, size, 2]
            Km east and km north by row, column.
        """
        return np.stack(np.meshgrid(*self.axes_km(size)), axis=-1)

    def lonlat(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the longitude and the latitude of the pixel centres of a window.

        Parameters
        ----------
        size : int
            Pixels along one side of the window.

        Returns
        -------
        longitude, latitude : ndarray, [size, size] each
            Coordinates of the pixel centres, degrees.
        """
        return self.unproject(*np.moveaxis(self.centres_km(size), -1, 0))

    def locate(self, longitude, latitude) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the row and the column of the pixel of the output window that contains each point.

        Parameters
        ----------
        longitude, latitude : array_like
            Coordinates of the points, degrees; two arrays of the same shape.

        Returns
        -------
        row, col : ndarray of int
            Row and column of the pixel; for a point outside the window negative or above the last index.
        inside : ndarray of bool
            True for points in the output window.
        """
        row, col, inside = self.pixel_at(*self.project(longitude, latitude))
        return row.astype(int), col.astype(int), inside

    def pixel_at(self, x_km, y_km, xp=np) -> tuple:
        """Return row, column and inside as `locate` does, for points in km east and km north of the centre.

        The function uses plain arithmetic, so it takes NumPy arrays and TensorFlow tensors alike.

        Parameters
        ----------
        x_km, y_km : array or tensor
            Km east and km north of the centre of the grid.
        xp : module
            Module with the function ``floor`` for these arrays: `numpy`, or ``tf.math`` for tensors.

        Returns
        -------
        row, col : array or tensor of float
            Row and column of the pixel, whole numbers; outside the window also negative or too large.
        inside : array or tensor of bool
            True for points in the output window.
        """
        size, half = self.output_size, self.output_size * self.pixel_km / 2
        row, col = xp.floor((half - y_km) / self.pixel_km), xp.floor((x_km + half) / self.pixel_km)
        inside = (row >= 0) & (row < size) & (col >= 0) & (col < size)
        return row, col, inside


def _is_undistorted(low: float, high: float) -> bool:
    """Return True if the smallest and the largest scale factor are 1 within `SCALE_TOLERANCE`."""
    return low >= 1 - SCALE_TOLERANCE and high <= 1 + SCALE_TOLERANCE
