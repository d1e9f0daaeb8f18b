"""The decomposition finds what was planted."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array, hstack
from scipy.sparse.linalg import lsmr

from helpers.prediction_tables import PHI_S2S, PHI_SS, TAU, predictions
from tfgmm.evaluation import scores, variability
from tfgmm.simulation import simulated, truth

HELD_OUT, KNOWN = "validation / validation", "training / validation"


@pytest.fixture(scope="module")
def planted():
    """Residuals of simulated records from their planted ergodic median, and the terms behind them.

    ``terms`` is all that is planted but the scatter of a record, ``mapped`` the part of it that source
    and path terms make.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truth, "WAVES", 100)
        settings = simulated.SimulationSettings(
            events=500, kik_stations=60, kik_records=9000, meso_events=3, meso_stations=10
        )
        dataset, true = simulated.simulate(settings)
        stations = dataset.stations[dataset.stations["network"] == "kik"]
        rows = dataset.records.merge(stations[["station_id", "site_id"]], on="station_id")
        events = dataset.events[dataset.events["event_id"].isin(rows["event_id"])]
        place = stations["longitude"], stations["latitude"]
        ergodic = true.ergodic_median("PGA", events, *place)
        median = true.median("PGA", events, *place)
        mapped = median - ergodic - true.site_map("PGA", *place)
    pair = (
        pd.Index(events["event_id"]).get_indexer(rows["event_id"]),
        pd.Index(stations["station_id"]).get_indexer(rows["station_id"]),
    )
    nugget = true.nuggets.loc[rows["station_id"], "PGA"].to_numpy()
    event_term = true.event_terms.loc[rows["event_id"], "PGA"].to_numpy()
    sites = pd.unique(rows["site_id"])
    return rows.assign(
        ln_im=np.log(rows["PGA"]),
        mean=ergodic[pair],
        mapped=mapped[pair],
        site_term=(median - ergodic - mapped)[pair] + nugget,
        event_term=event_term,
        terms=(median - ergodic)[pair] + nugget + event_term,
        chunk=rows["site_id"].map(dict(zip(sites, np.arange(len(sites)) % 5, strict=True))),
    )


def estimates(rows: pd.DataFrame) -> np.ndarray:
    return variability.decompose(rows).table["estimate"].to_numpy()[:3]


def realised(rows: pd.DataFrame, key: str, term: str) -> float:
    return rows.groupby(key)[term].mean().std()


def test_planted_parts_are_recovered(planted):
    """Known are tau, phi_S2S of these sites and phi_SS, when source and path terms are subtracted."""
    found = estimates(planted.assign(mean=planted["mean"] + planted["mapped"]))
    assert found == pytest.approx(
        [truth.TAU, realised(planted, "site_id", "site_term"), truth.PHI_SS], abs=0.03
    )


def test_from_the_ergodic_median_source_and_path_terms_add_to_the_parts(planted):
    """What is known then: the additive part, over events and over sites, of all planted terms.

    Source terms are of the events; path terms are of events, of sites and of both together.
    """
    row, one = np.arange(len(planted)), np.ones(len(planted))
    event, site = (pd.factorize(planted[key])[0] for key in ("event_id", "site_id"))
    design = hstack([csr_array((one, (row, code))) for code in (event, site)]).tocsr()
    terms = lsmr(design, planted["terms"], atol=1e-10, btol=1e-10)[0]
    of_events, of_sites = np.split(terms, [event.max() + 1])
    rest = ((planted["terms"] - design @ terms) ** 2).sum() / (len(planted) - len(terms) + 1)
    expected = [of_events.std(), of_sites.std(), np.sqrt(truth.PHI_SS**2 + rest)]
    assert expected[0] > 0.38 and expected[2] > 0.44  # more than was planted as tau and phi_SS
    assert estimates(planted) == pytest.approx(expected, abs=0.03)


def test_offsets_of_folds_are_not_variance_between_sites(planted):
    """Held-out sites are in one fold each: without an intercept a fold the offsets would count."""
    shifted = planted.assign(mean=planted["mean"] + 0.5 * planted["chunk"])
    found = variability.decompose(shifted)
    assert estimates(shifted) == pytest.approx(estimates(planted), abs=1e-3)
    plain = variability.decompose(planted).offsets
    np.testing.assert_allclose(found.offsets, plain - 0.5 * plain.index, atol=1e-3)
    assert estimates(shifted.assign(chunk=0))[1] > estimates(planted)[1] + 0.2


def test_terms_are_those_that_were_planted(planted):
    found = variability.decompose(planted.assign(mean=planted["mean"] + planted["mapped"]))
    for terms, name in ((found.site_terms, "site"), (found.event_terms, "event")):
        true = planted.groupby(f"{name}_id")[f"{name}_term"].mean()
        offset = planted.groupby("site_id")["chunk"].first().map(found.offsets) if name == "site" else 0.0
        assert np.corrcoef(terms + offset, true[terms.index])[0, 1] > 0.9


