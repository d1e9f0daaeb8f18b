"""Event and site terms around what the networks predict."""

import numpy as np
import pandas as pd
import pytest
from prediction_tables import PHI_S2S, PHI_SS, TAU, predictions

from tfgmm import random_effects
from tfgmm.errors import DataError
from tfgmm.random_effects import TERMS, VARIANCES, RandomEffects


@pytest.fixture(scope="module")
def table():
    """Networks that know neither site nor event terms, and are 30 % too sure."""
    found = predictions(n_events=160, n_sites=240, chunks=5, inits=2, seed=4)
    return found.assign(stddev=np.float32(PHI_SS / 1.3))


@pytest.fixture(scope="module")
def fitted(table):
    return RandomEffects.fit(table, "kik")


def test_planted_variances_are_found(fitted):
    assert fitted.tau == pytest.approx(TAU, abs=0.06)
    assert fitted.phi_s2s == pytest.approx(PHI_S2S, abs=0.1)
    assert fitted.factor == pytest.approx(1.3, abs=0.05)


def test_applied_it_is_calibrated_at_known_and_unknown_sites(fitted, table):
    mixed = fitted.apply(table)
    z = (mixed["ln_im"] - mixed["mean"]) / mixed["stddev"]
    for role in ("training", "validation"):
        of_role = mixed["event_role"].eq("validation") & mixed["site_role"].eq(role)
        assert z[of_role].std() == pytest.approx(1, abs=0.12)
    known = mixed["site_role"].eq("training")
    residual = mixed["ln_im"] - mixed["mean"]
    new_event = mixed["event_role"].eq("validation")
    assert residual[known & new_event].std() < 0.85 * residual[~known & new_event].std()


def test_parts_add_up(fitted, table):
    mixed = fitted.apply(table)
    known = mixed["site_role"].eq("training")
    np.testing.assert_allclose(mixed["mean"], table["mean"] + mixed["site_term"], atol=1e-5)
    expected = (fitted.factor * table["stddev"]) ** 2 + fitted.tau**2 + mixed["site_stddev"] ** 2
    np.testing.assert_allclose(mixed["stddev"] ** 2, expected, rtol=1e-4)
    assert (mixed.loc[~known, "site_term"] == 0).all()
    np.testing.assert_allclose(mixed.loc[~known, "site_stddev"], fitted.phi_s2s, rtol=1e-6)
    assert mixed.loc[known, "site_stddev"].max() < 0.3 * fitted.phi_s2s
    assert mixed["event_id"].tolist() == table["event_id"].tolist()


def test_a_member_knows_its_own_sites_only(fitted, table):
    of_chunk = table.drop_duplicates(["chunk", "site_id"]).pivot(
        index="site_id", columns="chunk", values="site_role"
    )
    held = of_chunk.index[of_chunk[1].eq("validation") & of_chunk[0].eq("training")][0]
    term, stddev = fitted.at(1, 0, [held])
    assert (term[0], stddev[0]) == (0, fitted.phi_s2s)
    term, stddev = fitted.at(0, 0, [held, "elsewhere"])
    assert abs(term[0]) > 0 and stddev[0] < 0.2
    assert (term[1], stddev[1]) == (0, fitted.phi_s2s)


def test_terms_that_change_with_time_are_known_less_well(table, fitted):
    """Sites differ by 0.3 between the events that trained and the others."""
    site = table["site_id"].str[1:].astype(int)
    later = np.random.default_rng(2).normal(0, 0.3, site.max() + 1)[site] * table["event_role"].ne(
        "training"
    )
    changed = RandomEffects.fit(table.assign(ln_im=table["ln_im"] + later), "kik")
    assert changed.site_terms["stddev"].median() == pytest.approx(0.3, abs=0.07)
    assert fitted.site_terms["stddev"].median() < 0.1
    assert changed.tau == pytest.approx(fitted.tau, abs=0.03)


def test_validation_events_and_sites_decide_nothing(table, fitted):
    changed = table.astype({"mean": float})
    other = table["event_role"].eq("validation") | table["site_role"].eq("validation")
    changed.loc[other, "mean"] += np.random.default_rng(0).normal(0, 2, other.sum())
    found = RandomEffects.fit(changed, "kik")
    assert (found.tau, found.phi_s2s) == pytest.approx((fitted.tau, fitted.phi_s2s))
    assert found.factor == pytest.approx(fitted.factor)
    pd.testing.assert_frame_equal(found.site_terms, fitted.site_terms)


def test_written_and_read_is_the_same(fitted, tmp_path):
    random_effects.write({"PGA": fitted, "SA(1.0)": fitted}, tmp_path)
    found = random_effects.read(tmp_path)
    assert list(found) == ["PGA", "SA(1.0)"]
    assert (found["PGA"].tau, found["PGA"].factor) == (fitted.tau, fitted.factor)
    pd.testing.assert_frame_equal(
        found["SA(1.0)"].site_terms.reset_index(drop=True), fitted.site_terms, check_like=True
    )


@pytest.mark.parametrize("name", [VARIANCES, TERMS])
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
