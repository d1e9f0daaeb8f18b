"""Post-hoc scaling of the predicted standard deviation, fitted on the stopping cells of all folds."""

import dataclasses
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.spatial import KDTree

from tfgmm.core import files
from tfgmm.core.errors import DataError, UsageError

#: What the name of a calibrated model ends in.
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
    r"""Predicted variance, as the records of the stopping cells have it.

    .. math:: \sigma_{cal}^2 = a^2 \sigma_{aleatory}^2 + [b (1 - e^{-d / L})]^2 + c \, \sigma_{epistemic}^2

    with the distance d to the nearest trained site. The term with b is the site term that networks
    cannot know where nobody has measured: it is zero at a trained site and grows as the covariance
    with the nearest one falls.

    Attributes
    ----------
    a, c : float
        Factors; 1 leaves a part as it is.
    b : float
        Standard deviation that is added far from trained sites, ln units.
    length_km : float
        L.
    """

    a: float = 1.0
    b: float = 0.0
    length_km: float = 10.0
    c: float = 1.0

    def variance(self, distance_km, aleatory, epistemic) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated aleatory and epistemic variance; their sum is the total, b counts as epistemic.

        Parameters
        ----------
        distance_km : array_like
            To the nearest trained site.
        aleatory, epistemic : array_like
            Variances of ln IM that the ensemble predicts.
        """
        distance, aleatory, epistemic = (np.asarray(x, float) for x in (distance_km, aleatory, epistemic))
        unknown_site = self.b * -np.expm1(-distance / self.length_km)
        return self.a**2 * aleatory, unknown_site**2 + self.c * epistemic

    def stddev(self, distance_km, aleatory, epistemic) -> np.ndarray:
        """Square root of the calibrated total variance. Parameters as for `variance`."""
        return np.sqrt(sum(self.variance(distance_km, aleatory, epistemic)))

    @classmethod
    def most_likely(cls, residual, distance_km, aleatory, epistemic) -> Self:
        """Maximum likelihood for residuals that are Normal with mean zero; arrays of one length."""
        square = np.asarray(residual, float) ** 2

        def loss(parameters: np.ndarray) -> float:
            variance = sum(cls(*parameters).variance(distance_km, aleatory, epistemic))
            return float(np.mean(np.log(variance) + square / variance))

        searches = [minimize(loss, (1.0, 0.3, length, 1.0), bounds=_BOUNDS) for length in _STARTS]
        return cls(*min(searches, key=lambda search: search.fun).x.tolist())


def nearest_trained_km(table: pd.DataFrame) -> np.ndarray:
    """Distance from each record's station to the nearest one that trained in the same fold.

    A station trained if it has a record of a training event in the role training, of any network.

    Parameters
    ----------
    table : pandas.DataFrame
        All scored records of the folds, with ``im, chunk, station_id, x_km, y_km, event_role,
        site_role``, as `tfgmm.runs.run.RunFolder.with_places` has them.

    Returns
    -------
    ndarray, [n]
        Zero at a station that trained.

    Raises
    ------
    DataError
        A fold has no training record.
    """
    distance = np.empty(len(table))
    trained = table["event_role"].eq("training") & table["site_role"].eq("training")
    for (im, chunk), rows in table.groupby(["im", "chunk"], observed=True).indices.items():
        places = table.iloc[rows][["x_km", "y_km"]].to_numpy(float)
        known = np.unique(places[trained.to_numpy()[rows]], axis=0)
        if not len(known):
            raise DataError(
                f"predictions: chunk {chunk} of {im} has no training record: the run is damaged"
            )
        distance[rows] = KDTree(known).query(places)[0]
    return distance


def fit(table: pd.DataFrame, reference: str) -> dict[str, Calibration]:
    """Fit a calibration for each intensity measure on the stopping cells, pooled over folds.

    Only stopping events count: networks have learned the terms of the others. Their records at
    training sites tell what is right at distance zero, those at stopping sites what is right elsewhere.
    Networks stopped where these residuals were smallest on average, so they are slightly too small. A
    site that is in the stopping set of one fold is held out in another: the four numbers have seen it.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles: as for `nearest_trained_km`, with ``network, ln_im, mean, stddev,
        epistemic``.
    reference : str
        The reference network; the others' records are not used, so that arms are treated alike.

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
            of_im["ln_im"] - of_im["mean"],
            of_im["distance_km"],
            of_im["stddev"] ** 2 - of_im["epistemic"],
            of_im["epistemic"],
        )
        for im, of_im in rows.groupby("im", observed=True)
    }


def apply(table: pd.DataFrame, calibrations: dict[str, Calibration]) -> pd.DataFrame:
    """The same records with calibrated ``stddev`` and ``epistemic``, as another model.

    Parameters
    ----------
    table : pandas.DataFrame
        All scored records of the folds, as for `fit`.
    calibrations : dict of str to Calibration
        By intensity measure.

    Returns
    -------
    pandas.DataFrame
        ``model`` ends in `CALIBRATED`; everything else is as it was.

    Raises
    ------
    DataError
        An intensity measure has no calibration.
    """
    distance = pd.Series(nearest_trained_km(table), table.index)
    parts = []
    for im, rows in table.groupby("im", observed=True):
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
    """How the epistemic variance changes from the partial ensembles, on which c is fitted, to the full one.

    Parameters
    ----------
    partial, full : pandas.DataFrame
        Of `tfgmm.evaluation.scores.partial_ensembles` and `tfgmm.evaluation.residuals.full_ensemble`.

    Returns
    -------
    pandas.DataFrame
        One row an intensity measure: mean variance of the members' means in ``partial`` and ``full``,
        and their ``ratio``, full over partial.
    """
    means = {
        name: table.groupby("im", observed=True)["epistemic"].mean()
        for name, table in (("partial", partial), ("full", full))
    }
    table = pd.DataFrame(means)
    return table.assign(ratio=table["full"] / table["partial"].where(table["partial"] > 0)).reset_index()


def write(calibrations: dict[str, Calibration], folder: Path) -> None:
    """Write `FILE` into the folder of a run.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    content = {
        "variance": "a^2 aleatory + (b (1 - exp(-distance_km / length_km)))^2 + c epistemic",
        "distance_km": "to the nearest station with training records; 0 there",
        "parameters": {im: dataclasses.asdict(one) for im, one in calibrations.items()},
    }
    with files.whole_file(folder / FILE) as temporary:
        files.write_json(temporary, content)


def read(folder: Path) -> dict[str, Calibration]:
    """Read `FILE` from the folder of a run.

    Raises
    ------
    UsageError
        The run has none.
    DataError
        The file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise UsageError(f"run {folder} has no calibration: make it with tfgmm evaluate {folder}")
    try:
        parameters = files.read_json(path)["parameters"]
        found = {im: Calibration(**{k: float(v) for k, v in one.items()}) for im, one in parameters.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}): remove it and give tfgmm evaluate again") from error
    for im, one in found.items():
        _refuse_impossible(path, im, one)
    return found


def _refuse_impossible(path: Path, im: str, one: Calibration) -> None:
    for (name, value), (low, high) in zip(dataclasses.asdict(one).items(), _BOUNDS, strict=True):
        if not low <= value <= high:
            raise DataError(
                f"{path}: {name} of {im} is {value}, expected {low:g} to {high:g}: "
                "remove the file and give tfgmm evaluate again"
            )
