"""Means and variances of members, backbone, field and calibration -> one distribution of ln IM.

A member is one trained network of a station chunk and an initialisation, (chunk, init).

All functions of predictions are plain arithmetic, for NumPy arrays and tensors alike: the graph of an
exported model computes with these functions the same values as `tfgmm.prediction.ensemble`. Where a
function of NumPy is needed, `xp` is the module that has it: `numpy`, or ``tf.math`` for tensors.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from tfgmm.core.errors import UsageError
from tfgmm.core.rupture import Rupture
from tfgmm.data.schemas import VS30_RANGE
from tfgmm.prediction.places import Places, Window
from tfgmm.runs.run import RunFolder
from tfgmm.stats import tectonics
from tfgmm.stats.backbone import Earthquakes, MedianTables
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.field import Field
from tfgmm.stats.mixture import moments
from tfgmm.stats.support import Shrinkage

#: Choices of the records on which backbone and field are conditioned, and what predictions say of them.
CONDITIONS = {"all": "all records", "training": "training records"}


# ---- backbone and field, given records -------------------------------------------------------------------


class Conditioned(NamedTuple):
    """Pair a backbone with the field of the residuals from it, both given the same records.

    Attributes
    ----------
    tables : MedianTables or None
        Backbone to which networks add; None without backbone.
    field : Field or None
        Field of the residuals from the backbone; None for a run without field.
    """

    tables: MedianTables | None = None
    field: Field | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Condition:
    """Backbone and field of every chunk of a run, and on which records they are conditioned.

    Attributes
    ----------
    by_chunk : dict of int to Conditioned
        Backbone and field by station chunk; the same object for all chunks if all records count. Empty
        where the networks hold all themselves.
    attributes : dict of str to str
        ``conditioned_on`` ("all records" or "training records") and ``data_hash``, the hash of the dataset
        of these records; empty where `by_chunk` is.
    """

    by_chunk: Mapping[int, Conditioned] = dataclasses.field(default_factory=dict)
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_run(
        cls, run: RunFolder, im: str, members: Iterable[tuple[int, int]], condition: str = "all"
    ) -> Self:
        """Read backbone and field of the chunks of members from a run.

        Parameters
        ----------
        run : RunFolder
            The run.
        im : str
            Intensity measure.
        members : iterable of (chunk, init)
            Trained members.
        condition : {"all", "training"}
            ``all``: one backbone and one field, conditioned on all records of the run, count for all
            chunks; ``training``: each chunk has its own, conditioned on its training records.

        Returns
        -------
        Condition

        Raises
        ------
        UsageError
            There is no such choice, or the run is not finished and has nothing conditioned on all records.
        DataError
            A file of the run is missing or damaged.
        """
        if condition not in CONDITIONS:
            raise UsageError(f"condition {condition!r}: choose {' or '.join(CONDITIONS)}")
        if not run.has_backbone(im):
            return cls()
        of_chunks, digest = {chunk: init for chunk, init in sorted(members, reverse=True)}, ""
        if condition == "training":
            by_chunk = {
                chunk: Conditioned(run.backbone(im, chunk, init), run.field(im, chunk))
                for chunk, init in sorted(of_chunks.items())
            }
            digest = run.data["digest"]
        elif run.conditioned_on:
            one = Conditioned(run.whole_backbone(im), run.field(im))
            by_chunk, digest = dict.fromkeys(sorted(of_chunks), one), run.conditioned_on["data"]
        else:
            raise UsageError(
                f"run {run.path} has no backbone of all its records yet: finish it with the tfgmm train "
                "command that began it, or choose --condition training"
            )
        return cls(by_chunk, {"conditioned_on": CONDITIONS[condition], "data_hash": digest})

    def of(self, members: Iterable[tuple[int, int]]) -> list[Conditioned]:
        """Return backbone and field of each member, in the order of the members.

        Parameters
        ----------
        members : iterable of (chunk, init)
            The members.

        Returns
        -------
        list of Conditioned
        """
        return [self.by_chunk.get(chunk, Conditioned()) for chunk, _ in members]


def of_each(objects: Iterable[Any], function: Callable[[Any], Any]) -> list:
    """Return what a function gives for each object, called once for those that are the same; None for None.

    Parameters
    ----------
    objects : iterable
        Objects, or None.
    function : callable
        Function of an object.

    Returns
    -------
    list
        Results in the order of the objects.
    """
    results: dict[int, Any] = {id(None): None}
    every = list(objects)
    for one in every:
        if id(one) not in results:
            results[id(one)] = function(one)
    return [results[id(one)] for one in every]


class FieldMoments(NamedTuple):
    """Moments of the field for earthquakes at places, as arrays or tensors of one shape.

    Attributes
    ----------
    mean, variance : array or tensor, [event, ...]
        Mean (ln units) and variance (squared ln units) without the noise of a record.
    event_variance : float
        Variance of the event term in it, squared ln units.
    """

    mean: Any
    variance: Any
    event_variance: float


def site_numbers(field: Field, site_ids) -> np.ndarray:
    """Return the index of sites among those of the records of a field.

    Parameters
    ----------
    field : Field
        The field.
    site_ids : array_like of str, [n]
        Ids of sites.

    Returns
    -------
    ndarray of int, [n]
        Indices; -1 for a site without records.
    """
    return pd.Index(field.records.site_ids).get_indexer(pd.Index(site_ids, dtype=str))


# ---- what is known beyond the tables ---------------------------------------------------------------------

#: Vs30 of reference rock, m/s.
ROCK_VS30_M_S = 760.0


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """Facts about ruptures and the ground beyond the tables of events and sites.

    Attributes
    ----------
    ruptures : dict of str to Rupture
        Surfaces of ruptures by event id; the others are unknown.
    vs30_m_s : float or None
        Vs30 of all places, m/s, in place of the site layer and of the stations.
    reference_rock : bool
        If True, places are rock of `ROCK_VS30_M_S` unless `vs30_m_s` is given, and site terms are left out
        of the mean; the variance is that of a place without records.
    rupture_file : str or None
        Name of the file from which the surface of the one rupture comes, for the record.

    Raises
    ------
    UsageError
        Vs30 is out of range.
    """

    ruptures: Mapping[str, Rupture] = dataclasses.field(default_factory=dict)
    vs30_m_s: float | None = None
    reference_rock: bool = False
    rupture_file: str | None = None

    def __post_init__(self) -> None:
        """Check the Vs30; raise `UsageError` for one that is out of range."""
        lowest, highest = VS30_RANGE
        if self.vs30_m_s is not None and not lowest <= self.vs30_m_s <= highest:
            raise UsageError(f"vs30 {self.vs30_m_s}: expected a number from {lowest} to {highest} m/s")

    def vs30(self, of_places: np.ndarray) -> np.ndarray:
        """Return Vs30 of places, m/s: as known here, else as given.

        Parameters
        ----------
        of_places : ndarray, [...]
            Vs30 of the places from the run, m/s; NaN where unknown.

        Returns
        -------
        ndarray, [...]
        """
        value = self.vs30_of_all
        return of_places if value is None else np.full(of_places.shape, value)

    @property
    def vs30_of_all(self) -> float | None:
        """Return Vs30 of all places, m/s; None if each has its own."""
        rock = ROCK_VS30_M_S if self.reference_rock else None
        return rock if self.vs30_m_s is None else float(self.vs30_m_s)

    @property
    def attributes(self) -> dict[str, float | int | str]:
        """Return what is known as attributes of a dataset of predictions.

        ``reference_rock`` is 0 or 1; ``vs30_m_s``, the Vs30 of all places, and ``rupture_file`` are there
        only where they are given.
        """
        given = {"vs30_m_s": self.vs30_of_all, "rupture_file": self.rupture_file if self.ruptures else None}
        given = {name: value for name, value in given.items() if value is not None}
        return {"reference_rock": int(self.reference_rock)} | given


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """Inputs of a prediction that are the same for every event.

    Attributes
    ----------
    places : Places
        Places for which ln IM is predicted.
    window : Window
        Part of the input maps that the networks need for these places.
    site_ids : ndarray of str or None
        Ids of the sites of places that are stations of the run; None for other places.
    calibration : Calibration or None
        Calibration of sigma; None for uncalibrated predictions.
    nearest_km : ndarray or None
        Distance of each place to the nearest training station, km, for the calibration.
    vs30 : ndarray
        Vs30 of each place, m/s, for the backbone; NaN where unknown.
    known : Known
        What is known of ruptures and of the ground.
    """

    places: Places
    window: Window
    site_ids: np.ndarray | None
    calibration: Calibration | None
    nearest_km: np.ndarray | None
    vs30: np.ndarray
    known: Known


# ---- the backbone ----------------------------------------------------------------------------------------


def backbone_moments(
    tables: MedianTables, events: pd.DataFrame, r_hyp_km, vs30, r_rup_km: Mapping[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return median, variance and variance of classes of ln IM of the backbone for earthquakes at places.

    Parameters
    ----------
    tables : MedianTables
        Backbone of a chunk.
    events : pandas.DataFrame, [event, ...]
        ``magnitude`` and ``depth_km``; optionally ``tectonic_class``, missing where unknown.
    r_hyp_km : ndarray, [event, ...]
        Hypocentral distances, km; below 1 km they count as 1 km.
    vs30 : ndarray, [...]
        Vs30, m/s; NaN where unknown.
    r_rup_km : dict of int to ndarray, [...]
        Distances to the rupture, km, by number of the event, where the rupture is known.

    Returns
    -------
    median, variance, class_variance : ndarray, [event, ...]
        Ln units; squared ln units; see `MedianTables.at`.
    """
    known = np.where(np.isnan(vs30), tables.vs30_m_s, vs30).reshape(1, -1)
    magnitude, depth_km = (events[name].to_numpy(float) for name in ("magnitude", "depth_km"))
    classes = tectonics.class_weights(depth_km, events.get("tectonic_class"))
    earthquakes = np.column_stack([magnitude, depth_km, tectonics.shared(classes, tables.classes)])
    moments = [np.empty(r_hyp_km.shape) for _ in range(3)]
    r_rup_km = {} if tables.hypocentral else r_rup_km
    unknown = [number for number in range(len(events)) if number not in r_rup_km]
    groups = [({"ln_r_hyp": r_hyp_km[unknown]}, unknown)] if unknown else []
    groups += [({"ln_r_rup": distance[np.newaxis]}, [number]) for number, distance in r_rup_km.items()]
    for distances, rows in groups:
        ln_r = {name: np.log(np.maximum(km, 1.0)).reshape(len(rows), -1) for name, km in distances.items()}
        own = earthquakes[rows]
        at_rows = tables.at(Earthquakes(own[:, 0], own[:, 1], own[:, 2:]), known, **ln_r)
        for moment, values in zip(moments, at_rows, strict=True):
            moment[rows] = values.reshape(len(rows), *vs30.shape)
    return tuple(moments)


