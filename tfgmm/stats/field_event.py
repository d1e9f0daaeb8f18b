"""Formulas of the field for one event: new places, its own records, samples."""

from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from tfgmm.core.errors import DataError
from tfgmm.stats.field_covariance import correlation
from tfgmm.stats.field_solver import path_covariance

#: Share of the mean variance that is added where a covariance is factorised: two places may coincide.
JITTER = 1e-6


def new_event(constants: dict[str, Any], source_km, place_km, site, xp=np) -> tuple:
    r"""Return mean and variance of the field at places in an event without records, for arrays and tensors.

    Parameters
    ----------
    constants : dict of str to array
        Result of `Field.constants`.
    source_km : array or tensor, [3]
        Hypocentre: km east, north and down.
    place_km : array or tensor, [n, 2]
        Places: km east and north.
    site : array or tensor of int, [n]
        Index of the site of each place among those of the records; negative for a new one.
    xp : module
        Module with the functions ``exp, sqrt, sum, where, take, maximum, minimum, matmul, concatenate,
        ones_like``: `numpy`, ``keras.ops``, ``tf.experimental.numpy``.

    Returns
    -------
    mean : array or tensor, [n]
        Means, ln units.
    variance : array or tensor, [n]
        Variances, squared ln units, without the noise of a record.
    """
    known, index = xp.where(site >= 0, 1.0, 0.0), xp.maximum(site, 0)

    def of_site(values):
        """Return what belongs to the site of each place, [n] or [n, k], and 0 at new sites."""
        chosen = xp.take(values, index, axis=0)
        return chosen * (known[:, None] if len(chosen.shape) == 2 else known)

    return (
        _new_event_mean(constants, source_km, place_km, of_site, xp),
        _new_event_variance(constants, source_km, place_km, of_site, xp),
    )


def _new_event_mean(constants, source_km, place_km, of_site, xp):
    """Return the mean for `new_event`; `of_site` takes what belongs to the site of each place."""
    fit = constants["covariance"]
    h = correlation(_distance(source_km, constants["event_km"], xp), fit.source_km, xp)
    near = xp.matmul(h, constants["weights"])
    apart = _distances(place_km, constants["station_km"], xp)
    everywhere = constants["weights_of_station"]
    own = xp.matmul(fit.path_own * near + fit.site_own * everywhere, constants["in_site"])
    return (
        xp.matmul(correlation(apart, fit.site_km, xp), fit.site_shared * everywhere)
        + xp.matmul(correlation(apart, fit.path_km, xp), fit.path_shared * near)
        + fit.source * xp.sum(near)
        + of_site(own)
    )


def _new_event_variance(constants, source_km, place_km, of_site, xp):
    """Return the variance for `new_event`; `of_site` takes what belongs to the site of each place."""
    fit = constants["covariance"]
    apart = _distances(place_km, constants["site_place_km"], xp)
    near = fit.site_shared * correlation(apart, fit.site_km, xp)
    site_terms = xp.matmul(near, constants["site_whitening"])
    from_source = _distance(source_km, constants["path_source_km"], xp)
    apart = _distances(place_km, constants["path_place_km"], xp)
    path_terms = xp.matmul(path_covariance(fit, from_source, apart, xp), constants["path_whitening"])
    nodes = correlation(_distance(source_km, constants["node_km"], xp), fit.source_km, xp)
    nodes = xp.matmul(nodes, constants["node_whitening"])
    path_known = xp.matmul(xp.matmul(constants["path_known"], nodes), nodes)
    unknown_path = 1.0 - xp.minimum(of_site(path_known), 1.0)
    not_taken = 1.0 - of_site(xp.matmul(constants["path_share"], nodes))

    both = xp.concatenate([not_taken[:, None] * site_terms, unknown_path[:, None] * path_terms], axis=1)
    shared = xp.sum(xp.matmul(both, constants["root"]) ** 2, axis=1)
    own = not_taken * of_site(constants["own_posterior"])
    own = not_taken * (own + xp.sum(both * of_site(constants["own_with_shared"]), axis=1))
    new = 1.0 - of_site(xp.ones_like(constants["own_posterior"]))
    site_rest = fit.site_own + fit.site_shared - xp.sum(site_terms**2, axis=1)
    path_rest = fit.path_own + fit.source + fit.path_shared - xp.sum(path_terms**2, axis=1)
    return (
        fit.event
        + fit.within
        + xp.maximum(shared + own, 0.0)
        + new * xp.maximum(site_rest, 0.0)
        + unknown_path * xp.maximum(path_rest, 0.0)
    )


