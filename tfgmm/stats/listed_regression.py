"""Regression with a prior, crossed event and site terms, and records that are listed only above a level."""

import dataclasses

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array
from scipy.special import log_ndtr
from threadpoolctl import threadpool_limits

from tfgmm.core.errors import DataError

#: Relative change of tau, phi_S2S and phi_SS below which the fit has converged.
TOLERANCE = 1e-3
#: Largest number of updates of the standard deviations; some 10 to 20 are usual.
MOST_UPDATES = 200
#: Newton steps for each update of the standard deviations, where records are truncated.
_NEWTON_STEPS = 2
#: Largest number of Newton steps with fixed standard deviations; some 4 are usual.
_MOST_NEWTON_STEPS = 20
#: Smallest ratio of tau and phi_S2S to phi_SS.
_SMALLEST_RATIO = 1e-3
_HALVINGS = 12


@dataclasses.dataclass(frozen=True)
class Listing:
    r"""Probability that a record is listed in a dataset that is truncated from below.

    .. math:: P(listed \mid y) = \Phi\left(\frac{y - c}{d}\right), \quad y = \ln PGA

    Attributes
    ----------
    level : float
        c, ln of the PGA in g at which half of the records are listed. The default is that of the files of
        the Japan Meteorological Agency, which list intensities of 0.5 and more (`docs/results/ideas.md`).
    spread : float
        d, ln units.
    """

    level: float = -6.62
    spread: float = 0.45


