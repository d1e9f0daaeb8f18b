"""Event, site and path terms around what the networks predict: estimated, and added to predictions."""

import dataclasses
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.data.roles import training_records
from tfgmm.stats import mixed_effects, site_kriging
from tfgmm.stats.mixture import combine_chunks
from tfgmm.stats.path_terms import Covariance, PathTerms

VARIANCES, TERMS = "random_effects.json", "random_effects.parquet"
PATHS, CLASSES = "path_terms.npz", "path_covariance.parquet"
FILES = (VARIANCES, TERMS, PATHS, CLASSES)
#: Of a site, to tell how far sites differ: the mean of fewer is mostly chance, or a site far from all.
MIN_RECORDS = 10
#: Names of the effects.
SITE, EVENT = "site", "event"
_MEMBER = ["chunk", "init"]
_PARTS = ("tau", "phi_s2s", "phi_field", "phi_p2p", "phi_place", "error")
_RECORD = ["chunk", "event_id", "station_id"]
_PATHS = ("source_km", "site_km", "stations", "members", "weights")
#: What of a known site tells of others: its place and its weight, and the range of the field.
_FIELD = ["x_km", "y_km", "weight", "range_km"]


@dataclasses.dataclass(frozen=True)
class RandomEffects:
    r"""The random part of a mixed-effects ground-motion model, for one intensity measure.

    .. math:: \ln IM_{es} = f_{es} + \delta S2S_s + \delta L2L_e + \delta P2P_{es} + \delta B_e
        + \delta WS_{es}, \quad
        \delta B_e \sim N(0, \tau^2), \;
        \delta S2S_s \sim N(0, \phi_{S2S}^2), \;
        \delta WS_{es} \sim N(0, \phi_{SS,es}^2 + \phi_f^2)

    in the notation of Al Atik et al. (2010). A network gives :math:`f` and the heteroscedastic
    :math:`\phi_{SS}` of the records that it has seen; :math:`\phi_f` is what f errs by for others. What of
    the site terms is alike at near sites is a field, which is kriged to places without records. Source
    and path terms are kriged from the records of near sources for events that did not train.

    Attributes
    ----------
    tau, phi_s2s : float
        Standard deviations of event and site terms, ln units; phi_s2s that of a place without records,
        about the field.
    phi_field : float
        What the field tells of a place without records, ln units.
    phi_p2p, phi_place : float
        What source and path terms tell of another event at known stations, ln units, and how much of it
        they do not tell at other places.
    error : float
        :math:`\phi_f`, ln units.
    terms : pandas.DataFrame
        ``chunk, init, effect, id, term, stddev``: mean and standard deviation of :math:`\delta S2S_s`
        (effect ``site``) for another event and of :math:`\delta B_e` (effect ``event``) for another site,
        around the f of each member, for the sites and events that it trained on. Of sites also ``x_km,
        y_km, weight, range_km``, what `site_kriging.field_at` makes the field of.
    paths : PathTerms
        Source and path terms around the f of each member.
    """

    tau: float
    phi_s2s: float
    phi_field: float
    phi_p2p: float
    phi_place: float
    error: float
    terms: pd.DataFrame
    paths: PathTerms

    @classmethod
    def fit(cls, predictions: pd.DataFrame, reference: str) -> Self:
        """Estimate variances from records that a member has not seen, and its terms from those that it has.

        By restricted maximum likelihood with an intercept a chunk, reference records only, members of a
        chunk averaged: phi_s2s from stopping sites with ten records or more, as is usual, where the mean
        square of the field gives phi_field; tau, phi_f and what site terms do not hold of other events
        from stopping events at training sites, where the mean square of source and path terms gives
        phi_p2p; less that at stopping sites, phi_place. Terms are best linear unbiased predictions from
        the records that trained, of all networks; the field is kriged from the sites' means
        (`site_kriging`), source and path terms from the residuals (`path_terms`).

        Validation events have no part in any of it. The validation sites of one chunk train or stop in
        the others: the variances, and the covariance of `path_terms`, which are the same for all, have
        seen them.

        Parameters
        ----------
        predictions : pandas.DataFrame
            One row a record and member: ``event_id, event_x_km, event_y_km, depth_km, station_id,
            site_id, network, x_km, y_km, ln_im, mean, stddev, event_role, site_role, chunk, init``, with f
            and phi_ss as mean and stddev.
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
        of_sites = _well_recorded(unseen[unseen["site_role"].eq("stopping")])
        if of_events.empty or of_sites.empty:
            raise DataError(
                f"no stopping record of network {reference} to estimate random effects from: bring more "
                "records, or train with --random-effects none"
            )
        by_chunk = combine_chunks(of_events)
        events, sites = _reml(by_chunk), _reml(combine_chunks(of_sites))
        trained = training_records(predictions)
        terms = pd.concat(
            [
                _terms(rows, events.tau, sites.phi_s2s, events.phi_ss).assign(chunk=chunk, init=init)
                for (chunk, init), rows in trained.groupby(_MEMBER, observed=True)
            ],
            ignore_index=True,
        )
        of_site = terms["effect"].eq(SITE)
        left = trained["ln_im"] - trained["mean"] - _term_of(trained, terms[of_site])
        paths = PathTerms.fit(trained, left)
        known, elsewhere = (
            _told(paths, rows) for rows in (of_events, of_sites[of_sites["event_role"].eq("stopping")])
        )
        first = cls(
            tau=events.tau,
            phi_s2s=sites.phi_s2s,
            phi_field=0.0,
            phi_p2p=float(np.sqrt(known)),
            phi_place=float(np.sqrt(max(known - elsewhere, 0.0))),
            error=0.0,
            terms=terms,
            paths=paths,
        )
        rest = _reml(combine_chunks(first.apply(of_events)))
        kriged = combine_chunks(first.apply(of_sites))
        about_field = _reml(kriged.assign(mean=kriged["mean"] - kriged["event_term"]))
        field = kriged.drop_duplicates(["chunk", "site_id"])["site_term"]
        # Of a known site also what its term does not hold of other events.
        stddev = np.hypot(terms["stddev"], rest.phi_s2s * of_site)
        return dataclasses.replace(
            first,
            tau=rest.tau,
            phi_s2s=about_field.phi_s2s,
            phi_field=float(np.sqrt((field**2).mean())),
            error=float(np.sqrt(max(rest.phi_ss**2 - (by_chunk["stddev"] ** 2).mean(), 0.0))),
            terms=terms.assign(stddev=stddev),
        )

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

    def path_stddev(self, chunk: int, init: int, ids) -> np.ndarray:
        """What it does not know of another event's path terms, [n]: phi_place at unknown sites, or 0."""
        known = np.isin(np.asarray(ids, str), self._known(SITE, chunk, init)["id"].to_numpy(str))
        return np.where(known, 0.0, self.phi_place)

    def terms_at(self, chunk: int, init: int, ids, xy_km) -> tuple[np.ndarray, np.ndarray]:
        """`site_terms` with `path_stddev` in the standard deviation: what another event lacks of a site."""
        term, stddev = self.site_terms(chunk, init, ids, xy_km)
        return term, np.hypot(stddev, self.path_stddev(chunk, init, ids))

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
        """Total variance, from a network's phi_ss, and what is unknown of site (with path) and event.

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
            ``mean`` with all terms, total ``stddev``, and the parts: ``tau``, ``phi_s2s``, ``phi_p2p`` and
            ``phi_ss`` (:math:`\phi_f` in it), what is unknown of an unknown event, site, path and record,
            and ``phi_field``, what the field tells;
            ``event_term``, ``event_stddev`` and so on for ``site``, ``path`` and ``within``: what is known
            of it, and what is unknown then. The path term holds the source term. Events that trained have
            none: of their single records nothing is known here, that is left to
            `tfgmm.stats.within_event.conditioned`.
        """
        terms = np.zeros((6, len(predictions)))
        for (chunk, init), rows in predictions.groupby(_MEMBER, observed=True).indices.items():
            of_member = predictions.iloc[rows]
            sites = of_member["site_id"]
            terms[:2, rows] = self.site_terms(chunk, init, sites, of_member[["x_km", "y_km"]].to_numpy())
            terms[2:4, rows] = self.event_terms(chunk, init, of_member["event_id"])
            new = ~of_member["event_id"].isin(self._known(EVENT, chunk, init)["id"]).to_numpy()
            terms[4, rows[new]] = np.add(*self.paths.of_records(of_member[new]))
            terms[5, rows] = np.where(new, self.path_stddev(chunk, init, sites), self.phi_p2p)
        of_site, site_stddev, of_event, event_stddev, of_path, path_stddev = terms
        of_place = np.hypot(site_stddev, path_stddev)
        phi_ss = np.hypot(predictions["stddev"], self.error)
        parts = {
            "mean": predictions["mean"] + of_site + of_event + of_path,
            "stddev": np.sqrt(self.variance(predictions["stddev"], of_place, event_stddev)),
            "tau": self.tau,
            "phi_s2s": self.phi_s2s,
            "phi_field": self.phi_field,
            "phi_p2p": self.phi_p2p,
            "phi_ss": phi_ss,
            "site_term": of_site,
            "site_stddev": site_stddev,
            "event_term": of_event,
            "event_stddev": event_stddev,
            "path_term": of_path,
            "path_stddev": path_stddev,
            "within_term": 0.0,
            "within_stddev": phi_ss,
        }
        return predictions.assign(**parts).astype(dict.fromkeys(parts, "float32"))


