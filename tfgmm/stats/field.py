r"""One Gaussian process over earthquakes and places, given the residuals of records.

The residual of the record of event e at station s is :math:`r_{es} = G(e, s) + \epsilon_{es}`. The
covariance of G is that of `tfgmm.stats.field_covariance`; G holds event, site, source, path and
within-event terms. Its mean given the records is exact to the tolerance of the equations
(`tfgmm.stats.field_solver`). Its variance is approximate. Terms shared by sites or sources are those of few
functions of event and place, with the posterior covariance of their coefficients; the path term of one site
alone follows from its records of near sources. All else keeps its prior variance.

Beside a dense solution for 2,000 records the standard deviation is 0.96 to 1.01 of the exact one in the
mean over known or new events and sites. For 61,000 records of Kanto it is 1.01 to 1.02 of it with usual
variances, and 1.04 to 1.07 where path terms hold half of the variance and noise a twentieth: few functions
cannot follow these, and the variance is too large rather than too small.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from scipy.linalg import cho_solve
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.stats import field_fit
from tfgmm.stats.field_covariance import VARIANCES, Covariance, correlation
from tfgmm.stats.field_event import draw, factorised, new_event
from tfgmm.stats.field_records import Cells, Records
from tfgmm.stats.field_solver import LARGE, Approximation, Basis, Equations, path_covariance

#: Number of events whose terms at all places are held in memory at once.
_EVENTS_AT_ONCE = 200


@dataclasses.dataclass(frozen=True)
class Field:
    r"""Field of the terms of events, sites, sources and paths, given the residuals of records.

    .. math:: E[G(e, s)] = \sum_{e's'} a_{e's'} C(e, s; e', s'), \quad a = (C + \sigma^2 I)^{-1} r

    Attributes
    ----------
    covariance : Covariance
        Covariance C of the field.
    records : Records
        Records that the field is conditioned on.
    noise : ndarray, [n]
        Variance of the noise of each record, squared ln units.
    weights : ndarray of float32, [events, stations]
        Weights a, 1 / ln units; 0 where a station has no record of an event.
    basis : Basis
        Functions of event and place of the shared terms.
    inverse : ndarray of float32, [r + sites, r + sites]
        Posterior covariance of the coefficients of the functions and of the own site terms, relative to
        their prior variances.
    own_site : ndarray of float32, [sites]
        Prior variance of the site term that neighbours do not share, squared ln units.
    path_known : ndarray of float32, [sites, nodes, nodes]
        Share of the variance of own path terms that the records explain, as a quadratic form of the
        functions of the source nodes.
    path_share : ndarray of float32, [sites, nodes]
        Sum of the weights of the site's records in its own path term, as a linear form of the same
        functions. An error of the site term enters the field by 1 minus this share, for the own path term
        takes the opposite error; one of the shared path terms by 1 minus the known share of path terms.
    """

    covariance: Covariance
    records: Records
    noise: np.ndarray
    weights: np.ndarray
    basis: Basis
    inverse: np.ndarray
    own_site: np.ndarray
    path_known: np.ndarray
    path_share: np.ndarray

    def mean(self, cells: Cells) -> np.ndarray:
        """Return the mean of the field at pairs of an event and a place.

        Parameters
        ----------
        cells : Cells
            Pairs of known or new events and known or new sites.

        Returns
        -------
        ndarray of float64, [n]
            Means, ln units.
        """
        return sum(self.parts(cells).values(), np.zeros(len(cells)))

    def parts(self, cells: Cells) -> dict[str, np.ndarray]:
        """Return the mean of every part of the field at pairs of an event and a place.

        Parameters
        ----------
        cells : Cells
            Pairs of known or new events and known or new sites.

        Returns
        -------
        dict of str to ndarray of float64, [n]
            Means in ln units, by part: ``event, site_own, site_shared, source, path_own, path_shared,
            within``.
        """
        parts = {name: np.zeros(len(cells)) for name in VARIANCES[:-1]}
        keys = np.c_[cells.event, cells.source_km]
        _, first, event = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(event, kind="stable")
        for some in np.array_split(order, max(1, -(-len(first) // _EVENTS_AT_ONCE))):
            for name, values in self._parts_of(cells[some]).items():
                parts[name][some] = values
        return parts

    def _parts_of(self, cells: Cells) -> dict[str, np.ndarray]:
        """Return the parts of the mean as `parts` does, for pairs of few events."""
        fit, records = self.covariance, self.records
        _, first, source = np.unique(cells.source_km, axis=0, return_index=True, return_inverse=True)
        _, at, place = np.unique(cells.place_km, axis=0, return_index=True, return_inverse=True)
        h = correlation(cdist(cells.source_km[first], records.source_km), fit.source_km)
        near, apart = h @ self.weights, cdist(cells.place_km[at], records.station_km)
        known_event, known_site = cells.event >= 0, cells.site >= 0
        of_event = self.weights[np.where(known_event, cells.event, 0)] * known_event[:, np.newaxis]
        in_site = np.equal.outer(np.arange(len(records.site_ids)), records.site).astype(float)
        everywhere = self.weights.sum(axis=0, dtype=float)
        site = np.where(known_site, cells.site, 0)
        within = correlation(apart, fit.within_km)[place]
        path = near @ correlation(apart, fit.path_km).T
        return {
            "event": fit.event * of_event.sum(axis=1),
            "site_own": fit.site_own * (in_site @ everywhere)[site] * known_site,
            "site_shared": fit.site_shared * (correlation(apart, fit.site_km) @ everywhere)[place],
            "source": fit.source * near.sum(axis=1)[source],
            "path_own": fit.path_own * (near @ in_site.T)[source, site] * known_site,
            "path_shared": fit.path_shared * path[source, place],
            "within": fit.within * (of_event * within).sum(axis=1),
        }

    def variance(self, cells: Cells) -> np.ndarray:
        """Return the variance of the field at pairs of an event and a place.

        Parameters
        ----------
        cells : Cells
            Pairs of known or new events and known or new sites.

        Returns
        -------
        ndarray of float64, [n]
            Variances, squared ln units, without the noise of a record.
        """
        variance = np.zeros(len(cells))
        keys = np.c_[cells.event, cells.source_km]
        _, event = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(event, kind="stable")
        # A matrix of its own for each event, which is small unless sites are thousands: one thread.
        with threadpool_limits(1, "blas"):
            for some in np.split(order, np.flatnonzero(np.diff(event[order])) + 1):
                chosen = cells[some]
                if not len(some):
                    continue
                rows = np.flatnonzero(self.records.event == chosen.event[0])
                if len(rows):
                    variance[some] = self._variance_of_known(chosen, rows)
                else:
                    variance[some] = self._variance_of_new(chosen)
        return variance

    def _variance_of_new(self, cells: Cells) -> np.ndarray:
        """Return the variance of the field for one event without records, [n]."""
        # As float32, the type of the constants: float64 would copy all weights for each event.
        source_km, place_km = (values.astype("float32") for values in (cells.source_km[0], cells.place_km))
        return new_event(self.constants, source_km, place_km, cells.site)[1]

    def _variance_of_known(self, cells: Cells, rows: np.ndarray) -> np.ndarray:
        """Return the variance of the field for one event with the records `rows`, [n].

        The coefficients are known from all records, those of the event included. What is left of the field
        is conditioned on the event's own records, for given coefficients.
        """
        here = self.records.cells()[rows]
        terms, left = self._terms_and_rest(_joined(here, cells))
        n = len(rows)
        factor = factorised(left[:n, :n] + np.diag(self.noise[rows]))
        weights = cho_solve(factor, left[:n, n:]).T
        terms = terms[n:] - weights @ terms[:n]
        explained = (weights * left[n:, :n]).sum(axis=1)
        variance = ((terms @ self.inverse) * terms).sum(axis=1) + np.diag(left)[n:] - explained
        return np.maximum(variance, 0.0)

    def site_variance(self, cells: Cells) -> np.ndarray:
        """Return the variance of the site term, own and shared, at pairs of an event and a place.

        Parameters
        ----------
        cells : Cells
            Pairs of known or new events and known or new sites.

        Returns
        -------
        ndarray of float64, [n]
            Variances, squared ln units.
        """
        keys = np.c_[cells.site, cells.place_km]
        _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        fit, basis, site = self.covariance, self.basis, cells.site[first]
        shared, known = basis.site_terms(fit, cells.place_km[first]), site >= 0
        own = np.zeros((len(first), len(self.own_site)))
        own[known, site[known]] = np.sqrt(self.own_site[site[known]])
        rank, first_own = shared.shape[1], len(self.inverse) - len(self.own_site)
        chosen = np.r_[0:rank, first_own : len(self.inverse)]
        terms = np.hstack([shared, own])
        variance = ((terms @ self.inverse[np.ix_(chosen, chosen)]) * terms).sum(axis=1)
        rest = fit.site_own + fit.site_shared - (shared**2).sum(axis=1)
        return np.maximum(variance + np.where(known, 0.0, np.maximum(rest, 0.0)), 0.0)[place]

    def event_covariance(self, cells: Cells) -> np.ndarray:
        """Return the covariance of the field between places in one event without records.

        Parameters
        ----------
        cells : Cells
            Pairs of the one event with places.

        Returns
        -------
        ndarray of float64, [n, n]
            Covariances, squared ln units, without the noise of records.
        """
        terms, left = self._terms_and_rest(cells)
        return terms @ self.inverse.astype(float) @ terms.T + left

    def _terms_and_rest(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        """Return functions of event and place, [n, r + sites], and the covariance of the rest, [n, n].

        All pairs are of one event. The covariance of the rest is that for given coefficients.
        """
        fit, basis = self.covariance, self.basis
        site_terms = basis.site_terms(fit, cells.place_km)
        zero, places = np.zeros(len(cells), int), np.arange(len(cells))
        path_terms = basis.path_terms(fit, cells.source_km[:1], zero, cells.place_km, places).astype(float)
        known = cells.site >= 0
        site = np.where(known, cells.site, 0)
        nodes = basis.node_terms(fit, cells.source_km[:1])[0]
        share = (self.path_share[site] @ nodes) * known
        unknown_path = np.maximum(1 - (self.path_known[site] @ nodes @ nodes) * known, 0.0)
        own = np.zeros((len(cells), len(self.own_site)))
        own[places[known], site[known]] = np.sqrt(self.own_site[site[known]])
        not_taken, unknown = (1 - share)[:, np.newaxis], unknown_path[:, np.newaxis]
        terms = np.hstack([not_taken * site_terms, unknown * path_terms, not_taken * own])
        apart = cdist(cells.place_km, cells.place_km)
        same_site = np.equal.outer(cells.site, cells.site)
        site_rest = fit.site_own * same_site + fit.site_shared * correlation(apart, fit.site_km)
        site_rest = (site_rest - site_terms @ site_terms.T) * np.outer(~known, ~known)
        path_rest = fit.path_own * same_site + path_covariance(fit, 0.0, apart) - path_terms @ path_terms.T
        within = fit.event + fit.within * correlation(apart, fit.within_km)
        return terms, within + site_rest + path_rest * np.sqrt(np.outer(unknown_path, unknown_path))

    def sample(self, cells: Cells, size: int, seed: int) -> np.ndarray:
        """Draw correlated samples of the field at places in one event without records.

        Parameters
        ----------
        cells : Cells
            Pairs of the one event with places.
        size : int
            Number of samples.
        seed : int
            Seed; the same seed gives the same samples.

        Returns
        -------
        ndarray of float64, [size, n]
            Samples, ln units, without the noise of records.
        """
        return draw(self.mean(cells), self.event_covariance(cells), size, seed)

    @functools.cached_property
    def constants(self) -> dict[str, Any]:
        """Return the arrays that `new_event` needs, as float32; they can be the constants of a graph."""
        basis, records, inverse = self.basis, self.records, self.inverse.astype(float)
        rank = len(basis.site_whitening) + len(basis.path_whitening)
        site, path, own = slice(len(basis.site_whitening)), slice(len(basis.site_whitening), rank), rank
        scale = np.sqrt(self.own_site.astype(float))[:, np.newaxis]
        told, coefficients = np.linalg.eigh(np.eye(len(basis.path_whitening)) - inverse[path, path])
        whitening = basis.path_whitening
        arrays = {
            "event_km": records.source_km,
            "station_km": records.station_km,
            "site_of_station": records.site,
            "weights": self.weights,
            "weights_of_station": self.weights.sum(axis=0, dtype=float),
            "site_place_km": basis.site_place_km,
            "site_whitening": basis.site_whitening,
            "site_posterior": inverse[site, site],
            "path_source_km": basis.path_source_km,
            "path_place_km": basis.path_place_km,
            "path_whitening": whitening,
            "path_told": whitening @ coefficients * np.sqrt(np.maximum(told, 0.0)),
            "path_with_site": 2 * inverse[site, path] @ whitening.T,
            "node_km": basis.node_km,
            "node_whitening": basis.node_whitening,
            "own_posterior": scale[:, 0] ** 2 * np.diag(inverse)[own:],
            "own_with_site": 2 * scale * inverse[own:, site],
            "own_with_path": 2 * scale * inverse[own:, path] @ whitening.T,
            "path_known": self.path_known,
            "path_share": self.path_share,
        }
        constants = {name: np.asarray(values, "float32") for name, values in arrays.items()}
        return constants | {"covariance": self.covariance}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all that the field holds as arrays, those of its measure with a first axis im."""
        shared = {
            f"records_{name}": values
            for name, values in vars(self.records).items()
            if values is not None and name not in ("residual", "noise")
        }
        by_measure = {
            "covariance": np.array(dataclasses.astuple(self.covariance)),
            "residual": self.records.residual,
            "noise": self.noise,
            **{name: getattr(self, name) for name in _OWN_ARRAYS},
            **{f"basis_{name}": values for name, values in vars(self.basis).items()},
        }
        return shared | {name: values[np.newaxis] for name, values in by_measure.items()}

    @classmethod
    def from_arrays(cls, arrays, im: int = 0) -> Self:
        """Make a field of its arrays.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            Result of `arrays`.
        im : int
            Index of the intensity measure.

        Returns
        -------
        Field
            The field.
        """
        geometry = {
            field.name: arrays[f"records_{field.name}"]
            for field in dataclasses.fields(Records)
            if field.name not in ("residual", "noise")
        }
        cells = {field.name: arrays[f"basis_{field.name}"][im] for field in dataclasses.fields(Basis)}
        return cls(
            covariance=Covariance(*arrays["covariance"][im].tolist()),
            records=Records(**geometry, residual=arrays["residual"][im], noise=arrays["noise"][im]),
            noise=arrays["noise"][im],
            basis=Basis(**cells),
            **{name: arrays[name][im] for name in _OWN_ARRAYS},
        )

    def save(self, path: Path) -> None:
        """Write the field as one compressed file of NumPy arrays without pickles.

        Parameters
        ----------
        path : Path
            Path of the file, which ends in ``.npz``.

        Raises
        ------
        DataError
            The file system refuses to write.
        """
        with files.whole_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **self.arrays())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a field that `save` has written.

        Parameters
        ----------
        path : Path
            Path of the file.

        Returns
        -------
        Field
            The field.

        Raises
        ------
        DataError
            The file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls.from_arrays(arrays)
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise DataError(
                f"{path} is missing or damaged ({error}): make it again with tfgmm refit RUN --data "
                "DATA, or with the tfgmm train command of the run"
            ) from error


