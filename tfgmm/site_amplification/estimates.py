"""A run -> what its networks have learned about its sites, with every part of the error."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr
from scipy.spatial import KDTree

from tfgmm.core.errors import DataError
from tfgmm.data import layers
from tfgmm.data.roles import training_records
from tfgmm.network import batches as data_pipeline
from tfgmm.prediction.places import Places
from tfgmm.site_amplification import amplification, layer_response, site_maps, site_terms
from tfgmm.site_amplification.amplification import Estimate
from tfgmm.site_amplification.event_means import Question, ask
from tfgmm.site_amplification.site_study import Study
from tfgmm.site_amplification.site_terms import SiteTerms
from tfgmm.stats import ergodic

#: Names of the estimators, as they stand in files.
DIFFERENCE = {"published": "difference", "isotropic": "difference_isotropic"}
ONE_ENSEMBLE, LAYERS = "one_ensemble", "layers"
#: Standard deviation of the Gaussian that smooths variances, never the maps.
SMOOTH_KM = 10.0


@dataclasses.dataclass(frozen=True, eq=False)
class Measure:
    """What was found for one intensity measure.

    Attributes
    ----------
    estimates : dict of str to Estimate
        By estimator.
    maps : xarray.Dataset
        Of `tfgmm.site_amplification.site_maps.measure`.
    stations : pandas.DataFrame
        Of `tfgmm.site_amplification.site_maps.at_stations`; of a run with random effects also
        ``station_part`` and its standard deviation: the site's own term beyond the map, of all members.
    """

    estimates: dict[str, Estimate]
    maps: xr.Dataset
    stations: pd.DataFrame


def measure(study: Study, im: str, watch: Callable[[], None] = lambda: None) -> Measure:
    """Everything about one intensity measure.

    Parameters
    ----------
    study : Study
    im : str
    watch : callable
        Called after each piece of work, `Study.steps` times for each intensity measure.
    """
    records = study.records(im)
    terms = SiteTerms.fit(records)
    trained = site_terms.taught_by(records, study.folds)
    taught = _taught(study, trained)
    found = estimates(study, im, taught, watch)
    recorded = study.located[study.located["station_id"].isin(records["station_id"])]
    held = site_terms.held_out(recorded, study.folds, study.experiment.reference)
    kriged = terms.kriged()
    alone = float(np.sqrt(kriged.nugget_variance))
    fitted = {
        name: site_terms.interpolation_variance(one, held, terms.table, alone)
        for name, one in found.items()
    }
    nearest_km = KDTree(trained[["x_km", "y_km"]]).query(study.pixels_km)[0]
    of_map = kriged.at(study.pixels_km.reshape(-1, 2))[1].reshape(nearest_km.shape) - alone**2
    maps = site_maps.measure(
        found,
        fitted,
        nearest_km=nearest_km,
        kriging_variance=of_map,
        taught=taught,
        footprint=study.footprint,
    )
    stations = site_maps.at_stations(found, maps, recorded, held, terms.table)
    if study.effects(im) is not None:
        stations = stations.assign(**_station_part(study, im, stations))
    return Measure(found, maps.expand_dims(im=[im]), stations.assign(im=im))


def estimates(
    study: Study, im: str, taught: np.ndarray, watch: Callable[[], None] = lambda: None
) -> dict[str, Estimate]:
    """All estimates of one intensity measure, by estimator; `taught` are pixels near stations."""
    plain, balanced = study.weighting(study.events), study.balanced
    seen = Question(study.rasteriser(), study.events, (plain, balanced))
    own, *of_layers = ask(study.run, im, [seen, *_layer_questions(study)], watch)
    found = {}
    for name in study.options.arms:
        arm = study.arm(name, (im,)).experiment
        question = Question(study.rasteriser(drop=arm.drop), study.events, (plain,))
        (without,) = ask(dataclasses.replace(study.run, experiment=arm), im, [question], watch)
        found[DIFFERENCE[name]] = amplification.paired(own[:, :, 0], without[:, :, 0])
    found[ONE_ENSEMBLE] = own[:, :, 1] + _field(study, im) - _medians(study, im)[:, np.newaxis]
    if of_layers:
        found[LAYERS] = _layer_part(study, [one[:, :, 0] for one in of_layers], study.footprint & taught)
    smooth_px = SMOOTH_KM / study.grid.pixel_km
    return {name: Estimate.of(maps, study.footprint, smooth_px) for name, maps in found.items()}


def _field(study: Study, im: str) -> np.ndarray | float:
    """What the site terms of each member tell of the pixels, [chunk, init, 1, row, col]."""
    effects = study.effects(im)
    if effects is None:
        return 0.0
    chunks, inits = range(study.experiment.chunks), range(study.experiment.inits)
    fields = [[effects.field(chunk, init, study.pixels_km) for init in inits] for chunk in chunks]
    return np.array(fields)[:, :, np.newaxis]


def _station_part(study: Study, im: str, stations: pd.DataFrame) -> dict[str, np.ndarray]:
    """What the members' own terms of a station say beyond the map at its pixel."""
    effects, places = study.effects(im), study.located.set_index("station_id").loc[stations["station_id"]]
    xy_km, pixel_km = places[["x_km", "y_km"]], study.pixels_km[places["row"], places["col"]]
    parts = []
    for chunk, init in np.ndindex(study.experiment.chunks, study.experiment.inits):
        term, stddev = effects.site_terms(chunk, init, places["site_id"], xy_km)
        parts.append((term - effects.field(chunk, init, pixel_km), stddev))
    term, stddev = np.mean(parts, axis=0)
    return {"station_part": term, "station_part_stddev": stddev}