def _well_recorded(rows: pd.DataFrame) -> pd.DataFrame:
    """Records of the sites that have `MIN_RECORDS`, or all if fewer than two sites have."""
    count = rows.groupby([*_MEMBER, "site_id"], observed=True)["site_id"].transform("size")
    found = rows[count >= MIN_RECORDS]
    return found if found["site_id"].nunique() > 1 else rows


def _told(paths: PathTerms, rows: pd.DataFrame) -> float:
    """Mean square of source and path terms of records, members of a chunk averaged."""
    term = np.add(*paths.of_records(rows))
    of_record = rows[_RECORD].assign(term=term).groupby(_RECORD, observed=True)["term"].mean()
    return float((of_record.astype(float) ** 2).mean()) if len(rows) else 0.0


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


def _term_of(rows: pd.DataFrame, terms: pd.DataFrame) -> np.ndarray:
    """The site terms of records that trained, [n]."""
    of_record = rows[[*_MEMBER, "site_id"]].astype({"site_id": str})
    return of_record.merge(terms, left_on=[*_MEMBER, "site_id"], right_on=[*_MEMBER, "id"], how="left")[
        "term"
    ].to_numpy()


def write(effects: dict[str, RandomEffects], folder: Path) -> None:
    """Write `VARIANCES`, `TERMS`, `PATHS` and `CLASSES` into the folder of a run.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    variances = {
        im: {name: getattr(one, name) for name in _PARTS}
        | {"covariance": dataclasses.asdict(one.paths.covariance)}
        for im, one in effects.items()
    }
    tables = {
        TERMS: [one.terms.assign(im=im) for im, one in effects.items()],
        CLASSES: [one.paths.classes.assign(im=im) for im, one in effects.items()],
    }
    paths = {f"{im} {name}": getattr(one.paths, name) for im, one in effects.items() for name in _PATHS}
    for name, parts in tables.items():
        with files.whole_file(folder / name) as temporary:
            files.write_parquet(pd.concat(parts, ignore_index=True), temporary)
    with files.whole_file(folder / PATHS) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **paths)
    with files.whole_file(folder / VARIANCES) as temporary:
        files.write_json(temporary, variances)


def read(folder: Path) -> dict[str, RandomEffects]:
    """Read what `write` has written, by intensity measure.

    Raises
    ------
    DataError
        A file is missing or damaged.
    """
    try:
        variances = files.read_json(folder / VARIANCES)
        terms, classes = (files.read_parquet(folder / name) for name in (TERMS, CLASSES))
        paths = np.load(folder / PATHS)
        return {
            im: RandomEffects(
                **{name: float(parts[name]) for name in _PARTS},
                terms=terms.loc[terms["im"] == im, [*_MEMBER, "effect", "id", "term", "stddev", *_FIELD]],
                paths=PathTerms(
                    Covariance(**parts["covariance"]),
                    classes[classes["im"] == im].drop(columns="im"),
                    *(paths[f"{im} {name}"] for name in _PATHS),
                ),
            )
            for im, parts in variances.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{folder / VARIANCES}, {TERMS}, {PATHS} or {CLASSES} is missing or damaged ({error}): give "
            "the tfgmm train command of the run again, which writes them anew"
        ) from error