def test_intervals_are_those_of_the_analysis_of_variance():
    """Balanced two-way table: variances of the mean squares (Searle et al., 1992, section 4.4)."""
    n, m = 40, 25
    rng = np.random.default_rng(3)
    event, site = (index.ravel() for index in np.indices((n, m)))
    y = (
        TAU * rng.normal(size=n)[event]
        + PHI_S2S * rng.normal(size=m)[site]
        + PHI_SS * rng.normal(size=n * m)
    )
    rows = pd.DataFrame({"event_id": event, "site_id": site, "chunk": 0, "mean": 0.0, "ln_im": y})
    table = variability.decompose(rows).table.set_index("part")
    tau, phi_s2s, phi_ss = table.loc[list(variability.PARTS), "estimate"]
    free = (n - 1) * (m - 1)
    rest = phi_ss**4 / free
    of_tau = 2 / m**2 * ((m * tau**2 + phi_ss**2) ** 2 / (n - 1) + rest)
    of_phi_s2s = 2 / n**2 * ((n * phi_s2s**2 + phi_ss**2) ** 2 / (m - 1) + rest)
    for part, variance in {"tau": of_tau, "phi_s2s": of_phi_s2s, "phi_ss": 2 * rest}.items():
        row = table.loc[part]
        half = 1.645 * np.sqrt(variance) / (2 * row["estimate"] ** 2)  # of the logarithm
        np.testing.assert_allclose(
            np.log(row[["high", "low"]].astype(float) / row["estimate"]), [half, -half], 0.01
        )
    assert table.loc["sigma", "estimate"] == pytest.approx(np.sqrt(tau**2 + phi_s2s**2 + phi_ss**2))
    half = 1.645 * np.sqrt(of_tau + of_phi_s2s + 2 * rest) / (2 * table.loc["sigma", "estimate"] ** 2)
    assert np.log(table.loc["sigma", "high"] / table.loc["sigma", "estimate"]) == pytest.approx(
        half, rel=0.01
    )


def test_a_part_that_is_not_there_has_no_interval():
    rng = np.random.default_rng(0)
    event, site = (index.ravel() for index in np.indices((30, 20)))
    noise = rng.normal(size=(30, 20))
    noise -= noise.mean(axis=0)  # less variance between sites than chance makes
    y = noise.ravel() + rng.normal(size=30)[event]
    rows = pd.DataFrame({"event_id": event, "site_id": site, "chunk": 0, "mean": 0.0, "ln_im": y})
    table = variability.decompose(rows).table.set_index("part")
    assert table.loc["phi_s2s", "estimate"] < 0.01
    assert table.loc["phi_s2s", ["low", "high"]].isna().all()
    assert table.loc[["tau", "phi_ss", "sigma"], ["low", "high"]].notna().all(axis=None)


def placed_table(**options) -> pd.DataFrame:
    """Partial ensembles with made-up places."""
    table = scores.partial_ensembles(predictions(**options))
    site = table["site_id"].str[1:].astype(int)
    places = {"latitude": 35.0, "event_longitude": 140.0, "event_latitude": 36.0}
    return table.assign(longitude=139 + site / 20, **places)


def test_a_record_enters_once_and_folds_take_turns():
    rows = scores.cells(scores.partial_ensembles(predictions(n_events=8, n_sites=30, chunks=5)), "kik")
    once = variability._take_sites_once(rows[KNOWN])
    assert not once.duplicated(["event_id", "station_id"]).any()
    assert set(once["site_id"]) == set(rows[KNOWN]["site_id"])
    assert (once.groupby("site_id")["chunk"].nunique() == 1).all()
    assert once.groupby("chunk")["site_id"].nunique().min() >= 2
    assert variability.decompose(rows[KNOWN]).records == len(once)
    assert len(variability._take_sites_once(rows[HELD_OUT])) == len(rows[HELD_OUT])


def test_decompositions_are_of_validation_events_and_sites_apart():
    table = placed_table(ims=("PGA", "SA(1.0)"))
    found = variability.decompositions(table, "kik")
    assert [key[2] for key in found if key[0] == "PGA"] == [KNOWN, HELD_OUT, "added / validation"]
    events = set(table.loc[table["event_role"] == "validation", "event_id"])
    for one in found.values():
        assert set(one.event_terms.index) == events
    held_out = found["PGA", scores.ENSEMBLE, HELD_OUT]
    roles = table[(table["site_role"] == "validation") & (table["network"] == "kik")]
    assert set(held_out.site_terms.index) == set(roles["site_id"])
    table = variability.tidy(found)
    assert len(table) == 2 * 3 * 4
    rows = table.query(f"im == 'PGA' and cell == '{HELD_OUT}'")
    np.testing.assert_array_equal(rows["estimate"], held_out.table["estimate"])
    assert (rows["sites"] == len(held_out.site_terms)).all()


def test_a_cell_with_one_site_is_left_out():
    table = placed_table()
    one = table[(table["site_role"] != "validation") | (table["site_id"] == "S0")]
    assert {key[2] for key in variability.decompositions(one, "kik")} == {KNOWN, "added / validation"}


def test_terms_are_placed_where_sites_and_events_are():
    table = placed_table()
    one = variability.decompositions(table, "kik")["PGA", scores.ENSEMBLE, HELD_OUT]
    sites = variability.place_terms(one.site_terms, table).set_index("site_id")
    assert sites.loc["S3", "longitude"] == pytest.approx(139.15)
    pd.testing.assert_series_equal(
        sites["term"].sort_index(), one.site_terms.sort_index(), check_names=False
    )
    events = variability.place_terms(one.event_terms, table)
    assert (events["longitude"] == 140).all() and len(events) == len(one.event_terms)
