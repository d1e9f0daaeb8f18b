r"""Solution of the equations of the field for many records, and its approximation by few terms.

With the residuals as a matrix of events and stations a product with their covariance is a few products of
matrices, and conjugate gradients solve the equations. Their preconditioner is the inverse of

.. math:: \tilde C = L L^T + D

with the columns of L for site, source and shared path terms, and D block-diagonal by event. The same
:math:`\tilde C` gives the variance of the field (`tfgmm.stats.field`).
"""

import dataclasses

import numpy as np
from scipy.linalg import cholesky, lapack, solve_triangular
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from threadpoolctl import ThreadpoolController

from tfgmm.core.errors import DataError
from tfgmm.stats.field_covariance import Covariance, correlation
from tfgmm.stats.field_records import Records

#: Numbers of columns of L for the shared site terms and for source and path terms, and of source nodes.
SITE_RANK, PATH_RANK, NODES = 192, 256, 64
#: Number of records among which the cells of source and path terms are chosen.
_CANDIDATES = 8_000
#: Relative error of the residuals at which the conjugate gradients end, and largest number of their steps.
TOLERANCE, MAX_STEPS = 1e-3, 500
#: Number of events with records times that of stations with records from which products of their matrices
#: take all threads. With fewer, and for the many small matrices of one event each, threads gain little, and
#: lose much while other work holds the processor.
LARGE = 1_000_000
#: Share of the variance that is added where a covariance matrix is factorised: two places may coincide.
_JITTER = 1e-5
_BLAS = ThreadpoolController()


def chosen_pivots(variance, columns, rank: int, seed: int) -> np.ndarray:
    """Choose the pivots of a partial Cholesky factor, at random by the variance not yet explained.

    Parameters
    ----------
    variance : ndarray, [n]
        Diagonal of the covariance.
    columns : callable
        Function of an index that returns the column of the covariance, [n].
    rank : int
        Largest number of pivots.
    seed : int
        Seed of the random choice.

    Returns
    -------
    ndarray of int, [at most rank]
        Pivots in the order of their choice; fewer than `rank` where these explain 99.9 % of the variance.

    References
    ----------
    Chen, Epperly, Tropp & Webber (2024), Randomly pivoted Cholesky, Comm. Pure Appl. Math., algorithm 2.1.
    """
    random = np.random.default_rng(seed)
    left = np.array(variance, float)
    total, factor, pivots = left.sum(), np.zeros((rank, len(left))), []
    for number in range(min(rank, len(left))):
        if left.sum() <= 1e-3 * total:
            break
        pivot = int(random.choice(len(left), p=left / left.sum()))
        row = columns(pivot) - factor[:number, pivot] @ factor[:number]
        factor[number] = row / np.sqrt(row[pivot])
        left = np.maximum(left - factor[number] ** 2, 0.0)
        left[pivot] = 0.0
        pivots.append(pivot)
    return np.array(pivots, int)


def whitening(covariance: np.ndarray) -> np.ndarray:
    """Return the matrix R with R R^T equal to the inverse of a covariance matrix, [n, n] each."""
    n = len(covariance)
    if not n:
        return np.zeros((0, 0))
    jitter = _JITTER * np.trace(covariance) / n * np.eye(n)
    return solve_triangular(cholesky(covariance + jitter, lower=True), np.eye(n), lower=True).T