#: Arrays of a `Field` that it stores under their own names.
_OWN_ARRAYS = ("weights", "inverse", "own_site", "path_known", "path_share")


def fitted(records: Records) -> Field:
    """Fit the covariance of the field to the residuals of records, and condition the field on them.

    Parameters
    ----------
    records : Records
        Residuals that the median has not been fitted to, of mean zero.

    Returns
    -------
    Field
        The field given the records.

    Raises
    ------
    DataError
        The records are too few, or the equations do not converge.
    """
    return condition(field_fit.fit(records), records)


def condition(covariance: Covariance, records: Records, basis: Basis | None = None, seed: int = 0) -> Field:
    """Condition the field on the residuals of records.

    Parameters
    ----------
    covariance : Covariance
        Covariance of the field; its noise is that of records that have no variance of their own.
    records : Records
        Records; events and stations without a record are allowed.
    basis : Basis, optional
        Functions of the shared terms; by default they are chosen among the records.
    seed : int
        Seed of this choice.

    Returns
    -------
    Field
        The field given the records.

    Raises
    ------
    DataError
        There is no record, or the equations do not converge.

    References
    ----------
    Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equations 2.25 and 2.26.
    """
    if not len(records):
        raise DataError("field: there is no record to condition it on: bring at least one")
    basis = Basis.choose(covariance, records, seed) if basis is None else basis
    noise = np.full(len(records), covariance.noise) if records.noise is None else records.noise
    with threadpool_limits(None if np.prod(records.present().shape) >= LARGE else 1, "blas"):
        preconditioner = Approximation(covariance, records, basis, noise, preconditioner=True)
        equations = Equations(covariance, records, noise)
        weights = equations.solve(records.residual[:, np.newaxis], preconditioner)[:, 0]
        del preconditioner  # as large as the next
        approximation = Approximation(covariance, records, basis, noise, preconditioner=False)
        known, share = _own_paths(covariance, records, noise, approximation)
    return Field(
        covariance,
        records,
        noise,
        records.matrix(weights),
        basis,
        approximation.inverse.astype("float32"),
        approximation.own_site.astype("float32"),
        known,
        share,
    )


