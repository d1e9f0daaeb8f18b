"""Joint support of a prediction by training records, and the share of the network that it justifies.

A record supports a prediction if it is like it in magnitude, distance, depth and source region at once:
ranges of one variable at a time do not tell that no large earthquake was recorded near.
"""

import dataclasses
from collections.abc import Mapping
from typing import Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from tfgmm.core.errors import DataError
from tfgmm.data.schemas import SOURCE_XY
from tfgmm.stats import scaling_tables
from tfgmm.stats.scaling_tables import NUMPY, ArrayFunctions

#: Largest difference in magnitude, and in event depth and epicentre (km), of a training event that supports
#: a prediction. Catalogues round to 0.1 and 1 km: the margins let a difference of exactly 0.5 or 20 km
#: count whatever the rounding of the number format.
MAGNITUDE_WINDOW, DEPTH_WINDOW_KM, EPICENTRE_WINDOW_KM = 0.5 + 1e-3, 20.0 + 1e-2, 50.0
#: Lowest and highest ratio of a record's distance to that of the prediction.
DISTANCE_RATIOS = 0.7, 1.3
#: Nodes of ln R (R: hypocentral distance in km), from 1 to 1000 km. Other distances count as 1 or 1000 km.
LN_R = np.linspace(0.0, np.log(1000.0), 140)
#: Share of the between-event variance in the variance of ln IM, tau^2 / (tau^2 + phi^2). Ergodic models
#: have 0.2 to 0.4: tau 0.35 to 0.45, phi 0.55 to 0.7.
RHO = 0.3

#: Part w_0 of the share that is left without any support. The inputs of the network are clipped to the
#: training range: beyond, it adds what it knows of source regions and sites. Of 0, 0.25, 0.5, 0.75 and 1,
#: 0.75 had the least error on development data (docs/results/beyond-the-data.md).
LEAST_PART = 0.75

#: Number of events whose pairs with all training events are in memory at once.
_EVENTS_AT_ONCE = 500
_COLUMNS = ["event_id", "magnitude", "depth_km", *SOURCE_XY, "r_hyp_km"]


def effective_number(count, rho: float = RHO) -> np.ndarray:
    r"""Return the number of independent records that say as much as `count` records of one event.

    .. math:: n_{eff} = \frac{n}{1 + (n - 1) \rho}

    It is the ratio of the variance of a record to the variance of the mean of n records whose residuals
    have the correlation :math:`\rho` because they share the event term. The first record counts as one;
    many count as :math:`1 / \rho`.

    >>> effective_number([0, 1, 10, 1000], rho=0.25).round(2)
    array([0.  , 1.  , 3.08, 3.99])

    Parameters
    ----------
    count : array_like, [...]
        Number of records n of an event.
    rho : float
        Share of the between-event variance in the variance of ln IM.

    Returns
    -------
    ndarray, [...]
        Effective number of records; 0 for no record.
    """
    count = np.asarray(count, float)
    return count / (1 + np.maximum(count - 1, 0) * rho)


