"""Scaling of the predicted standard deviation after training, fitted to stopping records of all folds."""

import dataclasses
from pathlib import Path
from typing import Self, cast

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.spatial import KDTree

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError

#: End of the name of a calibrated model.
CALIBRATED = ", calibrated"
FILE = "calibration.json"

#: Lower and upper bounds of a, b, length_km and c, a judgement: b is at most some two to three times a
#: usual phi_S2S. Without its bound a few near sites could promise any value far away.
_BOUNDS = ((0.1, 10.0), (0.0, 1.0), (1.0, 50.0), (0.0, 20.0))
#: Lengths, in km, from which the search starts.
_STARTS = (2.0, 10.0, 40.0)
_CELLS = ("training", "stopping")


@dataclasses.dataclass(frozen=True)
class Calibration:
    r"""Predicted variance, scaled so that it fits the residuals of records that did not train.

    .. math:: \sigma_{cal}^2 = a^2 \sigma_{aleatory}^2 + [b (1 - e^{-d / L})]^2 + c \, \sigma_{epistemic}^2

    with the distance d to the nearest trained site. The term with b is the variance of the unknown site
    term: zero at a trained site, and growing as the covariance with the nearest one falls.

    Attributes
    ----------
    a, c : float
        Factors of the aleatory standard deviation and the epistemic variance; 1 changes nothing.
    b : float
        Standard deviation that is added far from trained sites, ln units.
    length_km : float
        L, km.
    """

    a: float = 1.0
    b: float = 0.0
    length_km: float = 10.0
    c: float = 1.0

    def variance(self, distance_km, aleatory, epistemic, xp=np) -> tuple:
        """Return calibrated aleatory and epistemic variance, b in the latter; their sum is the total.

        Plain arithmetic, for NumPy arrays and tensors alike.

        Parameters
        ----------
        distance_km : array or tensor
            Distance to the nearest trained site, km.
        aleatory, epistemic : array or tensor
            Variances of ln IM that the ensemble predicts.
        xp : module
            Where ``expm1`` of these arrays is: `numpy`, or ``tf.math`` for tensors.
        """
        unknown_site = self.b * -xp.expm1(-distance_km / self.length_km)
        return self.a**2 * aleatory, unknown_site**2 + self.c * epistemic

    def stddev(self, distance_km, aleatory, epistemic) -> np.ndarray:
        """Return the square root of the calibrated total variance; parameters as for `variance`."""
        columns = (np.asarray(x, float) for x in (distance_km, aleatory, epistemic))
        return np.sqrt(np.add(*self.variance(*columns)))

    @classmethod
    def most_likely(cls, residual, distance_km, aleatory, epistemic) -> Self:
        r"""Fit a, b, L and c by maximum likelihood to residuals that are Normal with mean zero.

        .. math:: \min \; \overline{\ln \sigma_{cal}^2 + r^2 / \sigma_{cal}^2}

        Parameters
        ----------
        residual : array_like, [n]
            r, ln units.
        distance_km, aleatory, epistemic : array_like, [n]
            As for `variance`.
        """
        square = np.asarray(residual, float) ** 2
        columns = [np.asarray(x, float) for x in (distance_km, aleatory, epistemic)]

        def loss(parameters: np.ndarray) -> float:
            """Return twice the negative mean log-likelihood, but for a constant."""
            variance = np.add(*cls(*parameters).variance(*columns))
            return float(np.mean(np.log(variance) + square / variance))

        searches = [minimize(loss, (1.0, 0.3, length, 1.0), bounds=_BOUNDS) for length in _STARTS]
        return cls(*min(searches, key=lambda search: search.fun).x.tolist())


def nearest_trained_km(table: pd.DataFrame) -> np.ndarray:
    """Return the distance from each record's station to the nearest trained station of the same fold.

    A station is trained if it has a record of a training event in the role training, of any network.

    Parameters
    ----------
    table : pandas.DataFrame
        All scored records of the folds, with ``im, chunk, station_id, x_km, y_km, event_role,
        site_role``, as `tfgmm.runs.run.RunFolder.with_places` has them.

    Returns
    -------
    ndarray, [n]
        km; zero at a trained station.

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
    """Fit a calibration for each intensity measure to the records of stopping events, pooled over folds.

    Other events do not count: networks have learned their terms. Records at training sites decide the
    variance at distance zero, those at stopping sites the variance elsewhere. Training stopped where the
    residuals of these records were smallest on average, so they are slightly too small. A site in the
    stopping set of one fold is held out in another: the four numbers have seen it.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions of the partial ensembles: as for `nearest_trained_km`, with ``network, ln_im, mean,
        stddev, epistemic``.
    reference : str
        Name of the reference network; other records are not used, so that all arms are treated alike.

    Raises
    ------
    UsageError
        The run has no stopping set of its own.
    DataError
        As for `nearest_trained_km`.
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
    """Return predictions with calibrated ``stddev`` and ``epistemic``, as those of another model.

    Parameters
    ----------
    table : pandas.DataFrame
        All scored records of the folds, as for `fit`.
    calibrations : dict of str to Calibration
        By intensity measure.

    Returns
    -------
    pandas.DataFrame
        The same rows; ``model`` ends in `CALIBRATED`.

    Raises
    ------
    DataError
        An intensity measure has no calibration.
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
    """Compare the epistemic variance of the partial ensembles, to which c is fitted, and the full one.

    Parameters
    ----------
    partial, full : pandas.DataFrame
        Predictions of the partial ensembles and of the full ensemble, with ``im, epistemic``.

    Returns
    -------
    pandas.DataFrame
        A row per intensity measure: mean variance of the members' means in ``partial`` and ``full``,
        and their ``ratio``, full over partial.
    """
    means = {
        name: table.groupby("im", observed=True)["epistemic"].mean()
        for name, table in (("partial", partial), ("full", full))
    }
    table = pd.DataFrame(means)
    return table.assign(ratio=table["full"] / table["partial"].where(table["partial"] > 0)).reset_index()


def write(calibrations: dict[str, Calibration], folder: Path) -> None:
    """Write calibrations, by intensity measure, as `FILE` into the folder of a run.

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
    """Read the calibrations of a run, by intensity measure, from `FILE` in its folder.

    Raises
    ------
    UsageError
        The run has no calibration.
    DataError
        The file is damaged.
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
    """Raise `DataError` if a number of a calibration is outside its bounds."""
    for (name, value), (low, high) in zip(dataclasses.asdict(calibration).items(), _BOUNDS, strict=True):
        if not low <= value <= high:
            raise DataError(
                f"{path}: {name} of {im} is {value}, expected {low:g} to {high:g}: "
                "remove the file and give tfgmm evaluate again"
            )
