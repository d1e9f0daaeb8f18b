"""Estimates of the site amplification of a run for one intensity measure, by several estimators.

The estimators are ``difference`` and ``difference_isotropic`` (predictions with minus without site
channels), ``one_ensemble`` (predictions, with the site terms of the field where there is one, minus the
ergodic median) and ``layers`` (response of the predictions to the site layers). An arm is a set of input
channels, with or without turned maps; a member is one trained network of a station chunk, whose sites are
held out, and an initialisation. The footprint is the land inside the hull of the stations; taught pixels
have enough training records near them.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.spatial import KDTree

from tfgmm.core.errors import DataError
from tfgmm.data import layers
from tfgmm.data.schemas import training_records
from tfgmm.prediction.conditioning import backbone_moments
from tfgmm.prediction.places import Places
from tfgmm.runs.run import RunFolder
from tfgmm.site_amplification import estimate, site_maps, site_terms
from tfgmm.site_amplification.estimate import Average, Estimate, Weighting, average_maps, average_members
from tfgmm.site_amplification.site_study import Study
from tfgmm.site_amplification.site_terms import SiteTerms
from tfgmm.stats import ergodic
from tfgmm.stats.backbone import MedianTables
from tfgmm.stats.field import Field
from tfgmm.stats.field_records import Cells

#: Names of the estimators in files; of the differences by the arm without site channels.
DIFFERENCE = {"published": "difference", "isotropic": "difference_isotropic"}
ONE_ENSEMBLE, LAYERS = "one_ensemble", "layers"
#: Standard deviation of the Gaussian that smooths variances, but not amplification, km.
SMOOTH_KM = 10.0
#: Number of knots of the piecewise linear response of the predictions to a site layer.
KNOTS = 6
#: Number of events whose ergodic medians are in memory at once.
_EVENTS_AT_ONCE = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Measure:
    """Site amplification of one intensity measure.

    Attributes
    ----------
    estimates : dict of str to Estimate
        Estimates by the name of the estimator.
    maps : xarray.Dataset
        Result of `tfgmm.site_amplification.site_maps.measure`, with the dimension ``im``.
    stations : pandas.DataFrame
        Result of `tfgmm.site_amplification.site_maps.at_stations`, with ``im``. For a run with the field
        also ``station_part`` and ``station_part_stddev``, ln units: site term of the station minus that of
        its pixel, and standard deviation of the site term, means over the fields of all chunks.
    """

    estimates: dict[str, Estimate]
    maps: xr.Dataset
    stations: pd.DataFrame


class NetworkAverages(NamedTuple):
    """Averages over events of what the networks add to the median of ln IM of one measure, ln units.

    Attributes
    ----------
    own : ndarray, [chunk, init, weighting, set, row, col]
        Averages of the run's own networks, with plain and with balanced weights of the events.
    with_layers : list of ndarray, [chunk, init, 1, set, row, col]
        Averages of the same networks with the site layers as they are and with each varied layer.
    without : dict of str to ndarray, [chunk, init, 1, set, row, col]
        Averages of the networks without site channels, by arm.
    """

    own: np.ndarray
    with_layers: list[np.ndarray]
    without: dict[str, np.ndarray]


def average_networks(
    study: Study, ims: Sequence[str], progress: Callable[[], None] = lambda: None
) -> dict[str, NetworkAverages]:
    """Average over events what the networks of a run and of its arms predict, for several measures at once.

    Parameters
    ----------
    study : Study
        The run with its options.
    ims : sequence of str
        Intensity measures.
    progress : callable
        Called after each event of each average and member; `Study.steps` is the number of calls.

    Returns
    -------
    dict of str to NetworkAverages
        By intensity measure.
    """
    plain = study.weighting(study.events)
    own = Average(study.rasteriser(), study.events, (plain, study.balanced))
    of_own = average_members(study.run, ims, [own, *_layer_averages(study)], progress)
    of_arms = {}
    for name in study.options.arms:
        arm = study.arm(name).experiment
        average = Average(study.rasteriser(drop=arm.drop), study.events, (plain,))
        of_arms[name] = average_members(_run_of(study, name), ims, [average], progress)
    return {
        im: NetworkAverages(
            of_own[im][0], of_own[im][1:], {name: means[im][0] for name, means in of_arms.items()}
        )
        for im in ims
    }


def _run_of(study: Study, arm: str) -> RunFolder:
    """Return the run of a study as that of an arm, a set of input channels."""
    return dataclasses.replace(study.run, experiment=study.arm(arm).experiment)


def measure(study: Study, im: str, averages: NetworkAverages) -> Measure:
    """Estimate the site amplification of one intensity measure, with all errors, on maps and at stations.

    Parameters
    ----------
    study : Study
        The run with its options.
    im : str
        Intensity measure.
    averages : NetworkAverages
        Averages of the networks for this measure.

    Returns
    -------
    Measure

    Raises
    ------
    DataError
        No pixel on land inside the hull of the stations has enough training records near it, or there are
        too few held-out sites.
    """
    records = study.records(im)
    terms = SiteTerms.fit(records)
    trained = site_terms.trained_stations(records, study.folds)
    taught = _find_taught(study, trained)
    by_estimator = estimates(study, im, taught, averages)
    recorded = study.located[study.located["station_id"].isin(records["station_id"])]
    held = site_terms.held_out(recorded, study.folds, study.experiment.reference)
    kriged = terms.kriged()
    alone = float(np.sqrt(kriged.nugget_variance))
    interpolation = {
        name: site_terms.interpolation_variance(of_estimator, held, terms.table, alone)
        for name, of_estimator in by_estimator.items()
    }
    nearest_km = KDTree(trained[["x_km", "y_km"]]).query(study.pixels_km)[0]
    kriging_variance = kriged.at(study.pixels_km.reshape(-1, 2))[1].reshape(nearest_km.shape) - alone**2
    maps = site_maps.measure(
        by_estimator,
        interpolation,
        nearest_km=nearest_km,
        kriging_variance=kriging_variance,
        taught=taught,
        footprint=study.footprint,
    )
    stations = site_maps.at_stations(by_estimator, maps, recorded, held, terms.table)
    if study.experiment.field:
        stations = stations.assign(**_average_station_part(study, im, stations))
    return Measure(by_estimator, maps.expand_dims(im=[im]), stations.assign(im=im))


def estimates(study: Study, im: str, taught: np.ndarray, averages: NetworkAverages) -> dict[str, Estimate]:
    """Estimate the site amplification of one intensity measure by every estimator.

    Parameters
    ----------
    study : Study
        The run with its options.
    im : str
        Intensity measure.
    taught : ndarray of bool, [row, col]
        Pixels with enough training records near them.
    averages : NetworkAverages
        Averages of the networks for this measure.

    Returns
    -------
    dict of str to Estimate
        Estimates of ln site amplification by the name of the estimator. ``layers`` is missing if no site
        layer is an input channel.
    """
    plain, balanced = study.weighting(study.events), study.balanced
    own = averages.own + _average_backbones(study, study.run, im, (plain, balanced))[:, np.newaxis]
    maps = {}
    for name in study.options.arms:
        of_arm = _average_backbones(study, _run_of(study, name), im, (plain,))
        without = averages.without[name] + of_arm[:, np.newaxis]
        maps[DIFFERENCE[name]] = estimate.paired_difference(own[:, :, 0], without[:, :, 0])
    of_chunks = _site_fields(study, im) - _average_medians(study, im)
    maps[ONE_ENSEMBLE] = own[:, :, 1] + of_chunks[:, np.newaxis]
    if averages.with_layers:
        plain_means = [means[:, :, 0] for means in averages.with_layers]
        maps[LAYERS] = _layer_response(study, plain_means, study.footprint & taught)
    smooth_px = SMOOTH_KM / study.grid.pixel_km
    return {name: Estimate.from_maps(values, study.footprint, smooth_px) for name, values in maps.items()}


def _site_fields(study: Study, im: str) -> np.ndarray | float:
    """Return the mean site term of each chunk's field at the pixels, [chunk, 1, row, col], ln units.

    The members of a chunk share the field. For a run without field the result is 0.0.
    """
    if not study.experiment.field:
        return 0.0
    places_km = study.pixels_km.reshape(-1, 2)
    terms = [_site_terms(field, places_km)[0] for field in _fields(study, im)]
    return np.reshape(terms, (len(terms), 1, *study.pixels_km.shape[:2]))


def _average_station_part(study: Study, im: str, stations: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return ``station_part`` and ``station_part_stddev`` of `Measure`, [station] each, ln units."""
    places = study.located.set_index("station_id").loc[stations["station_id"]]
    xy_km = places[["x_km", "y_km"]].to_numpy()
    pixel_km = study.pixels_km[places["row"], places["col"]]
    parts = []
    for field in _fields(study, im):
        term, variance = _site_terms(field, xy_km, places["site_id"])
        parts.append((term - _site_terms(field, pixel_km)[0], np.sqrt(variance)))
    term, stddev = np.mean(parts, axis=0)
    return {"station_part": term, "station_part_stddev": stddev}


