"""Scaling of the predicted standard deviation after the training, fitted to records that did not train.

The records are those of the stopping events, which decide when the training of a network ends. A fold is
the training with one chunk of sites held out; the members of a fold are a partial ensemble.
"""

import dataclasses
from pathlib import Path
from typing import Self, cast

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.spatial import KDTree

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError

#: Text that is added to the name of a calibrated model.
CALIBRATED = ", calibrated"
#: Name of the file with the calibrations in the folder of a run.
FILE = "calibration.json"

#: Lower and upper bounds of a, b (ln units), length_km (km) and c, chosen by judgement. The bound of b is
#: two to three times a usual phi_S2S; without it, a few stations at short distances d could set any
#: standard deviation at large d.
_BOUNDS = ((0.1, 10.0), (0.0, 1.0), (1.0, 50.0), (0.0, 20.0))
#: Values of length_km (km) from which the search for the largest likelihood starts.
_STARTS = (2.0, 10.0, 40.0)
#: Roles of the sites whose records of stopping events are used.
_CELLS = ("training", "stopping")


@dataclasses.dataclass(frozen=True)
class Calibration:
    r"""Scaling of the predicted variance of ln IM to the residuals of records that did not train.

    .. math:: \sigma_{cal}^2 = a^2 \sigma_{aleatory}^2 + [b (1 - e^{-d / L})]^2 + c \, \sigma_{epistemic}^2

    with the distance d from the site to the nearest training station. The term with b is the variance of
    the unknown site term. It is zero at a training station and grows with distance, as the correlation
    with the nearest training station falls.

    Attributes
    ----------
    a : float
        Factor of the aleatory standard deviation; 1 changes nothing.
    b : float
        Standard deviation of the unknown site term far from all training stations, ln units.
    length_km : float
        Length L over which the unknown site term grows, km.
    c : float
        Factor of the epistemic variance; 1 changes nothing.
    """

    a: float = 1.0
    b: float = 0.0
    length_km: float = 10.0
    c: float = 1.0

    def variance(self, distance_km, aleatory, epistemic, xp=np) -> tuple:
        """Return the calibrated aleatory and epistemic variances, whose sum is the total variance.

        The variance of the unknown site term, with b, counts as epistemic. The computation is plain
        arithmetic, for NumPy arrays and tensors alike.

        Parameters
        ----------
        distance_km : array or tensor, [...]
            Distance d to the nearest training station, km.
        aleatory, epistemic : array or tensor, [...]
            Aleatory and epistemic variance of ln IM that the ensemble predicts, squared ln units.
        xp : module
            Module with the function ``expm1`` for these arrays: `numpy`, or ``tf.math`` for tensors.

        Returns
        -------
        aleatory, epistemic : array or tensor, [...]
            Calibrated variances, squared ln units.
        """
        unknown_site = self.b * -xp.expm1(-distance_km / self.length_km)
        return self.a**2 * aleatory, unknown_site**2 + self.c * epistemic

    def stddev(self, distance_km, aleatory, epistemic) -> np.ndarray:
        """Return the calibrated total standard deviation of ln IM, in ln units.

        Parameters
        ----------
        distance_km : array_like, [...]
            Distance d to the nearest training station, km.
        aleatory, epistemic : array_like, [...]
            Aleatory and epistemic variance of ln IM that the ensemble predicts, squared ln units.

        Returns
        -------
        ndarray, [...]
            The square root of the sum of both results of `variance`, ln units.
        """
        columns = (np.asarray(x, float) for x in (distance_km, aleatory, epistemic))
        return np.sqrt(np.add(*self.variance(*columns)))

    @classmethod
    def most_likely(cls, residual, distance_km, aleatory, epistemic) -> Self:
        r"""Return the calibration of largest likelihood for residuals that are Normal with mean zero.

        .. math:: \min_{a, b, L, c} \; \overline{\ln \sigma_{cal}^2 + r^2 / \sigma_{cal}^2}

        The four parameters stay within `_BOUNDS`.

        Parameters
        ----------
        residual : array_like, [n]
            Residuals r of the records: observed minus predicted ln IM, ln units.
        distance_km : array_like, [n]
            Distance d to the nearest training station, km.
        aleatory, epistemic : array_like, [n]
            Aleatory and epistemic variance of ln IM that the ensemble predicts, squared ln units.

        Returns
        -------
        Calibration
            The fitted a, b, L and c.
        """
        square = np.asarray(residual, float) ** 2
        columns = [np.asarray(x, float) for x in (distance_km, aleatory, epistemic)]

        def loss(parameters: np.ndarray) -> float:
            """Return -2 times the mean log-likelihood without its constant, for (a, b, length_km, c)."""
            variance = np.add(*cls(*parameters).variance(*columns))
            return float(np.mean(np.log(variance) + square / variance))

        searches = [minimize(loss, (1.0, 0.3, length, 1.0), bounds=_BOUNDS) for length in _STARTS]
        return cls(*min(searches, key=lambda search: search.fun).x.tolist())