def _medians(study: Study, im: str) -> np.ndarray:
    """Balanced mean over events of each fold's ergodic median, [chunk, set, row, col]."""
    table = data_pipeline.flat_table(study.dataset, study.experiment, im)
    models = [ergodic.fit(training_records(fold.roles(table))) for fold in study.folds]
    places, x_y = Places.pixels(study.grid), study.grid.project
    blocks = [study.events.iloc[start : start + 8] for start in range(0, len(study.events), 8)]

    def maps(model: ergodic.ErgodicModel):
        for block in blocks:
            magnitude, depth = (block[name].to_numpy()[:, None, None] for name in ("magnitude", "depth_km"))
            r_hyp_km = places.r_hyp_km(*x_y(block["longitude"], block["latitude"]), block["depth_km"])
            yield model.median(magnitude, r_hyp_km, depth)

    return np.array([amplification.event_means(maps(model), [study.balanced])[0] for model in models])


def _layer_questions(study: Study) -> list[Question]:
    if not study.varied_layers:
        return []
    weighting = (study.weighting(study.layer_events),)
    shown = [study.dataset.layers, *(study.dataset.layers.assign({n: v}) for n, v in study.varied_layers)]
    return [Question(study.rasteriser(one), study.layer_events, weighting) for one in shown]


def _layer_part(study: Study, answers: list[np.ndarray], where: np.ndarray) -> np.ndarray:
    """Response to the layers, [chunk, init, set, row, col]: the answers are to `_layer_questions`."""
    base, *changed = answers
    size, total = study.grid.output_size, 0.0
    for name in dict.fromkeys(name for name, _ in study.varied_layers):
        chosen = [i for i, (varied, _) in enumerate(study.varied_layers) if varied == name]
        changes = np.stack([changed[i] - base for i in chosen], axis=-3).reshape(
            -1, len(chosen), size, size
        )
        before, *after = (
            layers.on_grid(layer, study.grid, size)[0]
            for layer in (study.dataset.layers[name], *(study.varied_layers[i][1] for i in chosen))
        )
        total = total + layer_response.respond(changes, before, np.array(after), where)
    return total.reshape(base.shape)


def _taught(study: Study, trained: pd.DataFrame) -> np.ndarray:
    limits = study.options.within_km, study.options.min_records
    found = amplification.taught(study.pixels_km, trained, *limits)
    if not (found & study.footprint).any():
        raise DataError(
            "no pixel between the stations has {1} training records within {0:g} km: "
            "raise --within-km or lower --min-records".format(*limits)
        )
    return found
