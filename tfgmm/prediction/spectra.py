"""The ensembles of several intensity measures as one, also between two periods of a run."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from tfgmm.core import imt
from tfgmm.core.errors import UsageError
from tfgmm.prediction import ensemble, quantities
from tfgmm.prediction.ensemble import Ensemble, Predictor
from tfgmm.prediction.quantities import STDDEVS
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder

#: Measures of the run from which a measure is predicted, and the weight of the second: both are the measure
#: itself where the run has it.
Pair = tuple[str, str, float]


def measures(ims: Sequence[str], wanted: Sequence[str]) -> dict[str, Pair]:
    """Return from which measures of a run each wanted intensity measure is predicted.

    Parameters
    ----------
    ims : sequence of str
        Intensity measures of the run.
    wanted : sequence of str
        Intensity measures; ``all`` or ``spectrum`` stands for all of the run.

    Returns
    -------
    dict of str to (str, str, float)
        By canonical name, as returned by `tfgmm.core.imt.between`.

    Raises
    ------
    UsageError
        A measure is neither one of the run nor an SA(T) between the periods of the run.
    """
    if not len(wanted):
        raise UsageError(f"there is no intensity measure to predict: choose among {', '.join(ims)}")
    return {name: imt.between(ims, name) for name in imt.expanded(wanted, ims)}


def interpolated(name: str, weight: float, shorter: xr.Dataset, longer: xr.Dataset) -> xr.Dataset:
    r"""Interpolate predictions at two periods to a period between them.

    .. math:: \mu = (1 - w) \mu_1 + w \mu_2, \quad \sigma^2 = (1 - w) \sigma_1^2 + w \sigma_2^2

    with a weight w that is linear in ln T. Variances are interpolated, not standard deviations, so that the
    parts of sigma still add up to its total.

    Parameters
    ----------
    name : str
        The spectral acceleration SA(T).
    weight : float
        Weight w of the longer period.
    shorter, longer : xarray.Dataset
        Predictions at the two periods, as returned by `Ensemble.batches`.

    Returns
    -------
    xarray.Dataset
        As returned by `Ensemble.batches`. Flags are true where either has them, the support is the smaller
        one, and the attribute ``interpolated`` names the two measures.
    """
    variables = {}
    for variable, one in shorter.data_vars.items():
        other = longer[variable]
        if one.dtype == bool:
            between = one | other
        elif variable == "support":
            between = np.minimum(one, other)
        elif variable in STDDEVS:
            between = np.sqrt((1 - weight) * one**2 + weight * other**2)
        else:
            between = (1 - weight) * one + weight * other
        variables[variable] = between.assign_attrs(one.attrs)
    both = f"{shorter.attrs['intensity_measure']}, {longer.attrs['intensity_measure']}"
    return shorter.assign(variables).assign_attrs(intensity_measure=name, interpolated=both)


class Spectra(Predictor):
    """The ensembles of several intensity measures, which share their networks: one pass predicts them all.

    Predictions are those of `Ensemble` with the dimension ``im``, see `quantities.joined`.

    Parameters
    ----------
    ensembles : dict of str to Ensemble
        Ensembles of the measures of the run that are needed.
    wanted : dict of str to (str, str, float)
        The measures to predict, as returned by `measures`.
    """

    def __init__(self, ensembles: dict[str, Ensemble], wanted: dict[str, Pair]) -> None:
        self._ensembles, self._wanted = ensembles, wanted
        self._first = next(iter(ensembles.values()))
        self.run = self._first.run

    @property
    def ims(self) -> tuple[str, ...]:
        """Return the names of the predicted intensity measures."""
        return tuple(self._wanted)

    @property
    def experiment(self) -> Experiment:
        """Return the description of the run."""
        return self.run.experiment

    @property
    def members(self):
        """Return the trained members of the run."""
        return self._first.members

    @property
    def stations(self) -> pd.DataFrame:
        """Return the stations with training records of the first measure."""
        return self._first.stations

    def batches(
        self, events: pd.DataFrame, sites: pd.DataFrame | None = None, **options
    ) -> Iterator[xr.Dataset]:
        """Return predictions for a few events at a time, in constant memory.

        Parameters
        ----------
        events, sites, **options
            As for `Ensemble.batches`.

        Returns
        -------
        iterator of xarray.Dataset
            Datasets as returned by `maps` or `at_sites`.

        Raises
        ------
        UsageError, DataError
            As for `Ensemble.batches`.
        """
        by_measure = {im: one.batches(events, sites, **options) for im, one in self._ensembles.items()}
        # All measures of a few events before the next events: networks are asked once for all of them.
        return (
            self._joined(dict(zip(by_measure, batch, strict=True)))
            for batch in zip(*by_measure.values(), strict=True)
        )

    def _joined(self, by_measure: dict[str, xr.Dataset]) -> xr.Dataset:
        """Return the wanted measures as one dataset, from those of the run."""
        return quantities.joined(
            [
                by_measure[name]
                if first == second
                else interpolated(name, weight, by_measure[first], by_measure[second])
                for name, (first, second, weight) in self._wanted.items()
            ]
        )


def load(run: RunFolder, im: str | Sequence[str], condition: str = "all") -> Ensemble | Spectra:
    """Load the ensemble of an intensity measure of a run, or the ensembles of several as one.

    Parameters
    ----------
    run : RunFolder
        The run.
    im : str or sequence of str
        Intensity measure or measures, as for `measures`.
    condition : {"all", "training"}
        As for `tfgmm.prediction.ensemble.load`.

    Returns
    -------
    Ensemble or Spectra
        An ensemble for the name of one measure of the run, else spectra.

    Raises
    ------
    UsageError, DataError
        As for `measures` and `tfgmm.prediction.ensemble.load`.
    """
    pairs = measures(run.experiment.ims, [im] if isinstance(im, str) else im)
    needed = list(dict.fromkeys(one for first, second, _ in pairs.values() for one in (first, second)))
    ensembles = ensemble.load_all(run, needed, condition)
    if isinstance(im, str) and im not in imt.WHOLE and len(needed) == 1:
        return ensembles[needed[0]]
    return Spectra(ensembles, pairs)
