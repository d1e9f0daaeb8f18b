"""Compare predicted medians with published models where training records are few, and warn."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from tfgmm.core import imt
from tfgmm.core.rupture import Rupture
from tfgmm.prediction.quantities import by_measure, median_name
from tfgmm.runs.experiment import Experiment
from tfgmm.stats import published_scaling
from tfgmm.stats.scaling_tables import MAGNITUDES
from tfgmm.stats.site_response import UNKNOWN_VS30_M_S

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
        Description of the run: backbone, and region of the published models.
    ruptures : dict of str to Rupture, optional
        Known surfaces of ruptures by event id.
    """

    def __init__(self, experiment: Experiment, ruptures: Mapping[str, Rupture] | None = None) -> None:
        self._region, self._ruptures = experiment.region, ruptures or {}
        self._has_backbone = experiment.backbone != "none"
        self._strongest, self._compared, self._strange = 0.0, 0, []
        self._beyond_tables: list[tuple[str, float]] = []
        self._unlike: dict[str, bool] = {}

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
            self._note_magnitudes(batch)
            self._note_support(batch)
            for of_measure in by_measure(batch):
                self._watch(of_measure)
            yield batch

    def _watch(self, batch: xr.Dataset) -> None:
        """Remember what is strange about the predictions of one measure."""
        if "median_g" in batch:
            self._strongest = max(self._strongest, float(batch["median_g"].max()))
        for number in range(batch.sizes["event"]):
            if "support" in batch and self._compared < _MOST_PLACES:
                self._compare(batch.isel(event=number))

    def warn(self) -> None:
        """Log warnings: no records alike, strange medians, magnitudes beyond the tables."""
        unlike = [name for name, is_unlike in self._unlike.items() if is_unlike]
        if unlike:
            _log.warning(
                "no training record is like %d of %d events anywhere here (in magnitude, depth, place and "
                "distance; the first is %s): backbone and field carry their medians",
                *(len(unlike), len(self._unlike), unlike[0]),
            )
        if self._strongest > STRONGEST_G:
            _log.warning("the largest median is %.3g g: do not use it unseen", self._strongest)
        if self._beyond_tables:
            _log.warning(
                "the magnitudes of %d events lie outside the tables of the backbone, and count as the "
                "nearest of %g and %g: the first is %s with M %.2g",
                *(len(self._beyond_tables), MAGNITUDES[0], MAGNITUDES[-1], *self._beyond_tables[0]),
            )
        if self._strange:
            event, unit, median, r_km, low, high = self._strange[0]
            events = len({name for name, *_ in self._strange})
            _log.warning(
                "where fewer than %d training records are like the prediction, medians of %d events are "
                "off every published model by a factor of %g: of %s %.3g %s at %.0f km from the "
                "hypocentre, published %.3g to %.3g",
                *(FEW_RECORDS, events, LARGEST_FACTOR, event, median, unit, r_km, low, high),
            )

    def _compare(self, prediction: xr.Dataset) -> None:
        """Compare the strongest and the weakest prediction with little support of one event."""
        im = prediction.attrs["intensity_measure"]
        names = median_name(im), "support"
        median, support = (prediction[name].to_numpy().ravel() for name in names)
        few = np.flatnonzero(support < FEW_RECORDS)
        if not len(few):
            return
        places = np.unique(few[[median[few].argmax(), median[few].argmin()]])
        self._compared += len(places)
        r_hyp_km = prediction["r_hyp_km"].to_numpy().ravel()[places]
        low, high = self._published(prediction, places, r_hyp_km)
        off = (median[places] > LARGEST_FACTOR * high) | (median[places] < low / LARGEST_FACTOR)
        if off.any():
            first = int(off.argmax())
            name = str(prediction["event_id"].item())
            worst = (values[first] for values in (median[places], r_hyp_km, low, high))
            self._strange.append((name, imt.unit(im), *worst))

    def _note_support(self, batch: xr.Dataset) -> None:
        """Remember the events to which no training record is alike at any place."""
        if "support" in batch:
            rest = [dim for dim in batch["support"].dims if dim != "event"]
            highest = batch["support"].max(rest).to_numpy()
            for name, value in zip(batch["event_id"].to_numpy(), highest, strict=True):
                self._unlike[str(name)] = self._unlike.get(str(name), True) and bool(value < 1)

    def _note_magnitudes(self, batch: xr.Dataset) -> None:
        """Remember the events whose magnitude the tables of the backbone do not reach."""
        magnitude = batch["magnitude"].to_numpy()
        for number in np.flatnonzero((magnitude < MAGNITUDES[0]) | (magnitude > MAGNITUDES[-1])):
            if self._has_backbone:
                self._beyond_tables.append((str(batch["event_id"].to_numpy()[number]), magnitude[number]))

    def _published(
        self, prediction: xr.Dataset, places: np.ndarray, r_hyp_km: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest published median of an event at some places."""
        rupture = self._ruptures.get(str(prediction["event_id"].item()))
        r_rup_km = None
        if rupture is not None:
            lonlat = (prediction[name].to_numpy().ravel()[places] for name in ("longitude", "latitude"))
            r_rup_km = rupture.distance_km(*lonlat)
        ln_im = published_scaling.medians_at_places(
            self._region,
            prediction.attrs["intensity_measure"],
            *(float(prediction[name]) for name in ("magnitude", "depth_km")),
            r_hyp_km=r_hyp_km,
            r_rup_km=r_rup_km,
            vs30=UNKNOWN_VS30_M_S,
        )
        medians = np.exp(np.where(np.isfinite([*ln_im.values()]), [*ln_im.values()], np.nan))
        return np.nanmin(medians, axis=0), np.nanmax(medians, axis=0)