@dataclasses.dataclass(frozen=True)
class ListedRegression:
    """A fitted regression; all quantities are in the unit of y, for instance ln units.

    Attributes
    ----------
    coefficients : ndarray, [p]
        Posterior mean (mode, where records are truncated) of the coefficients b.
    covariance : ndarray, [p, p]
        Posterior covariance of the coefficients.
    tau, phi_s2s, phi_ss : float
        Standard deviations of the event terms, the site terms and the remaining part of a record, before
        the truncation.
    event_terms, site_terms : pandas.Series
        Event and site terms by id.
    log_likelihood : float
        Logarithm of the likelihood of the records, with coefficients and terms integrated out (Laplace's
        approximation where records are truncated), up to a constant that is the same for all offsets and
        designs. Records that are alike count in part.
    mu : ndarray, [n]
        Expected y of each record before the truncation, given the event and site terms, where every record
        counts in full.
    converged : bool
        Whether the standard deviations have converged.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    tau: float
    phi_s2s: float
    phi_ss: float
    event_terms: pd.Series
    site_terms: pd.Series
    log_likelihood: float
    mu: np.ndarray
    converged: bool


class _Equations:
    """Weighted normal equations of coefficients, event terms and site terms.

    The effect with more levels is eliminated exactly; what is left is a dense matrix with a row for each
    level of the other effect and each coefficient.
    """

    def __init__(self, design: np.ndarray, event, site, precision: np.ndarray) -> None:
        self.design, self.precision = design, precision
        factors = [pd.factorize(np.asarray(ids), sort=True) for ids in (event, site)]
        codes, self.levels = [code for code, _ in factors], [levels for _, levels in factors]
        self.sizes = [len(levels) for levels in self.levels]
        for name, size in zip(("events", "sites"), self.sizes, strict=True):
            if size < 2:
                raise DataError(f"regression: the records have {size} {name}, at least 2 are needed")
        self.codes = codes
        self.first = int(self.sizes[1] > self.sizes[0])  # the one that is eliminated
        self.second = 1 - self.first
        n, rows = len(design), np.arange(len(design))
        self.sums = [
            csr_array((np.ones(n), (code, rows)), shape=(size, n))
            for code, size in zip(codes, self.sizes, strict=True)
        ]
        self.pair = codes[self.first].astype(np.int64) * self.sizes[self.second] + codes[self.second]

    def predict(self, coefficients, terms) -> np.ndarray:
        """Return the sum of the fixed effects and the terms of each record, [n]."""
        return self.design @ coefficients + terms[0][self.codes[0]] + terms[1][self.codes[1]]

    def solve(self, weights: np.ndarray, response: np.ndarray, stddevs) -> tuple:
        """Return coefficients, terms, their variances, the covariance and the log-determinant.

        `weights`, [n], are inverse variances of the `response`, [n]; `stddevs` are those of the event and
        the site terms.
        """
        first, second = self.first, self.second
        sizes, p = self.sizes, self.design.shape[1]
        weighted = weights[:, None] * self.design
        counts = np.bincount(self.pair, weights, sizes[first] * sizes[second])
        counts = counts.reshape(sizes[first], sizes[second])
        border = np.hstack([counts, self.sums[first] @ weighted])
        diagonal = counts.sum(axis=1) + 1 / stddevs[first] ** 2
        inner = np.empty((sizes[second] + p,) * 2)
        inner[: sizes[second], : sizes[second]] = np.diag(counts.sum(axis=0) + 1 / stddevs[second] ** 2)
        inner[: sizes[second], sizes[second] :] = self.sums[second] @ weighted
        inner[sizes[second] :, : sizes[second]] = inner[: sizes[second], sizes[second] :].T
        inner[sizes[second] :, sizes[second] :] = self.design.T @ weighted + self.precision
        share = border / diagonal[:, None]
        inner -= border.T @ share
        right = weights * response
        eliminated = self.sums[first] @ right
        right = np.concatenate([self.sums[second] @ right, self.design.T @ right]) - share.T @ eliminated
        factor = cho_factor(inner, lower=True, check_finite=False)
        solution = cho_solve(factor, right)
        inverse = cho_solve(factor, np.eye(len(inner)))

        terms, variances = [np.empty(0)] * 2, [np.empty(0)] * 2
        terms[second] = solution[: sizes[second]]
        terms[first] = eliminated / diagonal - share @ solution
        variances[second] = np.diag(inverse)[: sizes[second]]
        variances[first] = 1 / diagonal + ((share @ inverse) * share).sum(axis=1)
        log_det = np.log(diagonal).sum() + 2 * np.log(np.diag(factor[0])).sum()
        return solution[-p:], terms, variances, inverse[-p:, -p:], log_det


def fit(
    design,
    y,
    event,
    site,
    precision,
    *,
    offset=0.0,
    listing: Listing | None = None,
    records_alike: float = 1.0,
    most: int = MOST_UPDATES,
) -> ListedRegression:
    r"""Fit a linear regression with a Gaussian prior and crossed event and site terms to listed records.

    .. math:: y_{es} = o_{es} + x_{es}^T b + \delta B_e + \delta S2S_s + \delta WS_{es}, \quad
        b \sim N(0, P^{-1}), \; \delta B_e \sim N(0, \tau^2), \;
        \delta S2S_s \sim N(0, \phi_{S2S}^2), \; \delta WS_{es} \sim N(0, \phi_{SS}^2)

    With :math:`\mu` the mean of y given b and the terms, the likelihood of a listed record is

    .. math:: p(y \mid listed) = N(y; \mu, \phi_{SS}^2) \; \Phi\left(\frac{y - c}{d}\right) \Big/
        \Phi(a), \quad a = \frac{\mu - c}{\sqrt{d^2 + \phi_{SS}^2}}

    It is log-concave in :math:`\mu`: with :math:`h = \varphi(a) / \Phi(a)` its score is
    :math:`(y - \mu) / \phi_{SS}^2 - h / s` and its curvature
    :math:`-1 / \phi_{SS}^2 + h (a + h) / s^2` with :math:`s^2 = d^2 + \phi_{SS}^2`, which is negative
    because 0 < h (a + h) < 1. Newton's method with halved steps therefore finds the one mode; without a
    listing it takes one step. The standard deviations are updated in between from the modes and their
    posterior variances (MacKay's fixed point of restricted maximum likelihood): for n terms v with
    posterior variances w, :math:`\tau^2 = \sum v^2 / (n - \sum w / \tau^2)`. One iteration
    takes O(events x sites^2) operations if there are more events than sites.

    Parameters
    ----------
    design : array_like, [n, p]
        Design matrix X; columns may be collinear, as the prior determines what the records do not.
    y : array_like, [n]
        Observed values, for instance ln IM.
    event, site : array_like, [n]
        Event id and site id of each record.
    precision : array_like, [p, p]
        Precision P of the prior of the coefficients, positive definite.
    offset : array_like, [n]
        Part o of y that is known, for instance the published median.
    records_alike : float
        Number of records that count as one, given the event and site terms: neighbouring records of an
        event, and records of neighbouring events at a site, share their path and err together. The
        standard deviations are found with all records; then coefficients, their covariance and the terms
        are those for a likelihood in which each record has the power 1 / `records_alike`.
    listing : Listing, optional
        How records were selected by their y; None: not.
    most : int
        Largest number of updates of the standard deviations.

    Returns
    -------
    ListedRegression
        Coefficients, covariance, standard deviations and terms.

    Raises
    ------
    DataError
        A value is missing or infinite, or there are fewer than two events or sites.

    References
    ----------
    MacKay (1992), Bayesian interpolation, Neural Computation 4(3), 415-447. Breslow & Clayton (1993),
    Approximate inference in generalized linear mixed models, J. Am. Stat. Assoc. 88(421), 9-25.
    """
    design, y = np.asarray(design, float), np.asarray(y, float)
    offset = np.broadcast_to(np.asarray(offset, float), y.shape)
    precision = np.asarray(precision, float)
    if not (np.isfinite(design).all() and np.isfinite(y).all() and np.isfinite(offset).all()):
        raise DataError("regression: a value is missing or infinite: drop the record or mend its source")
    equations = _Equations(design, event, site, precision)
    with threadpool_limits(1, "blas"):  # matrices of some hundred rows: threads gain nothing
        problem = _Problem(equations, y, offset, listing)
        result = _iterate(problem, most)
        if records_alike > 1:
            result = _tempered(dataclasses.replace(problem, share=1 / records_alike), result)
        return result


def _iterate(problem: "_Problem", most: int) -> ListedRegression:
    """Alternate between Newton steps and updates of the standard deviations (see `fit`)."""
    equations, sizes = problem.equations, np.array(problem.equations.sizes)
    spread = float(np.std(problem.y - problem.offset)) or 1.0
    state = _State(np.zeros(equations.design.shape[1]), [np.zeros(size) for size in sizes])
    stddevs, phi, converged = np.array([0.5, 0.5]) * spread, 0.7 * spread, False
    for update in range(most + 1):
        state = problem.improve(state, stddevs, phi, _NEWTON_STEPS if problem.listing else 1)
        if converged or update == most:
            break
        shares = np.array([v.sum() / sd**2 for v, sd in zip(state.variances, stddevs, strict=True)])
        free = sizes.sum() + len(state.b) - shares.sum() - np.sum(equations.precision * state.covariance)
        new_phi = _update_phi(problem.y, state.mu, phi, float(free), problem.listing)
        squares = np.array([(term**2).sum() for term in state.terms])
        smallest = _SMALLEST_RATIO * new_phi
        new_stddevs = np.maximum(np.sqrt(squares / np.maximum(sizes - shares, 1e-9)), smallest)
        change = np.abs(np.log(new_stddevs / stddevs))[new_stddevs > 2 * smallest]
        converged = bool((change < TOLERANCE).all() and abs(np.log(new_phi / phi)) < TOLERANCE)
        stddevs, phi = new_stddevs, new_phi
    return problem.result(state, stddevs, phi, converged)


def _tempered(problem: "_Problem", result: ListedRegression) -> ListedRegression:
    """Return the regression for records that count in part; the standard deviations stay."""
    terms = [result.event_terms.to_numpy(), result.site_terms.to_numpy()]
    stddevs = np.array([result.tau, result.phi_s2s])
    state = problem.improve(_State(result.coefficients, terms), stddevs, result.phi_ss, _MOST_NEWTON_STEPS)
    tempered = problem.result(state, stddevs, result.phi_ss, result.converged)
    return dataclasses.replace(tempered, mu=result.mu)


@dataclasses.dataclass(frozen=True)
class _State:
    """Coefficients, event and site terms, and what the last solution says about them."""

    b: np.ndarray
    terms: list[np.ndarray]
    mu: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    variances: list[np.ndarray] = dataclasses.field(default_factory=list)
    covariance: np.ndarray = dataclasses.field(default_factory=lambda: np.empty((0, 0)))
    log_det: float = 0.0
    value: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Problem:
    """Penalised likelihood of records, each of which counts `share` times, and its Newton steps."""

    equations: _Equations
    y: np.ndarray
    offset: np.ndarray
    listing: Listing | None
    share: float = 1.0

    def penalised(self, b: np.ndarray, terms: list[np.ndarray], stddevs, phi: float):
        """Return the penalised log-likelihood, without constants of the standard deviations, and mu."""
        mu = self.offset + self.equations.predict(b, terms)
        value = -0.5 * (((self.y - mu) / phi) ** 2).sum()
        if self.listing:
            value -= log_ndtr((mu - self.listing.level) / np.hypot(self.listing.spread, phi)).sum()
        value = self.share * value - 0.5 * b @ self.equations.precision @ b
        value -= 0.5 * sum((term**2).sum() / sd**2 for term, sd in zip(terms, stddevs, strict=True))
        return float(value), mu

    def improve(self, state: _State, stddevs, phi: float, steps: int) -> _State:
        """Return the state after a number of Newton steps, each halved until it is no step down."""
        b, terms = state.b, state.terms
        value, mu = self.penalised(b, terms, stddevs, phi)
        for _ in range(steps):
            score, weights = _score(self.y, mu, phi, self.listing)
            response = mu - self.offset + score / weights
            solution = self.equations.solve(self.share * weights, response, stddevs)
            new_b, new_terms, variances, covariance, log_det = solution
            before, step = value, 1.0
            for _ in range(_HALVINGS):
                trial_b = b + step * (new_b - b)
                trial = [old + step * (new - old) for old, new in zip(terms, new_terms, strict=True)]
                trial_value, trial_mu = self.penalised(trial_b, trial, stddevs, phi)
                if trial_value >= value - 1e-9 * abs(value):
                    b, terms, value, mu = trial_b, trial, trial_value, trial_mu
                    break
                step /= 2
            if abs(value - before) < 1e-10 * abs(value):
                break
        return _State(b, terms, mu, variances, covariance, log_det, value)

    def result(self, state: _State, stddevs, phi: float, converged: bool) -> ListedRegression:
        """Return the state as the result of the regression."""
        sizes, levels = self.equations.sizes, self.equations.levels
        log_prior = 0.5 * np.linalg.slogdet(self.equations.precision)[1] - np.log(stddevs) @ sizes
        log_likelihood = state.value - self.share * len(self.y) * np.log(phi)
        log_likelihood += log_prior - 0.5 * state.log_det
        return ListedRegression(
            coefficients=state.b,
            covariance=state.covariance,
            tau=float(stddevs[0]),
            phi_s2s=float(stddevs[1]),
            phi_ss=float(phi),
            event_terms=pd.Series(state.terms[0], pd.Index(levels[0], name="event")),
            site_terms=pd.Series(state.terms[1], pd.Index(levels[1], name="site")),
            log_likelihood=float(log_likelihood),
            mu=state.mu,
            converged=converged,
        )


def _score(y, mu, phi: float, listing: Listing | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope and minus the curvature of the log-likelihood of each record in mu, [n] each."""
    score, weights = (y - mu) / phi**2, np.full(len(y), 1 / phi**2)
    if listing is None:
        return score, weights
    s = np.hypot(listing.spread, phi)
    a = (mu - listing.level) / s
    h = _hazard(a)
    return score - h / s, weights - h * (a + h) / s**2


def _hazard(a) -> np.ndarray:
    """Return the density over the distribution function of the standard Normal distribution at a, [...]."""
    return np.exp(-0.5 * np.square(a) - 0.5 * np.log(2 * np.pi) - log_ndtr(a))


def _update_phi(y, mu, phi: float, free: float, listing: Listing | None) -> float:
    """Return the best phi_SS for given mu, of which `free` degrees of freedom were fitted."""
    squares, left = ((y - mu) ** 2).sum(), max(len(y) - free, 1.0)
    if listing is None:
        return float(np.sqrt(squares / left))

    def deviance(log_phi: float) -> float:
        """Return -2 log-likelihood of the records at a standard deviation."""
        s = np.hypot(listing.spread, np.exp(log_phi))
        truncated = log_ndtr((mu - listing.level) / s).sum()
        return 2 * left * log_phi + squares * np.exp(-2 * log_phi) + 2 * truncated

    bounds = np.log(phi) - 0.4, np.log(phi) + 0.4
    best = minimize_scalar(deviance, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))
