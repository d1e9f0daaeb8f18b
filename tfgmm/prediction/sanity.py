"""Compare predicted medians with published models where training records are few, and warn."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core.rupture import Rupture
from tfgmm.runs.experiment import Experiment
from tfgmm.stats import backbone_fit, published_scaling, tectonics
from tfgmm.stats.site_response import UNKNOWN_VS30_M_S, SiteResponse

_log = logging.getLogger(__name__)
#: Effective number of training records below which a prediction rests on the backbone, not on records.
FEW_RECORDS = 10
#: Median, g, above which a prediction is strange: few records of all times exceed it.
STRONGEST_G = 3.0
#: Factor by which a median with little support may differ from every published model.
LARGEST_FACTOR = 5.0
#: Largest number of places that are compared with published models; a comparison takes milliseconds.
_MOST_PLACES = 100


class Sanity:
    """Watch predictions as they pass by, and warn of strange ones at the end.

    Parameters
    ----------
    experiment : Experiment
        Description of the run; the centre of the map tells the region of the published models.
    ruptures : dict of str to Rupture, optional
        Known surfaces of ruptures by event id.
    """

    def __init__(self, experiment: Experiment, ruptures: Mapping[str, Rupture] | None = None) -> None:
        grid, self._ruptures = experiment.grid, ruptures or {}
        self._models = published_scaling.models(tectonics.region_at(grid.longitude, grid.latitude))
        self._strongest, self._compared, self._strange = 0.0, 0, []

    def watched(self, predictions: Iterator[xr.Dataset]) -> Iterator[xr.Dataset]:
        """Yield predictions unchanged, and remember what is strange about them.

        Parameters
        ----------
        predictions : iterator of xarray.Dataset
            As returned by `tfgmm.prediction.quantities.Quantities.of`.

        Yields
        ------
        xarray.Dataset
        """
        for batch in predictions:
            self._strongest = max(self._strongest, float(batch["median_g"].max()))
            for number in range(batch.sizes["event"]):
                if "support" in batch and self._compared < _MOST_PLACES:
                    self._compare(batch.isel(event=number))
            yield batch

    def warn(self) -> None:
        """Log one warning for medians that are too strong, and one for those far off published models."""
        if self._strongest > STRONGEST_G:
            _log.warning("the largest median is %.3g g: do not use it unseen", self._strongest)
        if self._strange:
            event, median_g, r_km, low, high = self._strange[0]
            _log.warning(
                "where fewer than %d training records are like the prediction, medians of %d events are "
                "off every published model by a factor of %g: of %s %.3g g at %.0f km, published "
                "%.3g to %.3g g",
                *(FEW_RECORDS, len(self._strange), LARGEST_FACTOR, event, median_g, r_km, low, high),
            )

    def _compare(self, prediction: xr.Dataset) -> None:
        """Compare the strongest and the weakest prediction with little support of one event."""
        median_g, support = (prediction[name].to_numpy().ravel() for name in ("median_g", "support"))
        few = np.flatnonzero(support < FEW_RECORDS)
        if not len(few):
            return
        places = np.unique(few[[median_g[few].argmax(), median_g[few].argmin()]])
        self._compared += len(places)
        r_km = self._r_rup_km(prediction, places)
        low, high = self._published_g(prediction, r_km)
        off = (median_g[places] > LARGEST_FACTOR * high) | (median_g[places] < low / LARGEST_FACTOR)
        if off.any():
            first = int(off.argmax())
            name = str(prediction["event_id"].item())
            self._strange.append((name, median_g[places][first], r_km[first], low[first], high[first]))

    def _r_rup_km(self, prediction: xr.Dataset, places: np.ndarray) -> np.ndarray:
        """Return the distances of some places to the rupture of an event, known or most likely, km."""
        columns = ("r_hyp_km", "longitude", "latitude")
        r_hyp_km, longitude, latitude = (prediction[name].to_numpy().ravel()[places] for name in columns)
        records = pd.DataFrame({"r_hyp_km": r_hyp_km.astype(float)})
        records = records.assign(**{name: float(prediction[name]) for name in ("magnitude", "depth_km")})
        rupture = self._ruptures.get(str(prediction["event_id"].item()))
        if rupture is not None:
            records["r_rup_km"] = rupture.distance_km(longitude, latitude)
        return backbone_fit.distance(records)

    def _published_g(self, prediction: xr.Dataset, r_km: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest published median of an event at distances, g."""
        im = prediction.attrs["intensity_measure"]
        magnitude, depth_km = (float(prediction[name]) for name in ("magnitude", "depth_km"))
        weights = dict(zip(tectonics.CLASSES, tectonics.class_weights(depth_km)[0], strict=True))
        models = [model for model in self._models if weights[model.tectonic_class] > 0]
        scenario = (np.full(len(r_km), magnitude), r_km, np.full(len(r_km), depth_km))
        at_760 = np.array([model.medians([im], *scenario)[0] for model in models])
        soft = SiteResponse.published(im).linear(np.full(len(r_km), UNKNOWN_VS30_M_S))
        medians = np.exp(np.where(np.isfinite(at_760), at_760, np.nan) + soft)
        return np.nanmin(medians, axis=0), np.nanmax(medians, axis=0)
