"""Formulas of the field for one event: new places, its own records, samples."""

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from tfgmm.core.errors import DataError
from tfgmm.stats.field_covariance import correlation

#: Share of the mean variance that is added where a covariance is factorised: two places may coincide.
JITTER = 1e-6
#: Numbers that leave the results in float32.
_ONE, _ZERO = np.float32(1.0), np.float32(0.0)


class PlaceFunctions(NamedTuple):
    """Hold what the field of an event needs of n places, which is the same for all events.

    Attributes
    ----------
    site_mean : array or tensor, [n]
        Mean of the site terms, ln units.
    to_stations : array or tensor, [n, stations]
        Covariance of source and path terms between places and stations for one source, squared ln units.
    to_cells : array or tensor, [n, r_p]
        The same between places and the cells of the path terms, without the path terms of one site alone.
    site_variance : array or tensor, [n]
        Variance of the site terms, squared ln units.
    with_site : array or tensor, [n, r_p]
        Twice the covariance between the site terms and the coefficients of the path terms, times
        `to_cells`, for one source, squared ln units.
    path_known, path_share : array or tensor, [n, nodes, nodes] and [n, nodes], or None
        Forms of the own path terms of the sites (`tfgmm.stats.field.Field`), zero at new sites; None if
        all sites are new.
    """

    site_mean: Any
    to_stations: Any
    to_cells: Any
    site_variance: Any
    with_site: Any
    path_known: Any = None
    path_share: Any = None


def new_event(constants: dict[str, Any], source_km, place_km, site=None, xp=np) -> tuple:
    """Return mean and variance of the field at places in an event without records, for arrays and tensors.

    Parameters
    ----------
    constants : dict of str to array
        Result of `Field.constants`.
    source_km : array or tensor, [3]
        Hypocentre: km east, north and down.
    place_km, site, xp
        As for `at_places`.

    Returns
    -------
    mean : array or tensor, [n]
        Means, ln units.
    variance : array or tensor, [n]
        Variances, squared ln units, without the noise of a record.
    """
    return of_event(constants, at_places(constants, place_km, site, xp), source_km, xp)


def at_places(constants: dict[str, Any], place_km, site=None, xp=np) -> PlaceFunctions:
    """Return what the field of an event needs of places, for many events at the same places.

    Parameters
    ----------
    constants : dict of str to array
        Result of `Field.constants`.
    place_km : array or tensor, [n, 2]
        Places: km east and north.
    site : array or tensor of int, [n], optional
        Index of the site of each place among those of the records, negative for a new one; by default all
        sites are new.
    xp : module
        Module with the functions ``exp, sqrt, sum, where, equal, take, maximum, minimum, matmul``: `numpy`,
        ``keras.ops``.

    Returns
    -------
    PlaceFunctions
    """
    fit = constants["covariance"]
    to_stations, to_site_cells, to_path_cells = (
        _distances(place_km, constants[name], xp)
        for name in ("station_km", "site_place_km", "path_place_km")
    )
    of_site = fit.site_shared * correlation(to_stations, fit.site_km, xp)
    of_path = fit.source + fit.path_shared * correlation(to_stations, fit.path_km, xp)
    to_cells = fit.source + fit.path_shared * correlation(to_path_cells, fit.path_km, xp)
    near = fit.site_shared * correlation(to_site_cells, fit.site_km, xp)
    terms = xp.matmul(near, constants["site_whitening"])
    variance = xp.sum(xp.matmul(terms, constants["site_posterior"]) * terms, axis=1)
    with_site = xp.matmul(terms, constants["path_with_site"])
    rest = xp.maximum(fit.site_own + fit.site_shared - xp.sum(terms**2, axis=1), 0.0)
    everywhere = constants["weights_of_station"]
    if site is None:
        variance, with_site = variance + rest, with_site * to_cells
        return PlaceFunctions(xp.matmul(of_site, everywhere), of_path, to_cells, variance, with_site)
    same = xp.where(xp.equal(site[:, None], constants["site_of_station"][None, :]), _ONE, _ZERO)
    known, index = xp.where(site >= 0, _ONE, _ZERO), xp.maximum(site, 0)
    own, with_terms, with_path, path_known, path_share = (
        xp.take(constants[name], index, axis=0)
        for name in ("own_posterior", "own_with_site", "own_with_path", "path_known", "path_share")
    )
    own_variance = own + xp.sum(terms * with_terms, axis=1)
    return PlaceFunctions(
        xp.matmul(of_site + fit.site_own * same, everywhere),
        of_path + fit.path_own * same,
        to_cells,
        variance + known * own_variance + (1.0 - known) * rest,
        (with_site + known[:, None] * with_path) * to_cells,
        known[:, None, None] * path_known,
        known[:, None] * path_share,
    )


def of_event(constants: dict[str, Any], places: PlaceFunctions, source_km, xp=np) -> tuple:
    r"""Return mean and variance of the field at places in an event without records.

    With the functions p of the path terms at a place, the share 1 - u that is known of its own path terms
    and the share 1 - v of an error of the site term that these take,

    .. math:: \mathrm{Var}[G] = \tau^2 + W^2 + v^2 V_S + u v \, c^T p + u (L^2 + O^2 + P^2)
        - u^2 |p B|^2 - u (1 - u) |p|^2, \quad B B^T = I - V_p

    with the variance :math:`V_S` of the site term, the posterior covariance :math:`V_p` of the coefficients
    of the path terms, and twice their covariance c with the site term.

    Parameters
    ----------
    constants : dict of str to array
        Result of `Field.constants`.
    places : PlaceFunctions
        Result of `at_places`.
    source_km : array or tensor, [3]
        Hypocentre: km east, north and down.
    xp : module
        As for `at_places`.

    Returns
    -------
    mean : array or tensor, [n]
        Means, ln units.
    variance : array or tensor, [n]
        Variances, squared ln units, without the noise of a record.
    """
    fit = constants["covariance"]
    to_events, to_cells, to_nodes = (
        correlation(_distance(source_km, constants[name], xp), fit.source_km, xp)
        for name in ("event_km", "path_source_km", "node_km")
    )
    near = xp.matmul(to_events, constants["weights"])
    mean = places.site_mean + xp.matmul(places.to_stations, near)
    cells = places.to_cells * to_cells
    told = xp.sum(xp.matmul(cells, constants["path_told"]) ** 2, axis=1)
    with_site = xp.matmul(places.with_site, to_cells)
    prior = fit.source + fit.path_own + fit.path_shared
    if places.path_known is None:
        variance = places.site_variance + with_site + prior - told
    else:
        nodes = xp.matmul(to_nodes, constants["node_whitening"])
        known = xp.matmul(xp.matmul(places.path_known, nodes), nodes)
        unknown, not_taken = 1.0 - xp.minimum(known, 1.0), 1.0 - xp.matmul(places.path_share, nodes)
        terms = xp.sum(xp.matmul(cells, constants["path_whitening"]) ** 2, axis=1)
        variance = not_taken**2 * places.site_variance + not_taken * unknown * with_site
        variance = variance + unknown * (prior - unknown * told - (1.0 - unknown) * terms)
    return mean, fit.event + fit.within + xp.maximum(variance, 0.0)


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
    bad = ~np.isfinite(residual).all(axis=tuple(range(1, residual.ndim))) | ~(noise > 0)
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
