"""A run -> what its networks have learned about its sites, with every part of the error."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pandas as pd
import pydantic
import xarray as xr
from scipy.spatial import KDTree

from tfgmm import ergodic, layers
from tfgmm.analysis import amplification, amplification_maps, layer_response, site_terms
from tfgmm.analysis.amplification import Estimate, Weighting
from tfgmm.analysis.event_selection import Selection
from tfgmm.analysis.site_terms import SiteTerms
from tfgmm.errors import DataError, UsageError
from tfgmm.experiment import Experiment, Settings
from tfgmm.model import training
from tfgmm.model.event_means import Question, ask
from tfgmm.model.places import Places
from tfgmm.pipeline import dataset as data_pipeline
from tfgmm.pipeline import splits
from tfgmm.pipeline.channels import Rasteriser, select
from tfgmm.run_folder import RunFolder
from tfgmm.sources.truth import footprint

#: Names of the estimators, as they stand in files.
DIFFERENCE = {"published": "difference", "isotropic": "difference_isotropic"}
ONE_ENSEMBLE, LAYERS = "one_ensemble", "layers"
#: Standard deviation of the Gaussian that smooths variances, never the maps.
SMOOTH_KM = 10.0
#: What two runs must share for their members to be pairs.
_PAIRED = ("grid", "reference", "split", "chunks", "inits", "stopping", "seed")


class Options(Settings):
    """What is averaged over, and where the result is believed.

    Attributes
    ----------
    arms : tuple of str
        ``published``, ``isotropic``: arms without site channels that are compared with.
    events : Selection
    within_km, min_records
        A pixel is taught by at least so many training records at stations within so many km.
    sectors, cuts_km
        Bins of direction and epicentral distance that are balanced in the estimate from one ensemble.
    layer_events : int
        Events, evenly picked, over which the response to the layers is averaged.
    """

    arms: tuple[str, ...] = tuple(DIFFERENCE)
    events: Selection = Selection()
    within_km: float = pydantic.Field(15.0, gt=0)
    min_records: int = pydantic.Field(10, ge=1)
    sectors: int = pydantic.Field(8, ge=1)
    cuts_km: tuple[float, ...] = (50.0, 100.0, 150.0)
    layer_events: int = pydantic.Field(20, ge=2)


@dataclasses.dataclass(frozen=True, eq=False)
class Measure:
    """What was found for one intensity measure.

    Attributes
    ----------
    estimates : dict of str to Estimate
        By estimator.
    maps : xarray.Dataset
        Of `tfgmm.analysis.amplification_maps.measure`.
    stations : pandas.DataFrame
        Of `tfgmm.analysis.amplification_maps.at_stations`.
    """

    estimates: dict[str, Estimate]
    maps: xr.Dataset
    stations: pd.DataFrame


class Study:
    """A finished run, opened to ask what it has learned about its sites.

    Parameters
    ----------
    run : RunFolder
    options : Options

    Raises
    ------
    UsageError
        Too few events are selected.
    DataError
        The data have changed, or no pixel on land lies between the stations.
    """

    def __init__(self, run: RunFolder, options: Options) -> None:
        self.run, self.options = run, options
        self.training = training.reopen(run)
        self.dataset, self.folds = self.training.dataset, self.training.folds
        role = self.folds[0].event_role
        known = self.dataset.events[self.dataset.events["event_id"].isin(role.index)]
        self.events = options.events.of(known, role.index[role == splits.VALIDATION], self.grid)
        self.stations = splits.stations_in_use(self.dataset, self.experiment)
        self.footprint = footprint(self.stations, self.grid)
        if not self.footprint.any():
            raise DataError(f"run {run.path}: no pixel on land lies inside the hull of the stations")

    @property
    def experiment(self) -> Experiment:
        """What the run is."""
        return self.run.experiment

    @property
    def grid(self):
        """Its pixels."""
        return self.experiment.grid

    @functools.cached_property
    def pixels_km(self) -> np.ndarray:
        """Pixel centres, [row, col, 2]."""
        return np.stack(np.meshgrid(*self.grid.axes_km(self.grid.output_size)), axis=-1)

    @functools.cached_property
    def layer_events(self) -> pd.DataFrame:
        """Few of the events, evenly picked in time."""
        count = min(self.options.layer_events, len(self.events))
        return self.events.iloc[np.linspace(0, len(self.events) - 1, count).round().astype(int)]

    def arm(self, name: str, ims: tuple[str, ...]) -> training.Training:
        """The training of an arm without site channels, of some intensity measures."""
        experiment = self.experiment.without_site(isotropic=name == "isotropic")
        return self.training.arm(experiment.model_copy(update={"ims": ims}))

    def refuse_unfinished(self, ims: tuple[str, ...]) -> None:
        """Raise `UsageError` unless the run has all members of these intensity measures."""
        for im in ims:
            if im not in self.experiment.ims:
                raise UsageError(
                    f"run {self.run.path} has no {im}: it has {', '.join(self.experiment.ims)}"
                )
        missing = [one.name for one in self.training.missing if one.im in ims]
        if missing:
            raise UsageError(
                f"run {self.run.path} lacks {len(missing)} members, the first {missing[0]}: finish it with "
                "the tfgmm train command that began it"
            )

    @functools.cached_property
    def varied_layers(self) -> list[tuple[str, xr.DataArray]]:
        """Site layers that the networks see, each times each factor, with their names."""
        names = select(self.dataset.layers or (), self.experiment.drop)
        _, at_stations = data_pipeline.places(self.dataset, self.experiment)
        return [
            (name, layer_response.varied(layer, factor, (at_stations[name].min(), at_stations[name].max())))
            for name, layer in (self.dataset.layers or {}).items()
            if name in names
            for factor in layer_response.FACTORS
        ]

    def steps(self, ims: tuple[str, ...]) -> int:
        """How often `measure` will call its `watch` for all these intensity measures."""
        own = len(self.events) + (len(self.varied_layers) + bool(self.varied_layers)) * len(
            self.layer_events
        )
        members = self.experiment.chunks * self.experiment.inits
        return len(ims) * members * (own + len(self.options.arms) * len(self.events))

    # ---- estimators --------------------------------------------------------------------------------

    def estimates(
        self, im: str, taught: np.ndarray, watch: Callable[[], None] = lambda: None
    ) -> dict[str, Estimate]:
        """All estimates of one intensity measure, by estimator; `taught` are pixels near stations."""
        plain, balanced = self._weighting(self.events), self._balanced
        seen = Question(self._rasteriser(), self.events, (plain, balanced))
        own, *of_layers = ask(self.run, im, [seen, *self._layer_questions()], watch)
        found = {}
        for name in self.options.arms:
            arm = self.arm(name, (im,)).experiment
            question = Question(self._rasteriser(drop=arm.drop), self.events, (plain,))
            (without,) = ask(dataclasses.replace(self.run, experiment=arm), im, [question], watch)
            found[DIFFERENCE[name]] = amplification.paired(own[:, :, 0], without[:, :, 0])
        found[ONE_ENSEMBLE] = own[:, :, 1] - self._medians(im)[:, np.newaxis]
        if of_layers:
            found[LAYERS] = self._layer_part([one[:, :, 0] for one in of_layers], self.footprint & taught)
        smooth_px = SMOOTH_KM / self.grid.pixel_km
        return {name: Estimate.of(maps, self.footprint, smooth_px) for name, maps in found.items()}

    def _weighting(self, events: pd.DataFrame, **balance) -> Weighting:
        xy = np.stack(self.grid.project(events["longitude"], events["latitude"]), axis=-1)
        # Every other event in time: the halves have seen the same years.
        return Weighting(xy, self.pixels_km, np.arange(len(events)) % 2, **balance)

    @functools.cached_property
    def _balanced(self) -> Weighting:
        return self._weighting(self.events, sectors=self.options.sectors, cuts_km=self.options.cuts_km)

    def _rasteriser(self, site_layers: xr.Dataset | None = None, drop=None) -> Rasteriser:
        drop = self.experiment.drop if drop is None else drop
        names = select(self.dataset.layers or (), drop)
        return Rasteriser(self.grid, names, self.dataset.layers if site_layers is None else site_layers)

    def _medians(self, im: str) -> np.ndarray:
        """Balanced mean over events of each fold's ergodic median, [chunk, set, row, col]."""
        table = data_pipeline.flat_table(self.dataset, self.experiment, im)
        models = [ergodic.fit(splits.training_records(fold.roles(table))) for fold in self.folds]
        places, x_y = Places.pixels(self.grid), self.grid.project
        blocks = [self.events.iloc[start : start + 8] for start in range(0, len(self.events), 8)]

        def maps(model: ergodic.ErgodicModel):
            for block in blocks:
                magnitude, depth = (
                    block[name].to_numpy()[:, None, None] for name in ("magnitude", "depth_km")
                )
                r_hyp_km = places.r_hyp_km(*x_y(block["longitude"], block["latitude"]), block["depth_km"])
                yield model.median(magnitude, r_hyp_km, depth)

        return np.array([amplification.event_means(maps(model), [self._balanced])[0] for model in models])

    def _layer_questions(self) -> list[Question]:
        if not self.varied_layers:
            return []
        weighting = (self._weighting(self.layer_events),)
        shown = [self.dataset.layers, *(self.dataset.layers.assign({n: v}) for n, v in self.varied_layers)]
        return [Question(self._rasteriser(one), self.layer_events, weighting) for one in shown]

    def _layer_part(self, answers: list[np.ndarray], where: np.ndarray) -> np.ndarray:
        """Response to the layers, [chunk, init, set, row, col]: the answers are to `_layer_questions`."""
        base, *changed = answers
        size, total = self.grid.output_size, 0.0
        for name in dict.fromkeys(name for name, _ in self.varied_layers):
            chosen = [i for i, (varied, _) in enumerate(self.varied_layers) if varied == name]
            changes = np.stack([changed[i] - base for i in chosen], axis=-3).reshape(
                -1, len(chosen), size, size
            )
            before, *after = (
                layers.on_grid(layer, self.grid, size)[0]
                for layer in (self.dataset.layers[name], *(self.varied_layers[i][1] for i in chosen))
            )
            total = total + layer_response.respond(changes, before, np.array(after), where)
        return total.reshape(base.shape)

    # ---- with what the records say -----------------------------------------------------------------

    @functools.cached_property
    def located(self) -> pd.DataFrame:
        """Stations in use with their pixels, ``row, col, x_km, y_km``."""
        lon, lat = self.stations["longitude"], self.stations["latitude"]
        (x, y), (row, col, _) = self.grid.project(lon, lat), self.grid.locate(lon, lat)
        return self.stations.assign(x_km=x, y_km=y, row=row, col=col)

    def records(self, im: str) -> pd.DataFrame:
        """Records in use, with the places of their stations, ``x_km, y_km``."""
        table = data_pipeline.flat_table(self.dataset, self.experiment, im)
        return table.merge(self.located[["station_id", "x_km", "y_km"]], on="station_id")

    def measure(self, im: str, watch: Callable[[], None] = lambda: None) -> Measure:
        """Everything about one intensity measure.

        Parameters
        ----------
        im : str
        watch : callable
            Called after each piece of work, `steps` times in all.
        """
        records = self.records(im)
        terms = SiteTerms.fit(records)
        trained = site_terms.taught_by(records, self.folds)
        taught = self._taught(trained)
        estimates = self.estimates(im, taught, watch)
        recorded = self.located[self.located["station_id"].isin(records["station_id"])]
        held = site_terms.held_out(recorded, self.folds, self.experiment.reference)
        alone = float(np.sqrt(terms.kriged().nugget_variance))
        fitted = {
            name: site_terms.interpolation_variance(one, held, terms.table, alone)
            for name, one in estimates.items()
        }
        nearest_km = KDTree(trained[["x_km", "y_km"]]).query(self.pixels_km)[0]
        maps = amplification_maps.measure(estimates, fitted, nearest_km, taught, self.footprint)
        stations = amplification_maps.at_stations(estimates, maps, recorded, held, terms.table)
        return Measure(estimates, maps.expand_dims(im=[im]), stations.assign(im=im))

    def _taught(self, trained: pd.DataFrame) -> np.ndarray:
        limits = self.options.within_km, self.options.min_records
        found = amplification.taught(self.pixels_km, trained, *limits)
        if not (found & self.footprint).any():
            raise DataError(
                "no pixel between the stations has {1} training records within {0:g} km: "
                "raise --within-km or lower --min-records".format(*limits)
            )
        return found

    def about(self) -> dict[str, str]:
        """What the maps rest on, for their attributes."""
        return {
            "title": "ln site amplification learned by tfgmm",
            "run": self.run.path.name,
            "networks": ",".join(self.experiment.networks),
            "preset": self.experiment.preset,
            "events": f"{len(self.events)}: {self.options.events}",
            "taught": f"{self.options.min_records} training records within {self.options.within_km:g} km",
            "data_hash": self.run.data["digest"],
            "simulated": int(self.run.simulated),
        }


def refuse_unpaired(one: Study, other: Study) -> None:
    """Raise `UsageError` unless the members of two runs are pairs: same data, chunks and seeds."""
    different = [n for n in _PAIRED if getattr(one.experiment, n) != getattr(other.experiment, n)]
    if one.run.data["digest"] != other.run.data["digest"]:
        different.append("data")
    if different:
        raise UsageError(
            f"runs {one.run.path} and {other.run.path} cannot be compared member by member, they differ in "
            f"{', '.join(different)}: train one of them with the settings of the other"
        )