def nearest_trained_km(table: pd.DataFrame) -> np.ndarray:
    """Return the distance in km from each record's station to the nearest training station of its fold.

    A training station of a fold (one chunk of one intensity measure) has a record of a training event and
    has itself the role training. It may belong to any recording network.

    Parameters
    ----------
    table : pandas.DataFrame, [n, ...]
        All predicted records of all folds: ``im``, ``chunk``, ``station_id``, ``x_km`` and ``y_km`` (km
        east and north of the centre of the map), ``event_role`` and ``site_role`` (see
        `tfgmm.runs.run.RunFolder.with_places`).

    Returns
    -------
    ndarray, [n]
        Distances, km; zero at a training station.

    Raises
    ------
    DataError
        A fold has no training record.
    """
    distance = np.empty(len(table))
    trained = table["event_role"].eq("training") & table["site_role"].eq("training")
    for fold, rows in table.groupby(["im", "chunk"], observed=True).indices.items():
        places = table.iloc[rows][["x_km", "y_km"]].to_numpy(float)
        known = np.unique(places[trained.to_numpy()[rows]], axis=0)
        if not len(known):
            im, chunk = cast(tuple[str, int], fold)
            raise DataError(
                f"predictions: chunk {chunk} of {im} has no training record: the run is damaged"
            )
        distance[rows] = KDTree(known).query(places)[0]
    return distance


def fit(table: pd.DataFrame, reference: str) -> dict[str, Calibration]:
    """Return the calibration of each intensity measure, fitted to the records of the stopping events.

    The records of all folds are pooled. Training and validation events are left out: the networks have
    learned the event terms of the former, and the latter are held out for the scores. Records at training
    sites determine the variance at distance zero, records at stopping sites the variance elsewhere.

    Two limits: the training ended where the residuals of these records were smallest on average, so the
    residuals are slightly too small; and a stopping site of one fold is held out in another fold, so the
    four parameters are not independent of the held-out sites.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions of the partial ensembles (the members of one chunk each), a row per record and chunk:
        the columns for `nearest_trained_km`, and ``network``, ``ln_im``, ``mean``, ``stddev`` (ln units)
        and ``epistemic`` (variance, squared ln units).
    reference : str
        Name of the reference network, the recording network whose records are scored. Records of other
        recording networks are not used, so that all arms (sets of input channels) are treated alike.

    Returns
    -------
    dict of str to Calibration
        Calibrations by intensity measure.

    Raises
    ------
    UsageError
        The run has no stopping sites: it was trained with ``--stopping paper``.
    DataError
        A fold has no training record.
    """
    table = table.assign(distance_km=nearest_trained_km(table))
    stopping = table["event_role"].eq("stopping") & table["site_role"].isin(_CELLS)
    rows = table[stopping & table["network"].eq(reference)]
    if not rows["site_role"].eq("stopping").any():
        raise UsageError(
            f"no record of network {reference} at a stopping site: sigma is calibrated on the stopping "
            "set, which a run with --stopping paper does not have"
        )
    return {
        str(im): Calibration.most_likely(
            records["ln_im"] - records["mean"],
            records["distance_km"],
            records["stddev"] ** 2 - records["epistemic"],
            records["epistemic"],
        )
        for im, records in rows.groupby("im", observed=True)
    }


