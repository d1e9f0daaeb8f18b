"""Backbone: published ground-motion models, weighted and re-centred on the records of a region."""

import dataclasses
import functools
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.stats import point_source, recentring, scaling_tables, tectonics
from tfgmm.stats.listed_regression import Listing
from tfgmm.stats.scaling_tables import DEPTHS_KM, LN_R, MAGNITUDES, NUMPY, ArrayFunctions
from tfgmm.stats.site_response import SiteResponse

#: Version of the files that `Backbone.save` writes.
FORMAT = 1
#: Half of the step in ln R over which the slope of the median with distance is taken.
_STEP = 0.1
#: Largest variance of the median, squared ln units, that an unknown rupture adds: a factor of e. The slope
#: at the mean distance does not hold for ruptures that may be near or some hundred km away, and the decay
#: of published models is not tested beyond 300 km.
MOST_DISTANCE_VARIANCE = 1.0
_ARRAYS = ("published", "pga_760", "coefficients", "covariance")


#: Names of the tables of `MedianTables`.
TABLES = ("ln_im", "ln_pga", "variance", "ln_ratio", "distance_variance")


@dataclasses.dataclass(frozen=True, eq=False)
class Earthquakes:
    """Earthquakes whose median is computed, as arrays or tensors.

    Attributes
    ----------
    magnitude, depth_km : array or tensor, [event]
        Moment magnitude, and depth of the hypocentre in km.
    class_weights : array or tensor, [event, class], or None
        Weights of the classes of a backbone; None: those of the depth.
    """

    magnitude: Any
    depth_km: Any
    class_weights: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class MedianTables:
    """Median of ln IM of one backbone and intensity measure as tables, for arrays and tensors alike.

    Attributes
    ----------
    classes : tuple of str, [class]
        Tectonic classes.
    ln_im, ln_pga : ndarray, [M, class, R, Z]
        Medians of ln IM and ln PGA (g) at Vs30 760 m/s, on the nodes of `tfgmm.stats.scaling_tables`.
    variance : ndarray, [M, class, R, Z]
        Posterior variance of the median of ln IM, squared ln units.
    ln_ratio, distance_variance : ndarray, [M, class, R, Z]
        Mean of ln (R_rup / R_hyp) and variance of ln R_rup for an unknown rupture, by hypocentral distance.
    site : SiteResponse
        Site response of the measure.
    vs30_m_s : float
        Vs30 that counts where Vs30 is unknown, m/s.
    hypocentral : bool
        Whether the distance is the hypocentral one, whatever is known of the rupture.
    """

    classes: tuple[str, ...]
    ln_im: np.ndarray
    ln_pga: np.ndarray
    variance: np.ndarray
    ln_ratio: np.ndarray
    distance_variance: np.ndarray
    site: SiteResponse
    vs30_m_s: float
    hypocentral: bool

    def at(
        self, earthquakes: Earthquakes, vs30, *, ln_r_hyp=None, ln_r_rup=None, xp: ArrayFunctions = NUMPY
    ) -> tuple[Any, Any, Any]:
        r"""Return the median of ln IM (IM in g) of earthquakes at places, its variance and that of classes.

        Where only the hypocentral distance is known, the median is that at the mean of :math:`\ln R_{rup}`,
        and the variance of :math:`\ln R_{rup}` adds to that of the median b:

        .. math:: \sigma_b^2 = C(M, R, Z) +
            \min[1, (\partial b / \partial \ln R)^2 \, Var(\ln R_{rup})]

        The variance of the classes is that of their medians about the weighted mean: where records of such
        earthquakes have trained, it is part of their scatter, tau; elsewhere nobody has counted it.

        Parameters
        ----------
        earthquakes : Earthquakes
            Magnitude, depth and class weights.
        vs30 : array or tensor, [event, place]
            Vs30, m/s, known everywhere.
        ln_r_hyp, ln_r_rup : array or tensor, [event, place]
            Natural logarithm of the hypocentral distance, or of the closest distance to the rupture, km;
            one of both.
        xp : ArrayFunctions
            Functions of the library of the arguments.

        Returns
        -------
        median, variance, class_variance : array or tensor, [event, place]
            Ln units; squared ln units.
        """
        if earthquakes.class_weights is None:
            weights = tectonics.weights_by_depth(earthquakes.depth_km, self.classes, xp)
            earthquakes = dataclasses.replace(earthquakes, class_weights=weights)
        ln_im, class_variance = self._median_curves(earthquakes, xp)
        variance = self._curves(self.variance, earthquakes, xp)
        is_pga = self.ln_pga is self.ln_im
        ln_pga = ln_im if is_pga else self._curves(self.ln_pga, earthquakes, xp)
        ln_r = ln_r_rup
        if ln_r_hyp is not None:  # curves over R_hyp in place of R_rup
            ln_ratio, distance_variance = (
                self._curves(table, earthquakes, xp) for table in (self.ln_ratio, self.distance_variance)
            )
            ln_r, at_nodes = ln_r_hyp, xp.to_float(LN_R, ln_ratio) + ln_ratio
            before, nodes, after = (
                scaling_tables.positions(at_nodes + step, xp) for step in (-_STEP, 0.0, _STEP)
            )
            difference = scaling_tables.along(ln_im, after, xp) - scaling_tables.along(ln_im, before, xp)
            slope = difference / (2 * _STEP)
            ln_im, ln_pga, variance, class_variance = (
                scaling_tables.along(curve, nodes, xp)
                for curve in (ln_im, ln_pga, variance, class_variance)
            )
            variance = variance + xp.minimum(slope * slope * distance_variance, MOST_DISTANCE_VARIANCE)
        places = scaling_tables.positions(ln_r, xp)
        at_760 = scaling_tables.along(ln_im, places, xp)
        ln_pga_760 = at_760 if is_pga else scaling_tables.along(ln_pga, places, xp)
        median = at_760 + self.site.amplification(vs30, ln_pga_760, xp)
        return median, *(scaling_tables.along(curve, places, xp) for curve in (variance, class_variance))

    def _median_curves(self, earthquakes: Earthquakes, xp: ArrayFunctions) -> tuple[Any, Any]:
        """Return mean and variance of the medians of the classes as curves over ln R, [event, R]."""
        table, magnitude = xp.to_float(self.ln_im, earthquakes.magnitude), earthquakes.magnitude
        of_classes = scaling_tables.curves_of_classes(table, magnitude, earthquakes.depth_km, xp)
        mean = xp.einsum("ec,ecr->er", earthquakes.class_weights, of_classes)
        about_mean = of_classes - mean[:, None]
        return mean, xp.einsum("ec,ecr->er", earthquakes.class_weights, about_mean * about_mean)

    @staticmethod
    def _curves(table: np.ndarray, earthquakes: Earthquakes, xp: ArrayFunctions):
        """Return a table, [M, class, R, Z], of each earthquake as a curve over ln R, [event, R]."""
        magnitude = earthquakes.magnitude
        return scaling_tables.curves(
            xp.to_float(table, magnitude),
            earthquakes.class_weights,
            magnitude,
            earthquakes.depth_km,
            xp,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Backbone:
    r"""Median of ln IM (IM in g) by magnitude, distance, depth, tectonic class and Vs30.

    .. math:: b = \sum_k w_k \, b_{k,760}(M, R, Z) + \delta(M, R, Z) + F(V_{S30}, PGA_{760})

    with published models :math:`b_k` at Vs30 760 m/s, their weights :math:`w_k`, the regional difference
    :math:`\delta` (`tfgmm.stats.recentring`) and the site response F (`SiteResponse`).

    Attributes
    ----------
    ims : tuple of str, [im]
        Intensity measures.
    classes : tuple of str, [class]
        Tectonic classes of the training records, in the order of `tfgmm.stats.tectonics.CLASSES`.
    published : ndarray, [im, class, M, R, Z]
        Weighted published medians on the nodes of `tfgmm.stats.scaling_tables`.
    pga_760 : ndarray, [class, M, R, Z]
        Median of ln PGA at Vs30 760 m/s, re-centred where records of PGA were given.
    coefficients : ndarray, [im, p]
        Posterior mean of the coefficients of :math:`\delta`; the last is the factor of the linear site
        term less 1.
    covariance : ndarray, [im, p, p]
        Posterior covariance of the coefficients.
    centres : tuple of float, [im]
        Published linear site term (ln units) at which its regressor is centred: the mean of the records.
    sites : tuple of SiteResponse, [im]
        Site response with the fitted factor.
    stddevs : tuple of (float, float, float), [im]
        tau, phi_S2S and phi_SS of the training records about the median, ln units.
    vs30_m_s : float
        Median Vs30 of the training records, which counts where Vs30 is unknown.
    ranges : dict of str to (float, float)
        Smallest and largest ``magnitude``, ``depth_km``, ``r_km`` and ``vs30`` of the training records;
        NaN if unknown.
    region : str
        Region of the published models.
    listing : Listing or None
        Truncation that was allowed for.
    assumptions : tuple of str
        What the published models assume.
    hypocentral : bool
        Whether the distance is the hypocentral one, not that to the rupture.
    report : pandas.DataFrame
        Row per published model, measure and class (`tfgmm.stats.backbone_fit.fit`).
    """

    ims: tuple[str, ...]
    classes: tuple[str, ...]
    published: np.ndarray
    pga_760: np.ndarray
    coefficients: np.ndarray
    covariance: np.ndarray
    centres: tuple[float, ...]
    sites: tuple[SiteResponse, ...]
    stddevs: tuple[tuple[float, float, float], ...]
    vs30_m_s: float
    ranges: dict[str, tuple[float, float]]
    region: str
    listing: Listing | None
    assumptions: tuple[str, ...]
    report: pd.DataFrame
    hypocentral: bool = False

    def __post_init__(self) -> None:
        """Round the published medians to what a file holds of them, a thousandth of their uncertainty."""
        for name in ("published", "pga_760"):
            rounded = np.asarray(getattr(self, name), "float32").astype(float)
            object.__setattr__(self, name, rounded)

    def class_weights(self, depth_km, tectonic_class=None) -> np.ndarray:
        """Return the weights of the backbone's classes for each earthquake, [event, class].

        Classes without training records get no weight. An earthquake that has no other class takes the
        mean over all classes of the backbone.

        Parameters
        ----------
        depth_km : array_like, [event]
            Depth of the hypocentre, km.
        tectonic_class : array_like of str, [event], optional
            Known class of each earthquake.

        Returns
        -------
        ndarray, [event, class]
            Weights, which add up to 1.
        """
        return tectonics.shared(tectonics.class_weights(depth_km, tectonic_class), self.classes)

    def tables(self, im: str) -> MedianTables:
        """Return the median and its variance as tables, computed once per measure.

        Parameters
        ----------
        im : str
            One of `ims`.

        Returns
        -------
        MedianTables
        """
        return _tables(self, im)

    def median_table(self, im: str) -> np.ndarray:
        """Return the re-centred median of ln IM (IM in g) at Vs30 760 m/s, [class, M, R, Z].

        Parameters
        ----------
        im : str
            One of `ims`.

        Returns
        -------
        ndarray, [class, M, R, Z]
            Table for `tfgmm.stats.scaling_tables.curves`.
        """
        number = self._number(im)
        b = self.coefficients[number]
        delta = sum(_on_axes(part @ b[:-1], axis) for axis, part in enumerate(self._parts()))
        return self.published[number] + delta - self.centres[number] * b[-1]

    def variance_table(self, im: str) -> np.ndarray:
        """Return the posterior variance of the median at the mean training site, [class, M, R, Z].

        It is the variance of the coefficients alone, and grows away from the records to that of the prior.
        The contribution of the factor of the linear site term away from the mean site is left out.

        Parameters
        ----------
        im : str
            One of `ims`.

        Returns
        -------
        ndarray, [class, M, R, Z]
            Variances, squared ln units.
        """
        number = self._number(im)
        covariance = self.covariance[number][:-1, :-1]
        parts, variance = self._parts(), np.zeros(self.published[number].shape)
        for axis, part in enumerate(parts):
            variance += _on_axes(((part @ covariance) * part).sum(axis=1), axis)
            for other in range(axis):
                variance += _on_axes(2 * parts[other] @ covariance @ part.T, other, axis)
        return variance

    def median(self, im: str, magnitude, depth_km, ln_r, *, vs30=None, tectonic_class=None) -> np.ndarray:
        """Return the median of ln IM (IM in g) of earthquakes at places.

        Parameters
        ----------
        im : str
            One of `ims`.
        magnitude, depth_km : array_like, [event]
            Moment magnitude, and depth of the hypocentre in km.
        ln_r : array_like, [event, places]
            Natural logarithm of the closest distance to the rupture, else of the hypocentral distance, km.
        vs30 : array_like, [event, places] or [places], optional
            Vs30, m/s; NaN, or None for all places, is unknown: `vs30_m_s`.
        tectonic_class : array_like of str, [event], optional
            Known class of each earthquake.

        Returns
        -------
        ndarray, [event, places]
            Medians.
        """
        magnitude, depth, ln_r = self._places(magnitude, depth_km, ln_r)
        earthquakes = Earthquakes(magnitude, depth, self.class_weights(depth, tectonic_class))
        vs30 = np.broadcast_to(self.known_vs30(np.nan if vs30 is None else vs30), ln_r.shape)
        return self.tables(im).at(earthquakes, vs30, ln_r_rup=ln_r)[0]

    def known_vs30(self, vs30) -> np.ndarray:
        """Return Vs30, m/s, with `vs30_m_s` where Vs30 is unknown (NaN).

        Parameters
        ----------
        vs30 : array_like, [...]
            Vs30, m/s.

        Returns
        -------
        ndarray, [...]
        """
        vs30 = np.asarray(vs30, float)
        return np.where(np.isnan(vs30), self.vs30_m_s, vs30)

    def variance(self, im: str, magnitude, depth_km, ln_r, *, tectonic_class=None) -> np.ndarray:
        """Return the variance of the median of earthquakes at places, squared ln units (`variance_table`).

        Parameters
        ----------
        im, magnitude, depth_km, ln_r, tectonic_class
            As of `median`.

        Returns
        -------
        ndarray, [event, places]
            Variances.
        """
        magnitude, depth, ln_r = self._places(magnitude, depth_km, ln_r)
        earthquakes = Earthquakes(magnitude, depth, self.class_weights(depth, tectonic_class))
        return self.tables(im).at(earthquakes, np.full(ln_r.shape, self.vs30_m_s), ln_r_rup=ln_r)[1]

    def median_of(self, im: str, records: pd.DataFrame) -> np.ndarray:
        """Return the median of ln IM (IM in g) of each record of a table.

        Parameters
        ----------
        im : str
            One of `ims`.
        records : pandas.DataFrame, [n, ...]
            ``magnitude, depth_km, r_hyp_km`` (km); optionally ``r_rup_km``, the distance to a rupture,
            ``vs30`` (m/s) and ``tectonic_class``; NaN is unknown.

        Returns
        -------
        ndarray, [n]
            Medians.
        """
        scenario = ["magnitude", "depth_km", *(["tectonic_class"] if "tectonic_class" in records else [])]
        unknown = pd.Series(np.nan, records.index)
        ln_r_hyp, ln_r_rup = (
            np.log(np.maximum(records.get(name, unknown).to_numpy(float), 1.0))
            for name in ("r_hyp_km", "r_rup_km")
        )
        vs30 = self.known_vs30(records.get("vs30", unknown))
        tables, medians = self.tables(im), np.empty(len(records))
        # The tables are contracted once per earthquake, not per record.
        for rows in records.groupby(scenario, observed=True, dropna=False).indices.values():
            of_event = records[scenario].iloc[rows[:1]]
            magnitude, depth = (of_event[name].to_numpy(float) for name in ("magnitude", "depth_km"))
            weights = self.class_weights(depth, of_event.get("tectonic_class"))
            earthquake = Earthquakes(magnitude, depth, weights)
            known = ~np.isnan(ln_r_rup[rows]) & (not self.hypocentral)
            with_rupture, without = rows[known], rows[~known]
            if known.any():
                medians[with_rupture] = tables.at(
                    earthquake, vs30[with_rupture][None], ln_r_rup=ln_r_rup[with_rupture][None]
                )[0][0]
            if not known.all():
                medians[without] = tables.at(
                    earthquake, vs30[without][None], ln_r_hyp=ln_r_hyp[without][None]
                )[0][0]
        return medians

    def save(self, path: Path) -> None:
        """Write the backbone to a file: arrays as NPZ without pickles, all else as JSON inside.

        Parameters
        ----------
        path : Path
            File to write.

        Raises
        ------
        DataError
            The file system refuses to write.
        """
        plain: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in (*_ARRAYS, "report", "sites", "listing")
        }
        plain |= {
            "format": FORMAT,
            "nodes": [MAGNITUDES.tolist(), LN_R.tolist(), DEPTHS_KM.tolist()],
            "sites": [dataclasses.asdict(site) for site in self.sites],
            "listing": dataclasses.asdict(self.listing) if self.listing else None,
            "report": self.report.to_dict(orient="list"),
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {name: arrays[name].astype("float32") for name in ("published", "pga_760")}
        with files.whole_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, settings=np.array(json.dumps(plain)), **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the backbone in a file that `save` has written.

        Parameters
        ----------
        path : Path
            File to read.

        Returns
        -------
        Backbone
            The same numbers.

        Raises
        ------
        DataError
            The file is missing, damaged, or of another version.
        """
        try:
            # From memory: NumPy does not close a damaged file.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
                plain = json.loads(str(content["settings"]))
                arrays = {name: content[name] for name in _ARRAYS}
        except Exception as error:  # damaged archives end in errors of any kind
            raise DataError(
                f"{path}: cannot be read as a backbone ({type(error).__name__}: {error})"
            ) from error
        nodes = [MAGNITUDES.tolist(), LN_R.tolist(), DEPTHS_KM.tolist()]
        if plain.pop("format") != FORMAT or plain.pop("nodes") != nodes:
            raise DataError(f"{path}: written by another version of tfgmm; fit the backbone again")
        listing = plain.pop("listing")
        return cls(
            ims=tuple(plain.pop("ims")),
            classes=tuple(plain.pop("classes")),
            centres=tuple(plain.pop("centres")),
            sites=tuple(SiteResponse(**site) for site in plain.pop("sites")),
            stddevs=tuple((tau, s2s, ss) for tau, s2s, ss in plain.pop("stddevs")),
            ranges={name: (low, high) for name, (low, high) in plain.pop("ranges").items()},
            assumptions=tuple(plain.pop("assumptions")),
            listing=Listing(**listing) if listing else None,
            report=pd.DataFrame(plain.pop("report")),
            **plain,
            **arrays,
        )

    def _number(self, im: str) -> int:
        """Return the index of an intensity measure on the axis ``im``."""
        if im not in self.ims:
            raise DataError(f"the backbone has no {im}, only {', '.join(self.ims)}")
        return self.ims.index(im)

    def _parts(self) -> tuple[np.ndarray, ...]:
        """Return the regressors at the nodes of the axes of the tables: class, M, R and Z."""
        return recentring.parts(MAGNITUDES, np.exp(LN_R), DEPTHS_KM, np.eye(len(self.classes)))

    def _places(self, magnitude, depth_km, ln_r) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return magnitude and depth, [event], and ln R, [event, places], as arrays of numbers."""
        magnitude, depth = (np.atleast_1d(np.asarray(a, float)) for a in (magnitude, depth_km))
        return magnitude, depth, np.atleast_2d(np.asarray(ln_r, float))


@functools.lru_cache
def _distance_tables(classes: tuple[str, ...], hypocentral: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of ln (R_rup / R_hyp) and the variance of ln R_rup, [M, class, R, Z] each.

    Both are 0 where the distance of the median is the hypocentral one.
    """
    if hypocentral:
        shape = len(MAGNITUDES), len(classes), len(LN_R), len(DEPTHS_KM)
        return np.zeros(shape), np.zeros(shape)
    magnitude, r_hyp_km, depth_km = np.meshgrid(MAGNITUDES, np.exp(LN_R), DEPTHS_KM, indexing="ij")
    moments = [point_source.table(name).at(magnitude, r_hyp_km, depth_km) for name in classes]
    ln_ratio = np.stack([mean - np.log(r_hyp_km) for mean, _ in moments], axis=1)
    return ln_ratio, np.stack([variance for _, variance in moments], axis=1)


@functools.lru_cache(maxsize=64)
def _tables(backbone: Backbone, im: str) -> MedianTables:
    """Return the tables of one measure of a backbone."""
    ln_im, ln_pga, variance = (
        np.ascontiguousarray(np.moveaxis(table, 1, 0))
        for table in (backbone.median_table(im), backbone.pga_760, backbone.variance_table(im))
    )
    ln_ratio, distance_variance = _distance_tables(backbone.classes, backbone.hypocentral)
    return MedianTables(
        classes=backbone.classes,
        ln_im=ln_im,
        ln_pga=ln_im if np.allclose(ln_im, ln_pga, atol=1e-6) else ln_pga,
        variance=variance,
        ln_ratio=ln_ratio,
        distance_variance=distance_variance,
        site=backbone.sites[backbone.ims.index(im)],
        vs30_m_s=backbone.vs30_m_s,
        hypocentral=backbone.hypocentral,
    )


def _on_axes(values: np.ndarray, *axes: int) -> np.ndarray:
    """Return values, [n] or [n, m], with axes of length 1 for those of a table that are not in `axes`."""
    return np.expand_dims(values, tuple(axis for axis in range(4) if axis not in axes))


#: Columns of the report on published models that are averaged over backbones.
_AVERAGED = ("weight", "bias", "rmse", "tau", "phi_s2s", "phi_ss")


def averaged_report(backbones: Sequence[Backbone]) -> pd.DataFrame:
    """Average the reports on published models over backbones that were fitted to different records.

    Parameters
    ----------
    backbones : sequence of Backbone
        Backbones of the same intensity measures, one per station chunk.

    Returns
    -------
    pandas.DataFrame
        A row per intensity measure, tectonic class and model, in the order of the first report: ``im,
        tectonic_class, model``; means of ``weight, bias, rmse, tau, phi_s2s, phi_ss`` (ln units but for the
        weight); ``chunks``, the number of backbones in which the model has a weight; ``note``, the most
        frequent note on the model, empty if there is none.
    """
    reports = pd.concat([one.report for one in backbones], ignore_index=True)
    reports = reports.assign(**{name: reports[name].astype(float) for name in _AVERAGED})
    models = reports.groupby(["im", "tectonic_class", "model"], sort=False)
    table = models[[*_AVERAGED]].mean()
    table["chunks"] = models["weight"].agg(lambda weight: int((weight > 0).sum()))
    table["note"] = models["note"].agg(lambda note: " ".join(note.dropna().mode()[:1]))
    return table.reset_index()


def chosen_models(report: pd.DataFrame) -> str:
    """Return a text that names the published models with a weight, the heaviest first, by class.

    >>> report = pd.DataFrame({"tectonic_class": ["crustal"] * 3, "model": ["A crustal", "B", "C"]})
    >>> chosen_models(report.assign(weight=[0.25, 0.75, 0.0]))
    'crustal B 0.75, A 0.25 (not C)'

    Parameters
    ----------
    report : pandas.DataFrame
        Rows of one intensity measure: ``tectonic_class, model, weight``.

    Returns
    -------
    str
    """
    texts = []
    for name, rows in report.sort_values("weight", ascending=False).groupby("tectonic_class"):
        short = rows["model"].str.removesuffix(f" {name}")
        heavy = rows["weight"] > 0
        pairs = zip(short[heavy], rows.loc[heavy, "weight"], strict=True)
        kept, dropped = [f"{model} {weight:.2f}" for model, weight in pairs], short[~heavy]
        texts.append(f"{name} {', '.join(kept)}" + (f" (not {', '.join(dropped)})" if len(dropped) else ""))
    return "; ".join(texts)
