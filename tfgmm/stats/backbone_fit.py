"""Fit of a backbone to records: choice and weights of published models, and re-centring."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.linalg import block_diag

from tfgmm.core.errors import DataError
from tfgmm.stats import ergodic, listed_regression, point_source, recentring, scaling_tables, tectonics
from tfgmm.stats.backbone import Backbone
from tfgmm.stats.listed_regression import ListedRegression, Listing
from tfgmm.stats.published_scaling import ASSUMPTIONS, ScalingModel, models_of_pygmm, tabulate
from tfgmm.stats.scaling_tables import DEPTHS_KM, LN_R, MAGNITUDES
from tfgmm.stats.site_response import UNKNOWN_VS30_M_S, SiteResponse

#: Largest number of events that count in the weights of published models. What fits small earthquakes best
#: need not fit larger ones: with the likelihood of 86 events of Ridgecrest, M < 6, one model takes all the
#: weight and misses the M 7.1 beyond 120 km by -0.5, where equal weights do by -0.1.
EVENTS_THAT_COUNT = 5
#: Smallest weight of a published model; models below are dropped.
SMALLEST_WEIGHT = 0.05
#: Smallest weight of a class with which an event counts in the weights of the models of that class.
_OF_CLASS = 0.25
#: Smallest numbers of events and records of a class from which its models are weighted.
_FEWEST_EVENTS, _FEWEST_RECORDS = 5, 50
#: Models stay although no record lies within their magnitudes, if one lies within this distance.
_MAGNITUDE_MARGIN = 1.0
#: Updates of the standard deviations in the comparison of models, which needs no more.
_UPDATES = 8
#: Prior standard deviation of the coefficient of the PGA's own remaining part (`fit`, another measure).
_CONTROL_STDDEV = 1.0

#: Columns of the report.
REPORT = [*("im", "tectonic_class", "model", "weight", "bias", "rmse", "tau", "phi_s2s", "phi_ss")]
REPORT += ["log_likelihood", "note"]


@dataclasses.dataclass(frozen=True)
class _Training:
    """Records of one measure as arrays; what is known of them before any model.

    Attributes
    ----------
    y : ndarray, [n]
        ln IM.
    magnitude, depth_km, r_km : ndarray, [n]
        Of the records.
    event, site : ndarray, [n]
        Ids.
    weights : ndarray, [n, class]
        Weights of the classes.
    linear : ndarray, [n]
        Published linear site term, ln units.
    vs30 : ndarray, [n]
        Vs30, m/s, known or assumed.
    site_response : SiteResponse
        Published site response.
    control : ndarray, [n, 0 or 1]
        Remaining part of the record's PGA.
    listing : Listing or None
        Truncation by y itself.
    """

    y: np.ndarray
    magnitude: np.ndarray
    depth_km: np.ndarray
    r_km: np.ndarray
    event: np.ndarray
    site: np.ndarray
    weights: np.ndarray
    linear: np.ndarray
    vs30: np.ndarray
    site_response: SiteResponse
    control: np.ndarray
    listing: Listing | None

    @property
    def centre(self) -> float:
        """Return the mean linear site term of the records, ln units."""
        return float(self.linear.mean())

    def at(self, table: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return a table, [class, M, R, Z], at the records, [n]."""
        own = self.weights if weights is None else weights
        _, first, code = np.unique(self.event, return_index=True, return_inverse=True)
        by_magnitude = np.moveaxis(table, 1, 0)
        curves = scaling_tables.curves(
            by_magnitude, own[first], self.magnitude[first], self.depth_km[first]
        )
        return scaling_tables.along(curves[code], scaling_tables.positions(np.log(self.r_km)[:, None]))[
            :, 0
        ]

    def some(self, kept: np.ndarray) -> "_Training":
        """Return the records where `kept`, [n], is True."""
        arrays = {
            field.name: getattr(self, field.name)[kept]
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return dataclasses.replace(self, **arrays)

    def regress(self, at_760: np.ndarray, ln_pga_760: np.ndarray, most: int) -> ListedRegression:
        """Fit the difference of the records from published medians at 760 m/s, [n]."""
        factors = np.array([[1 / recentring.SITE_STDDEV**2]])
        columns = recentring.regressors(self.magnitude, self.r_km, self.depth_km, self.weights)
        design = np.column_stack([columns, self.linear - self.centre, self.control])
        precision = block_diag(
            recentring.prior_precision(self.weights.shape[1]),
            factors,
            np.eye(self.control.shape[1]) / _CONTROL_STDDEV**2,
        )
        offset = at_760 + self.linear + self.site_response.nonlinear(self.vs30, ln_pga_760)
        return listed_regression.fit(
            *(design, self.y, self.event, self.site, precision),
            offset=offset,
            listing=self.listing,
            records_alike=recentring.RECORDS_ALIKE,
            most=most,
        )


def distance(records: pd.DataFrame) -> np.ndarray:
    """Return the distance of records to the rupture, km: known, else the most likely for the hypocentre.

    Parameters
    ----------
    records : pandas.DataFrame, [n, ...]
        ``magnitude, depth_km, r_hyp_km`` (km); optionally ``r_rup_km``, NaN where unknown, and
        ``tectonic_class``.

    Returns
    -------
    ndarray, [n]
        The known distance, at least 1 km, or exp of the mean of ln R_rup over the tectonic classes
        (`tfgmm.stats.point_source`).
    """
    weights = tectonics.class_weights(records["depth_km"], records.get("tectonic_class"))
    inputs = (records[name].to_numpy(float) for name in ("magnitude", "r_hyp_km", "depth_km"))
    magnitude, r_hyp_km, depth_km = inputs
    r_hyp_km = np.maximum(r_hyp_km, 1.0)
    means = [
        point_source.ln_rupture_distance(magnitude, r_hyp_km, depth_km, name)[0]
        for name in tectonics.CLASSES
    ]
    likely = np.exp((weights * np.column_stack(means)).sum(axis=1))
    known = records.get("r_rup_km", pd.Series(np.nan, records.index)).to_numpy(float)
    return np.maximum(np.where(np.isnan(known), likely, known), 1.0)


def fit(
    records: pd.DataFrame,
    im: str,
    *,
    region: str = "global",
    models: Sequence[ScalingModel] | None = None,
    listing: Listing | None = None,
) -> Backbone:
    r"""Fit a backbone of one intensity measure to records.

    **Weights.** Each published model of a class is re-centred on the records of events that have a weight
    of at least 1/4 in the class. With its log-likelihood L per event (coefficients, event and site terms
    integrated out, so that what the prior holds unlikely counts against the model; `RECORDS_ALIKE` records
    count as one) its weight is

    .. math:: w_k \propto \exp[N (L_k - L_{best})], \quad N = \min(n_{events}, 5)

    Models below 0.05 are dropped, as are models without the period, and those of which no record is within
    one unit of their magnitudes, if others are left. Weights are equal where a class has less than 5
    events or 50 records.

    **Truncation.** With a `listing`, records are listed by their PGA. PGA itself is fitted by the
    likelihood of listed records. For another measure y, given the record's PGA the listing tells no more of
    y: :math:`p(y | PGA, listed) = p(y | PGA)`. So PGA is fitted first, and what it leaves of each record,
    :math:`\ln PGA - \mu_{PGA}`, is a further regressor of an ordinary regression.

    Parameters
    ----------
    records : pandas.DataFrame, [n, ...]
        ``event_id, site_id, magnitude, depth_km, r_km`` (closest distance to the rupture, else hypocentral
        distance, km), ``ln_im`` (IM in g); optionally ``vs30`` (m/s, may be NaN), ``tectonic_class``, and
        ``ln_pga`` (PGA in g), which gives the PGA at 760 m/s of the non-linear site response and is needed
        for another measure than PGA with a `listing`.
    im : str
        Intensity measure.
    region : str
        Region of the published models (`tfgmm.stats.tectonics.region_at`).
    models : sequence of ScalingModel, optional
        Published models to choose from, each with a name of its own; None: those of pygmm.
    listing : Listing, optional
        How the records were selected by their PGA; None: not.

    Returns
    -------
    Backbone
        With ``report``: a row per model with its weight, the mean residual as published (``bias``), the
        RMSE about it, the standard deviations after re-centring, L (``log_likelihood``), and a note: its
        range, or why it was dropped.

    Raises
    ------
    DataError
        A value is missing or infinite; there are fewer than two events or sites; no model has the measure
        and a class of the records; or ``ln_pga`` is needed and absent.
    """
    return _fit(records, im, region, models or models_of_pygmm(region), listing)[0]


def fit_ergodic(records: pd.DataFrame, im: str) -> Backbone:
    """Fit the regression of `tfgmm.stats.ergodic`, and return it as a backbone without site response.

    Parameters
    ----------
    records : pandas.DataFrame, [n, ...]
        ``event_id, site_id, magnitude, depth_km, r_km`` (km), ``r_hyp_km`` and ``ln_im`` (IM in g).
    im : str
        Intensity measure.

    Returns
    -------
    Backbone
        With the regression's median in its tables, and no uncertainty of the coefficients.

    Raises
    ------
    DataError
        A value is missing or infinite, or there are fewer than two events or sites.
    """
    fitted = ergodic.fit(records)
    m, ln_r, z = np.meshgrid(MAGNITUDES, LN_R, DEPTHS_KM, indexing="ij")
    table = fitted.median(m, np.exp(ln_r), z)[None]
    p = recentring.regressors([6.0], [10.0], [10.0], [[1.0]]).shape[1] + 1
    flat = SiteResponse(c=0, v_c=760, v_ref=760, f_1=0, f_3=1, f_4=0, f_5=0)
    report = {"im": [im], "tectonic_class": ["crustal"], "model": ["ergodic"], "weight": [1.0]}
    return Backbone(
        ims=(im,),
        classes=("crustal",),
        published=table[None],
        pga_760=table,
        coefficients=np.zeros((1, p)),
        covariance=np.zeros((1, p, p)),
        centres=(0.0,),
        sites=(flat,),
        stddevs=((fitted.tau, fitted.phi_s2s, fitted.phi_ss),),
        vs30_m_s=UNKNOWN_VS30_M_S,
        ranges=_ranges(records),
        region="global",
        listing=None,
        assumptions=("regression on the training records, without published models",),
        report=pd.DataFrame(report).reindex(columns=[*REPORT]),
        hypocentral=True,
    )


def _fit(
    records: pd.DataFrame, im: str, region: str, models: Sequence[ScalingModel], listing: Listing | None
) -> tuple[Backbone, ListedRegression]:
    """Return the backbone and the regression (see `fit`)."""
    first = None
    if im != "PGA":
        if "ln_pga" in records:
            by_pga = records.assign(ln_im=records["ln_pga"])
            first = _fit(by_pga, "PGA", region, models, listing)
        elif listing:
            raise DataError(f"{im} of records that are listed by PGA: bring the PGA of each record as well")

    classes, training, vs30_median = _training(records, im, models, listing if im == "PGA" else None)
    if first and listing:
        control = records["ln_pga"].to_numpy(float) - first[1].mu
        training = dataclasses.replace(training, control=control[:, None])
    tables = {
        model.name: tabulate(model, (im, "PGA")) for model in models if model.tectonic_class in classes
    }
    if first:
        ln_pga_760 = training.at(first[0].pga_760)
    else:
        equal = _class_tables(classes, models, {name: 1.0 for name in tables}, tables, 1)
        ln_pga_760 = training.at(equal)
        if im == "PGA":  # non-linear only where strong, so a constant will do until the fit
            ln_pga_760 += np.mean(training.y - ln_pga_760 - training.linear)

    by_class = [[model for model in models if model.tectonic_class == name] for name in classes]
    report = pd.concat(
        [
            _weigh(training, ln_pga_760, training.weights[:, number], of_class, tables)
            for number, of_class in enumerate(by_class)
        ],
        ignore_index=True,
    ).assign(im=im)
    weights = dict(zip(report["model"], report["weight"], strict=True))
    published = _class_tables(classes, models, weights, tables, 0)
    regression = training.regress(training.at(published), ln_pga_760, listed_regression.MOST_UPDATES)
    p = len(regression.coefficients) - training.control.shape[1]
    # Ground does not amplify less for being softer: where records seem to say so, something else does.
    coefficients = regression.coefficients[:p].copy()
    coefficients[-1] = max(coefficients[-1], -1.0)
    factor = 1 + float(coefficients[-1])
    backbone = Backbone(
        ims=(im,),
        classes=classes,
        published=published[None],
        pga_760=first[0].pga_760 if first else _class_tables(classes, models, weights, tables, 1),
        coefficients=coefficients[None],
        covariance=regression.covariance[None, :p, :p],
        centres=(training.centre,),
        sites=(dataclasses.replace(training.site_response, factor=factor),),
        stddevs=((regression.tau, regression.phi_s2s, regression.phi_ss),),
        vs30_m_s=vs30_median,
        ranges=_ranges(records),
        region=region,
        listing=listing,
        assumptions=ASSUMPTIONS,
        report=report,
    )
    if im == "PGA":
        backbone = dataclasses.replace(backbone, pga_760=backbone.median_table("PGA"))
    return backbone, regression


def _training(
    records: pd.DataFrame, im: str, models: Sequence[ScalingModel], listing: Listing | None
) -> tuple[tuple[str, ...], _Training, float]:
    """Return the classes that records and models share, the records as arrays, and the median Vs30."""
    columns = ("ln_im", "magnitude", "depth_km", "r_km")
    y, magnitude, depth, r_km = (records[name].to_numpy(float) for name in columns)
    for name, values in zip(columns, (y, magnitude, depth, r_km), strict=True):
        if not np.isfinite(values).all():
            raise DataError(f"backbone: {name} of {(~np.isfinite(values)).sum():,} records is missing")
    r_km = np.maximum(r_km, 1.0)
    known = records.get("tectonic_class")
    weights = tectonics.class_weights(depth, known)
    modelled = {model.tectonic_class for model in models}
    kept = [k for k, name in enumerate(tectonics.CLASSES) if name in modelled and weights[:, k].any()]
    if not kept:
        raise DataError(f"backbone: no published model of the classes of these records has {im}")
    classes = tuple(tectonics.CLASSES[k] for k in kept)
    vs30 = records["vs30"].to_numpy(float) if "vs30" in records else np.full(len(y), np.nan)
    middle = float(np.nanmedian(vs30)) if np.isfinite(vs30).any() else UNKNOWN_VS30_M_S
    vs30 = np.where(np.isnan(vs30), middle, vs30)
    site = SiteResponse.published(im)
    training = _Training(
        y=y,
        magnitude=magnitude,
        depth_km=depth,
        r_km=r_km,
        event=records["event_id"].to_numpy(),
        site=records["site_id"].to_numpy(),
        weights=tectonics.shared(weights, classes),
        linear=site.linear(vs30),
        vs30=vs30,
        site_response=site,
        control=np.empty((len(y), 0)),
        listing=listing,
    )
    return classes, training, middle


def _weigh(
    training: _Training,
    ln_pga_760: np.ndarray,
    class_weight: np.ndarray,
    models: Sequence[ScalingModel],
    tables: dict[str, np.ndarray],
) -> pd.DataFrame:
    """Return the report on the models of a class, whose weight in the records is `class_weight`, [n]."""
    of_class = class_weight >= _OF_CLASS
    events = len(np.unique(training.event[of_class]))
    enough = of_class.sum() >= _FEWEST_RECORDS and events >= _FEWEST_EVENTS
    if enough:
        training, ln_pga_760 = training.some(of_class), ln_pga_760[of_class]
    rows = [_judge(training, ln_pga_760, model, tables[model.name], enough) for model in models]
    report = pd.DataFrame(rows).reindex(columns=REPORT)

    dropped = report["note"].str.startswith("dropped")
    if dropped.all():
        dropped = report["bias"].isna()
        report.loc[~dropped, "note"] = "kept for want of a better: no record near its magnitudes"
    if dropped.all():
        name = models[0].tectonic_class
        raise DataError(f"backbone: no published model of the class {name} has this measure")
    score = report["log_likelihood"].astype(float) if enough else pd.Series(0.0, report.index)
    score = score.where(~dropped, -np.inf)
    weight = np.exp(min(events, EVENTS_THAT_COUNT) * (score - score.max()))
    weight /= weight.sum()
    small = ~dropped & (weight < SMALLEST_WEIGHT)
    report.loc[small, "note"] = "dropped: fits the records less well"
    weight[small] = 0.0
    return report.assign(weight=weight / weight.sum())


def _judge(
    training: _Training, ln_pga_760: np.ndarray, model: ScalingModel, table: np.ndarray, enough: bool
) -> dict[str, object]:
    """Return the row of the report on a published model; with `enough` records it is re-centred."""
    row: dict[str, object] = {"model": model.name, "tectonic_class": model.tectonic_class}
    if np.isnan(table[0]).any():
        return row | {"note": "dropped: has no such period"}
    at_760 = training.at(table[:1], np.ones((len(training.y), 1)))
    site = training.linear + training.site_response.nonlinear(training.vs30, ln_pga_760)
    residual = training.y - at_760 - site
    row |= {"bias": residual.mean(), "rmse": residual.std()}
    low, high = model.magnitudes
    magnitude = training.magnitude
    inside = (magnitude >= low) & (magnitude <= high) & (training.r_km <= model.max_r_km)
    near = (magnitude > low - _MAGNITUDE_MARGIN) & (magnitude < high + _MAGNITUDE_MARGIN)
    row["note"] = f"{100 * inside.mean():.0f} % of the records in its range"
    if not near.any():
        row["note"] = "dropped: no record near its magnitudes"
    if enough:
        result = training.regress(at_760, ln_pga_760, _UPDATES)
        row["log_likelihood"] = result.log_likelihood / len(result.event_terms)
        row |= {key: getattr(result, key) for key in ("tau", "phi_s2s", "phi_ss")}
    return row


def _class_tables(classes, models, weights: dict[str, float], tables, measure: int) -> np.ndarray:
    """Return the weighted mean of the tables of each class, [class, M, R, Z], for one of their measures."""
    means = []
    for name in classes:
        chosen = [m.name for m in models if m.tectonic_class == name and weights.get(m.name, 0) > 0]
        chosen = [one for one in chosen if not np.isnan(tables[one][measure]).any()]
        total = sum(weights[one] for one in chosen)
        means.append(sum(weights[one] / total * tables[one][measure] for one in chosen))
    return np.array(means)


def _ranges(records: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest values of the records."""
    names = [name for name in ("magnitude", "depth_km", "r_km", "vs30") if name in records]
    return {name: (float(records[name].min()), float(records[name].max())) for name in names}