def _fields(study: Study, im: str) -> Iterator[Field]:
    """Yield the field of each chunk, given its training records."""
    return (study.run.field(im, chunk) for chunk in range(study.experiment.chunks))


def _site_terms(field: Field, places_km: np.ndarray, site_ids=None) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of the site terms, own and shared, of a field at places, [n] each.

    `places_km`, [n, 2], are km east and north; `site_ids`, [n], are the ids of sites, by default none is
    known.
    """
    new = np.full(len(places_km), -1)
    known = pd.Index(field.records.site_ids)
    site = new if site_ids is None else known.get_indexer(pd.Index(site_ids).astype(str))
    cells = Cells(np.zeros((len(places_km), 3)), places_km, new, site)
    parts = field.parts(cells)
    return parts["site_own"] + parts["site_shared"], field.site_variance(cells)


def _average_medians(study: Study, im: str) -> np.ndarray:
    """Return the mean over events of each fold's ergodic median of ln IM, [chunk, set, row, col], ln units.

    Events are weighted by `Study.balanced`.
    """
    table = study.records(im)
    models = [ergodic.fit(training_records(fold.roles(table))) for fold in study.folds]

    def median(model: ergodic.ErgodicModel, events: pd.DataFrame, r_hyp_km: np.ndarray) -> np.ndarray:
        magnitude, depth = (events[name].to_numpy()[:, None, None] for name in ("magnitude", "depth_km"))
        return model.median(magnitude, r_hyp_km, depth)

    medians = [functools.partial(median, model) for model in models]
    return np.array([_average_over_events(study, of_fold, [study.balanced])[0] for of_fold in medians])


def _average_backbones(
    study: Study, run: RunFolder, im: str, weightings: Sequence[Weighting]
) -> np.ndarray:
    """Return the mean over events of each chunk's backbone, with its site response, ln units.

    `run` is that of the own arm or of one without site channels, and `weightings` weight the events. The
    result has the shape [chunk, weighting, set, row, col], or 5 axes of length 1 and the value 0 without
    backbone.
    """
    backbones = [run.backbone(im, chunk, 0) for chunk in range(study.experiment.chunks)]
    if backbones[0] is None:
        return np.zeros((1, 1, 1, 1, 1))
    vs30 = run.vs30_map()
    vs30 = np.full(study.pixels_km.shape[:2], np.nan) if vs30 is None else vs30

    def median(tables: MedianTables, events: pd.DataFrame, r_hyp_km: np.ndarray) -> np.ndarray:
        return backbone_moments(tables, events, r_hyp_km, vs30, {})[0]

    medians = [functools.partial(median, tables) for tables in backbones]
    return np.array([_average_over_events(study, of_chunk, weightings) for of_chunk in medians])


def _average_over_events(
    study: Study,
    median: Callable[[pd.DataFrame, np.ndarray], np.ndarray],
    weightings: Sequence[Weighting],
) -> np.ndarray:
    """Return means over events of a median of ln IM, ln units, [weighting, set, row, col].

    `median` is a function of events and their hypocentral distances, [event, row, col] km.
    """
    places = Places.pixels(study.grid)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(study.events), _EVENTS_AT_ONCE):
            events = study.events.iloc[start : start + _EVENTS_AT_ONCE]
            x_y = study.grid.project(events["longitude"], events["latitude"])
            yield median(events, places.r_hyp_km(*x_y, events["depth_km"]))

    return average_maps(blocks(), weightings)


def _find_taught(study: Study, trained: pd.DataFrame) -> np.ndarray:
    """Return the pixels with enough training records nearby, [row, col]; `DataError` if there is none."""
    limits = study.options.within_km, study.options.min_records
    taught = estimate.taught(study.pixels_km, trained, *limits)
    if not (taught & study.footprint).any():
        raise DataError(
            "no pixel between the stations has {1} training records within {0:g} km: "
            "raise --within-km or lower --min-records".format(*limits)
        )
    return taught


# ---- response to the site layers -----------------------------------------------------------------


def _layer_averages(study: Study) -> list[Average]:
    """Return the averages to compute: one with the site layers as given, then one per varied layer.

    The list is empty if no site layer is an input channel.
    """
    if not study.varied_layers:
        return []
    weighting, own = (study.weighting(study.layer_events),), study.dataset.layers
    all_layers = [own, *(own.assign({name: varied}) for name, varied in study.varied_layers)]
    return [Average(study.rasteriser(shown), study.layer_events, weighting) for shown in all_layers]


def _layer_response(study: Study, means: list[np.ndarray], where: np.ndarray) -> np.ndarray:
    """Return the part of the mean predictions that depends on the site layers, the sum over all layers.

    Parameters
    ----------
    study : Study
    means : list of ndarray, [chunk, init, set, row, col]
        Mean ln IM over events, for each of `_layer_averages`. The sets are all events and two halves.
    where : ndarray of bool, [row, col]
        Pixels to which the response is fitted.

    Returns
    -------
    ndarray, [chunk, init, set, row, col]
        In ln units.
    """
    base, *varied_means = means
    size, total = study.grid.output_size, 0.0
    for name in dict.fromkeys(name for name, _ in study.varied_layers):
        chosen = [i for i, (varied, _) in enumerate(study.varied_layers) if varied == name]
        changes = np.stack([varied_means[i] - base for i in chosen], axis=-3).reshape(
            -1, len(chosen), size, size
        )
        before, *after = (
            layers.on_grid(layer, study.grid, size)[0]
            for layer in (study.dataset.layers[name], *(study.varied_layers[i][1] for i in chosen))
        )
        total = total + fit_layer_response(changes, before, np.array(after), where)
    return total.reshape(base.shape)


def hats(values: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Return the values of piecewise linear functions of ln z, each 1 at one knot and 0 at the other knots.

    Parameters
    ----------
    values : ndarray, [...]
        Values z of a site layer, in the unit of the layer (m or m/s).
    knots : ndarray, [knot]
        Ln of z, ascending.

    Returns
    -------
    ndarray, [..., knot]
        Without unit.
    """
    values = np.log(values)
    return np.stack([np.interp(values, knots, unit) for unit in np.eye(len(knots))], axis=-1)