def shrunken(of_ensemble: tuple, network_mean, support, shrinkage: Shrinkage, xp=np) -> tuple:
    r"""Return moments of an ensemble whose networks are shrunken towards the backbone, by support.

    .. math:: \mu' = \mu - (w_1 - w) \bar u, \quad
        \sigma_{epi}'^2 = \sigma_{epi}^2 + \frac{n_0}{n + n_0} \max(\sigma_u^2 - \sigma_{epi}^2, 0)

    with the share w of the networks (`tfgmm.stats.support.Shrinkage.share`), which is :math:`w_1` at full
    support. The variance does not fall while the support n falls.

    Parameters
    ----------
    of_ensemble : tuple of array or tensor
        Mean, aleatory and epistemic variance of b + w_1 u, as returned by `tfgmm.stats.mixture.moments`.
    network_mean : array or tensor
        Mean over the members of the means of the networks, u, ln units.
    support : array or tensor
        Effective number n of training records.
    shrinkage : Shrinkage
        n_0 and the prior variance of u.
    xp : module
        `numpy`, or ``tf.math`` for tensors.

    Returns
    -------
    mean, aleatory, epistemic : array or tensor
    """
    mean, aleatory, epistemic = of_ensemble
    withheld = (shrinkage.full_share - shrinkage.share(support)) * network_mean
    more = xp.maximum(shrinkage.variance_u - epistemic, 0.0)
    return mean - withheld, aleatory, epistemic + shrinkage.unsupported(support) * more


