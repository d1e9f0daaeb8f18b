"""Predicted distributions -> labelled datasets with median, exceedance probabilities and percentiles."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtr, ndtri

from tfgmm.core import imt
from tfgmm.core.arguments import checked
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
#: Variables that are standard deviations, ln units.
STDDEVS = ("stddev", "aleatory", "epistemic", "between_event", "within_event")
#: Patterns of the names of variables, with their units and long names; groups of a pattern fill the gaps.
_LABELS = {
    "mean": ("1", "mean of ln {im}, {im} in {unit}"),
    "stddev": ("1", "total standard deviation of ln {im}"),
    "(aleatory|epistemic)": ("1", "{0} standard deviation of ln {im}"),
    "(between|within)_event": ("1", "{0}-event standard deviation of ln {im}"),
    "r_hyp_km": ("km", "hypocentral distance"),
    "r_rup_km": ("km", "distance to the known rupture"),
    "support": ("1", "effective number of training records like the prediction"),
    "median_g": ("g", "median of {im}"),
    "median_cm_s": ("cm/s", "median of {im}"),
    "exceed_(.+)": ("1", "probability that {im} exceeds {0} {unit}"),
    "percentile_(.+)_g": ("g", "percentile {0} of {im}"),
    "percentile_(.+)_cm_s": ("cm/s", "percentile {0} of {im}"),
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
        Levels y of IM, in its unit (`tfgmm.core.imt.unit`).
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
                raise UsageError(f"level {level}: expected a positive number, in the unit of the measure")
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
            ``median_g``, median of IM, g (``median_cm_s``, cm/s, of PGV); the variables of `predictions`;
            for each level y the variable ``exceed_y`` (``exceed_0.1``), a probability; for each percentile
            p the variable ``percentile_p_g`` (``percentile_84_g``; ``percentile_84_cm_s`` of PGV). All
            variables have units and long names. Of several measures, one that has another unit than a
            variable is NaN in it.

        Raises
        ------
        UsageError
            There are levels, and the measures have different units.
        """
        if "im" in predictions.dims:
            measures = by_measure(predictions)
            if self.exceed and len({one.attrs["unit"] for one in measures}) > 1:
                raise UsageError("levels need one unit: ask for PGV (cm/s) and for PGA and SA (g) in turn")
            return joined([self.of(one) for one in measures])
        im = predictions.attrs["intensity_measure"]
        median = median_name(im)
        ending = median.removeprefix("median")
        mean, stddev = predictions["mean"], predictions["stddev"]
        variables = {median: np.exp(mean), **predictions.data_vars}
        for y in self.exceed:
            variables[f"exceed_{y:g}"] = (mean.dims, ndtr(((mean - np.log(y)) / stddev).to_numpy()))
        for p in self.percentiles:
            variables[f"percentile_{p:g}{ending}"] = np.exp(mean + stddev * ndtri(p / 100))
        derived = xr.Dataset(variables, predictions.coords, predictions.attrs)
        return _with_labels(derived, im, imt.unit(im))


def median_name(im: str) -> str:
    """Return the name of the variable that holds the median of an intensity measure, by its unit.

    >>> median_name("PGA"), median_name("PGV")
    ('median_g', 'median_cm_s')

    Parameters
    ----------
    im : str
        Intensity measure.

    Returns
    -------
    str
    """
    return f"median_{imt.unit(im).replace('/', '_')}"


