"""Tectonic classes of earthquakes and the regions of published models, by depth and place."""

import numpy as np
import pandas as pd

from tfgmm.core.errors import DataError
from tfgmm.data.schemas import TECTONIC_CLASSES
from tfgmm.stats.scaling_tables import NUMPY, ArrayFunctions

#: Tectonic classes of earthquakes, in the order of every axis ``class``.
CLASSES = TECTONIC_CLASSES
#: Depth, km, above which an earthquake of unknown class counts as crustal.
CRUSTAL_ABOVE_KM = 25.0
#: Depths, km, between which the share of the interface falls from 1/2 to 0: below 60 km plates are seldom
#: coupled, and above nobody can tell the two subduction classes apart by depth alone.
INTERFACE_DEPTHS_KM = (25.0, 60.0)
#: Largest share of the interface among earthquakes of unknown class.
INTERFACE_SHARE = 0.5

#: Boxes of the regions for which published models have terms: west, south, east, north in degrees.
REGIONS = {
    "japan": (122.0, 24.0, 148.0, 46.0),
    "california": (-125.0, 32.0, -114.0, 42.0),
    "taiwan": (119.0, 21.5, 122.0, 25.5),
    "italy": (6.5, 36.5, 18.6, 47.0),
    "turkey": (26.0, 35.8, 45.0, 42.2),
    "new_zealand": (165.0, -48.0, 179.5, -34.0),
    "china": (97.0, 21.0, 108.0, 35.0),
}


def class_weights(depth_km, tectonic_class=None) -> np.ndarray:
    r"""Return the weight of each tectonic class for each earthquake, [event, class]; they add up to 1.

    An earthquake of a known class has the weight 1 in it. Otherwise it is crustal above 25 km, and below
    it is an interface earthquake with the weight

    .. math:: w = \frac{1}{2} \max\left(0, \frac{60 - Z}{60 - 25}\right)

    at the depth Z in km, and an intraslab earthquake with the weight 1 - w.

    Parameters
    ----------
    depth_km : array_like, [event]
        Depth of the hypocentre, km.
    tectonic_class : array_like of str, [event], optional
        Class of each earthquake (`CLASSES`); missing values are unknown classes.

    Returns
    -------
    ndarray, [event, class]
        Weights, columns in the order of `CLASSES`.

    Raises
    ------
    DataError
        A class is none of `CLASSES`.
    """
    weights = np.stack(_by_depth(np.atleast_1d(np.asarray(depth_km, float)), NUMPY), axis=-1)
    if tectonic_class is None:
        return weights
    known = pd.Series(np.atleast_1d(np.asarray(tectonic_class, object)))
    strange = known[known.notna() & ~known.isin(CLASSES)]
    if len(strange):
        raise DataError(f"tectonic_class holds {strange.iloc[0]!r}: write one of {', '.join(CLASSES)}")
    one_hot = (known.to_numpy()[:, None] == np.array(CLASSES, object)).astype(float)
    return np.where(known.notna().to_numpy()[:, None], one_hot, weights)


def in_words(weights: np.ndarray, classes: tuple[str, ...] = CLASSES) -> np.ndarray:
    """Return the classes of earthquakes with their weights as texts.

    >>> in_words(np.array([[1.0, 0.0, 0.0], [0.0, 0.25, 0.75]])).tolist()
    ['crustal', '0.75 intraslab, 0.25 interface']

    Parameters
    ----------
    weights : ndarray, [event, class]
        Result of `class_weights` or `shared`.
    classes : tuple of str, [class]
        Names of the columns.

    Returns
    -------
    ndarray of str, [event]
        The class alone where its weight is 1; else those with a weight, the largest first.
    """
    texts = []
    for of_event in weights:
        ordered = [(weight, name) for weight, name in zip(of_event, classes, strict=True) if weight > 0]
        ordered.sort(key=lambda pair: -pair[0])
        weighted = ", ".join(f"{weight:.2f} {name}" for weight, name in ordered)
        texts.append(ordered[0][1] if len(ordered) == 1 else weighted)
    return np.array(texts, object)


def weights_by_depth(depth_km, classes: tuple[str, ...], xp: ArrayFunctions = NUMPY):
    """Return the weights of some classes for earthquakes of unknown class, for arrays and tensors alike.

    Parameters
    ----------
    depth_km : array or tensor, [event]
        Depth of the hypocentre, km.
    classes : tuple of str, [class]
        Classes that may have a weight, some of `CLASSES`.
    xp : ArrayFunctions
        Functions of the library of `depth_km`.

    Returns
    -------
    array or tensor, [event, class]
        Weights, which add up to 1, see `class_weights` and `shared`.
    """
    every = _by_depth(depth_km, xp)
    chosen = [every[CLASSES.index(name)] for name in classes]
    total = sum(chosen)
    has_any = xp.to_float(total > 0, depth_km)
    share = has_any / (total + 1 - has_any)
    equal = (1 - has_any) / len(classes)
    return xp.stack([weight * share + equal for weight in chosen])


def shared(weights: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Share the weights of all classes among some classes; an earthquake of none of them has equal weights.

    Parameters
    ----------
    weights : ndarray, [event, 3]
        Weights of `CLASSES`.
    classes : tuple of str, [class]
        Classes that may have a weight.

    Returns
    -------
    ndarray, [event, class]
        Weights, which add up to 1.
    """
    weights = weights[:, [CLASSES.index(name) for name in classes]]
    total = weights.sum(axis=1, keepdims=True)
    return np.where(total > 0, weights, 1.0) / np.where(total > 0, total, len(classes))


def _by_depth(depth_km, xp: ArrayFunctions) -> list:
    """Return the weights of `CLASSES` by depth, [event] each."""
    shallow, deep = INTERFACE_DEPTHS_KM
    interface = INTERFACE_SHARE * xp.minimum(xp.maximum((deep - depth_km) / (deep - shallow), 0.0), 1.0)
    crustal = xp.to_float(depth_km < CRUSTAL_ABOVE_KM, depth_km)
    return [crustal, (1 - crustal) * interface, (1 - crustal) * (1 - interface)]


def region_at(longitude: float, latitude: float) -> str:
    """Return the region of published models in which a place lies, ``global`` if in none.

    Parameters
    ----------
    longitude, latitude : float
        Place, usually the centre of the map, degrees.

    Returns
    -------
    str
        A key of `REGIONS`, in the spelling of pygmm, or ``global``. Where boxes overlap, the first counts.
    """
    for name, (west, south, east, north) in REGIONS.items():
        if west <= (longitude + 180) % 360 - 180 <= east and south <= latitude <= north:
            return name
    return "global"
