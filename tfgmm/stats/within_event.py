"""Within-event residuals: their correlation by distance, and kriging from an event's records."""

import dataclasses
from typing import Self

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import curve_fit
from scipy.spatial.distance import cdist, pdist
from threadpoolctl import threadpool_limits

from tfgmm.data.schemas import SITE_XY, is_training
from tfgmm.stats.mixture import rows_of_members

#: Borders of the classes of distance between two sites in which the correlation is estimated, km.
CLASSES_KM = np.array([0, 2, 4, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100, 150])
#: Smallest number of events in a class; the scatter of the events gives the standard error of the
#: correlation in the class.
MIN_EVENTS = 10
#: Lower and upper bound of the range of the correlation, km.
RANGE_BOUNDS_KM = 1.0, 100.0


def standardised_residuals(predictions: pd.DataFrame) -> pd.Series:
    r"""Return the standardised within-event residuals, :math:`z = (\ln IM - \mu) / \phi_{SS}`.

    Parameters
    ----------
    predictions : pandas.DataFrame, [n, ...]
        Result of `RandomEffects.apply`: ``ln_im``, ``mean`` (with the event, site and path terms) and
        ``phi_ss``, in ln units.

    Returns
    -------
    pandas.Series, [n]
        z, of zero mean and unit variance if the model fits.
    """
    return (predictions["ln_im"] - predictions["mean"]) / predictions["phi_ss"]


def correlation_by_distance(residuals: pd.DataFrame) -> pd.DataFrame:
    r"""Estimate the correlation of the residuals of one event at two sites, in classes of their distance.

    .. math:: \rho = \overline{z_i z_j} / \overline{z^2}

    The mean of the products is over all pairs of sites of one event whose distance is in the class.

    Parameters
    ----------
    residuals : pandas.DataFrame, [n, ...]
        A row per record: ``event_id``, ``x_km, y_km`` (km) and ``z``, standardised residuals of zero mean.

    Returns
    -------
    pandas.DataFrame
        A row per class: ``distance_km`` (mean of the pairs), ``correlation`` and its ``standard_error``,
        from the scatter of the events. Classes with pairs of fewer than `MIN_EVENTS` events are left out.
    """
    sums = np.array([_sums_of_pairs(rows) for _, rows in residuals.groupby("event_id", observed=True)])
    pairs, distances, products = np.moveaxis(sums, 1, 0)
    enough = (pairs > 0).sum(axis=0) >= MIN_EVENTS
    pairs, distances, products = pairs[:, enough], distances[:, enough], products[:, enough]
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


def _sums_of_pairs(rows: pd.DataFrame) -> list[np.ndarray]:
    """Return count, summed distance (km) and summed product of the record pairs of one event, by class.

    `rows` has ``x_km, y_km`` and ``z``; each of the three arrays is [classes] of `CLASSES_KM`.
    """
    z, distance = rows["z"].to_numpy(), pdist(rows[SITE_XY].to_numpy())
    product = np.outer(z, z)[np.triu_indices(len(z), 1)]
    classes, inside = len(CLASSES_KM) - 1, distance < CLASSES_KM[-1]
    class_of_pair = np.digitize(distance[inside], CLASSES_KM) - 1
    return [
        np.bincount(class_of_pair, weights, classes)
        for weights in (None, distance[inside], product[inside])
    ]


