"""Event and site terms around what the networks predict: estimated from residuals, added to predictions."""

import dataclasses
import json
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from tfgmm import files, mixed_effects, site_kriging
from tfgmm.errors import DataError
from tfgmm.mixture import combine_table
from tfgmm.pipeline import splits

VARIANCES, TERMS = "random_effects.json", "random_effects.parquet"
#: Names of the effects.
SITE, EVENT = "site", "event"
_MEMBER = ["chunk", "init"]
_PARTS = ("tau", "phi_s2s", "error")
#: What of a known site tells of others: its place and its weight, and the range of the field.
_FIELD = ["x_km", "y_km", "weight", "range_km"]


@dataclasses.dataclass(frozen=True)
class RandomEffects:
    r"""The random part of a mixed-effects ground-motion model, for one intensity measure.

    .. math:: \ln IM_{es} = f_{es} + \delta S2S_s + \delta B_e + \delta WS_{es}, \quad
        \delta B_e \sim N(0, \tau^2), \;
        \delta S2S_s \sim N(0, \phi_{S2S}^2), \;
        \delta WS_{es} \sim N(0, \phi_{SS,es}^2 + \phi_f^2)

    in the notation of Al Atik et al. (2010). A network gives :math:`f` and the heteroscedastic
    :math:`\phi_{SS}` of the records that it has seen; :math:`\phi_f` is what f errs by for others. What of
    the site terms is alike at near sites is a field, which is kriged to places without records.

    Attributes
    ----------
    tau, phi_s2s : float
        Standard deviations of event and site terms, ln units; phi_s2s that of a place without records,
        about the field.
    error : float
        :math:`\phi_f`, ln units.
    terms : pandas.DataFrame
        ``chunk, init, effect, id, term, stddev``: mean and standard deviation of :math:`\delta S2S_s`
        (effect ``site``) for another event and of :math:`\delta B_e` (effect ``event``) for another site,
        around the f of each member, for the sites and events that it trained on. Of sites also ``x_km,
        y_km, weight, range_km``, what `site_kriging.field_at` makes the field of.
    """

    tau: float
    phi_s2s: float
    error: float
    terms: pd.DataFrame

    @classmethod
    def fit(cls, predictions: pd.DataFrame, reference: str) -> Self:
        """Estimate variances where no network has learned, and terms where it has.

        By restricted maximum likelihood with an intercept a chunk, reference records only, members of a
        chunk averaged: phi_s2s from stopping sites; tau, phi_f and what site terms do not hold of other
        events from stopping events at training sites. Terms are best linear unbiased predictions from the
        records that trained, of all networks; the field is kriged from the sites' means (`site_kriging`).

        Parameters
        ----------
        predictions : pandas.DataFrame
            One row a record and member: ``event_id, station_id, site_id, network, x_km, y_km, ln_im, mean,
            stddev, event_role, site_role, chunk, init``, with f and phi_ss as mean and stddev.
        reference : str
            The reference network.

        Raises
        ------
        DataError
            There is no stopping record, or fewer than two stopping events or sites.

        References
        ----------
        Al Atik, Abrahamson, Bommer, Scherbaum, Cotton & Kuehn (2010), Seismol. Res. Lett. 81(5), 794-801.
        """
        unseen = predictions[
            predictions["network"].eq(reference) & predictions["event_role"].ne("validation")
        ]
        of_events = unseen[unseen["event_role"].eq("stopping") & unseen["site_role"].eq("training")]
        of_sites = unseen[unseen["site_role"].eq("stopping")]
        if of_events.empty or of_sites.empty:
            raise DataError(
                f"no stopping record of network {reference} to estimate random effects from: bring more "
                "records, or train with --random-effects none"
            )
        by_chunk = _of_chunks(of_events)
        events, sites = _reml(by_chunk), _reml(_of_chunks(of_sites))
        trained = splits.training_records(predictions).groupby(_MEMBER, observed=True)
        terms = pd.concat(
            [
                _terms(rows, events.tau, sites.phi_s2s, events.phi_ss).assign(chunk=chunk, init=init)
                for (chunk, init), rows in trained
            ],
            ignore_index=True,
        )
        rest = _reml(_of_chunks(cls(events.tau, sites.phi_s2s, 0.0, terms).apply(of_events)))
        of_site = terms["effect"].eq(SITE)
        terms.loc[of_site, "stddev"] = np.hypot(terms.loc[of_site, "stddev"], rest.phi_s2s)
        kriged = cls(events.tau, sites.phi_s2s, 0.0, terms).apply(of_sites)
        about_field = _reml(_of_chunks(kriged.assign(mean=kriged["mean"] - kriged["event_term"])))
        error = rest.phi_ss**2 - (by_chunk["stddev"] ** 2).mean()
        return cls(rest.tau, about_field.phi_s2s, float(np.sqrt(max(error, 0.0))), terms)

    def event_terms(self, chunk: int, init: int, ids) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of event terms, [n], for a member: 0 and tau where it knows none."""
        known = self._known(EVENT, chunk, init).set_index("id").reindex(np.asarray(ids, str))
        return known["term"].fillna(0.0).to_numpy(), known["stddev"].fillna(self.tau).to_numpy()

    def site_terms(self, chunk: int, init: int, ids, xy_km) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of site terms for a member: of the field where it knows no site.

        Parameters
        ----------
        chunk, init : int
            The member.
        ids : array_like of str, [n]
        xy_km : array_like, [n, 2]
            Where the sites are.
        """
        known = self._known(SITE, chunk, init).set_index("id").reindex(np.asarray(ids, str))
        term, stddev = known["term"].to_numpy(float).copy(), known["stddev"].fillna(self.phi_s2s).to_numpy()
        new = np.isnan(term)
        term[new] = self.field(chunk, init, np.asarray(xy_km, float)[new])
        return term, stddev

    def field(self, chunk: int, init: int, xy_km) -> np.ndarray:
        """What the sites that a member knows tell of places, [...]: kriged from their terms.

        Parameters
        ----------
        chunk, init : int
            The member.
        xy_km : array_like, [..., 2]
        """
        return site_kriging.field_at(self._known(SITE, chunk, init), xy_km)

    def _known(self, effect: str, chunk: int, init: int) -> pd.DataFrame:
        of_member = self.terms["chunk"].eq(chunk) & self.terms["init"].eq(init)
        return self.terms[of_member & self.terms["effect"].eq(effect)]

    def mean_terms(self, effect: str) -> pd.DataFrame:
        """``term`` and ``stddev`` by id: means over the members that know it."""
        chosen = self.terms[self.terms["effect"] == effect]
        return chosen.groupby("id")[["term", "stddev"]].mean()

    def variance(self, stddev, site_stddev, event_stddev=None):
        """Total variance, from a network's phi_ss and the standard deviations of site and event term.

        By plain arithmetic, for numpy arrays and tensors alike; without `event_stddev` that of another
        event than those that trained.
        """
        event_stddev = self.tau if event_stddev is None else event_stddev
        return stddev**2 + self.error**2 + event_stddev**2 + site_stddev**2

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        r"""Predictions of f and phi_ss, of any members -> those of the mixed-effects model.

        Parameters
        ----------
        predictions : pandas.DataFrame
            As for `fit`; of unknown sites the terms are those of the field.

        Returns
        -------
        pandas.DataFrame
            ``mean`` with the terms of known sites and events, total ``stddev``, and the parts: ``tau``,
            ``phi_s2s`` and ``phi_ss`` (:math:`\phi_f` in it), what is unknown of an unknown event, site
            and record; ``event_term``, ``event_stddev``, ``site_term``, ``site_stddev``, ``within_term``
            and ``within_stddev``, what is known of it, and what is unknown then. Of single records
            nothing is known here: that is left to `tfgmm.within_event.conditioned`.
        """
        terms = np.zeros((4, len(predictions)))
        for (chunk, init), rows in predictions.groupby(_MEMBER, observed=True).indices.items():
            of_member = predictions.iloc[rows]
            places = of_member[["x_km", "y_km"]].to_numpy()
            terms[:2, rows] = self.site_terms(chunk, init, of_member["site_id"], places)
            terms[2:, rows] = self.event_terms(chunk, init, of_member["event_id"])
        of_site, site_stddev, of_event, event_stddev = terms
        phi_ss = np.hypot(predictions["stddev"], self.error)
        parts = {
            "mean": predictions["mean"] + of_site + of_event,
            "stddev": np.sqrt(self.variance(predictions["stddev"], site_stddev, event_stddev)),
            "tau": self.tau,
            "phi_s2s": self.phi_s2s,
            "phi_ss": phi_ss,
            "site_term": of_site,
            "site_stddev": site_stddev,
            "event_term": of_event,
            "event_stddev": event_stddev,
            "within_term": 0.0,
            "within_stddev": phi_ss,
        }
        return predictions.assign(**parts).astype(dict.fromkeys(parts, "float32"))


