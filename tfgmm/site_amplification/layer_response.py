"""How predictions answer to the site layers alone, at places that stay where they are."""

import numpy as np
import xarray as xr

#: A layer is multiplied by these, one at a time.
FACTORS = (0.7, 1.4)
#: Knots of a response curve.
KNOTS = 6


def varied(layer: xr.DataArray, factor: float, seen: tuple[float, float]) -> xr.DataArray:
    """A layer times a factor, no farther out of the range that stations have seen than it was.

    Parameters
    ----------
    layer : xarray.DataArray
        Positive.
    factor : float
    seen : (float, float)
        Lowest and highest value at a training station.
    """
    low, high = np.minimum(layer, seen[0]), np.maximum(layer, seen[1])
    return (layer * factor).clip(low, high).rename(layer.name).transpose(*layer.dims)


def hats(values: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Piecewise linear basis functions of ln values, constant beyond the outer knots, [..., knots]."""
    values = np.log(values)
    return np.stack([np.interp(values, knots, one) for one in np.eye(len(knots))], axis=-1)


def respond(changes: np.ndarray, before: np.ndarray, after: np.ndarray, where: np.ndarray) -> np.ndarray:
    r"""Part of the predictions that follows one layer, [map, row, col].

    .. math:: \Delta\mu_k(x) = f(z_k(x)) - f(z(x)) + rest, \quad A_z(x) = f(z(x))

    The piecewise linear curve f of ln z is fitted by least squares to how the prediction at a pixel
    changes when the layer is varied from z to :math:`z_k`, while the pixel keeps its x and y: places that
    differ in depth are never compared with each other. f is free of a constant.

    Parameters
    ----------
    changes : ndarray, [map, k, row, col]
        Of the predictions, ln units; each map is fitted on its own.
    before : ndarray, [row, col]
        z.
    after : ndarray, [k, row, col]
        :math:`z_k`.
    where : ndarray of bool, [row, col]
        Pixels that are fitted.
    """
    quantiles = np.quantile(np.log(before[where]), np.linspace(0.02, 0.98, KNOTS))
    knots = np.unique(quantiles)
    design = (hats(after, knots) - hats(before, knots))[:, where].reshape(-1, len(knots))
    right = changes[:, :, where].reshape(len(changes), -1).T
    curves = np.linalg.lstsq(design, right)[0]
    return np.moveaxis(hats(before, knots) @ curves, -1, 0)
