"""Within-event residuals: how far they are alike, and what those of an event tell of its other sites."""

import dataclasses
from typing import Self

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import curve_fit
from scipy.spatial.distance import cdist, pdist
from threadpoolctl import threadpool_limits

from tfgmm.data.roles import is_training

#: Borders in km of the classes of distance in which the correlation is found.
CLASSES_KM = np.array([0, 2, 4, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100, 150])
#: Events that a class needs, so that their scatter tells how well its correlation is known.
MIN_EVENTS = 10
#: Within which the range in km is sought.
RANGE_BOUNDS_KM = 1.0, 100.0

_XY = ["x_km", "y_km"]


def standardised(predictions: pd.DataFrame) -> pd.Series:
    r"""Within-event residuals, :math:`(\ln IM - \mu) / \phi_{SS}`.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Of `RandomEffects.apply`: with the terms of known sites and events in ``mean``, and ``phi_ss``.
    """
    return (predictions["ln_im"] - predictions["mean"]) / predictions["phi_ss"]


def by_distance(residuals: pd.DataFrame) -> pd.DataFrame:
    """Empirical correlation of the residuals of an event at two sites, in classes of their distance.

    Parameters
    ----------
    residuals : pandas.DataFrame
        ``event_id, x_km, y_km`` and ``z``, standardised residuals of zero mean.

    Returns
    -------
    pandas.DataFrame
        ``distance_km`` (mean of the class), ``correlation`` (mean product of the pairs over the mean
        square) and ``standard_error``, from how the events scatter; classes of fewer than `MIN_EVENTS`
        events are left out.
    """
    pairs, distances, products = np.moveaxis(
        [_pairs(rows) for _, rows in residuals.groupby("event_id", observed=True)], 1, 0
    )
    seen = (pairs > 0).sum(axis=0) >= MIN_EVENTS
    pairs, distances, products = pairs[:, seen], distances[:, seen], products[:, seen]
    count = pairs.sum(axis=0)
    square = (residuals["z"] ** 2).mean()
    mean = products.sum(axis=0) / count
    deviations = ((products - mean * pairs) ** 2).sum(axis=0)
    return pd.DataFrame(
        {
            "distance_km": distances.sum(axis=0) / count,
            "correlation": mean / square,
            "standard_error": np.sqrt(deviations) / count / square,
        }
    )