def _of_chunks(table: pd.DataFrame) -> pd.DataFrame:
    """Members of a chunk averaged."""
    ordered = table.sort_values(["chunk", "event_id", "station_id"])
    return combine_table(ordered, table["init"].nunique())


def _reml(rows: pd.DataFrame) -> mixed_effects.CrossedEffects:
    """Variances; what the members of a chunk are off by is no term of a site or an event."""
    offsets = pd.get_dummies(rows["chunk"].astype(str)).astype(float)
    return mixed_effects.fit(offsets, rows["ln_im"] - rows["mean"], rows["event_id"], rows["site_id"])


def _terms(rows: pd.DataFrame, tau: float, phi_s2s: float, phi_ss: float) -> pd.DataFrame:
    """Of the sites and events of a member's training records."""
    residual, one = rows["ln_im"] - rows["mean"], np.ones((len(rows), 1))
    equations = mixed_effects.MixedModelEquations(one, residual, rows["event_id"], rows["site_id"])
    found = equations.solve(tau, phi_s2s, phi_ss)
    # What f is off by for these events in the mean is part of their terms, and of no other event's.
    of_event = found.coefficients[0] + found.event_terms
    kriged = site_kriging.fit(rows, residual - rows["event_id"].map(of_event).to_numpy(), phi_ss)
    of_effect = {
        SITE: {"term": found.site_terms, "stddev": found.site_terms_stddev} | kriged.field(),
        EVENT: {"term": of_event, "stddev": found.event_terms_stddev},
    }
    tables = [
        pd.DataFrame(columns).rename_axis("id").reset_index().assign(effect=effect)
        for effect, columns in of_effect.items()
    ]
    return pd.concat(tables)