@dataclasses.dataclass(frozen=True, eq=False)
class Support:
    r"""Joint support of predictions: the effective number of training records that are like them.

    .. math:: n(e, s) = \sum_{e'} \frac{n_{e'}}{1 + (n_{e'} - 1) \rho}, \quad
        |M_e - M_{e'}| \le 0.5, \; |Z_e - Z_{e'}| \le 20\,\mathrm{km}, \; d(e, e') \le 50\,\mathrm{km}

    with the epicentral distance d between the events, and the number :math:`n_{e'}` of records of the
    training event whose hypocentral distance is that of the prediction, :math:`R_{es}`, within 30 %. The
    effective number of each event is kept at the nodes `LN_R`, and interpolated linearly in ln R.

    All functions of predictions are arithmetic for arrays and tensors alike.

    Attributes
    ----------
    magnitude : ndarray of float32, [training event]
        Moment magnitudes.
    depth_km : ndarray of float32, [training event]
        Event depths, km.
    x_km, y_km : ndarray of float32, [training event]
        Epicentres, km east and north of the map's centre.
    effective : ndarray of float32, [training event, node]
        Effective number of records of each event around the distances `LN_R`.
    """

    magnitude: np.ndarray
    depth_km: np.ndarray
    x_km: np.ndarray
    y_km: np.ndarray
    effective: np.ndarray

    @classmethod
    def fit(cls, records: pd.DataFrame, rho: float = RHO) -> Self:
        """Return the support by training records.

        Rows that are equal in all columns count once: the members of a run share training records, and the
        sensors of a borehole and above it share a distance.

        Parameters
        ----------
        records : pandas.DataFrame, [n, ...]
            Training records: ``event_id, magnitude, depth_km``; ``event_x_km, event_y_km``, km east and
            north of the map's centre; ``r_hyp_km``, the hypocentral distance.
        rho : float
            Share of the between-event variance in the variance of ln IM, 0 to 1: 0 counts every record,
            1 every event.

        Returns
        -------
        Support

        Raises
        ------
        DataError
            There is no record, or a value is missing or infinite.
        """
        rows = records[_COLUMNS].drop_duplicates()
        if rows.empty or not np.isfinite(rows[_COLUMNS[1:]].to_numpy(float)).all():
            raise DataError(
                "the support of predictions needs training records whose magnitude, depth, epicentre and "
                "distance are known"
            )
        event, _ = pd.factorize(rows["event_id"].astype(str))
        ln_r = np.clip(np.log(np.maximum(rows["r_hyp_km"].to_numpy(float), 1.0)), LN_R[0], LN_R[-1])
        least, most = np.log(DISTANCE_RATIOS)
        count = np.stack(
            [
                np.bincount(
                    event[(ln_r >= node + least) & (ln_r <= node + most)], minlength=event.max() + 1
                )
                for node in LN_R
            ],
            axis=1,
        )
        first = ~pd.Series(event).duplicated()
        magnitude, depth_km, x_km, y_km = rows[_COLUMNS[1:5]].to_numpy("float32")[first].T
        return cls(magnitude, depth_km, x_km, y_km, effective_number(count, rho).astype("float32"))

    def curve(self, magnitude, depth_km, x_km, y_km, xp: ArrayFunctions = NUMPY):
        """Return the support of events against distance.

        Parameters
        ----------
        magnitude : array or tensor, [event]
            Moment magnitudes.
        depth_km : array or tensor, [event]
            Event depths, km.
        x_km, y_km : array or tensor, [event]
            Epicentres, km east and north of the map's centre.
        xp : ArrayFunctions
            `NUMPY`, or the functions for tensors, which are float32.

        Returns
        -------
        array or tensor, [event, node]
            Effective number of records around the distances `LN_R`.
        """
        square_km = (x_km[:, None] - self.x_km) ** 2 + (y_km[:, None] - self.y_km) ** 2
        margin = xp.minimum(
            xp.minimum(
                MAGNITUDE_WINDOW - abs(magnitude[:, None] - self.magnitude),
                DEPTH_WINDOW_KM - abs(depth_km[:, None] - self.depth_km),
            ),
            EPICENTRE_WINDOW_KM**2 - square_km,
        )
        # 1 where no margin is negative, else 0, without a change of type that each library names otherwise.
        is_near = xp.minimum(xp.floor(xp.maximum(1.0 + margin, 0.0)), 1.0)
        return is_near @ self.effective

    def at(self, curve, ln_r, xp: ArrayFunctions = NUMPY):
        """Return the support of predictions at places, interpolated linearly in ln R.

        Parameters
        ----------
        curve : array or tensor, [event, node]
            Support of the events against distance, as returned by `curve`.
        ln_r : array or tensor, [event, ...]
            Natural logarithm of the hypocentral distance in km; below 0 it counts as 0, above ln 1000 as
            ln 1000.
        xp : ArrayFunctions
            `NUMPY`, or the functions for tensors, which are float32.

        Returns
        -------
        array or tensor, [event, ...]
            Effective number of records.
        """
        return scaling_tables.along(curve, scaling_tables.positions(ln_r, xp, LN_R), xp)

    def at_records(self, records: pd.DataFrame) -> np.ndarray:
        """Return the support of the predictions of records.

        Parameters
        ----------
        records : pandas.DataFrame, [n, ...]
            The columns as of `fit`. All values of an event but ``r_hyp_km`` are the same.

        Returns
        -------
        ndarray, [n]
            Effective number of records.
        """
        event, _ = pd.factorize(records["event_id"].astype(str))
        of_events = records[_COLUMNS[1:5]].to_numpy("float32")[~pd.Series(event).duplicated()]
        # A few events at once, and not curves[event] below: pairs of events, or records, by distances would
        # fill the memory.
        blocks = np.array_split(of_events, max(1, -(-len(of_events) // _EVENTS_AT_ONCE)))
        curves = np.concatenate([self.curve(*block.T) for block in blocks])
        ln_r = np.log(np.maximum(records["r_hyp_km"].to_numpy(float), 1.0))
        rows_of_curves = dataclasses.replace(NUMPY, gather=lambda rows, node: rows[event, node])
        return self.at(curves, ln_r, rows_of_curves)


# ---- the share of the network ----------------------------------------------------------------------------

#: Lowest and highest value of n0; at the lowest, a single record supports nine tenths of u.
N0_BOUNDS = 0.1, 200.0
#: n0 and prior variance of u (squared ln units) where records do not tell. Ten records, of three or more
#: earthquakes, support half of u; regional differences of median ground motion have a standard deviation of
#: about 0.3.
DEFAULT_N0, DEFAULT_VARIANCE_U = 10.0, 0.1
#: Number of events, and effective number of records, with fewer of which nothing is fitted.
FEWEST_EVENTS, FEWEST_RECORDS = 10, 30.0
#: Standard deviations of ln n0 and of the logarithm of the prior variance of u about their default, of the
#: prior that decides where the likelihood is flat: factors of 7 and 2.7.
_LOG_STDDEVS = 2.0, 1.0
#: Prior standard deviation of the full share about 1: the best share of few stopping events is 0.3 to 0.5
#: off that of other events (docs/results/ideas.md).
FULL_SHARE_STDDEV = 0.25
#: Lowest and highest prior variance of u, and highest tau^2, squared ln units.
_VARIANCE_BOUNDS, _LARGEST_TAU_SQUARE = (1e-3, 4.0), 4.0
#: Values of n0 at which the profile of the likelihood is computed before the search.
_N0_PROFILE = np.geomspace(*N0_BOUNDS, 12)


@dataclasses.dataclass(frozen=True)
class Shrinkage:
    """Shrinkage of the network's mean u towards backbone and field.

    Attributes
    ----------
    n0 : float
        Effective number of records with which half of what is withheld of u without support is added.
    variance_u : float
        Prior variance of u, squared ln units.
    tau : float
        Standard deviation by which the records scatter more than predicted whatever their support, ln
        units: the event term if the predicted standard deviation is without it. It is fitted so that it
        does not pass for a variance of u.
    full_share : float
        Share of u that is added at full support, 0 to 1. It is small where networks of few sites or events
        tell what the field tells too, or nothing.
    """

    n0: float = DEFAULT_N0
    variance_u: float = DEFAULT_VARIANCE_U
    tau: float = 0.0
    full_share: float = 1.0

    def share(self, n):
        r"""Return the share of the network's mean u that is added to the backbone.

        .. math:: w = w_1 \left( w_0 + (1 - w_0) \frac{n}{n + n_0} \right)

        with the share :math:`w_1` at full support and :math:`w_0` = `LEAST_PART`.

        >>> Shrinkage(n0=10.0).share(10.0), Shrinkage(n0=10.0, full_share=0.5).share(0.0)
        (0.875, 0.375)

        Parameters
        ----------
        n : array or tensor, [...]
            Support, the effective number of training records.

        Returns
        -------
        array or tensor, [...]
            `LEAST_PART` of the full share without support, to the full share.
        """
        return self.full_share * (1.0 - (1.0 - LEAST_PART) * self.unsupported(n))

    def unsupported(self, n):
        r"""Return the share of the prior variance of u that the training records leave open.

        .. math:: \frac{n_0}{n + n_0}

        Parameters
        ----------
        n : array or tensor, [...]
            Support, the effective number of training records.

        Returns
        -------
        array or tensor, [...]
            1 without support, to 0.
        """
        return self.n0 / (n + self.n0)

    def added_variance(self, n):
        r"""Return the epistemic variance of ln IM due to the little support of u.

        .. math:: \frac{n_0}{n + n_0} \, \sigma_u^2

        Parameters
        ----------
        n : array or tensor, [...]
            Support, the effective number of training records.

        Returns
        -------
        array or tensor, [...]
            Squared ln units; it does not fall while n falls.
        """
        return self.unsupported(n) * self.variance_u


def fit_shares(residuals: Mapping[str, pd.DataFrame], rho: float = RHO) -> dict[str, Shrinkage]:
    r"""Fit the shrinkage of u to records of events that did not train the networks.

    .. math:: y_{es} - b_{es} \sim
        N(w u_{es}, \; s_{es}^2 + \frac{n_0}{n_{es} + n_0} \sigma_u^2 + \tau^2), \quad
        w = w_1 \left( w_0 + (1 - w_0) \frac{n_{es}}{n_{es} + n_0} \right)

    Records of one event have the correlation :math:`\rho`, as they share the event term; those of different
    events have none. The likelihood is maximised over :math:`n_0` (within `N0_BOUNDS`),
    :math:`\sigma_u^2`, :math:`\tau^2` and :math:`w_1` (0 to 1): a profile over :math:`n_0`, then a search
    from its best point. Log-normal priors about the defaults (10 with a factor of 7, 0.1 with a factor of
    2.7) weigh as much as one record: they decide only where the records do not, as where all have the same
    support.

    That is done for each intensity measure. Then one :math:`w_1` of all measures is estimated anew by least
    squares of single records, each with the weight one over its variance: the share that is best between
    events need not be that within events, and this one has the smallest errors of records. It is weighed
    against the prior 1 +- `FULL_SHARE_STDDEV` by its variance between events (sandwich). The measures of a
    run share a network, and shares of their own would make spectra rough.

    Records of blocks of magnitude and distance that were left out of the training tell more than records of
    other events of the same kind, whose support is high.

    Parameters
    ----------
    residuals : mapping of str to pandas.DataFrame, [n, ...]
        By intensity measure, a row per record: ``backbone_residual``, observed ln IM minus all but the
        network; ``u``, the network's mean; ``stddev``, the standard deviation of the prediction; all in ln
        units; ``n``, the support; ``event_id``; ``chunk``, which ensemble predicts.
    rho : float
        Correlation of the residuals of an event: share of the between-event variance in the variance.

    Returns
    -------
    dict of str to Shrinkage
        The fit by intensity measure, with one ``full_share``. A measure with fewer than `FEWEST_EVENTS`
        events or an effective number of fewer than `FEWEST_RECORDS` records has the defaults,
        :math:`n_0 = 10` and :math:`\sigma_u^2 = 0.1`, and does not count for the full share, which is 1
        where no measure counts.

    Raises
    ------
    DataError
        A value is missing or infinite, a standard deviation is not above 0, or a support is below 0.

    References
    ----------
    Abrahamson & Youngs (1992), A stable algorithm for regression analyses using the random effects model,
    Bulletin of the Seismological Society of America 82(1), equation 7. Liang & Zeger (1986), Longitudinal
    data analysis using generalized linear models, Biometrika 73(1), equation 8.
    """
    fitted = {im: _fit(of_im, rho) for im, of_im in residuals.items()}
    full_share = _full_share({im: one for im, one in fitted.items() if one}, residuals)
    return {
        im: dataclasses.replace(one or Shrinkage(), full_share=full_share) for im, one in fitted.items()
    }


def _fit(residuals: pd.DataFrame, rho: float) -> Shrinkage | None:
    """Fit all but the full share for one intensity measure; None where the records are too few."""
    columns = residuals[["backbone_residual", "u", "stddev", "n"]].to_numpy(float).T
    residual, u, stddev, n = columns
    if not (np.isfinite(columns).all() and (stddev > 0).all() and (n >= 0).all()):
        raise DataError("the share of the network needs finite residuals, stddev above 0 and n from 0")
    event_ids = residuals["event_id"].astype(str)
    # An event as one ensemble predicts it.
    event, _ = pd.factorize(residuals["chunk"].astype(str) + " " + event_ids)
    count = np.bincount(event)
    number = effective_number(count, rho)
    event_of_group = event_ids.to_numpy()[~pd.Series(event).duplicated()]
    # An event that several ensembles predict is no new evidence.
    weight = 1 / pd.Series(event_of_group).groupby(event_of_group).transform("size").to_numpy()
    if event_ids.nunique() < FEWEST_EVENTS or weight @ number < FEWEST_RECORDS:
        return None
    defaults = np.log([DEFAULT_N0, DEFAULT_VARIANCE_U])

    def loss(others: np.ndarray, ln_n0: float) -> float:
        """Return the negative logarithm of likelihood and priors, without constants."""
        ln_variance_u, full_share, tau_square = others
        shrinkage = Shrinkage(np.exp(ln_n0), np.exp(ln_variance_u), full_share=full_share)
        variance = stddev**2 + shrinkage.added_variance(n) + tau_square
        z = (residual - shrinkage.share(n) * u) / np.sqrt(variance)
        mean_z = np.bincount(event, z) / count
        # With the inverse of a matrix of rho beside the diagonal of 1: mean, and deviations from it.
        misfit = weight[event] @ (np.log(variance) + (z - mean_z[event]) ** 2 / (1 - rho))
        misfit += weight * number @ mean_z**2
        prior = ((np.array([ln_n0, ln_variance_u]) - defaults) / _LOG_STDDEVS) ** 2
        return float(misfit + prior.sum()) / 2

    def loss_of_all(parameters: np.ndarray) -> float:
        """Return the same with ln n0 as the first of all parameters."""
        return loss(parameters[1:], parameters[0])

    bounds = [*np.log([N0_BOUNDS, _VARIANCE_BOUNDS]), (0.0, 1.0), (0.0, _LARGEST_TAU_SQUARE)]
    best, others = (np.inf, *defaults, 1.0, 0.0), np.array([defaults[1], 1.0, 0.05])
    for ln_n0 in np.log(_N0_PROFILE):
        # From the best values of the neighbour.
        search = minimize(loss, others, args=(ln_n0,), bounds=bounds[1:])
        others = search.x
        best = min(best, (search.fun, ln_n0, *others))
    ln_n0, ln_variance_u, _, tau_square = minimize(loss_of_all, best[1:], bounds=bounds).x.tolist()
    return Shrinkage(float(np.exp(ln_n0)), float(np.exp(ln_variance_u)), float(np.sqrt(tau_square)))


def _full_share(fitted: Mapping[str, Shrinkage], residuals: Mapping[str, pd.DataFrame]) -> float:
    """Estimate the share of u at full support by least squares, weighed against its prior."""
    of_records = []
    for im, shrinkage in fitted.items():
        table = residuals[im]
        variance = table["stddev"] ** 2 + shrinkage.added_variance(table["n"]) + shrinkage.tau**2
        u = shrinkage.share(table["n"]) * table["u"]
        products = {"uu": u**2 / variance, "ur": u * table["backbone_residual"] / variance}
        of_records.append(pd.DataFrame(products).assign(event_id=table["event_id"].astype(str)))
    if not of_records:
        return 1.0
    # The measures of an event err together: it is one event however many there are.
    of_event = pd.concat(of_records).groupby("event_id").sum()
    information = of_event["uu"].sum()
    if information == 0:  # the networks say nothing
        return 1.0
    share = of_event["ur"].sum() / information
    variance_of_share = ((of_event["ur"] - share * of_event["uu"]) ** 2).sum() / information**2
    variance_of_share *= len(of_event) / (len(of_event) - 1)
    weight = FULL_SHARE_STDDEV**2 / (FULL_SHARE_STDDEV**2 + variance_of_share)
    return float(np.clip(1 + (share - 1) * weight, 0.0, 1.0))