# ---- the ensemble --------------------------------------------------------------------------------------


def distribution(
    of_ensemble: tuple,
    *,
    event_variance: float | None = None,
    calibration: Calibration | None = None,
    nearest_km=None,
    backbone_variance=0.0,
    xp=np,
) -> dict:
    """Return mean and standard deviations of ln IM of an ensemble, by name.

    Parameters
    ----------
    of_ensemble : tuple of array or tensor
        Mean (ln units), aleatory and epistemic variance (squared ln units), as returned by
        `tfgmm.stats.mixture.moments`.
    event_variance : float, optional
        Variance of the event term of the field, squared ln units, which splits the variance into
        between-event and within-event parts.
    calibration : Calibration, optional
        Calibration of the aleatory and epistemic variance.
    nearest_km : array or tensor, optional
        Distance to the nearest training station, km, for the calibration.
    backbone_variance : array or tensor, optional
        Variance of the median of the backbone, squared ln units, a part of the epistemic variance.
    xp : module
        `numpy`, or ``tf.math`` for tensors.

    Returns
    -------
    dict of str to array or tensor
        ``mean`` and standard deviations, ln units: ``stddev`` (total) and its parts ``aleatory`` and
        ``epistemic``; with `event_variance` also ``between_event`` and ``within_event``, another way to
        split the total.
    """
    mean, aleatory, epistemic = of_ensemble
    if calibration is not None:
        aleatory, epistemic = calibration.variance(nearest_km, aleatory, epistemic, xp)
    epistemic = epistemic + backbone_variance
    total = aleatory + epistemic
    parts = {
        "mean": mean,
        "stddev": xp.sqrt(total),
        "aleatory": xp.sqrt(aleatory),
        "epistemic": xp.sqrt(epistemic),
    }
    if event_variance is not None:
        parts["between_event"] = xp.sqrt(total * 0.0 + event_variance)
        parts["within_event"] = xp.sqrt(total - event_variance)
    return parts


