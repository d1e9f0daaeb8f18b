"""Linear regression with crossed random event and site effects, by restricted maximum likelihood (REML)."""

import dataclasses

import numpy as np
import pandas as pd
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from tfgmm.core.errors import DataError, counted

#: Lower and upper bound of the ratios tau / phi_ss and phi_s2s / phi_ss.
RATIO_BOUNDS = 1e-4, 1e3


@dataclasses.dataclass(frozen=True)
class CrossedEffects:
    """A fitted regression with event and site terms; all quantities are in the unit of y, often ln units.

    Attributes
    ----------
    coefficients : ndarray, [p]
        Coefficients b of the columns of the design matrix.
    covariance : ndarray, [p, p]
        Covariance of the coefficients.
    tau, phi_s2s, phi_ss : float
        Standard deviations of the event terms, the site terms and the remaining part of a record.
    event_terms, site_terms : pandas.Series
        Best linear unbiased predictions of the event terms by event id, and of the site terms by site id.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    tau: float
    phi_s2s: float
    phi_ss: float
    event_terms: pd.Series
    site_terms: pd.Series


class MixedModelEquations:
    r"""Henderson's equations of :math:`y = X b + Z_e u + Z_s v + e`, solved for any standard deviations.

    u are the event terms, v the site terms and e the remaining part. With
    :math:`\theta_e = \tau / \phi_{SS}`, :math:`\theta_s = \phi_{S2S} / \phi_{SS}`,
    :math:`u = \theta_e \tilde u` and :math:`v = \theta_s \tilde v` (Bates et al., 2015, section 3),

    .. math:: \begin{bmatrix}
        \theta_e^2 N_e + I        & \theta_e \theta_s C   & \theta_e Z_e^T X \\
        \theta_e \theta_s C^T     & \theta_s^2 N_s + I    & \theta_s Z_s^T X \\
        \theta_e X^T Z_e          & \theta_s X^T Z_s      & X^T X \end{bmatrix}
        \begin{bmatrix} \tilde u \\ \tilde v \\ b \end{bmatrix} =
        \begin{bmatrix} \theta_e Z_e^T y \\ \theta_s Z_s^T y \\ X^T y \end{bmatrix}

    :math:`N_e` and :math:`N_s` are diagonal matrices with the number of records of each event and of each
    site; :math:`C`, [events, sites], counts the records of each pair. The cross products are computed once.
    For each pair of ratios the events are then eliminated exactly and a dense matrix, [sites, sites], is
    factored: O(events x sites^2 + sites^3) operations, however many records there are.

    Parameters
    ----------
    design : array_like or pandas.DataFrame, [n, p]
        Design matrix X, of full rank. The column names of a data frame appear in error messages.
    y : array_like, [n]
        Observed values, for instance ln IM.
    event, site : array_like, [n]
        Event id and site id of each record; several records may have the same pair of ids.

    Raises
    ------
    DataError
        A value is missing or infinite, there are fewer than two events or sites, a column of the
        design matrix is a linear combination of the columns before it, or the design matrix alone
        explains y exactly.

    References
    ----------
    Henderson (1975), Best linear unbiased estimation and prediction under a selection model,
    Biometrics 31, 423-447. Bates, Maechler, Bolker & Walker (2015), Fitting linear mixed-effects
    models using lme4, J. Stat. Softw. 67(1).
    """

    def __init__(self, design, y, event, site) -> None:
        columns, y = pd.DataFrame(design).astype(float), np.asarray(y, float)
        _refuse_missing(columns)
        _refuse_missing(pd.DataFrame({"y": y, "event": np.asarray(event), "site": np.asarray(site)}))
        event_code, self.events = _levels(event, "event")
        site_code, self.sites = _levels(site, "site")
        _refuse_dependent(columns)

        # An orthonormal basis, and y less its projection: the normal equations are well conditioned.
        basis, self._triangle = np.linalg.qr(columns.to_numpy())
        self._projection = basis.T @ y
        remainder = y - basis @ self._projection
        if np.linalg.norm(remainder) <= 1e-12 * np.linalg.norm(y):
            raise DataError("regression: the design explains y exactly: bring records that scatter")
        table = np.column_stack([basis, remainder])

        ones, row = np.ones(len(y)), np.arange(len(y))
        z_event, z_site = csr_array((ones, (event_code, row))), csr_array((ones, (site_code, row)))
        self._gram = table.T @ table
        self._event_sums, self._site_sums = z_event @ table, z_site @ table
        self._counts = (z_event @ z_site.T).toarray()
        self._event_counts, self._site_counts = self._counts.sum(axis=1), self._counts.sum(axis=0)

    def _eliminate(self, tau_ratio: float, phi_s2s_ratio: float) -> tuple[np.ndarray, ...]:
        """Eliminate events, then sites, from the equations; return the factors and right-hand sides.

        `tau_ratio` is tau / phi_ss, `phi_s2s_ratio` is phi_s2s / phi_ss.

        Returns
        -------
        factor : ndarray, [sites, sites]
            Lower Cholesky factor of the equations of the sites.
        right : ndarray, [sites, p + 1]
            Right-hand sides of the equations of the sites, for the columns of X and y.
        left : ndarray, [p + 1, p + 1]
            Cross products of X and y after the elimination.
        """
        root = np.sqrt(tau_ratio**2 / (1 + tau_ratio**2 * self._event_counts))[:, None]
        counts, sums = root * self._counts, root * self._event_sums
        schur = -(phi_s2s_ratio**2) * (counts.T @ counts)
        schur[np.diag_indices_from(schur)] += 1 + phi_s2s_ratio**2 * self._site_counts
        factor = cholesky(schur, lower=True, overwrite_a=True, check_finite=False)
        right = phi_s2s_ratio * (self._site_sums - counts.T @ sums)
        half = solve_triangular(factor, right, lower=True)
        return factor, right, self._gram - sums.T @ sums - half.T @ half

    def profile(self, tau_ratio: float, phi_s2s_ratio: float) -> tuple[float, float]:
        r"""Return the profiled REML criterion for given ratios of standard deviations, and the best phi_ss.

        The criterion takes the best coefficients b and the best phi_ss for these ratios. The smaller the
        criterion, the better the ratios.

        .. math:: -2 \ell = \log|H| + \log|X^T H^{-1} X|
            + (n - p) [1 + \log(2 \pi r^2 / (n - p))], \quad
            H = I + \theta_e^2 Z_e Z_e^T + \theta_s^2 Z_s Z_s^T

        with :math:`r^2 = (y - X \hat b)^T H^{-1} (y - X \hat b)` and :math:`\phi_{SS}^2 = r^2 / (n - p)`
        (Bates et al., 2015, section 3, profiled REML criterion).

        Parameters
        ----------
        tau_ratio : float
            :math:`\theta_e`, tau / phi_ss.
        phi_s2s_ratio : float
            :math:`\theta_s`, phi_s2s / phi_ss.

        Returns
        -------
        criterion : float
            :math:`-2 \ell`.
        phi_ss : float
            Best standard deviation of the remaining part of a record, in the unit of y.
        """
        factor, _, left = self._eliminate(tau_ratio, phi_s2s_ratio)
        *diagonal, r = np.diag(cholesky(left, lower=True))
        free = self._event_counts.sum() - len(diagonal)
        log_h = np.log1p(tau_ratio**2 * self._event_counts).sum() + 2 * np.log(np.diag(factor)).sum()
        log_xhx = 2 * np.log(np.abs(diagonal * np.diag(self._triangle))).sum()
        return log_h + log_xhx + free * (1 + np.log(2 * np.pi * r**2 / free)), r / np.sqrt(free)

    def solve(self, tau: float, phi_s2s: float, phi_ss: float) -> CrossedEffects:
        """Return the coefficients and the event and site terms for given standard deviations.

        Parameters
        ----------
        tau : float
            Standard deviation of the event terms, in the unit of y.
        phi_s2s : float
            Standard deviation of the site terms, in the unit of y.
        phi_ss : float
            Standard deviation of the remaining part of a record, in the unit of y; not zero.

        Returns
        -------
        CrossedEffects
            Coefficients with their covariance, and terms.
        """
        tau_ratio, phi_s2s_ratio = tau / phi_ss, phi_s2s / phi_ss
        factor, right, left = self._eliminate(tau_ratio, phi_s2s_ratio)
        covariance = phi_ss**2 * np.linalg.inv(left[:-1, :-1])
        b = covariance @ left[:-1, -1] / phi_ss**2
        contrast = np.append(-b, 1)  # times the columns [X, y]: y - X b

        sites = phi_s2s_ratio * cho_solve((factor, True), right)
        shrunk = tau_ratio**2 / (1 + tau_ratio**2 * self._event_counts)
        events = shrunk[:, None] * (self._event_sums - self._counts @ sites)
        back = np.linalg.inv(self._triangle)
        return CrossedEffects(
            coefficients=back @ (self._projection + b),
            covariance=back @ covariance @ back.T,
            tau=float(tau),
            phi_s2s=float(phi_s2s),
            phi_ss=float(phi_ss),
            event_terms=pd.Series(events @ contrast, self.events),
            site_terms=pd.Series(sites @ contrast, self.sites),
        )


def fit(design, y, event, site) -> CrossedEffects:
    r"""Regress y on a design matrix with random event and site terms, by restricted maximum likelihood.

    .. math:: y_{es} = x_{es}^T b + \delta B_e + \delta S2S_s + \delta WS_{es}, \quad
        \delta B_e \sim N(0, \tau^2), \;
        \delta S2S_s \sim N(0, \phi_{S2S}^2), \;
        \delta WS_{es} \sim N(0, \phi_{SS}^2)

    in the notation of Al Atik et al. (2010). If the best tau or phi_S2S is zero, the result lies near the
    lower bound of the search (`RATIO_BOUNDS` times phi_SS), and the terms are almost zero.

    Parameters
    ----------
    design : array_like or pandas.DataFrame, [n, p]
        Design matrix, of full rank, a row :math:`x_{es}` per record.
    y : array_like, [n]
        Observed values, for instance ln IM.
    event, site : array_like, [n]
        Event id and site id of each record.

    Returns
    -------
    CrossedEffects
        Coefficients, standard deviations and terms, in the unit of y.

    Raises
    ------
    DataError
        A value is missing or infinite, there are fewer than two events or sites, a column of the
        design matrix is a linear combination of the columns before it, or the design matrix alone
        explains y exactly.

    References
    ----------
    Al Atik, Abrahamson, Bommer, Scherbaum, Cotton & Kuehn (2010), The variability of ground-motion
    prediction models and its components, Seismol. Res. Lett. 81(5), 794-801.
    """
    equations = MixedModelEquations(design, y, event, site)

    def criterion(log_ratios: np.ndarray) -> float:
        """Return the REML criterion for ln(tau / phi_ss) and ln(phi_s2s / phi_ss), [2]."""
        return equations.profile(*np.exp(log_ratios))[0]

    # Some hundred sites: threads gain nothing, and lose much while other work holds the processor.
    with threadpool_limits(1, "blas"):
        best = minimize(
            criterion,
            x0=np.zeros(2),
            method="COBYQA",
            bounds=[(np.log(RATIO_BOUNDS[0]), np.log(RATIO_BOUNDS[1]))] * 2,
        )
        tau_ratio, phi_s2s_ratio = np.exp(best.x)
        _, phi_ss = equations.profile(tau_ratio, phi_s2s_ratio)
        return equations.solve(tau_ratio * phi_ss, phi_s2s_ratio * phi_ss, phi_ss)


def independent_columns(design) -> np.ndarray:
    """Return True for columns that are no linear combination of the columns before them (Gram-Schmidt).

    Parameters
    ----------
    design : array_like, [n, p]
        Finite design matrix. A column is dependent if less than 1e-10 of its length remains after the
        projection on the columns before it.

    Returns
    -------
    ndarray of bool, [p]
        True for each independent column.
    """
    design = np.asarray(design, float)
    basis = np.empty((len(design), 0))
    kept = np.zeros(design.shape[1], bool)
    for number, column in enumerate(design.T):
        remainder = column - basis @ (basis.T @ column)
        length = np.linalg.norm(remainder)
        kept[number] = length > 1e-10 * np.linalg.norm(column)
        if kept[number]:
            basis = np.column_stack([basis, remainder / length])
    return kept


def _refuse_missing(table: pd.DataFrame) -> None:
    """Raise `DataError` with the first bad row and column if a value of `table` is missing or infinite."""
    bad = table.isna() | table.isin([np.inf, -np.inf])
    if bad.to_numpy().any():
        row, column = np.argwhere(bad.to_numpy())[0]
        raise DataError(
            f"regression: row {row}, column {table.columns[column]} holds {table.iloc[row, column]}; "
            f"every value must be known and finite: drop the record or mend its source"
        )


def _refuse_dependent(columns: pd.DataFrame) -> None:
    """Raise `DataError` if a design column is a linear combination of the columns before it."""
    independent = independent_columns(columns)
    if not independent.all():
        raise DataError(
            f"regression: design column {columns.columns[~independent][0]} is a combination of those "
            f"before it in these {len(columns)} records: leave it out or bring more varied records"
        )


def _levels(ids, what: str) -> tuple[np.ndarray, pd.Index]:
    """Return the index of each record's event (or site) among the sorted ids, [n], and the sorted ids.

    `what` is the name for the error message. Fewer than two different ids raise `DataError`.
    """
    codes, levels = pd.factorize(np.asarray(ids), sort=True)
    if len(levels) < 2:
        raise DataError(
            f"regression: the records have {counted(len(levels), what)}, at least 2 are needed: bring more"
        )
    return codes, pd.Index(levels, name=what)
