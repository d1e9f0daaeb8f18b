"""Interpolation of tables of ln IM over magnitude, distance and depth, for arrays and tensors alike.

The nodes of all tables are the same. All functions are plain arithmetic. Where a function of NumPy is
needed, `xp` is the set of functions that has it: `NUMPY`, or an `ArrayFunctions` of TensorFlow's, as

    TENSORS = ArrayFunctions(
        tf.floor, tf.minimum, tf.maximum, tf.math.log, tf.exp, tf.einsum, tf.constant,
        lambda values: tf.cast(values, tf.int32),
        lambda values, like: tf.cast(values, like.dtype),
        lambda rows, index: tf.gather(rows, index, batch_dims=1),
        lambda arrays: tf.stack(arrays, axis=-1),
    )
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

#: Nodes of magnitude: step 0.1, which holds the bends of published models.
MAGNITUDES = np.round(np.arange(3.0, 9.0 + 0.05, 0.1), 10)
#: Nodes of ln R (R in km), 1 to 1000 km, equal steps of 0.1.
LN_R = np.linspace(0.0, np.log(1000.0), 70)
#: Nodes of depth, km: where published models bend (7, 15, 20, 40, 80, 120, 125), closer near the surface,
#: where the Joyner-Boore distance bends with depth.
_SHALLOW = [0, 2.5, 5, 7, 10, 12.5, 15, 17.5, 20, 22.5, 25]
DEPTHS_KM = np.array([*_SHALLOW, 30, 40, 60, 80, 100, 120, 125, 200], float)
_FAR = 1e9  # farther from every node than any magnitude or depth


@dataclasses.dataclass(frozen=True)
class ArrayFunctions:
    """Functions that the interpolation needs, of one library of arrays.

    Attributes
    ----------
    floor, minimum, maximum, log, exp, einsum : callable
        As those of NumPy.
    constant : callable
        ``constant(array, dtype)`` makes an array of the library.
    to_int : callable
        Conversion to integers.
    to_float : callable
        ``to_float(values, like)``: conversion to the type of `like`.
    gather : callable
        ``gather(rows, index)``, [event, n] and [event, ...] -> [event, ...].
    stack : callable
        ``stack(arrays)``: arrays joined along a new last axis.
    """

    floor: Callable[..., Any]
    minimum: Callable[..., Any]
    maximum: Callable[..., Any]
    log: Callable[..., Any]
    exp: Callable[..., Any]
    einsum: Callable[..., Any]
    constant: Callable[..., Any]
    to_int: Callable[..., Any]
    to_float: Callable[..., Any]
    gather: Callable[..., Any]
    stack: Callable[..., Any]


def _gather(rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the values at indices [event, ...] of rows [event, n], as an array [event, ...]."""
    event = np.arange(len(index)).reshape(-1, *[1] * (index.ndim - 1))
    return rows[event, index]


NUMPY = ArrayFunctions(
    *(np.floor, np.minimum, np.maximum, np.log, np.exp),
    functools.partial(np.einsum, optimize=True),  # by matrix products
    np.asarray,
    lambda values: np.asarray(values).astype(np.int64),
    lambda values, like: np.asarray(values).astype(np.asarray(like).dtype, copy=False),
    _gather,
    lambda arrays: np.stack(arrays, axis=-1),
)


def hat_weights(x, nodes: np.ndarray, xp: ArrayFunctions = NUMPY):
    """Return the weights of linear interpolation between nodes, [event, node]; outside, those of the edge.

    Parameters
    ----------
    x : array or tensor, [event]
        Positions.
    nodes : ndarray, [node]
        Nodes, ascending.
    xp : ArrayFunctions
        Functions of the library of `x`.

    Returns
    -------
    array or tensor, [event, node]
        Hat functions, not negative up to rounding, that add up to 1.
    """
    # Weights are differences of neighbouring ramps, which add up to 1 in single precision as well. The ramp
    # before the first node is 1 and the one behind the last is 0, wherever x is.
    starts, widths = np.array([-_FAR, *nodes[:-1], _FAR]), np.array([1.0, *np.diff(nodes), 1.0])
    before, after = (
        xp.minimum(
            xp.maximum((x[:, None] - xp.constant(start, x.dtype)) / xp.constant(width, x.dtype), 0.0), 1.0
        )
        for start, width in ((starts[:-1], widths[:-1]), (starts[1:], widths[1:]))
    )
    return before - after


def curves_of_classes(table, magnitude, depth_km, xp: ArrayFunctions = NUMPY):
    """Return a table at the magnitude and depth of each earthquake, as a curve over `LN_R` for each class.

    Parameters
    ----------
    table : array or tensor, [M, class, R, Z]
        Values on `MAGNITUDES`, `LN_R` and `DEPTHS_KM`. With the magnitude as first axis the interpolation
        over the magnitude is one product of matrices.
    magnitude, depth_km : array or tensor, [event]
        Moment magnitude, and depth of the hypocentre in km; outside the nodes the nearest node counts.
    xp : ArrayFunctions
        Functions of the library of the arguments.

    Returns
    -------
    array or tensor, [event, class, R]
        Curves.
    """
    by_magnitude = xp.einsum("em,mcrz->ecrz", hat_weights(magnitude, MAGNITUDES, xp), table)
    return xp.einsum("ez,ecrz->ecr", hat_weights(depth_km, DEPTHS_KM, xp), by_magnitude)


def curves(table, class_weights, magnitude, depth_km, xp: ArrayFunctions = NUMPY):
    """Return a table at the magnitude, depth and classes of each earthquake, as a curve over `LN_R`.

    Parameters
    ----------
    table, magnitude, depth_km, xp
        As for `curves_of_classes`.
    class_weights : array or tensor, [event, class]
        Weights of the classes, which add up to 1.

    Returns
    -------
    array or tensor, [event, R]
        Curves, the weighted means of those of the classes.
    """
    return xp.einsum("ec,ecr->er", class_weights, curves_of_classes(table, magnitude, depth_km, xp))


def positions(ln_r, xp: ArrayFunctions = NUMPY, nodes: np.ndarray = LN_R) -> tuple:
    """Return where distances lie among nodes of ln R: the node below, and the share of the step above.

    Parameters
    ----------
    ln_r : array or tensor, [event, places]
        Natural logarithm of the distance in km; outside 1 to 1000 km the nearest node counts.
    xp : ArrayFunctions
        Functions of the library of `ln_r`.
    nodes : ndarray
        Nodes in equal steps from 0, `LN_R` by default.

    Returns
    -------
    node : array or tensor of int, [event, places]
        Number of the node below.
    share : array or tensor, [event, places]
        Distance to this node as a share of the step between nodes, 0 to 1.
    """
    step = float(nodes[1] - nodes[0])
    position = xp.minimum(xp.maximum(ln_r / step, 0.0), float(len(nodes) - 1))
    node = xp.minimum(xp.floor(position), float(len(nodes) - 2))
    return xp.to_int(node), position - node


def along(curves, places: tuple, xp: ArrayFunctions = NUMPY):
    """Return the value of each earthquake's curve at places, linear in ln R between the nodes.

    Parameters
    ----------
    curves : array or tensor, [event, R]
        Result of `curves`.
    places : tuple of array or tensor, [event, places]
        Result of `positions`, the same for all curves at these places.
    xp : ArrayFunctions
        Functions of the library of the arguments.

    Returns
    -------
    array or tensor, [event, places]
        Interpolated values.
    """
    node, share = places
    below = xp.gather(curves, node)
    return below + share * (xp.gather(curves, node + 1) - below)