def fit_layer_response(
    changes: np.ndarray, before: np.ndarray, after: np.ndarray, where: np.ndarray
) -> np.ndarray:
    r"""Return the part of the predictions that depends on one site layer, fitted by least squares.

    .. math:: \Delta\mu_k(x) = f(z_k(x)) - f(z(x)) + \epsilon_k(x), \quad A_z(x) = f(z(x))

    The piecewise linear curve f of ln z is fitted to the changes :math:`\Delta\mu_k` of the prediction at a
    pixel x when the layer is varied from z to :math:`z_k`, while the pixel keeps its position: pixels with
    different values of the layer are never compared with each other. f is determined up to a constant.

    Parameters
    ----------
    changes : ndarray, [map, k, row, col]
        Changes :math:`\Delta\mu_k` of the predicted mean of ln IM, ln units; a separate curve is fitted for
        each map.
    before : ndarray, [row, col]
        Values z of the layer, in its unit (m or m/s).
    after : ndarray, [k, row, col]
        Values :math:`z_k` of the varied layers.
    where : ndarray of bool, [row, col]
        Pixels that are used in the fit.

    Returns
    -------
    ndarray, [map, row, col]
        :math:`A_z`, ln units.
    """
    quantiles = np.quantile(np.log(before[where]), np.linspace(0.02, 0.98, KNOTS))
    knots = np.unique(quantiles)
    design = (hats(after, knots) - hats(before, knots))[:, where].reshape(-1, len(knots))
    right = changes[:, :, where].reshape(len(changes), -1).T
    curves = np.linalg.lstsq(design, right)[0]
    return np.moveaxis(hats(before, knots) @ curves, -1, 0)