class MemberMoments(NamedTuple):
    """Moments of ln IM from one member, as arrays or tensors of one shape.

    Attributes
    ----------
    network : array or tensor
        Mean u of the network, ln units.
    stddev : array or tensor
        Standard deviation of the network, ln units.
    backbone : tuple of array or tensor, or None
        Median and variance of the backbone, and variance of its classes (`MedianTables.at`); None for a
        member without one.
    field : FieldMoments or None
        Field given the same records as the backbone; None without field.
    """

    network: Any
    stddev: Any
    backbone: tuple[Any, Any, Any] | None = None
    field: FieldMoments | None = None


def combined(
    members: Sequence[MemberMoments], support=None, shrinkage: Shrinkage | None = None, xp=np, **parts
) -> dict:
    r"""Return mean and standard deviations of ln IM of an ensemble, by name, from those of its members.

    The mean of the field is added to that of the ensemble, and its variance to the aleatory variance. Both
    are means over the members: how the fields of chunks differ is no epistemic variance, for each field
    states its own.

    Parameters
    ----------
    members : sequence of MemberMoments
        The members.
    support : array or tensor, optional
        Effective number of training records like the predictions.
    shrinkage : Shrinkage, optional
        How far networks are shrunken towards the backbone; not by default.
    xp : module
        `numpy`, or ``tf.math`` for tensors.
    **parts
        ``calibration, nearest_km`` of `distribution`.

    Returns
    -------
    dict of str to array or tensor
        As returned by `distribution`; and ``support``, if it is given.
    """
    on_backbone = [member for member in members if member.backbone is not None]
    share = 1.0 if shrinkage is None else shrinkage.full_share
    means = [m.network if m.backbone is None else share * m.network + m.backbone[0] for m in members]
    of_ensemble = moments(means, [member.stddev**2 for member in members])
    if support is not None and shrinkage is not None:
        network_mean = sum(member.network for member in on_backbone) / len(members)
        of_ensemble = shrunken(of_ensemble, network_mean, support, shrinkage, xp)
    variance = sum(member.backbone[1] for member in on_backbone) / len(members)
    if support is not None and shrinkage is not None:
        of_classes = sum(member.backbone[2] for member in on_backbone) / len(members)
        variance = variance + shrinkage.unsupported(support) * of_classes
    fields = [member.field for member in members if member.field is not None]
    if fields:
        field = FieldMoments(*(sum(values) / len(members) for values in zip(*fields, strict=True)))
        mean, aleatory, epistemic = of_ensemble
        of_ensemble = mean + field.mean, aleatory + field.variance, epistemic
        parts["event_variance"] = field.event_variance
    predicted = distribution(of_ensemble, backbone_variance=variance, xp=xp, **parts)
    return predicted if support is None else predicted | {"support": support}