def write(effects: dict[str, RandomEffects], folder: Path) -> None:
    """Write `VARIANCES` and `TERMS` into the folder of a run.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    variances = {im: {name: getattr(one, name) for name in _PARTS} for im, one in effects.items()}
    terms = pd.concat([one.terms.assign(im=im) for im, one in effects.items()], ignore_index=True)
    with files.whole_file(folder / TERMS) as temporary:
        terms.to_parquet(temporary, index=False)
    with files.whole_file(folder / VARIANCES) as temporary:
        temporary.write_text(json.dumps(variances, indent=1) + "\n")


def read(folder: Path) -> dict[str, RandomEffects]:
    """Read what `write` has written, by intensity measure.

    Raises
    ------
    DataError
        A file is missing or damaged.
    """
    try:
        variances = json.loads((folder / VARIANCES).read_text())
        terms = pd.read_parquet(folder / TERMS)
        return {
            im: RandomEffects(
                *(float(parts[name]) for name in _PARTS),
                terms.loc[terms["im"] == im, [*_MEMBER, "effect", "id", "term", "stddev", *_FIELD]],
            )
            for im, parts in variances.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder / VARIANCES} or {TERMS} is missing or damaged ({error}): give the tfgmm train "
            "command of the run again, which writes them anew"
        ) from error
