r"""Difference of a region from published models, as a linear model whose prior is "none".

.. math:: \delta = c_0 + g_R(\ln R) + g_M(M) + g_Z(Z) + c_{class}

with Gaussian processes g_R, g_M and g_Z on hat functions: away from the records their posterior returns to
zero, that is to the published scaling, while c_0 stays. In the range of the records g_R is what a geometric
and an anelastic slope are. Those two, c_g ln R + c_a R, are fitted with large values of opposite signs that
cancel there and nowhere else: Kanto got c_a = +0.6 per 100 km, a difference of +4 at 1000 km, and records
of up to 120 km told less of those beyond 150 km (RMSE 0.68 against 0.61).
"""

import numpy as np
from scipy.linalg import block_diag

from tfgmm.stats.scaling_tables import hat_weights

#: Prior standard deviation of the constant c_0, ln units: wide. Regional means of well recorded events
#: differ from global models by some tenths, of small earthquakes by up to 1.
CONSTANT_STDDEV = 1.0
#: Prior standard deviation of g_M, ln units: the spread of published models in magnitude scaling about
#: their mean over one or two magnitude units.
MAGNITUDE_STDDEV = 0.3
#: Length of g_M in magnitude units: one unit beyond the records the correlation is 0.25.
MAGNITUDE_LENGTH = 0.6
#: Prior standard deviation, ln units, and length in ln R, of g_R: geometric slopes of published models lie
#: within some 0.3 of each other and regional anelastic terms span 0.3 to 0.5 per 100 km, so that models
#: that agree at some distance differ by some tenths at twice the distance.
DISTANCE_STDDEV, DISTANCE_LENGTH = 0.3, 0.7
#: Prior standard deviation, ln units, and length, km, of g_Z: published scaling with depth differs by some
#: tenths over some ten km.
DEPTH_STDDEV, DEPTH_LENGTH_KM = 0.3, 25.0
#: Prior standard deviation of the constant of each tectonic class, ln units.
CLASS_STDDEV = 0.2
#: Prior standard deviation of the factor of the linear site term, about 1.
SITE_STDDEV = 0.3

#: Number of records that count as one in the coefficients (`listed_regression.fit`). Paths less than some
#: 20 km apart at both ends err together: the 15,000 records of one sequence (Ridgecrest) have some hundred
#: independent paths, the 130,000 of Kanto some thousand. Taken as independent, they give distance slopes
#: that are those of a few paths, with standard deviations several times too small. Between 10 and 300 the
#: predictions of larger earthquakes hardly differ.
RECORDS_ALIKE = 30.0

#: Nodes of g_R (ln km), g_M and g_Z: finer than their lengths.
LN_R_NODES = np.linspace(0.0, np.log(1000.0), 29)
MAGNITUDE_NODES = np.arange(3.0, 9.01, 0.25)
DEPTH_NODES_KM = np.arange(0.0, 201.0, 10.0)
#: Variance of the nodes' own noise, which keeps the covariance of a smooth process invertible.
_NUGGET = 1e-4


def regressors(magnitude, r_km, depth_km, class_weights) -> np.ndarray:
    """Return the regressors of the difference from the published models, [n, p].

    Parameters
    ----------
    magnitude, r_km, depth_km : array_like, [n]
        Moment magnitude; distance to the rupture and depth of the hypocentre, km.
    class_weights : array_like, [n, class]
        Weights of the tectonic classes.

    Returns
    -------
    ndarray, [n, p]
        Columns in the order constant, g_R, g_M, g_Z, classes.
    """
    by_class, by_magnitude, by_distance, by_depth = parts(magnitude, r_km, depth_km, class_weights)
    return by_class + by_magnitude + by_distance + by_depth


def parts(magnitude, r_km, depth_km, class_weights) -> tuple[np.ndarray, ...]:
    """Return the regressors as one term for each of the four arguments, which add up to all.

    With the nodes of a table as arguments, the difference and its variance on the product of the nodes
    follow from small matrices.

    Parameters
    ----------
    magnitude, r_km, depth_km : array_like, [m], [r], [z]
        Moment magnitude; distance to the rupture and depth of the hypocentre, km.
    class_weights : array_like, [k, class]
        Weights of the tectonic classes.

    Returns
    -------
    tuple of ndarray, [k, p], [m, p], [r, p], [z, p]
        Terms of class (with the constant), magnitude, distance and depth; a term is 0 in the columns of the
        others.
    """
    magnitude, r_km, depth_km, class_weights = (
        np.asarray(a, float) for a in (magnitude, r_km, depth_km, class_weights)
    )
    columns = [
        np.ones((len(class_weights), 1)),
        hat_weights(np.log(np.maximum(r_km, 1.0)), LN_R_NODES),
        hat_weights(magnitude, MAGNITUDE_NODES),
        hat_weights(depth_km, DEPTH_NODES_KM),
        class_weights,
    ]

    def term(*kept: int) -> np.ndarray:
        """Return the columns of the numbers `kept`, and 0 in all others."""
        rows = len(columns[kept[0]])
        blocks = [
            block if number in kept else np.zeros((rows, block.shape[1]))
            for number, block in enumerate(columns)
        ]
        return np.hstack(blocks)

    return term(0, 4), term(2), term(1), term(3)


def prior_precision(n_classes: int) -> np.ndarray:
    """Return the precision of the prior of the coefficients of `regressors`, [p, p]; their prior mean is 0.

    Parameters
    ----------
    n_classes : int
        Number of tectonic classes.

    Returns
    -------
    ndarray, [p, p]
        Inverse covariance.
    """
    return block_diag(
        np.array([[CONSTANT_STDDEV**-2]]),
        _process_precision(LN_R_NODES, DISTANCE_STDDEV, DISTANCE_LENGTH),
        _process_precision(MAGNITUDE_NODES, MAGNITUDE_STDDEV, MAGNITUDE_LENGTH),
        _process_precision(DEPTH_NODES_KM, DEPTH_STDDEV, DEPTH_LENGTH_KM),
        np.eye(n_classes) / CLASS_STDDEV**2,
    )


def _process_precision(nodes: np.ndarray, stddev: float, length: float) -> np.ndarray:
    """Return the precision of a Gaussian process with the squared exponential covariance at nodes."""
    distance = (nodes[:, None] - nodes) / length
    covariance = stddev**2 * np.exp(-0.5 * distance**2) + _NUGGET * stddev**2 * np.eye(len(nodes))
    return np.linalg.inv(covariance)
