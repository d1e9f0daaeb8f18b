"""Predicted distributions -> labelled datasets with median, exceedance probabilities and percentiles."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtr, ndtri

from tfgmm.core.errors import UsageError
from tfgmm.prediction.places import Places

#: Names of the coordinates that describe the events of a dataset, and their columns in a table of events.
EVENT_COLUMNS = {
    "event_id": "event_id",
    "event_longitude": "longitude",
    "event_latitude": "latitude",
    "depth_km": "depth_km",
    "magnitude": "magnitude",
}
#: Units and long names of the quantities.
_LONG_NAMES = {
    "median_g": ("g", "median of {im}"),
    "mean": ("1", "mean of ln {im}, {im} in g"),
    "stddev": ("1", "total standard deviation of ln {im}"),
    "aleatory": ("1", "aleatory standard deviation of ln {im}"),
    "epistemic": ("1", "epistemic standard deviation of ln {im}"),
    "between_event": ("1", "between-event standard deviation of ln {im}"),
    "within_event": ("1", "within-event standard deviation of ln {im}"),
    "r_hyp_km": ("km", "hypocentral distance"),
    "support": ("1", "effective number of training records like the prediction"),
}


def labelled(
    distribution: Mapping[str, np.ndarray],
    events: pd.DataFrame,
    places: Places,
    r_hyp_km: np.ndarray,
    outside: Mapping[str, np.ndarray],
) -> xr.Dataset:
    """Return predictions as a dataset with coordinates and units.

    Parameters
    ----------
    distribution : dict of str to ndarray, [event, ...]
        Mean and standard deviations, ln units, as returned by `tfgmm.prediction.conditioning.distribution`.
    events : pandas.DataFrame
        Columns ``event_id, longitude, latitude, depth_km, magnitude``.
    places : Places
        Places of the predictions, of dimensions [...].
    r_hyp_km : ndarray, [event, ...]
        Hypocentral distances, km.
    outside : dict of str to ndarray of bool
        True where ``magnitude`` [event], ``depth_km`` [event] or ``r_hyp_km`` [event, ...] lies outside the
        training range, as returned by `tfgmm.runs.member_folder.Ranges.outside`.

    Returns
    -------
    xarray.Dataset
        See `Ensemble.maps`.
    """
    everywhere = ("event", *places.dims)
    return xr.Dataset(
        {
            **{name: (everywhere, values, {"units": "1"}) for name, values in distribution.items()},
            "r_hyp_km": (everywhere, r_hyp_km, {"units": "km"}),
            "outside_magnitude": ("event", outside["magnitude"]),
            "outside_depth": ("event", outside["depth_km"]),
            "outside_distance": (everywhere, outside["r_hyp_km"]),
            "outside_map": (places.dims, places.outside),
        },
        coords={
            "longitude": (places.dims, places.longitude),
            "latitude": (places.dims, places.latitude),
            **{name: ("event", events[column].to_numpy()) for name, column in EVENT_COLUMNS.items()},
        },
    )


@dataclasses.dataclass(frozen=True)
class Quantities:
    r"""Exceedance probabilities and percentiles of IM to compute from the predicted distribution of ln IM.

    .. math:: P(IM > y) = 1 - \Phi((\ln y - \mu) / \sigma), \quad y_p = e^{\mu + \sigma \Phi^{-1}(p / 100)}

    The distribution of ln IM is taken as Normal with the ensemble's mean and total standard deviation. The
    mixture of the members' distributions has the same mean and variance, but not exactly a Normal shape.

    Attributes
    ----------
    exceed : tuple of float
        Levels y of IM, g.
    percentiles : tuple of float
        Percentiles p, between 0 and 100, both excluded.

    Raises
    ------
    UsageError
        A level is not positive, or a percentile is not between 0 and 100.
    """

    exceed: tuple[float, ...] = ()
    percentiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check levels and percentiles; raise `UsageError` for a bad one."""
        for level in self.exceed:
            if not 0 < level < np.inf:
                raise UsageError(f"level {level}: expected a positive number, in g")
        for p in self.percentiles:
            if not 0 < p < 100:
                raise UsageError(f"percentile {p}: expected a number between 0 and 100, both excluded")

    def of(self, predictions: xr.Dataset) -> xr.Dataset:
        """Return predictions with median, exceedance probabilities and percentiles added.

        Parameters
        ----------
        predictions : xarray.Dataset
            As returned by `Ensemble.maps`, `Ensemble.at_sites` or `Ensemble.batches`.

        Returns
        -------
        xarray.Dataset
            ``median_g``, median of IM, g; the variables of `predictions`; for each level y the variable
            ``exceed_y`` (``exceed_0.1``), a probability; for each percentile p the variable
            ``percentile_p_g`` (``percentile_84_g``), g. All variables have units and long names.
        """
        im = predictions.attrs["intensity_measure"]
        mean, stddev = predictions["mean"], predictions["stddev"]
        variables = {"median_g": np.exp(mean), **predictions.data_vars}
        labels = {name: label for name, label in _LONG_NAMES.items() if name in variables}
        for y in self.exceed:
            variables[f"exceed_{y:g}"] = (mean.dims, ndtr(((mean - np.log(y)) / stddev).to_numpy()))
            labels[f"exceed_{y:g}"] = ("1", f"probability that {{im}} exceeds {y:g} g")
        for p in self.percentiles:
            variables[f"percentile_{p:g}_g"] = np.exp(mean + stddev * ndtri(p / 100))
            labels[f"percentile_{p:g}_g"] = ("g", f"percentile {p:g} of {{im}}")
        derived = xr.Dataset(variables, predictions.coords, predictions.attrs)
        for name, (units, long_name) in labels.items():
            derived[name].attrs = {"units": units, "long_name": long_name.format(im=im)}
        return derived
