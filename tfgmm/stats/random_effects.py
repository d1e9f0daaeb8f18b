"""Event, site and path terms around the predictions of the networks: estimated, and added to them.

A member is one trained network, identified by the chunk of held-out sites and the initialisation of its
weights (chunk, init). Training sites and events have trained the member; stopping sites and events
decide when its training ends; validation sites and events are held out.
"""

import dataclasses
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.data.schemas import MEMBER, RECORD, SITE_XY, training_records
from tfgmm.stats import kriging, mixed_effects
from tfgmm.stats.mixture import combine_chunks, rows_of_members
from tfgmm.stats.path_terms import Covariance, PathTerms

#: Values of the column ``effect`` in the table of terms.
SITE, EVENT = "site", "event"
#: Smallest number of records of a site that is used for phi_S2S: the mean of fewer records is mostly noise.
MIN_RECORDS = 10


def unseen_records(predictions: pd.DataFrame, reference: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the records of stopping events at training sites, and the records at stopping sites.

    Neither the former events nor the latter sites have trained the member. Only records of the reference
    network count. Stopping sites with fewer than `MIN_RECORDS` records are dropped, unless fewer than two
    sites would remain.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Predictions, a row per record and member, see `RandomEffects.fit`.
    reference : str
        Name of the reference network, the recording network whose records are scored.

    Returns
    -------
    of_events : pandas.DataFrame
        Rows of `predictions`: records of stopping events at training sites.
    of_sites : pandas.DataFrame
        Rows of `predictions`: records of training events and of stopping events at stopping sites.

    Raises
    ------
    DataError
        One of the two tables would be empty.
    """
    unseen = predictions[predictions["network"].eq(reference) & predictions["event_role"].ne("validation")]
    of_events = unseen[unseen["event_role"].eq("stopping") & unseen["site_role"].eq("training")]
    of_sites = unseen[unseen["site_role"].eq("stopping")]
    count = of_sites.groupby([*MEMBER, "site_id"], observed=True)["site_id"].transform("size")
    well_recorded = of_sites[count >= MIN_RECORDS]
    if well_recorded["site_id"].nunique() > 1:
        of_sites = well_recorded
    if of_events.empty or of_sites.empty:
        raise DataError(
            f"no stopping record of network {reference} to estimate random effects from: bring more "
            "records, or train with --random-effects none"
        )
    return of_events, of_sites


def mean_square_of_paths(paths: PathTerms, rows: pd.DataFrame) -> float:
    r"""Return the mean square of the kriged source plus path terms of records, in squared ln units.

    The terms are first averaged over the members of a chunk.

    .. math:: \overline{(\delta L2L_e + \delta P2P_{es})^2}

    Parameters
    ----------
    paths : PathTerms
        Source and path terms of all members.
    rows : pandas.DataFrame
        A row per record and member, of events without training records; columns as for
        `PathTerms.of_records`.

    Returns
    -------
    float
        Mean square, squared ln units; 0 if `rows` is empty.
    """
    term = np.add(*paths.of_records(rows))
    keys = ["chunk", *RECORD]
    by_record = rows[keys].assign(term=term).groupby(keys, observed=True)["term"].mean()
    return float((by_record.astype(float) ** 2).mean()) if len(rows) else 0.0


def split_residuals(rows: pd.DataFrame) -> mixed_effects.CrossedEffects:
    r"""Split residuals into event, site and remaining terms by REML, with a constant offset for each chunk.

    .. math:: \ln IM_{ces} - \mu_{ces} = b_c + \delta B_e + \delta S2S_s + \delta WS_{es}

    for chunk c, event e and site s, with the predicted mean :math:`\mu`.

    Parameters
    ----------
    rows : pandas.DataFrame
        A row per record and chunk: ``chunk``, ``event_id``, ``site_id``, and the observed ``ln_im`` and the
        predicted ``mean``, ln units.

    Returns
    -------
    mixed_effects.CrossedEffects
        Offsets :math:`b_c` as coefficients, standard deviations tau, phi_S2S and phi_SS, and the terms, ln
        units.

    Raises
    ------
    DataError
        A value is missing, or there are fewer than two events or sites.
    """
    offsets = pd.get_dummies(rows["chunk"].astype(str)).astype(float)
    return mixed_effects.fit(offsets, rows["ln_im"] - rows["mean"], rows["event_id"], rows["site_id"])


def terms_of_members(trained: pd.DataFrame, tau: float, phi_s2s: float, phi_ss: float) -> pd.DataFrame:
    """Return the site and event terms of every member, estimated from the training records of the member.

    The terms are best linear unbiased predictions. For the spatially correlated part of the site terms, the
    table holds the kriging weights of the sites, see `kriging.field_at`.

    Parameters
    ----------
    trained : pandas.DataFrame
        Training records, a row per record and member: ``chunk, init, event_id, site_id, x_km, y_km, ln_im,
        mean``.
    tau, phi_s2s, phi_ss : float
        Standard deviations of event terms, of site terms and of the remaining part of a record, ln units.

    Returns
    -------
    pandas.DataFrame
        A row per member and training site or event: ``chunk``, ``init``, ``effect`` (``site`` or
        ``event``), ``id``, and ``term`` and its posterior ``stddev``, ln units. For sites also ``x_km,
        y_km`` (km), ``weight`` (ln units) and ``range_km``.
    """
    tables = [
        _terms_of_member(trained.iloc[rows], tau, phi_s2s, phi_ss).assign(chunk=chunk, init=init)
        for (chunk, init), rows in sorted(rows_of_members(trained).items())
    ]
    return pd.concat(tables, ignore_index=True)


def _terms_of_member(rows: pd.DataFrame, tau: float, phi_s2s: float, phi_ss: float) -> pd.DataFrame:
    """Return the site and event terms of one member, a row per site or event.

    The standard deviations are given. `rows` are the training records of the member; the columns are
    those of `terms_of_members` without ``chunk`` and ``init``. All standard deviations are in ln units.
    """
    residual, ones = rows["ln_im"] - rows["mean"], np.ones((len(rows), 1))
    equations = mixed_effects.MixedModelEquations(ones, residual, rows["event_id"], rows["site_id"])
    solution = equations.solve(tau, phi_s2s, phi_ss)
    # The mean residual of these events is part of their terms, and of no other event's.
    event_term = solution.coefficients[0] + solution.event_terms
    kriged = kriging.fit(rows, residual - rows["event_id"].map(event_term).to_numpy(), phi_ss)
    columns_of_effect = {
        SITE: {"term": solution.site_terms, "stddev": solution.site_terms_stddev} | kriged.field(),
        EVENT: {"term": event_term, "stddev": solution.event_terms_stddev},
    }
    tables = [
        pd.DataFrame(columns).rename_axis("id").reset_index().assign(effect=effect)
        for effect, columns in columns_of_effect.items()
    ]
    return pd.concat(tables)


def site_terms_of(rows: pd.DataFrame, terms: pd.DataFrame) -> np.ndarray:
    """Return the site terms of training records, each of the member that predicted the record.

    Parameters
    ----------
    rows : pandas.DataFrame, [n, ...]
        Training records, a row per record and member, with ``chunk``, ``init`` and ``site_id``.
    terms : pandas.DataFrame
        Rows of effect ``site`` of the result of `terms_of_members`.

    Returns
    -------
    ndarray, [n]
        Site terms, ln units; NaN for a site without a term.
    """
    keys = rows[[*MEMBER, "site_id"]].astype({"site_id": str})
    joined = keys.merge(terms, left_on=[*MEMBER, "site_id"], right_on=[*MEMBER, "id"], how="left")
    return joined["term"].to_numpy()


#: Files of a run with random effects, all in its folder.
VARIANCES, TERMS = "random_effects.json", "random_effects.parquet"
PATHS, CLASSES = "path_terms.npz", "path_covariance.parquet"
FILES = (VARIANCES, TERMS, PATHS, CLASSES)
#: Names of the standard deviations of `RandomEffects`, in the order of its attributes.
_STDDEVS = ("tau", "phi_s2s", "phi_field", "phi_p2p", "phi_place", "error")
_PATHS = ("source_km", "site_km", "stations", "members", "weights")
#: Columns of a training site from which the field of site terms is kriged.
_FIELD = [*SITE_XY, "weight", "range_km"]


@dataclasses.dataclass(frozen=True)
class RandomEffects:
    r"""Random part of a mixed-effects ground-motion model, for one intensity measure (ln IM with IM in g).

    .. math:: \ln IM_{es} = f_{es} + \delta S2S_s + \delta L2L_e + \delta P2P_{es} + \delta B_e
        + \delta WS_{es}, \quad
        \delta B_e \sim N(0, \tau^2), \;
        \delta S2S_s \sim N(0, \phi_{S2S}^2), \;
        \delta WS_{es} \sim N(0, \phi_{SS,es}^2 + \phi_f^2)

    in the notation of Al Atik et al. (2010). A network predicts :math:`f` and the heteroscedastic
    :math:`\phi_{SS}` of its training records; :math:`\phi_f` is the additional error of f for other
    records. The part of the site terms that near sites share is called the field, a Gaussian process in
    space; the field is kriged to sites without training records. Source terms :math:`\delta L2L` and path
    terms :math:`\delta P2P` of events that did not train are kriged from the training records of near
    sources.

    Attributes
    ----------
    tau : float
        :math:`\tau`, standard deviation of the event terms, ln units.
    phi_s2s : float
        :math:`\phi_{S2S}` at sites without training records: standard deviation of the site terms about
        the field, ln units.
    phi_field : float
        Root mean square of the kriged field at sites without training records, ln units.
    phi_p2p : float
        Root mean square of the kriged source and path terms of stopping events at training sites, ln units.
    phi_place : float
        Standard deviation of the part of the source and path terms that the kriging does not give at sites
        without training records, ln units.
    error : float
        :math:`\phi_f`, ln units.
    terms : pandas.DataFrame
        A row per member and training site or event: ``chunk, init``, ``effect`` (``site`` or ``event``),
        ``id``, and ``term`` and its standard deviation ``stddev``, ln units: :math:`\delta S2S_s` as it
        applies to another event, and :math:`\delta B_e` as it applies at another site. For sites also
        ``x_km, y_km, weight, range_km``, see `kriging.field_at`.
    paths : PathTerms
        Source and path terms of each member.

    References
    ----------
    Al Atik, Abrahamson, Bommer, Scherbaum, Cotton & Kuehn (2010), Seismol. Res. Lett. 81(5), 794-801.
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
        """Estimate the standard deviations from stopping records, and the terms from training records.

        Standard deviations are estimated by restricted maximum likelihood with an intercept per chunk, from
        the records of the reference network, with the members of a chunk averaged:

        - phi_S2S from the stopping sites with `MIN_RECORDS` records or more, about the
          field; phi_field is the root mean square of the field at these sites;
        - tau, phi_f, and how far site terms differ between events, from stopping events at training sites.
          The mean square of the kriged source and path terms there gives phi_p2p; phi_place is the excess
          of this mean square over the one at stopping sites.

        Terms are best linear unbiased predictions from the training records of all recording networks. The
        field is kriged from the mean residuals of the sites (`site_kriging`), source and path terms from
        the residuals of the records (`path_terms`).

        Validation events are not used. The validation sites of one chunk are training or stopping sites of
        the other chunks: the standard deviations and the covariance of `path_terms`, which are the same for
        all chunks, are not independent of these sites.

        Parameters
        ----------
        predictions : pandas.DataFrame
            A row per record and member: ``chunk, init, event_id, event_x_km, event_y_km, depth_km,
            station_id, site_id, network, x_km, y_km`` (km), ``event_role, site_role`` (``training``,
            ``stopping`` or ``validation``), ``ln_im``, and f as ``mean`` and phi_SS as ``stddev`` (ln
            units).
        reference : str
            Name of the reference network, the recording network whose records are scored.

        Returns
        -------
        RandomEffects
            The estimated random part.

        Raises
        ------
        DataError
            There is no stopping record, or there are fewer than two stopping events or stopping sites.

        References
        ----------
        Al Atik, Abrahamson, Bommer, Scherbaum, Cotton & Kuehn (2010), Seismol. Res. Lett. 81(5), 794-801.
        """
        stopping_events, stopping_sites = unseen_records(predictions, reference)
        by_chunk = combine_chunks(stopping_events)
        events, sites = split_residuals(by_chunk), split_residuals(combine_chunks(stopping_sites))
        trained = training_records(predictions)
        terms = terms_of_members(trained, events.tau, sites.phi_s2s, events.phi_ss)
        is_site = terms["effect"].eq(SITE)
        site_term = site_terms_of(trained, terms[is_site])
        paths = PathTerms.fit(trained, trained["ln_im"] - trained["mean"] - site_term)
        known = mean_square_of_paths(paths, stopping_events)
        elsewhere = mean_square_of_paths(paths, stopping_sites[stopping_sites["event_role"].eq("stopping")])
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
        final = split_residuals(combine_chunks(first.apply(stopping_events)))
        kriged = combine_chunks(first.apply(stopping_sites))
        about_field = split_residuals(kriged.assign(mean=kriged["mean"] - kriged["event_term"]))
        field = kriged.drop_duplicates(["chunk", "site_id"])["site_term"]
        # The site term of a known site may differ for another event.
        stddev = np.hypot(terms["stddev"], final.phi_s2s * is_site)
        return dataclasses.replace(
            first,
            tau=final.tau,
            phi_s2s=about_field.phi_s2s,
            phi_field=float(np.sqrt((field**2).mean())),
            error=float(np.sqrt(max(final.phi_ss**2 - (by_chunk["stddev"] ** 2).mean(), 0.0))),
            terms=terms.assign(stddev=stddev),
        )

    def event_terms(self, chunk: int, init: int, ids) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of one member's event terms.

        Parameters
        ----------
        chunk, init : int
            Chunk and initialisation of the member.
        ids : array_like of str, [n]
            Event ids.

        Returns
        -------
        mean, stddev : ndarray, [n]
            Estimated terms and their standard deviations, ln units; 0 and tau for events that did not train
            the member.
        """
        known = self._known(EVENT, chunk, init).set_index("id").reindex(np.asarray(ids, str))
        return known["term"].fillna(0.0).to_numpy(), known["stddev"].fillna(self.tau).to_numpy()

    def site_terms(self, chunk: int, init: int, ids, xy_km) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of one member's site terms.

        Parameters
        ----------
        chunk, init : int
            Chunk and initialisation of the member.
        ids : array_like of str, [n]
            Site ids.
        xy_km : array_like, [n, 2]
            Places of the sites: km east and north of the centre of the map.

        Returns
        -------
        mean, stddev : ndarray, [n]
            Estimated terms and their standard deviations, ln units; for sites that did not train the member
            the kriged field at the place, and phi_S2S.
        """
        known = self._known(SITE, chunk, init).set_index("id").reindex(np.asarray(ids, str))
        term, stddev = known["term"].to_numpy(float).copy(), known["stddev"].fillna(self.phi_s2s).to_numpy()
        new = np.isnan(term)
        term[new] = self.field(chunk, init, np.asarray(xy_km, float)[new])
        return term, stddev

    def path_stddev(self, chunk: int, init: int, ids) -> np.ndarray:
        """Return the standard deviation of source and path terms that the kriging leaves, in ln units.

        Parameters
        ----------
        chunk, init : int
            Chunk and initialisation of the member.
        ids : array_like of str, [n]
            Site ids.

        Returns
        -------
        ndarray, [n]
            Standard deviations, ln units: 0 at training sites of the member, phi_place at all other sites.
        """
        known = np.isin(np.asarray(ids, str), self._known(SITE, chunk, init)["id"].to_numpy(str))
        return np.where(known, 0.0, self.phi_place)

    def terms_at(self, chunk: int, init: int, ids, xy_km) -> tuple[np.ndarray, np.ndarray]:
        """Return the site terms of a member for an event that did not train, with `path_stddev` included.

        Parameters
        ----------
        chunk, init : int
            Chunk and initialisation of the member.
        ids : array_like of str, [n]
            Site ids.
        xy_km : array_like, [n, 2]
            Places of the sites: km east and north of the centre of the map.

        Returns
        -------
        mean, stddev : ndarray, [n]
            Mean of the site terms, and standard deviation of site and path terms together, ln units.
        """
        term, stddev = self.site_terms(chunk, init, ids, xy_km)
        return term, np.hypot(stddev, self.path_stddev(chunk, init, ids))

    def field(self, chunk: int, init: int, xy_km) -> np.ndarray:
        """Return the field of a member's site terms, the spatially correlated part, kriged to places.

        Parameters
        ----------
        chunk, init : int
            Chunk and initialisation of the member.
        xy_km : array_like, [..., 2]
            Places: km east and north of the centre of the map.

        Returns
        -------
        ndarray, [...]
            Kriged field, ln units.
        """
        return kriging.field_at(self._known(SITE, chunk, init), xy_km)

    def _known(self, effect: str, chunk: int, init: int) -> pd.DataFrame:
        """Return the rows of `terms` for the member `chunk`, `init` and one `effect`, `SITE` or `EVENT`."""
        of_member = self.terms["chunk"].eq(chunk) & self.terms["init"].eq(init)
        return self.terms[of_member & self.terms["effect"].eq(effect)]

    def mean_terms(self, effect: str) -> pd.DataFrame:
        """Return the site or event terms by id, averaged over the members that trained on them.

        Parameters
        ----------
        effect : str
            `SITE` or `EVENT`.

        Returns
        -------
        pandas.DataFrame
            ``term`` and ``stddev``, ln units, indexed by site id or event id; both are means over the
            members.
        """
        chosen = self.terms[self.terms["effect"] == effect]
        return chosen.groupby("id")[["term", "stddev"]].mean()

    def variance(self, stddev, site_stddev, event_stddev=None):
        r"""Return the total variance of ln IM, for NumPy arrays and tensors alike.

        .. math:: \sigma^2 = \phi_{SS}^2 + \phi_f^2 + \sigma_e^2 + \sigma_s^2

        Parameters
        ----------
        stddev : array or tensor, [...]
            :math:`\phi_{SS}` that the network predicts, ln units.
        site_stddev : array or tensor, [...]
            :math:`\sigma_s`, standard deviation of the site and path terms together, ln units.
        event_stddev : array or tensor, optional
            :math:`\sigma_e`, standard deviation of the event term, ln units; by default tau, for an event
            without records.

        Returns
        -------
        array or tensor, [...]
            Total variance :math:`\sigma^2`, squared ln units.
        """
        event_stddev = self.tau if event_stddev is None else event_stddev
        return stddev**2 + self.error**2 + event_stddev**2 + site_stddev**2

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        r"""Add all terms to the predictions of the networks, and return those of the mixed-effects model.

        The site term of a site that did not train a member is the kriged field. The path term, which
        includes the source term, is 0 for an event that trained the member. The within-event terms are 0:
        `tfgmm.stats.kriging.krige_residuals` estimates them.

        Parameters
        ----------
        predictions : pandas.DataFrame, [n, ...]
            A row per record and member, with the columns for `fit`: f as ``mean`` and phi_SS as ``stddev``.

        Returns
        -------
        pandas.DataFrame, [n, ...]
            The same rows, in ln units, with: ``mean``, which includes all terms; the total ``stddev``; the
            standard deviations of unknown terms ``tau, phi_s2s, phi_field, phi_p2p`` and ``phi_ss`` (with
            :math:`\phi_f` included); the terms ``site_term, event_term, path_term, within_term``; and their
            standard deviations ``site_stddev, event_stddev, path_stddev, within_stddev``.
        """
        terms = np.zeros((6, len(predictions)))
        for (chunk, init), rows in rows_of_members(predictions).items():
            records = predictions.iloc[rows]
            sites = records["site_id"]
            terms[:2, rows] = self.site_terms(chunk, init, sites, records[["x_km", "y_km"]].to_numpy())
            terms[2:4, rows] = self.event_terms(chunk, init, records["event_id"])
            new = ~records["event_id"].isin(self._known(EVENT, chunk, init)["id"]).to_numpy()
            terms[4, rows[new]] = np.add(*self.paths.of_records(records[new]))
            terms[5, rows] = np.where(new, self.path_stddev(chunk, init, sites), self.phi_p2p)
        site_term, site_stddev, event_term, event_stddev, path_term, path_stddev = terms
        place_stddev = np.hypot(site_stddev, path_stddev)
        phi_ss = np.hypot(predictions["stddev"], self.error)
        parts = {
            "mean": predictions["mean"] + site_term + event_term + path_term,
            "stddev": np.sqrt(self.variance(predictions["stddev"], place_stddev, event_stddev)),
            "tau": self.tau,
            "phi_s2s": self.phi_s2s,
            "phi_field": self.phi_field,
            "phi_p2p": self.phi_p2p,
            "phi_ss": phi_ss,
            "site_term": site_term,
            "site_stddev": site_stddev,
            "event_term": event_term,
            "event_stddev": event_stddev,
            "path_term": path_term,
            "path_stddev": path_stddev,
            "within_term": 0.0,
            "within_stddev": phi_ss,
        }
        return predictions.assign(**parts).astype(dict.fromkeys(parts, "float32"))


def write(effects: dict[str, RandomEffects], folder: Path) -> None:
    """Write random effects into the folder of a run, as the four files `FILES`.

    Parameters
    ----------
    effects : dict of str to RandomEffects
        Random effects by intensity measure.
    folder : Path
        Folder of the run.

    Raises
    ------
    DataError
        The file system refuses to write.
    """
    variances = {
        im: {name: getattr(effect, name) for name in _STDDEVS}
        | {"covariance": dataclasses.asdict(effect.paths.covariance)}
        for im, effect in effects.items()
    }
    tables = {
        TERMS: [effect.terms.assign(im=im) for im, effect in effects.items()],
        CLASSES: [effect.paths.classes.assign(im=im) for im, effect in effects.items()],
    }
    paths = {
        f"{im} {name}": getattr(effect.paths, name) for im, effect in effects.items() for name in _PATHS
    }
    for name, parts in tables.items():
        with files.whole_file(folder / name) as temporary:
            files.write_parquet(pd.concat(parts, ignore_index=True), temporary)
    with files.whole_file(folder / PATHS) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **paths)
    with files.whole_file(folder / VARIANCES) as temporary:
        files.write_json(temporary, variances)


def read(folder: Path) -> dict[str, RandomEffects]:
    """Read the random effects of a run from its folder; return them by intensity measure.

    Parameters
    ----------
    folder : Path
        Folder of the run.

    Returns
    -------
    dict of str to RandomEffects
        Random effects by intensity measure.

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
                **{name: float(parts[name]) for name in _STDDEVS},
                terms=terms.loc[terms["im"] == im, [*MEMBER, "effect", "id", "term", "stddev", *_FIELD]],
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