def joined(predictions: Sequence[xr.Dataset]) -> xr.Dataset:
    """Join the predictions of several intensity measures along the dimension ``im``.

    Parameters
    ----------
    predictions : sequence of xarray.Dataset, [event, ...]
        Predictions of one measure each, for the same events and places.

    Returns
    -------
    xarray.Dataset, [event, im, ...]
        With the coordinates ``im``, the names of the measures, ``unit``, and ``interpolated``, the two
        measures between which a measure is interpolated, else "". What is the same for all measures, as
        ``r_hyp_km``, has no dimension ``im``.
    """
    ims = [one.attrs["intensity_measure"] for one in predictions]
    shared = [name for name in ("r_hyp_km", "r_rup_km", "outside_map") if name in predictions[0]]
    options = {"coords": "minimal", "compat": "override", "join": "override", "combine_attrs": "override"}
    own = [one.drop_vars(shared) for one in predictions]
    of_measures = xr.concat(own, pd.Index(ims, name="im"), data_vars="all", **options)
    of_measures = of_measures.assign({name: predictions[0][name] for name in shared})
    of_measures = of_measures.transpose("event", "im", ...).assign_coords(
        unit=("im", [imt.unit(im) for im in ims]),
        interpolated=("im", [one.attrs.get("interpolated", "") for one in predictions]),
    )
    for name in ("intensity_measure", "unit", "interpolated"):
        of_measures.attrs.pop(name, None)
    of_measures = _with_labels(of_measures, "IM", "its unit")
    of_measures["im"].attrs["long_name"] = "intensity measure (IM)"
    of_measures["unit"].attrs["long_name"] = "unit of the intensity measure"
    return of_measures


@checked
def table(predictions: xr.Dataset) -> pd.DataFrame:
    """Return predictions at sites as a table with one row per event, intensity measure and site.

    Parameters
    ----------
    predictions : xarray.Dataset
        Predictions as returned by ``at_sites`` or ``at_stations`` of `Client` or `Ensemble`.

    Returns
    -------
    pandas.DataFrame
        Columns for event (``event_id``, coordinates, ``depth_km``, ``magnitude``) and site (``site_id``
        and, if known, ``longitude, latitude``), followed by the predicted quantities.

    Raises
    ------
    UsageError
        The predictions are maps.

    Examples
    --------
    >>> tfgmm.table(run.ensemble().at_sites(events, sites))  # doctest: +SKIP
    """
    if "site" not in predictions.dims:
        raise UsageError("maps are no table: ask for predictions at sites or at stations, or keep xarray")
    site_columns = [name for name in ("site_id", "longitude", "latitude") if name in predictions.coords]
    axes = [axis for axis in ("event", "im", "site") if axis in predictions.dims]
    rows = predictions.to_dataframe(axes).reset_index("im" if "im" in axes else []).reset_index(drop=True)
    of_measure = ["im"] if "im" in axes else []
    return rows[[*EVENT_COLUMNS, *site_columns, *of_measure, *predictions.data_vars]]


def by_measure(predictions: xr.Dataset) -> list[xr.Dataset]:
    """Return predictions of several intensity measures as one dataset for each.

    Parameters
    ----------
    predictions : xarray.Dataset
        As returned by `joined`; or predictions of one measure, which are returned alone.

    Returns
    -------
    list of xarray.Dataset, [event, ...]
        Each with the attributes ``intensity_measure`` and ``unit``, and ``interpolated`` where it applies.
    """
    if "im" not in predictions.dims:
        return [predictions]
    datasets = []
    for number, im in enumerate(predictions["im"].to_numpy()):
        one = predictions.isel(im=number).drop_vars(["im", "unit", "interpolated"])
        one = _with_labels(one, str(im), imt.unit(im))
        absent = [name for name in one.data_vars if _is_of_other_unit(str(name), im)]
        attributes = {"intensity_measure": str(im), "unit": imt.unit(im)}
        between = str(predictions["interpolated"].to_numpy()[number])
        attributes |= {"interpolated": between} if between else {}
        datasets.append(one.drop_vars(absent).assign_attrs(attributes))
    return datasets


def _with_labels(predictions: xr.Dataset, im: str, unit: str) -> xr.Dataset:
    """Return predictions with units and long names (`_LABELS`) for an intensity measure and its unit."""
    labelled_variables = {}
    for name, variable in predictions.data_vars.items():
        for pattern, (units, long_name) in _LABELS.items():
            if match := re.fullmatch(pattern, str(name)):
                label = long_name.format(*match.groups(), im=im, unit=unit)
                labelled_variables[name] = variable.assign_attrs(units=units, long_name=label)
    return predictions.assign(labelled_variables)


def _is_of_other_unit(name: str, im: str) -> bool:
    """Return True for a median or percentile in another unit than that of an intensity measure."""
    is_motion = name.startswith(("median_", "percentile_"))
    return is_motion and not name.endswith(median_name(im).removeprefix("median"))