def _pairs(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, sum of distances and sum of products of the pairs of one event, by class of distance."""
    z, distance = rows["z"].to_numpy(), pdist(rows[_XY].to_numpy())
    product = np.outer(z, z)[np.triu_indices(len(z), 1)]
    classes, inside = len(CLASSES_KM) - 1, distance < CLASSES_KM[-1]
    of_class = np.digitize(distance[inside], CLASSES_KM) - 1
    return tuple(
        np.bincount(of_class, weights, classes) for weights in (None, distance[inside], product[inside])
    )


@dataclasses.dataclass(frozen=True)
class Correlation:
    r"""Correlation of the within-event residuals of an event at two sites, d apart.

    .. math:: \rho(d) = a \exp(-d / l)

    Attributes
    ----------
    share : float
        a, the share of the variance that sites next to each other have in common, 0 to 1.
    range_km : float
        l, km.

    References
    ----------
    Jayaram & Baker (2009), Earthq. Eng. Struct. Dyn. 38(15), 1687-1708, equation 20: there without a
    nugget, a = 1, and with b = 3 l.
    """

    share: float
    range_km: float

    @classmethod
    def fit(cls, found: pd.DataFrame) -> Self:
        """By weighted least squares.

        Parameters
        ----------
        found : pandas.DataFrame
            Of `by_distance`. From fewer than three classes the share is 0.
        """
        if len(found) < 3:
            return cls(0.0, RANGE_BOUNDS_KM[0])
        (share, range_km), _ = curve_fit(
            lambda distance, share, range_km: share * np.exp(-distance / range_km),
            found["distance_km"],
            found["correlation"],
            p0=(0.5, 15.0),
            sigma=found["standard_error"],
            bounds=((0.0, RANGE_BOUNDS_KM[0]), (1.0, RANGE_BOUNDS_KM[1])),
        )
        return cls(float(share), float(range_km))

    def between(self, one_km, other_km) -> np.ndarray:
        """Correlations of different sites, [n, m], with places [n, 2] and [m, 2] in km."""
        return self.share * np.exp(-cdist(one_km, other_km) / self.range_km)

    def kriged(self, xy_km, z, wanted_km) -> tuple[np.ndarray, np.ndarray]:
        r"""What the residuals of an event tell of its other sites: simple kriging.

        .. math:: E[z_0 | z] = k^T C^{-1} z, \quad 1 - Var[z_0 | z] = k^T C^{-1} k

        Parameters
        ----------
        xy_km : array_like, [n, 2]
            Sites of the residuals.
        z : array_like, [n]
            Standardised residuals.
        wanted_km : array_like, [m, 2]
            Other sites.

        Returns
        -------
        mean, explained : ndarray, [m]
            Expected residual, and the share of its variance that the others explain.

        References
        ----------
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equations 2.25 and 2.26.
        """
        matrix = self.between(xy_km, xy_km)
        np.fill_diagonal(matrix, 1 + 1e-6)  # with stations in one place, too, it has an inverse
        cross = self.between(wanted_km, xy_km)
        weights = cho_solve(cho_factor(matrix, overwrite_a=True), cross.T).T
        return weights @ np.asarray(z, float), (weights * cross).sum(axis=1)


def conditioned(predictions: pd.DataFrame) -> pd.DataFrame:
    r"""Predictions at sites that did not train, given the other sites' records of the same event.

    The within-event residuals of the records that trained are kriged, in each event and with each
    member's own correlation, to the event's other records; to a record that trained, nothing is added.
    Residuals at trained sites have become smaller than phi_SS says: where their mean square v is below
    1, no more than v of the variance is taken to be explained.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Of `RandomEffects.apply`, with ``x_km`` and ``y_km`` of the stations.

    Returns
    -------
    pandas.DataFrame
        With ``within_term`` :math:`E[\delta WS]` added to ``mean``, ``within_stddev``, what is left of
        phi_SS, and ``stddev`` with it.
    """
    z, trained = standardised(predictions).to_numpy(float), is_training(predictions).to_numpy()
    term, explained = np.zeros((2, len(predictions)))
    places, event = predictions[_XY].to_numpy(), predictions["event_id"].to_numpy()
    # Some hundred sites an event: threads gain nothing, and lose much while other work runs.
    with threadpool_limits(1, "blas"):
        for rows in predictions.groupby(["chunk", "init"], observed=True).indices.values():
            known, other = rows[trained[rows]], rows[~trained[rows]]
            residuals = pd.DataFrame(places[known], columns=_XY).assign(event_id=event[known], z=z[known])
            correlation = Correlation.fit(by_distance(residuals))
            scale = min((z[known] ** 2).mean(), 1.0)
            known_of = pd.Series(known).groupby(event[known]).indices
            for name, at in pd.Series(other).groupby(event[other]).indices.items():
                if name in known_of:
                    here, there = known[known_of[name]], other[at]
                    mean, share = correlation.kriged(places[here], z[here], places[there])
                    term[there], explained[there] = mean, scale * share
    phi_ss, stddev = (predictions[name].to_numpy(float) for name in ("phi_ss", "stddev"))
    within = phi_ss * np.sqrt(1 - explained)
    changed = {
        "mean": predictions["mean"] + term * phi_ss,
        "stddev": np.sqrt(stddev**2 - phi_ss**2 + within**2),
        "within_term": term * phi_ss,
        "within_stddev": within,
    }
    return predictions.assign(**changed).astype(dict.fromkeys(changed, "float32"))