@dataclasses.dataclass(frozen=True)
class Basis:
    r"""Functions of event and place that approximate the site, source and shared path terms.

    With cells z (a hypocentre and a place each) and their covariance :math:`K_{zz}` a term is approximately
    :math:`k(x, z) K_{zz}^{-1/2} \zeta` with independent standard Normal :math:`\zeta` (Nystroem). Shared
    site terms have cells that are places alone; source and shared path terms have cells together, of
    covariance :math:`h (L^2 + P^2 g_P)`. Source nodes do the same for the correlation h.

    Attributes
    ----------
    site_place_km : ndarray, [r_s, 2]
        Places of the cells of the site terms, km.
    site_whitening : ndarray, [r_s, r_s]
        :math:`K_{zz}^{-1/2}` of these, 1 / ln units.
    path_source_km, path_place_km : ndarray, [r_p, 3] and [r_p, 2]
        Hypocentres and places of the cells of source and path terms, km.
    path_whitening : ndarray, [r_p, r_p]
        :math:`K_{zz}^{-1/2}` of these, 1 / ln units.
    node_km : ndarray, [nodes, 3]
        Hypocentres of the source nodes, km.
    node_whitening : ndarray, [nodes, nodes]
        Inverse root of the correlations h of the nodes.
    """

    site_place_km: np.ndarray
    site_whitening: np.ndarray
    path_source_km: np.ndarray
    path_place_km: np.ndarray
    path_whitening: np.ndarray
    node_km: np.ndarray
    node_whitening: np.ndarray

    @classmethod
    def choose(cls, covariance: Covariance, records: Records, seed: int = 0) -> "Basis":
        """Choose the cells among the events, stations and records, at random with a seed.

        Parameters
        ----------
        covariance : Covariance
            Covariance of the field.
        records : Records
            Records; their residuals are not used.
        seed : int
            Seed of the choice.

        Returns
        -------
        Basis
            Cells and their whitening matrices.
        """
        places, sources = records.station_km, records.source_km

        def site_columns(at):
            return covariance.site_shared * correlation(_apart(places, places[at]), covariance.site_km)

        chosen = chosen_pivots(np.full(len(places), covariance.site_shared), site_columns, SITE_RANK, seed)
        site_place_km = places[chosen]

        def node_columns(at):
            return correlation(_apart(sources, sources[at]), covariance.source_km)

        node_km = sources[chosen_pivots(np.ones(len(sources)), node_columns, NODES, seed)]
        random = np.random.default_rng(seed)
        drawn = np.sort(random.choice(len(records), min(len(records), _CANDIDATES), replace=False))
        source_km, place_km = sources[records.event[drawn]], places[records.station[drawn]]

        def path_columns(at):
            return path_covariance(
                covariance, _apart(source_km, source_km[at]), _apart(place_km, place_km[at])
            )

        variance = np.full(len(drawn), covariance.source + covariance.path_shared)
        cells = chosen_pivots(variance, path_columns, PATH_RANK, seed)
        cell_source_km, cell_place_km = source_km[cells], place_km[cells]
        between = path_covariance(
            covariance, cdist(cell_source_km, cell_source_km), cdist(cell_place_km, cell_place_km)
        )
        between_sites = correlation(cdist(site_place_km, site_place_km), covariance.site_km)
        between_nodes = correlation(cdist(node_km, node_km), covariance.source_km)
        return cls(
            site_place_km,
            whitening(covariance.site_shared * between_sites),
            cell_source_km,
            cell_place_km,
            whitening(between),
            node_km,
            whitening(between_nodes),
        )

    def site_terms(self, covariance: Covariance, place_km) -> np.ndarray:
        """Return the functions of the shared site terms at places, [n, r_s]; `place_km`, [n, 2]."""
        near = correlation(cdist(place_km, self.site_place_km), covariance.site_km)
        return covariance.site_shared * near @ self.site_whitening

    def path_terms(self, covariance: Covariance, source_km, source, place_km, place) -> np.ndarray:
        """Return the functions of source and shared path terms at pairs of a hypocentre and a place.

        Parameters
        ----------
        covariance : Covariance
            Covariance of the field.
        source_km, place_km : ndarray, [e, 3] and [s, 2]
            Hypocentres and places, km.
        source, place : ndarray of int, [n]
            Hypocentre and place of each pair: few distances are computed for many pairs.

        Returns
        -------
        ndarray of float32, [n, r_p]
            Functions, ln units.
        """
        h = correlation(cdist(source_km, self.path_source_km).astype("float32"), covariance.source_km)
        g = correlation(cdist(place_km, self.path_place_km).astype("float32"), covariance.path_km)
        near = (covariance.source + covariance.path_shared * g)[place]
        near *= h[source]
        return near @ self.path_whitening.astype("float32")

    def source_terms(self, covariance: Covariance, source_km, place_km) -> np.ndarray:
        """Return the functions of source terms plus shared path terms, averaged over places, [n, r_p].

        Without places they are those of the source terms alone. `source_km`, [n, 3]; `place_km`, [m, 2].
        """
        g = correlation(cdist(place_km, self.path_place_km), covariance.path_km)
        mean = g.sum(axis=0) / max(len(g), 1)
        h = correlation(cdist(source_km, self.path_source_km), covariance.source_km)
        return h * (covariance.source + covariance.path_shared * mean) @ self.path_whitening

    def node_terms(self, covariance: Covariance, source_km) -> np.ndarray:
        """Return the functions of the source nodes at hypocentres, [n, nodes]; `source_km`, [n, 3]."""
        return correlation(cdist(source_km, self.node_km), covariance.source_km) @ self.node_whitening


