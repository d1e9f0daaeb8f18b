"""What the records of a run tell of sources, sites and paths, as tables and maps."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import tfgmm
from conftest import CHANNELS, TINY
from helpers.field_records import PLANTED, planted_records, terms_of
from tfgmm.core.errors import UsageError
from tfgmm.prediction.field_terms import FieldTerms
from tfgmm.runs.beginning import begin
from tfgmm.runs.experiment import Experiment
from tfgmm.stats.field_records import Cells


@pytest.fixture(scope="module")
def table():
    return planted_records(60, 40, 0.7, clusters=8)


@pytest.fixture(scope="module")
def terms(table) -> FieldTerms:
    return terms_of(table)


def test_it_says_what_it_rests_on(terms, table):
    assert repr(terms) == f"<FieldTerms of PGA: {len(table):,} records of 60 events at 40 stations>"
    assert terms.stddevs["tau"] == pytest.approx(0.35)
    assert terms.ranges_km.to_dict() == {"source": 30.0, "site": 12.0, "path": 20.0, "within": 10.0}
    records = terms.records()
    np.testing.assert_allclose(records["residual"], table["residual"])
    x_km, y_km = terms.grid.project(records["event_longitude"], records["event_latitude"])
    np.testing.assert_allclose(np.c_[x_km, y_km] + 75, table[["event_x_km", "event_y_km"]], atol=1e-4)


def test_site_terms_are_those_of_the_field(terms, table):
    sites = terms.sites()
    assert sites["station_id"].tolist() == terms.stations["station_id"].tolist()
    assert sites["records"].tolist() == table.groupby("station_id", sort=False).size().tolist()
    records = terms.field.records
    rows = records.cells()[np.unique(records.station, return_index=True)[1]]
    parts = terms.field.parts(rows)
    sites = sites.set_index("station_id").loc[records.station_ids]
    np.testing.assert_allclose(sites["site_term"], parts["site_own"] + parts["site_shared"], atol=1e-5)
    np.testing.assert_allclose(sites["stddev"] ** 2, terms.field.site_variance(rows), rtol=1e-3)
    np.testing.assert_allclose(sites["explained"], 1 - sites["stddev"] ** 2 / 0.42**2)
    assert sites["explained"].between(0.3, 1).all()


def test_a_station_without_records_has_what_its_neighbours_tell(terms):
    more = terms.stations[["station_id", "site_id", "longitude", "latitude"]].iloc[[0, 0]]
    more = more.assign(
        station_id=["near", "far"], site_id=["near", "far"], latitude=[more.iloc[0, 3], 40.0]
    )
    sites = dataclasses.replace(terms, stations=more).sites()
    assert sites["records"].tolist() == [0, 0]
    assert 0 < sites["explained"].iloc[0] < 0.3
    assert sites["explained"].iloc[1] == pytest.approx(0, abs=1e-6)
    assert sites["site_term"].iloc[1] == pytest.approx(0, abs=1e-6)


def test_the_map_is_that_of_new_places(terms):
    found = terms.site_map()
    assert found["site_term"].dims == ("row", "col")
    assert found["longitude"].shape == found["site_term"].shape == (28, 28)
    place = np.array([terms.grid.project(found["longitude"][3, 20], found["latitude"][3, 20])])
    cells = Cells(np.zeros((1, 3)), place, np.array([-1]), np.array([-1]))
    parts = terms.field.parts(cells)
    assert found["site_term"][3, 20] == pytest.approx(parts["site_shared"][0], abs=1e-6)
    assert found["stddev"][3, 20] == pytest.approx(np.sqrt(terms.field.site_variance(cells)[0]), rel=1e-3)
    assert 0 <= float(found["explained_shared"].min()) < 0.05
    assert float(found["explained_shared"].max()) > 0.2  # next to a station, of what neighbours share


def test_source_cells_are_where_epicentres_are(terms):
    sources = terms.sources()
    assert sources["events"].sum() == 60
    assert sources["records"].sum() == len(terms.records())
    assert ((sources["longitude"] / 0.25) % 1).to_numpy() == pytest.approx(0.5)
    assert sources["stddev"].max() < PLANTED.source**0.5
    assert sources["explained"].between(0, 1).all()
    coarse = terms.sources(depth_km=300.0, cell_deg=1.0)
    assert len(coarse) < len(sources)
    assert (coarse["depth_km"] == 300).all()
    assert coarse["explained"].max() < 0.01  # no earthquake is so deep
    one = terms.records().merge(sources[sources["events"] == 1].assign(key=1).iloc[:1], how="cross")
    inside = (one["event_longitude"] - one["longitude"]).abs().lt(0.125)
    inside &= (one["event_latitude"] - one["latitude"]).abs().lt(0.125)
    assert one.loc[inside, "depth_km_x"].unique() == pytest.approx(one["depth_km_y"].iloc[0])


def test_sources_with_paths_have_the_mean_path_to_the_stations(terms):
    alone, both = terms.sources(), terms.sources(with_paths=True)
    source_km = np.c_[*terms.grid.project(alone["longitude"], alone["latitude"]), alone["depth_km"]]
    places = terms.field.records.station_km
    new = np.full(len(places), -1)
    for number in (0, 5):
        cells = Cells(np.repeat(source_km[[number]], len(places), axis=0), places, new, new)
        parts = terms.field.parts(cells)
        assert alone["source_term"][number] == pytest.approx(parts["source"][0], abs=1e-5)
        together = (parts["source"] + parts["path_shared"]).mean()
        assert both["source_term"][number] == pytest.approx(together, abs=1e-5)


def test_paths_end_at_the_station(terms):
    station = terms.stations["station_id"].iloc[4]
    paths, whole = terms.paths(station), terms.paths(station, with_source=True)
    assert paths["records"].sum() == (terms.records()["station_id"] == station).sum()
    np.testing.assert_allclose(
        whole["path_term"] - paths["path_term"], terms.sources()["source_term"], atol=1e-5
    )
    prior = PLANTED.path_own + PLANTED.path_shared
    np.testing.assert_allclose(paths["explained"], (1 - paths["stddev"] ** 2 / prior).clip(0), atol=1e-9)
    explained = paths.groupby(paths["records"] > 1)["explained"].mean()
    assert explained[True] > explained[False]


def test_a_term_without_variance_is_told_nothing_of(table):
    terms = terms_of(table, dataclasses.replace(PLANTED, source=0.0))
    assert (terms.sources()[["source_term", "stddev", "explained"]] == 0).all(axis=None)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda terms: terms.paths("S9999"), "no station S9999"),
        (lambda terms: terms.sources(cell_deg=0.0), "choose a size above 0"),
        (lambda terms: terms.paths("S0001", cell_deg=float("nan")), "choose a size above 0"),
        (lambda terms: terms.paths(["S0001"]), r"station is \['S0001'\], expected str"),
        (lambda terms: terms.sources(cell_deg="a"), "cell_deg is 'a', expected float"),
        (lambda terms: terms.sources(depth_km="deep"), "depth_km is 'deep', expected float"),
        (lambda terms: terms.sites(at(139.9, 95.0)), "row 1: latitude 95.0 is no number from -90 to 90"),
        (lambda terms: terms.sites(at(139.9, 35.0).drop(columns="latitude")), "column latitude is missing"),
        (lambda terms: terms.sites(at(155.0, 35.0)), "row 1: 155 E 35 N is 1,.* km from the centre"),
        (lambda terms: terms.sources(hypocentres=at(139.9, 35.0)), "column depth_km is missing"),
        (lambda terms: terms.paths("S0001", hypocentres=at(139.9, 35.0, 900.0)), "depth_km 900.0 is no"),
        (lambda terms: terms.sample(at([1, 2], 3, 4), at(139, 35)), "hypocentre, row 1: 1 E 3 N is"),
        (lambda terms: terms.sample(at([139, 140], 35, 4), at(139, 35)), "2 hypocentres: give one"),
    ],
)
def test_what_is_not_there_is_refused(terms, ask, words):
    with pytest.raises(UsageError, match=words):
        ask(terms)


def at(longitude, latitude, *depth_km) -> pd.DataFrame:
    values = dict(
        zip(("longitude", "latitude", "depth_km"), (longitude, latitude, *depth_km), strict=False)
    )
    return pd.DataFrame(values, index=range(np.size(longitude)))


def test_far_from_all_records_every_answer_is_the_prior(terms):
    """900 km away all correlations are below 1e-13."""
    far, prior = at(149.5, 35.75, 10.0), terms.stddevs
    station = terms.stations["station_id"].iloc[4]
    path_shared = np.exp(
        -np.hypot(*(terms.field.records.station_km[:, None] - terms.field.records.station_km).T) / 20
    )
    answers = {
        "site_term": (terms.sites(far), prior["phi_s2s"]),
        "source_term": (terms.sources(hypocentres=far), prior["source"]),
        "path_term": (terms.paths(station, hypocentres=far), prior["path"]),
    }
    with_paths = terms.sources(hypocentres=far, with_paths=True)
    mean_path = PLANTED.path_shared * path_shared.mean()
    answers |= {"source_term with paths": (with_paths, np.sqrt(PLANTED.source + mean_path))}
    with_source = terms.paths(station, hypocentres=far, with_source=True)
    answers |= {"path_term with source": (with_source, np.hypot(prior["path"], prior["source"]))}
    for name, (answer, stddev) in answers.items():
        assert answer[name.split()[0]].item() == pytest.approx(0, abs=1e-6)
        assert answer["stddev"].item() == pytest.approx(stddev, rel=1e-4)
        assert answer["explained"].item() == pytest.approx(0, abs=1e-3)


def test_new_places_and_hypocentres_are_those_of_a_dense_solution(terms):
    records = terms.field.records
    here, place, source = records.cells(), at(139.8, 35.6), at(139.9, 35.9, 30.0)
    cells = Cells(
        np.array([[*np.ravel(terms.grid.project([139.9], [35.9])), 30.0]]),
        np.reshape(terms.grid.project([139.8], [35.6]), (1, 2)),
        np.array([-1]),
        np.array([-1]),
    )
    noisy = PLANTED.between(here, here) + PLANTED.noise * np.eye(len(records))
    for answer, name, parts in (
        (terms.sites(place), "site_term", ("site_own", "site_shared")),
        (terms.sources(hypocentres=source), "source_term", ("source",)),
    ):
        cross, own = (
            sum(PLANTED.parts_between(cells, others)[part] for part in parts) for others in (here, cells)
        )
        assert answer[name].item() == pytest.approx(
            (cross @ np.linalg.solve(noisy, records.residual))[0], abs=0.005
        )
        variance = own[0, 0] - (cross @ np.linalg.solve(noisy, cross.T))[0, 0]
        assert answer["stddev"].item() == pytest.approx(np.sqrt(variance), rel=0.06)
        assert list(answer.columns[-1:]) == ["explained"]


def test_the_summary_has_an_error_for_each_size_of_a_term(terms, table):
    summary = terms.summary().set_index("term")
    assert summary["value"].to_dict() == terms.stddevs.to_dict() | {
        f"{name}_km": value for name, value in terms.ranges_km.items()
    }
    assert summary["unit"].tolist() == ["ln"] * 5 + ["km"] * 4
    assert summary.loc["tau", "standard_error"] == pytest.approx(0.035, rel=0.5)
    zero = terms_of(table, dataclasses.replace(PLANTED, source=0.0, within=0.0)).summary().set_index("term")
    assert zero.loc["source", "value"] == 0
    assert 0.02 < zero.loc["source", "standard_error"] < 0.3  # that it is 0 is not certain
    assert np.isnan(zero.loc["within_km", "standard_error"])


def test_samples_deviate_as_the_field_is_unknown_and_are_alike_at_near_places(terms):
    places = at([139.9, 139.905, 141.5], [35.7, 35.7, 35.7])
    samples = terms.sample(at(139.9, 35.9, 30.0), places, size=4000, seed=3)
    assert samples.shape == (4000, 3)
    again = terms.sample(at(139.9, 35.9, 30.0), places, seed=3)
    np.testing.assert_allclose(samples[:1], again, rtol=1e-9)
    np.testing.assert_allclose(samples.mean(axis=0), 0, atol=0.04)
    place_km = np.stack(terms.grid.project(places["longitude"], places["latitude"]), axis=-1)
    source_km = np.array([[*np.ravel(terms.grid.project([139.9], [35.9])), 30.0]] * 3)
    variance = terms.field.variance(Cells(source_km, place_km, np.full(3, -1), np.array([-1, -2, -3])))
    np.testing.assert_allclose(samples.var(axis=0), variance, rtol=0.1)
    correlation = np.corrcoef(samples.T)
    assert correlation[0, 1] > correlation[0, 2] + 0.1


@pytest.mark.slow
def test_a_run_with_field_tells_of_its_stations(field_run):
    run = tfgmm.open_run(field_run)
    terms = run.field()
    assert terms.im == run.ims[0]
    assert terms.sites()["station_id"].tolist() == run.stations()["station_id"].tolist()
    with pytest.raises(UsageError, match=r"no SA\(9.0\)"):
        run.field("SA(9)")
    with pytest.raises(UsageError, match="im is 3, expected str"):
        run.field(3)


def test_runs_without_field_or_unfinished_say_what_to_do(tmp_path, tiny, small):
    without = begin(tmp_path / "without", tiny, small, channels=CHANNELS)
    with pytest.raises(UsageError, match="--field yes"):
        FieldTerms.of(without, "PGA")
    experiment = Experiment(**TINY | {"field": True, "backbone": "auto", "stopping": "blocks"})
    begun = begin(tmp_path / "begun", experiment, small, channels=CHANNELS)
    with pytest.raises(UsageError, match="not finished"):
        FieldTerms.of(begun, "PGA")
