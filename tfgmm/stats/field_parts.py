"""Mean and variance of the source term, and variance of the path term, given the records of a field.

Beside a dense solution for 2,000 records their standard deviations are 1.02 to 1.04 of the exact ones in
the mean with usual variances, and up to 1.2 where source and path terms hold most of the variance.
"""

import numpy as np
from scipy.spatial.distance import cdist

from tfgmm.stats.field import Field
from tfgmm.stats.field_covariance import correlation


def source_term(field: Field, source_km: np.ndarray, place_km=()) -> tuple[np.ndarray, np.ndarray, float]:
    """Return mean and variance of the source term at hypocentres, given the records of a field.

    Optionally the mean of the shared path terms from the hypocentre to some places is added. Far from all
    records the mean is 0 and the variance `prior`.

    Parameters
    ----------
    field : Field
        Field given the records.
    source_km : ndarray, [n, 3]
        Hypocentres of new events: km east, north and down.
    place_km : array_like, [m, 2]
        Places, km east and north, whose mean shared path term is added; none by default.

    Returns
    -------
    mean, variance : ndarray of float64, [n]
        Mean (ln units) and variance (squared ln units) given the records.
    prior : float
        Variance without records.
    """
    fit, records = field.covariance, field.records
    place_km = np.reshape(place_km, (-1, 2))
    count = max(len(place_km), 1)
    near = correlation(cdist(records.station_km, place_km), fit.path_km).sum(axis=1) / count
    h = correlation(cdist(source_km, records.source_km), fit.source_km)
    mean = h @ (field.weights @ (fit.source + fit.path_shared * near))
    together = correlation(cdist(place_km, place_km), fit.path_km).sum() / count**2
    prior = fit.source + fit.path_shared * float(together)
    terms = field.basis.source_terms(fit, source_km, place_km)
    before = len(field.basis.site_whitening)
    chosen = slice(before, before + terms.shape[1])
    rest = np.maximum(prior - (terms**2).sum(axis=1), 0.0)
    variance = ((terms @ field.inverse[chosen, chosen]) * terms).sum(axis=1) + rest
    return mean, np.maximum(variance, 0.0), prior


def path_variance(
    field: Field, source_km: np.ndarray, place_km: np.ndarray, site: int, *, with_source: bool = False
) -> np.ndarray:
    """Return the variance of the path term from hypocentres to one place, given the records of a field.

    The path term is the sum of the own one of the site and the one that neighbours share.

    Parameters
    ----------
    field : Field
        Field given the records.
    source_km : ndarray, [n, 3]
        Hypocentres: km east, north and down.
    place_km : ndarray, [2]
        Place: km east and north.
    site : int
        Index of the site of the place among those of the records; negative for a new one.
    with_source : bool
        If True, return the variance of the sum of source term and path term.

    Returns
    -------
    ndarray of float64, [n]
        Variances, squared ln units.
    """
    fit, basis, number = field.covariance, field.basis, np.arange(len(source_km))
    place = np.reshape(place_km, (1, 2))
    whole = basis.path_terms(fit, source_km, number, place, np.zeros_like(number)).astype(float)
    source = basis.source_terms(fit, source_km, np.zeros((0, 2)))
    share, unknown = np.zeros((len(number), 1)), np.ones((len(number), 1))
    if site >= 0:
        nodes = basis.node_terms(fit, source_km)
        share = (nodes @ field.path_share[site])[:, np.newaxis]
        known = ((nodes @ field.path_known[site]) * nodes).sum(axis=1)
        unknown = np.maximum(1 - known, 0.0)[:, np.newaxis]
    # The own path term takes the opposite of a share of the errors of site and shared path terms; the
    # event terms take that of the source terms.
    rank = len(basis.site_whitening) + whole.shape[1]
    path = unknown * (whole - source) + (source if with_source else 0.0)
    terms = np.hstack([-share * basis.site_terms(fit, place), path])
    chosen = np.arange(rank)
    if site >= 0:
        terms = np.hstack([terms, -share * np.sqrt(field.own_site[site])])
        chosen = np.append(chosen, rank + site)
    variance = ((terms @ field.inverse[np.ix_(chosen, chosen)]) * terms).sum(axis=1)
    shared, of_shared = (fit.source, whole) if with_source else (0.0, whole - source)
    left = np.maximum(shared + fit.path_shared - (of_shared**2).sum(axis=1), 0.0)
    return np.maximum(variance + unknown[:, 0] * (fit.path_own + left), 0.0)