def path_covariance(covariance: Covariance, source_distance_km, place_distance_km, xp=np):
    """Return the covariance h (L^2 + P^2 g_P) of source and shared path terms, for arrays and tensors.

    Parameters
    ----------
    covariance : Covariance
        Covariance of the field.
    source_distance_km, place_distance_km : array or tensor, [...]
        Distances of hypocentres and of places, km.
    xp : module
        Module with the function ``exp``: `numpy`, ``tf.math``, ``keras.ops``.

    Returns
    -------
    array or tensor, [...]
        Covariances, squared ln units.
    """
    shared = covariance.source + covariance.path_shared * correlation(
        place_distance_km, covariance.path_km, xp
    )
    return correlation(source_distance_km, covariance.source_km, xp) * shared


def _apart(places: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the distances of places from one place, km, [n]."""
    return np.sqrt(((places - place) ** 2).sum(axis=-1))


class Approximation:
    r"""Covariance :math:`\tilde C = L L^T + D` of residuals of records, with its inverse.

    The columns of L are the functions of a `Basis` and, for each site, the site term that neighbours do not
    share (with what the basis leaves of the shared one). D holds all else, by event: event term,
    within-event term, what the basis leaves of source and path terms, and on its diagonal the noise and the
    path terms of one site alone. The latter are common to all records of near sources at that site; an
    independent noise of the variance :math:`O^2 \sum_{e'} h_{ee'}` (over the events with a record there)
    stands for them, the sum of the row of their covariance. It is never less than they are, so that the
    variance that follows is not too small. A preconditioner does without it: with each own path term
    counted for one record alone the conjugate gradients take a third of the steps.

    Attributes
    ----------
    basis : Basis
        Functions in L.
    inverse : ndarray, [r + sites, r + sites]
        :math:`M = (I + L^T D^{-1} L)^{-1}`, the posterior covariance of the coefficients of L.
    own_site : ndarray, [sites]
        Variance of the site term that neighbours do not share, squared ln units.
    own_path : ndarray, [sites]
        Variance of the path term that neighbours do not share, squared ln units.
    """

    def __init__(
        self,
        covariance: Covariance,
        records: Records,
        basis: Basis,
        noise: np.ndarray,
        *,
        preconditioner: bool,
    ):
        """Make L and D for records with the variances `noise`, [n], of their noise, squared ln units."""
        self.basis, self.records = basis, records
        self._site = records.site[records.station]
        of_station = basis.site_terms(covariance, records.station_km)
        path = basis.path_terms(
            covariance, records.source_km, records.event, records.station_km, records.station
        )
        sites = len(records.site_ids)
        left = np.maximum(covariance.site_shared - (of_station**2).sum(axis=1), 0.0)
        self.own_site = covariance.site_own + _mean_by(records.site, left, sites)
        left = np.maximum(covariance.source + covariance.path_shared - (path**2).sum(axis=1), 0.0)
        self.own_path = covariance.path_own + _mean_by(self._site, left, sites, covariance.path_shared)
        self._basis_terms = np.hstack([of_station.astype("float32")[records.station], path])
        scale = np.sqrt(self.own_site)[self._site].astype("float32")
        self._own_terms = csr_array((scale, (self._site, np.arange(len(scale)))), (sites, len(scale)))
        self._starts = np.searchsorted(records.event, np.arange(len(records.source_km) + 1))
        diagonal = noise + (covariance.path_own if preconditioner else self._common_path(covariance))
        self._blocks = self._inverted_blocks(covariance, path, diagonal)
        self._solved_terms = self._over_events(self._basis_terms)
        self.inverse = self._posterior()

    def _common_path(self, covariance: Covariance) -> np.ndarray:
        """Return the variance of the noise that stands for the own path terms of each record, [n]."""
        records = self.records.present()
        h = correlation(cdist(records.source_km, records.source_km), covariance.source_km).astype("float32")
        of_site = np.equal.outer(records.site, np.arange(len(records.site_ids))).astype("float32")
        known = records.matrix(1.0) @ of_site
        others = (h @ known)[records.event, records.site[records.station]] - 1.0
        return covariance.path_own + self.own_path[self._site] * np.maximum(others, 0.0)

    @_BLAS.wrap(limits=1, user_api="blas")
    def _inverted_blocks(self, covariance: Covariance, path: np.ndarray, diagonal) -> list[np.ndarray]:
        """Return the inverse of D for each event, [records, records] each.

        `path`, [n, r_p], are the functions of the basis, `diagonal`, [n], the variances on the diagonal.
        """
        places = self.records.station_km
        apart = cdist(places, places)
        common = (
            covariance.event
            + covariance.source
            + covariance.within * correlation(apart, covariance.within_km)
            + covariance.path_shared * correlation(apart, covariance.path_km)
        ).astype("float32")
        blocks = []
        for rows in self._slices():
            at = self.records.station[rows]
            block = common[np.ix_(at, at)] - path[rows] @ path[rows].T
            block[np.diag_indices_from(block)] += diagonal[rows].astype("float32")
            blocks.append(_inverse(block))
        return blocks

    def _slices(self) -> list[slice]:
        """Return the records of each event."""
        return [slice(*ends) for ends in zip(self._starts[:-1], self._starts[1:], strict=True)]

    @_BLAS.wrap(limits=1, user_api="blas")
    def _over_events(self, values: np.ndarray) -> np.ndarray:
        """Return the inverse of D times values of the records, [n, k]."""
        solved = np.empty_like(values)
        for rows, block in zip(self._slices(), self._blocks, strict=True):
            if len(block):
                solved[rows] = block @ values[rows]
        return solved

    def _posterior(self) -> np.ndarray:
        """Return the posterior covariance of the coefficients of L, [r + sites, r + sites]."""
        rank, sites = self._basis_terms.shape[1], len(self.own_site)
        precision = np.eye(rank + sites)
        precision[:rank, :rank] += self._basis_terms.T @ self._solved_terms
        cross = self._own_terms @ self._solved_terms
        precision[rank:, :rank], precision[:rank, rank:] = cross, cross.T
        between = np.zeros((len(self.records.station_km),) * 2)
        for rows, block in zip(self._slices(), self._blocks, strict=True):
            station = self.records.station[rows]  # each one once, which sites need not be
            between[np.ix_(station, station)] += block
        scale = np.sqrt(self.own_site)[self.records.site]
        of_site = csr_array((scale, (self.records.site, np.arange(len(scale)))), (sites, len(scale)))
        precision[rank:, rank:] += of_site @ (of_site @ between).T
        return _inverse(precision)

    def solve(self, values: np.ndarray) -> np.ndarray:
        r"""Return the inverse of :math:`\tilde C` times values of the records, by the formula of Woodbury.

        Parameters
        ----------
        values : ndarray of float32, [n, k]
            Right-hand sides.

        Returns
        -------
        ndarray of float32, [n, k]
            Solutions.
        """
        solved = self._over_events(values)
        projected = np.vstack([self._basis_terms.T @ solved, self._own_terms @ solved])
        coefficients = (self.inverse @ projected).astype("float32")
        rank = self._basis_terms.shape[1]
        own = self._over_events(self._own_terms.T @ coefficients[rank:])
        return solved - self._solved_terms @ coefficients[:rank] - own


def _mean_by(group: np.ndarray, values: np.ndarray, size: int, empty: float = 0.0) -> np.ndarray:
    """Return the mean of values by group, [size]; `empty` where a group has no value."""
    count = np.bincount(group, minlength=size)
    total = np.bincount(group, values, size)
    return np.where(count > 0, total / np.maximum(count, 1), empty)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of a positive definite matrix of float32 or float64."""
    if not len(matrix):
        return matrix
    single = matrix.dtype == np.float32
    factorise = lapack.spotrf if single else lapack.dpotrf
    invert = lapack.spotri if single else lapack.dpotri
    factor, failed = factorise(matrix, lower=1, clean=1)
    if failed:
        raise DataError(
            "field: a covariance matrix has no inverse; look for wild values among the records "
            "(tfgmm describe)"
        )
    inverse, _ = invert(factor, lower=1)
    lower = np.tril(inverse)
    return lower + np.tril(lower, -1).T


class Equations:
    """Equations C a = r of the weights of the records, with the covariance C of their residuals.

    Attributes
    ----------
    steps : int
        Number of steps of the last solution.
    """

    def __init__(self, covariance: Covariance, records: Records, noise: np.ndarray):
        """Prepare products with the covariance of records whose noise has the variances `noise`, [n]."""
        records = records.present()
        self._records, self._noise = records, noise.astype("float32")[:, np.newaxis]
        apart = cdist(records.station_km, records.station_km)
        same_site = records.same_site

        def of(distance_km, range_km):
            return correlation(distance_km, range_km).astype("float32")

        self._h = of(cdist(records.source_km, records.source_km), covariance.source_km)
        self._near = np.float32(covariance.path_shared) * of(apart, covariance.path_km)
        self._near += np.float32(covariance.source) + np.float32(covariance.path_own) * same_site
        self._same_event = np.float32(covariance.within) * of(apart, covariance.within_km)
        self._same_event += np.float32(covariance.event)
        self._everywhere = np.float32(covariance.site_shared) * of(apart, covariance.site_km)
        self._everywhere += np.float32(covariance.site_own) * same_site
        self.steps = 0

    def times(self, values: np.ndarray) -> np.ndarray:
        """Return C times values of the records.

        Parameters
        ----------
        values : ndarray of float32, [n, k]
            Values of the records, in k columns.

        Returns
        -------
        ndarray of float32, [n, k]
            Products.
        """
        event, station = self._records.event, self._records.station
        product = self._noise * values
        for column in range(values.shape[1]):
            matrix = self._records.matrix(values[:, column])
            whole = (self._h @ matrix) @ self._near + matrix @ self._same_event
            whole += matrix.sum(axis=0) @ self._everywhere
            product[:, column] += whole[event, station]
        return product

    def solve(self, right, approximation: Approximation) -> np.ndarray:
        """Solve the equations by conjugate gradients.

        Parameters
        ----------
        right : array_like, [n, k]
            Right-hand sides.
        approximation : Approximation
            Preconditioner.

        Returns
        -------
        ndarray of float32, [n, k]
            Solutions, whose residuals are at most `TOLERANCE` times the right-hand sides.

        Raises
        ------
        DataError
            They do not converge in `MAX_STEPS` steps.

        References
        ----------
        Golub & Van Loan (2013), Matrix Computations, algorithm 11.5.1.
        """
        rest = np.array(right, "float32")
        solution = np.zeros_like(rest)
        goal = TOLERANCE * np.linalg.norm(rest, axis=0)
        direction, product = np.zeros_like(rest), np.ones(rest.shape[1])
        for self.steps in range(MAX_STEPS + 1):
            if (np.linalg.norm(rest, axis=0) <= goal).all():
                return solution
            conditioned = approximation.solve(rest)
            before, product = product, (rest * conditioned).sum(axis=0, dtype=float)
            direction = (
                conditioned + (product / np.where(before == 0, 1, before)).astype("float32") * direction
            )
            image = self.times(direction)
            curvature = (direction * image).sum(axis=0, dtype=float)
            step = (product / np.where(curvature == 0, 1, curvature)).astype("float32")
            solution += step * direction
            rest -= step * image
        raise DataError(
            f"field: the equations of {len(rest)} records do not converge in {MAX_STEPS} steps; look for "
            "wild values among the records (tfgmm describe)"
        )