def apply(table: pd.DataFrame, calibrations: dict[str, Calibration]) -> pd.DataFrame:
    """Return predictions with calibrated standard deviations and epistemic variances.

    Parameters
    ----------
    table : pandas.DataFrame, [n, ...]
        All predicted records of all folds, with the columns for `fit` and ``model``.
    calibrations : dict of str to Calibration
        Calibrations by intensity measure.

    Returns
    -------
    pandas.DataFrame, [n, ...]
        The same rows with calibrated ``stddev`` (ln units) and ``epistemic`` (squared ln units);
        `CALIBRATED` is added to the name ``model``.

    Raises
    ------
    DataError
        An intensity measure has no calibration, or a fold has no training record.
    """
    distance = pd.Series(nearest_trained_km(table), table.index)
    parts = []
    for name, rows in table.groupby("im", observed=True):
        im = str(name)
        if im not in calibrations:
            raise DataError(f"{im} has no calibration: it was fitted to {', '.join(calibrations)} only")
        aleatory, epistemic = calibrations[im].variance(
            distance[rows.index], rows["stddev"] ** 2 - rows["epistemic"], rows["epistemic"]
        )
        parts.append(
            rows.assign(
                model=rows["model"].astype(str) + CALIBRATED,
                stddev=np.sqrt(aleatory + epistemic),
                epistemic=epistemic,
            )
        )
    return pd.concat(parts).loc[table.index]


def epistemic_change(partial: pd.DataFrame, full: pd.DataFrame) -> pd.DataFrame:
    """Return the mean epistemic variances of the partial ensembles and of the full ensemble.

    The factor c of a calibration is fitted to the partial ensembles (the members of one chunk each), but
    applied to the full ensemble (the members of all chunks).

    Parameters
    ----------
    partial, full : pandas.DataFrame
        Predictions of the partial ensembles and of the full ensemble, with ``im`` and ``epistemic``
        (squared ln units).

    Returns
    -------
    pandas.DataFrame
        A row per intensity measure: ``im``, the mean epistemic variances ``partial`` and ``full``
        (squared ln units), and ``ratio``, full over partial.
    """
    means = {
        name: table.groupby("im", observed=True)["epistemic"].mean()
        for name, table in (("partial", partial), ("full", full))
    }
    table = pd.DataFrame(means)
    return table.assign(ratio=table["full"] / table["partial"].where(table["partial"] > 0)).reset_index()


def write(calibrations: dict[str, Calibration], folder: Path) -> None:
    """Write the calibrations of a run as the file `FILE` into the folder of the run.

    Parameters
    ----------
    calibrations : dict of str to Calibration
        Calibrations by intensity measure.
    folder : Path
        Folder of the run.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    content = {
        "variance": "a^2 aleatory + (b (1 - exp(-distance_km / length_km)))^2 + c epistemic",
        "distance_km": "to the nearest station with training records; 0 there",
        "parameters": {im: dataclasses.asdict(fitted) for im, fitted in calibrations.items()},
    }
    with files.whole_file(folder / FILE) as temporary:
        files.write_json(temporary, content)


def read(folder: Path) -> dict[str, Calibration]:
    """Read the calibrations of a run from the file `FILE` in its folder; return them by intensity measure.

    Parameters
    ----------
    folder : Path
        Folder of the run.

    Returns
    -------
    dict of str to Calibration
        Calibrations by intensity measure.

    Raises
    ------
    UsageError
        The run has no calibration.
    DataError
        The file is damaged, or a parameter is outside its bounds.
    """
    path = folder / FILE
    if not path.is_file():
        raise UsageError(f"run {folder} has no calibration: make it with tfgmm evaluate {folder}")
    try:
        parameters = files.read_json(path)["parameters"]
        calibrations = {
            im: Calibration(**{name: float(value) for name, value in values.items()})
            for im, values in parameters.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}): remove it and give tfgmm evaluate again") from error
    for im, calibration in calibrations.items():
        _refuse_impossible(path, im, calibration)
    return calibrations


def _refuse_impossible(path: Path, im: str, calibration: Calibration) -> None:
    """Raise `DataError` if a parameter of the calibration of measure `im` is outside its bounds."""
    for (name, value), (low, high) in zip(dataclasses.asdict(calibration).items(), _BOUNDS, strict=True):
        if not low <= value <= high:
            raise DataError(
                f"{path}: {name} of {im} is {value}, expected {low:g} to {high:g}: "
                "remove the file and give tfgmm evaluate again"
            )