@dataclasses.dataclass(frozen=True)
class Correlation:
    r"""Correlation of the within-event residuals of one event at two sites at the distance d.

    .. math:: \rho(d) = a \exp(-d / l)

    Attributes
    ----------
    share : float
        a, the share of the variance that two very close sites have in common, 0 to 1.
    range_km : float
        Range l, km.

    References
    ----------
    Jayaram & Baker (2009), Earthq. Eng. Struct. Dyn. 38(15), 1687-1708, equation 20: there without a
    nugget (a = 1), and with b = 3 l.
    """

    share: float
    range_km: float

    @classmethod
    def fit(cls, classes: pd.DataFrame) -> Self:
        """Fit a and l to the correlations in classes of distance, by weighted least squares.

        Parameters
        ----------
        classes : pandas.DataFrame
            Result of `correlation_by_distance`.

        Returns
        -------
        Correlation
            The fitted a and l. With fewer than three classes, a is 0.
        """
        if len(classes) < 3:
            return cls(0.0, RANGE_BOUNDS_KM[0])
        (share, range_km), _ = curve_fit(
            lambda distance, share, range_km: share * np.exp(-distance / range_km),
            classes["distance_km"],
            classes["correlation"],
            p0=(0.5, 15.0),
            sigma=classes["standard_error"],
            bounds=((0.0, RANGE_BOUNDS_KM[0]), (1.0, RANGE_BOUNDS_KM[1])),
        )
        return cls(float(share), float(range_km))

    def between(self, xy_km, other_xy_km) -> np.ndarray:
        """Return the correlation of the residuals at the sites of one set with those of another set.

        Parameters
        ----------
        xy_km : array_like, [n, 2]
            Sites: km east and north.
        other_xy_km : array_like, [m, 2]
            Other sites, which are different sites even where they lie at the same place.

        Returns
        -------
        ndarray, [n, m]
            Correlations.
        """
        return self.share * np.exp(-cdist(xy_km, other_xy_km) / self.range_km)

    def kriged(self, xy_km, z, wanted_km) -> tuple[np.ndarray, np.ndarray]:
        r"""Krige the standardised residuals of one event from the sites of its records to other sites.

        .. math:: E[z_0 | z] = k^T C^{-1} z, \quad 1 - Var[z_0 | z] = k^T C^{-1} k

        with the correlations C between the sites of the records and k with the wanted site.

        Parameters
        ----------
        xy_km : array_like, [n, 2]
            Sites of the records: km east and north.
        z : array_like, [n]
            Standardised residuals of the records.
        wanted_km : array_like, [m, 2]
            Other sites, to which the residuals are kriged: km east and north.

        Returns
        -------
        mean : ndarray, [m]
            Expected standardised residual at each wanted site.
        explained : ndarray, [m]
            Share of the variance of the residual that the records explain, 0 to 1.

        References
        ----------
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equations 2.25 and 2.26.
        """
        matrix = self.between(xy_km, xy_km)
        np.fill_diagonal(matrix, 1 + 1e-6)  # has an inverse also with stations in one place
        cross = self.between(wanted_km, xy_km)
        weights = cho_solve(cho_factor(matrix, overwrite_a=True), cross.T).T
        return weights @ np.asarray(z, float), (weights * cross).sum(axis=1)


def krige_residuals(predictions: pd.DataFrame) -> pd.DataFrame:
    r"""Add the kriged within-event residuals of each event's training records to its other predictions.

    For each member (one trained network) and event, the standardised residuals of the training records
    are kriged, with the correlation of the member, to the event's records at sites that did not train.
    Predictions of training records stay unchanged. Residuals at training sites are smaller than phi_SS
    indicates: where their mean square v is below 1, the explained share of the variance is multiplied by v.

    Parameters
    ----------
    predictions : pandas.DataFrame, [n, ...]
        Result of `RandomEffects.apply`, a row per record and member, with ``x_km`` and ``y_km`` (km) of the
        stations.

    Returns
    -------
    pandas.DataFrame, [n, ...]
        The same rows, in ln units: ``within_term``, the expected :math:`\delta WS`, which is added to
        ``mean``; and ``within_stddev``, the standard deviation of :math:`\delta WS` given the training
        records, which replaces phi_SS in ``stddev``.
    """
    z = standardised_residuals(predictions).to_numpy(float)
    trained = is_training(predictions).to_numpy()
    term, explained = np.zeros((2, len(predictions)))
    places, event = predictions[SITE_XY].to_numpy(), predictions["event_id"].to_numpy()
    # Some hundred sites an event: threads gain nothing, and lose much while other work runs.
    with threadpool_limits(1, "blas"):
        for rows in rows_of_members(predictions).values():
            known, unknown = rows[trained[rows]], rows[~trained[rows]]
            residuals = pd.DataFrame(places[known], columns=SITE_XY).assign(
                event_id=event[known], z=z[known]
            )
            correlation = Correlation.fit(correlation_by_distance(residuals))
            scale = min((z[known] ** 2).mean(), 1.0)
            known_of_event = pd.Series(known).groupby(event[known]).indices
            for name, chosen in pd.Series(unknown).groupby(event[unknown]).indices.items():
                if name in known_of_event:
                    here, there = known[known_of_event[name]], unknown[chosen]
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
