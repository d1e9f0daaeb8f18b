"""Event and site terms around what the networks predict."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from helpers.prediction_tables import PHI_S2S, PHI_SS, TAU, predictions
from tfgmm.core.errors import DataError
from tfgmm.evaluation import scores
from tfgmm.stats import kriging, random_effects
from tfgmm.stats.random_effects import CLASSES, EVENT, PATHS, SITE, TERMS, VARIANCES, RandomEffects

KEYS = ["chunk", "event_id", "station_id"]
#: What the networks do not own up to.
ERROR = 0.3


@pytest.fixture(scope="module")
def table():
    """Networks that know neither site nor event terms, and are too sure."""
    result = predictions(n_events=160, n_sites=240, chunks=5, inits=2, seed=4)
    return result.assign(stddev=np.float32(np.sqrt(PHI_SS**2 - ERROR**2)))


@pytest.fixture(scope="module")
def fitted(table):
    return RandomEffects.fit(table, "kik")


@pytest.mark.slow
def test_planted_variances_are_found(fitted):
    assert fitted.tau == pytest.approx(TAU, abs=0.06)
    assert fitted.phi_s2s == pytest.approx(PHI_S2S, abs=0.1)
    assert fitted.error == pytest.approx(ERROR, abs=0.05)


@pytest.mark.slow
def test_applied_it_is_calibrated_at_known_and_unknown_sites(fitted, table):
    mixed = fitted.apply(table)
    z = (mixed["ln_im"] - mixed["mean"]) / mixed["stddev"]
    residual = mixed["ln_im"] - mixed["mean"]
    cells = list(itertools.product(("training", "validation"), repeat=2))
    spread = {}
    for site_role, event_role in cells:
        rows = mixed["site_role"].eq(site_role) & mixed["event_role"].eq(event_role)
        assert z[rows].std() == pytest.approx(1, abs=0.12)
        spread[site_role, event_role] = residual[rows].std()
    known, new_event, new_site, new = (spread[cell] for cell in cells)
    assert known == pytest.approx(np.hypot(PHI_SS, 0.1), abs=0.02)  # 0.1: the means' own scatter
    assert new_event == pytest.approx(np.hypot(known, TAU), abs=0.05)
    assert new_site == pytest.approx(np.hypot(known, PHI_S2S), abs=0.1)
    assert new > max(new_event, new_site)


@pytest.mark.slow
def test_parts_add_up(fitted, table):
    mixed = fitted.apply(table)
    terms = mixed["site_term"] + mixed["event_term"]
    np.testing.assert_allclose(mixed["mean"], table["mean"] + terms, atol=1e-5)
    within = table["stddev"] ** 2 + fitted.error**2
    expected = within + (mixed[["event_stddev", "site_stddev", "path_stddev"]] ** 2).sum(axis=1)
    np.testing.assert_allclose(mixed["stddev"] ** 2, expected, rtol=1e-4)
    for effect, unknown in ((SITE, fitted.phi_s2s), (EVENT, fitted.tau)):
        known = mixed[f"{effect}_role"].eq("training")
        # These sites' terms have nothing to do with each other: the field is next to none.
        assert mixed.loc[~known, f"{effect}_term"].abs().max() <= {SITE: 0.1, EVENT: 0}[effect]
        np.testing.assert_allclose(mixed.loc[~known, f"{effect}_stddev"], unknown, rtol=1e-6)
        assert mixed.loc[known, f"{effect}_stddev"].max() < 0.3 * unknown
    assert mixed["event_id"].tolist() == table["event_id"].tolist()


@pytest.mark.slow
def test_an_f_that_is_off_is_put_right(table, fitted):
    """Its error in the mean is in the terms of the events that trained, and a source term of others."""
    off = table.assign(mean=table["mean"] + np.float32(0.4))
    mixed = RandomEffects.fit(off, "kik").apply(off)
    residual = (mixed["ln_im"] - mixed["mean"]).groupby(mixed["event_role"]).mean()
    as_fitted = fitted.apply(table)
    before = (as_fitted["ln_im"] - as_fitted["mean"]).groupby(as_fitted["event_role"]).mean()
    assert residual["training"] == pytest.approx(before["training"], abs=0.02)
    assert residual["validation"] == pytest.approx(before["validation"], abs=0.05)
    assert not mixed.loc[mixed["event_role"].eq("training"), "path_term"].any()


@pytest.mark.slow
def test_a_member_knows_its_own_sites_only(fitted, table):
    of_chunk = table.drop_duplicates(["chunk", "site_id"]).pivot(
        index="site_id", columns="chunk", values="site_role"
    )
    held = of_chunk.index[of_chunk[1].eq("validation") & of_chunk[0].eq("training")][0]
    place = table.loc[table["site_id"].eq(held), ["x_km", "y_km"]].iloc[:1].to_numpy()
    term, stddev = fitted.site_terms(1, 0, [held], place)
    assert (term[0], stddev[0]) == (fitted.field(1, 0, place)[0], fitted.phi_s2s)
    term, stddev = fitted.site_terms(0, 0, [held, "elsewhere"], np.repeat(place, 2, axis=0))
    assert abs(term[0]) > 0.01 and stddev[0] < 0.2
    assert (term[1], stddev[1]) == (fitted.field(0, 0, place)[0], fitted.phi_s2s)
    trained = table.loc[table["event_role"].eq("training"), "event_id"].iloc[0]
    term, stddev = fitted.event_terms(0, 0, [trained, "tomorrow"])
    assert abs(term[0]) > 0 and stddev[0] < 0.1
    assert (term[1], stddev[1]) == (0, fitted.tau)


@pytest.mark.slow
def test_what_is_alike_at_near_sites_is_told_of_unknown_ones(table, fitted):
    """Half the variance of the site terms is a field with a range of 20 km."""
    sites = table.drop_duplicates("site_id").set_index("site_id")[["x_km", "y_km"]]
    covariance = 0.4**2 * np.exp(-cdist(sites, sites) / 20.0)
    drawn = np.random.default_rng(3).multivariate_normal(np.zeros(len(sites)), covariance)
    field = pd.Series(drawn, sites.index)
    with_field = table.assign(ln_im=table["ln_im"] + table["site_id"].map(field))
    result = RandomEffects.fit(with_field, "kik")
    mixed = result.apply(with_field)
    unknown = mixed[mixed["site_role"].eq("validation")].drop_duplicates(["site_id", "chunk", "init"])
    told, planted = unknown["site_term"], unknown["site_id"].map(field)
    assert np.corrcoef(told, planted)[0, 1] > 0.6
    assert (planted - told).std() < 0.8 * planted.std()
    stopping = mixed[mixed["site_role"].eq("stopping")].drop_duplicates("site_id")
    left = (stopping["site_id"].map(field) - stopping["site_term"]).std()
    assert result.phi_s2s == pytest.approx(np.hypot(fitted.phi_s2s, left), abs=0.08)
    assert result.phi_field == pytest.approx(stopping["site_term"].std(), abs=0.08)
    assert_map_part_knows_nothing(mixed, with_field)
    one = result.terms.query("effect == 'site' and chunk == 1 and init == 0")
    covariances = np.exp(-cdist([[10.0, -5.0]], one[["x_km", "y_km"]]) / one["range_km"].iloc[0])
    at = np.full((3, 1, 2), [10.0, -5.0])
    np.testing.assert_allclose(result.field(1, 0, at), np.full((3, 1), covariances @ one["weight"]))


def assert_map_part_knows_nothing(mixed, raw):
    """Neither does it add what the field tells, nor is it surer for that; the same at all sites."""
    partial, plain = (scores.partial_ensembles(one).sort_values(KEYS) for one in (mixed, raw))
    alone = scores.map_part(partial)
    np.testing.assert_allclose(alone["mean"], plain["mean"], atol=1e-5)
    unknown = partial[["tau", "phi_s2s", "phi_field", "phi_p2p", "phi_ss"]]
    expected = (unknown**2).sum(axis=1) + partial["epistemic"]
    np.testing.assert_allclose(alone["stddev"] ** 2, expected, rtol=1e-5)
    new = alone["site_role"].eq("validation") & alone["event_role"].eq("validation")
    assert ((alone["ln_im"] - alone["mean"]) / alone["stddev"])[new].std() == pytest.approx(1, abs=0.12)


@pytest.mark.slow
def test_many_places_are_those_of_a_few(fitted, monkeypatch):
    places = np.random.default_rng(0).uniform(-90, 90, (7, 5, 2))
    whole = fitted.field(0, 1, places)
    monkeypatch.setattr(kriging, "_PLACES_AT_ONCE", 4)
    np.testing.assert_allclose(fitted.field(0, 1, places), whole)
    assert fitted.field(0, 1, np.empty((0, 2))).shape == (0,)


@pytest.mark.slow
def test_mean_terms_are_those_of_the_members_that_know_the_site(fitted):
    mean = fitted.mean_terms(SITE)
    of_site = fitted.terms[fitted.terms["effect"].eq(SITE) & fitted.terms["id"].eq(mean.index[3])]
    assert 0 < len(of_site) < 10
    assert mean["term"].iloc[3] == pytest.approx(of_site["term"].mean())
    assert mean["stddev"].iloc[3] == pytest.approx(of_site["stddev"].mean())


@pytest.mark.slow
def test_terms_that_change_with_time_are_known_less_well(table, fitted):
    """Sites differ by 0.3 between the events that trained and the others."""
    site = table["site_id"].str[1:].astype(int)
    later = np.random.default_rng(2).normal(0, 0.3, site.max() + 1)[site] * table["event_role"].ne(
        "training"
    )
    changed = RandomEffects.fit(table.assign(ln_im=table["ln_im"] + later), "kik")
    before, after = (
        one.terms.loc[one.terms["effect"].eq(SITE), "stddev"].median() for one in (fitted, changed)
    )
    assert after == pytest.approx(0.3, abs=0.07)
    assert before < 0.1
    assert changed.tau == pytest.approx(fitted.tau, abs=0.03)


@pytest.fixture(scope="module")
def with_paths(table):
    """Terms of 0.6 of station and source, alike within 30 km or so; near stations share half of it."""
    events, sites = (table.drop_duplicates(name).set_index(name) for name in ("event_id", "site_id"))
    source = np.exp(-cdist(*[events[["event_x_km", "event_y_km", "depth_km"]]] * 2) / 30.0)
    shared = 0.5 * (np.eye(len(sites)) + np.exp(-cdist(*[sites[["x_km", "y_km"]]] * 2) / 20.0))
    drawn = np.random.default_rng(5).normal(size=(len(events), len(sites)))
    of_pair = 0.6 * np.linalg.cholesky(source) @ drawn @ np.linalg.cholesky(shared).T
    of_record = events.index.get_indexer(table["event_id"]), sites.index.get_indexer(table["site_id"])
    return table.assign(ln_im=table["ln_im"] + of_pair[of_record])


@pytest.mark.slow
def test_path_terms_tell_of_other_events_more_at_known_sites(with_paths, fitted):
    refitted = RandomEffects.fit(with_paths, "kik")
    assert 0.3 < refitted.phi_p2p < 0.6
    assert 0 < refitted.phi_place < refitted.phi_p2p
    assert fitted.phi_p2p < 0.1  # none is planted
    mixed = refitted.apply(with_paths)
    residual = mixed["ln_im"] - mixed["mean"]
    of_new = mixed["event_role"].eq("validation") & mixed["network"].eq("kik")
    for site_role, gain in (("training", 0.08), ("validation", 0.01)):
        rows = of_new & mixed["site_role"].eq(site_role)
        assert (residual / mixed["stddev"])[rows].std() == pytest.approx(1, abs=0.12)
        without = (residual + mixed["path_term"])[rows].std()
        assert residual[rows].std() < (1 - gain) * without
        lacking = {"training": 0, "validation": refitted.phi_place}[site_role]
        np.testing.assert_allclose(mixed.loc[rows, "path_stddev"], lacking, rtol=1e-6)
    known = mixed["event_role"].eq("training")
    assert not mixed.loc[known, "path_term"].any()
    np.testing.assert_allclose(mixed.loc[known, "path_stddev"], refitted.phi_p2p, rtol=1e-6)


@pytest.mark.slow
def test_a_half_trained_chunk_has_no_say_in_the_others(table, fitted):
    """Chunk 1 lacks its last initialisation."""
    partly = table[table["chunk"].ne(1) | table["init"].eq(0)]
    refitted = RandomEffects.fit(partly, "kik")
    for name in ("tau", "phi_s2s", "error"):
        assert getattr(refitted, name) == pytest.approx(getattr(fitted, name), abs=0.02)
    of_chunk = [one.terms[one.terms["chunk"].eq(0)]["term"].to_numpy() for one in (refitted, fitted)]
    np.testing.assert_allclose(*of_chunk, atol=0.02)


@pytest.mark.slow
def test_what_members_predict_for_their_validation_events_and_sites_decides_nothing(table, fitted):
    changed = table.astype({"mean": float})
    other = table["event_role"].eq("validation") | table["site_role"].eq("validation")
    changed.loc[other, "mean"] += np.random.default_rng(0).normal(0, 2, other.sum())
    refitted = RandomEffects.fit(changed, "kik")
    for name in random_effects._STDDEVS:
        assert getattr(refitted, name) == pytest.approx(getattr(fitted, name))
    pd.testing.assert_frame_equal(refitted.terms, fitted.terms)
    assert refitted.paths.covariance == fitted.paths.covariance
    np.testing.assert_array_equal(refitted.paths.weights, fitted.paths.weights)


@pytest.mark.slow
def test_written_and_read_is_the_same(fitted, tmp_path):
    random_effects.write({"PGA": fitted, "SA(1.0)": fitted}, tmp_path)
    stored = random_effects.read(tmp_path)
    assert list(stored) == ["PGA", "SA(1.0)"]
    for name in random_effects._STDDEVS:
        assert getattr(stored["PGA"], name) == getattr(fitted, name)
    pd.testing.assert_frame_equal(
        stored["SA(1.0)"].terms.reset_index(drop=True), fitted.terms, check_like=True
    )
    one, other = stored["SA(1.0)"].paths, fitted.paths
    assert one.covariance == other.covariance
    pd.testing.assert_frame_equal(one.classes.reset_index(drop=True), other.classes)
    for name in ("source_km", "site_km", "stations", "members", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.slow
@pytest.mark.parametrize("name", [VARIANCES, TERMS, PATHS, CLASSES])
@pytest.mark.parametrize("content", [None, b"", b"[1]", b'{"PGA": {"tau": "much"}}', b'{"PGA": {}}'])
def test_damage_is_named(fitted, tmp_path, name, content):
    random_effects.write({"PGA": fitted}, tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="missing or damaged .*: give the tfgmm train command"):
        random_effects.read(tmp_path)


def test_no_stopping_site(table):
    with pytest.raises(DataError, match="no stopping record of network kik"):
        RandomEffects.fit(table[table["site_role"] != "stopping"], "kik")