@threadpool_limits.wrap(limits=1, user_api="blas")
def _own_paths(
    covariance: Covariance, records: Records, noise: np.ndarray, approximation: Approximation
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return what the records of each site tell of its own path terms, given all other terms.

    For one site with the functions :math:`\Phi` of the source nodes at its records, own path terms of the
    variance v, and N the variance of the rest of these records,

    .. math:: A = I - (I + v \Phi^T N^{-1} \Phi)^{-1}, \quad b = (I - A) v \Phi^T N^{-1} 1

    Returns
    -------
    known : ndarray of float32, [sites, nodes, nodes]
        Quadratic form A.
    share : ndarray of float32, [sites, nodes]
        Linear form b.
    """
    nodes = approximation.basis.node_terms(covariance, records.source_km)
    unexplained = np.maximum(1 - (nodes**2).sum(axis=1), 0.0)
    site, count = records.site[records.station], nodes.shape[1]
    variance = approximation.own_path
    rest = noise + covariance.within + variance[site] * unexplained[records.event]
    known, share = np.zeros((len(variance), count, count)), np.zeros((len(variance), count))
    order = np.argsort(site, kind="stable")
    ends = np.searchsorted(site[order], np.arange(len(variance) + 1))
    for number in range(len(variance)):
        rows = order[ends[number] : ends[number + 1]]
        functions = nodes[records.event[rows]]
        scaled = variance[number] * functions / rest[rows, np.newaxis]
        posterior = np.linalg.inv(np.eye(count) + scaled.T @ functions)
        known[number] = np.eye(count) - posterior
        share[number] = posterior @ scaled.sum(axis=0)
    return known.astype("float32"), share.astype("float32")


def _joined(first: Cells, second: Cells) -> Cells:
    """Return the pairs of both, those of `first` first."""
    return Cells(
        *(
            np.concatenate([getattr(first, field.name), getattr(second, field.name)])
            for field in dataclasses.fields(Cells)
        )
    )