def _distance(place_km, others_km, xp):
    """Return the distances of one place, [k], from others, [m, k], km, [m]."""
    return xp.sqrt(xp.sum((others_km - place_km) ** 2, axis=1))


def _distances(place_km, others_km, xp):
    """Return the distances of places, [n, 2], from others, [m, 2], km, [n, m]."""
    east, north = (place_km[:, axis][:, None] - others_km[:, axis][None, :] for axis in (0, 1))
    return xp.sqrt(east**2 + north**2)


def given_own_records(covariance: np.ndarray, residual, noise) -> tuple[np.ndarray, np.ndarray]:
    r"""Condition the field of one event on the event's own records.

    .. math:: E[G_2 | r_1] = C_{21} (C_{11} + N)^{-1} r_1, \quad
        Cov[G_2 | r_1] = C_{22} - C_{21} (C_{11} + N)^{-1} C_{12}

    Parameters
    ----------
    covariance : ndarray, [k + m, k + m]
        Covariance C of the field at the places of the k records, which come first, and at m other places,
        squared ln units: `Field.event_covariance`, with what else the predictor does not know.
    residual : array_like, [k] or [k, j]
        Observed ln IM minus the mean of the predictor, field included; j such sets of residuals.
    noise : float or array_like, [k]
        Variance N of the noise of each record, squared ln units.

    Returns
    -------
    mean : ndarray, [m] or [m, j]
        What is to be added to the predicted mean at the other places, ln units.
    covariance : ndarray, [m, m]
        Covariance of the field at the other places given the records, squared ln units.

    Raises
    ------
    DataError
        A residual is no finite number, or a noise variance is not positive.

    References
    ----------
    Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equations 2.25 and 2.26.
    """
    residual = np.asarray(residual, float)
    noise = np.broadcast_to(np.asarray(noise, float), len(residual))
    bad = ~np.isfinite(residual).reshape(len(residual), -1).all(axis=1) | ~(noise > 0)
    if bad.any():
        number = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"field: record {number} of the event has the residual {residual[number]} and the noise "
            f"variance {noise[number]}; finite numbers are needed, the variance above 0: drop the record"
        )
    k = len(residual)
    if not k:
        return np.zeros((len(covariance), *residual.shape[1:])), covariance
    weights = cho_solve(factorised(covariance[:k, :k] + np.diag(noise)), covariance[:k, k:]).T
    return weights @ residual, covariance[k:, k:] - weights @ covariance[:k, k:]


def draw(mean: np.ndarray, covariance: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Draw correlated samples of Normal variables.

    Parameters
    ----------
    mean : ndarray, [n]
        Means.
    covariance : ndarray, [n, n]
        Covariance.
    size : int
        Number of samples.
    seed : int
        Seed; the same seed gives the same samples.

    Returns
    -------
    ndarray of float64, [size, n]
        Samples.
    """
    lower = np.tril(factorised(covariance)[0])
    return mean + np.random.default_rng(seed).normal(size=(size, len(mean))) @ lower.T


def factorised(covariance: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the Cholesky factor of a covariance, for `scipy.linalg.cho_solve`.

    Parameters
    ----------
    covariance : ndarray, [n, n]
        Covariance; a small share of its mean variance is added.

    Returns
    -------
    factor : ndarray, [n, n]
        Factor, with values of no meaning above its diagonal.
    lower : bool
        True.

    Raises
    ------
    DataError
        The covariance is not positive definite.
    """
    jitter = JITTER * np.trace(covariance) / len(covariance)
    try:
        return cho_factor(covariance + jitter * np.eye(len(covariance)), lower=True)
    except LinAlgError as error:
        raise DataError("field: the covariance between places of an event has no inverse") from error
