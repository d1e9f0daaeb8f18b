"""The field given records, beside a dense solution."""

import dataclasses

import numpy as np
import pytest

from helpers.field_records import PLANTED, planted_records
from tfgmm.core.errors import DataError
from tfgmm.stats import field, field_solver
from tfgmm.stats.field import Field, condition
from tfgmm.stats.field_event import given_own_records, new_event
from tfgmm.stats.field_folds import blocks_of, out_of_block, out_of_fold
from tfgmm.stats.field_parts import path_variance, source_term
from tfgmm.stats.field_records import Cells, Records
from tfgmm.stats.field_solver import Basis


def dense(covariance, records: Records, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the field at cells by the whole matrix."""
    here = records.cells()
    noise = np.full(len(records), covariance.noise) if records.noise is None else records.noise
    matrix = covariance.between(here, here) + np.diag(noise)
    cross = covariance.between(cells, here)
    explained = (cross * np.linalg.solve(matrix, cross.T).T).sum(axis=1)
    return cross @ np.linalg.solve(matrix, records.residual), covariance.process - explained


@pytest.fixture(scope="module")
def table():
    """Records of 90 events at 60 stations; some events and sites are held out."""
    rows = planted_records(90, 60, 0.6, clusters=20)
    held = rows["event_id"].isin([f"E{n:05d}" for n in range(0, 90, 6)])
    return rows.assign(
        new_event=held, new_site=rows["site_id"].isin([f"S{n:04d}" for n in range(0, 60, 5)])
    )


@pytest.fixture(scope="module")
def records(table):
    kept = table[~table["new_event"] & ~table["new_site"]]
    return Records.of(kept, kept["residual"])


@pytest.fixture(scope="module")
def fitted(records):
    return condition(PLANTED, records)


@pytest.fixture(scope="module")
def wanted(table, records):
    rows = table.sample(700, random_state=0)
    return rows, Cells.of(rows, records)


def test_the_mean_is_that_of_a_dense_solution(records, fitted, wanted):
    mean, _ = dense(PLANTED, records, wanted[1])
    np.testing.assert_allclose(fitted.mean(wanted[1]), mean, atol=0.004)


@pytest.mark.parametrize("new_event", [True, False])
@pytest.mark.parametrize("new_site", [True, False])
def test_the_standard_deviation_is_within_3_percent_of_a_dense_solution(
    records, fitted, wanted, new_event, new_site
):
    rows, cells = wanted
    cells = cells[((rows["new_event"] == new_event) & (rows["new_site"] == new_site)).to_numpy()]
    ratio = np.sqrt(fitted.variance(cells) / dense(PLANTED, records, cells)[1])
    assert ratio.mean() == pytest.approx(1, abs=0.03)
    assert (ratio > 0.93).all()
    assert (ratio < 1.07).all()


def test_noise_of_single_records_counts(table):
    kept = table[:900]
    noise = np.random.default_rng(0).uniform(0.02, 0.5, len(kept))
    records = Records.of(kept, kept["residual"], noise)
    cells = Cells.of(table[900:1200], records)
    mean, variance = dense(PLANTED, records, cells)
    given = condition(PLANTED, records)
    np.testing.assert_allclose(given.mean(cells), mean, atol=0.004)
    np.testing.assert_allclose(np.sqrt(given.variance(cells)), np.sqrt(variance), rtol=0.06)


def test_two_stations_of_one_site_share_its_terms(table):
    rows = table[:1200].copy()
    rows.loc[rows["station_id"] == "S0003", ["site_id", "x_km", "y_km"]] = "S0004", 0.0, 0.0
    rows.loc[rows["station_id"] == "S0004", ["x_km", "y_km"]] = 0.1, 0.0
    records = Records.of(rows, rows["residual"])
    cells = records.cells()[::7]
    mean, variance = dense(PLANTED, records, cells)
    given = condition(PLANTED, records)
    np.testing.assert_allclose(given.mean(cells), mean, atol=0.004)
    np.testing.assert_allclose(np.sqrt(given.variance(cells)), np.sqrt(variance), rtol=0.09)


def test_several_right_hand_sides_are_solved_together(records):
    noise = np.full(len(records), PLANTED.noise)
    basis = field_solver.Basis.choose(PLANTED, records)
    preconditioner = field_solver.Approximation(PLANTED, records, basis, noise, preconditioner=True)
    equations = field_solver.Equations(PLANTED, records, noise)
    right = np.random.default_rng(0).normal(size=(len(records), 3))
    solved = equations.solve(right, preconditioner)
    matrix = PLANTED.between(records.cells(), records.cells()) + np.diag(noise)
    np.testing.assert_allclose(equations.times(solved), matrix @ solved, atol=1e-2, rtol=1e-3)
    assert np.linalg.norm(matrix @ solved - right) < 2e-3 * np.linalg.norm(right)
    assert equations.steps < 30


def test_equations_that_do_not_converge_are_an_error(records, monkeypatch):
    monkeypatch.setattr(field_solver, "MAX_STEPS", 1)
    with pytest.raises(DataError, match="do not converge in 1 steps"):
        condition(PLANTED, records)


def test_variance_is_never_negative_nor_above_the_prior(fitted, wanted):
    variance = fitted.variance(wanted[1])
    assert (variance > 0).all()
    assert (variance < 1.001 * PLANTED.process).all()


def test_variance_grows_away_from_stations_and_sources(fitted, records):
    steps = np.array([0.0, 5, 20, 60, 1000])
    place = records.station_km[7] + np.c_[steps, 0 * steps]
    new = np.full(5, -1)
    source = np.broadcast_to(records.source_km[3], (5, 3))
    away = fitted.variance(Cells(source, place, new, new))
    assert (np.diff(away[[0, 1, 4]]) > 0).all()
    assert away[-1] > PLANTED.process - PLANTED.source - 0.01
    far = records.source_km[3] + np.c_[0 * steps, 0 * steps, steps]
    at_station = Cells(far, np.repeat(records.station_km[7:8], 5, axis=0), -1 - np.arange(5), np.full(5, 7))
    deeper = fitted.variance(at_station)
    assert (np.diff(deeper[[0, 2, 3, 4]]) > 0).all()


def test_more_records_do_not_raise_the_variance(records, wanted):
    few = condition(PLANTED, records.chosen(np.arange(len(records)) % 2 == 0))
    many = condition(PLANTED, records)
    cells = wanted[1][wanted[1].event < 0]
    assert (np.sqrt(many.variance(cells)) < 1.02 * np.sqrt(few.variance(cells))).all()


def test_events_and_stations_without_a_record_change_nothing(records, wanted):
    some = records.chosen((records.event % 3 > 0) & (records.station % 4 > 0))
    few = some.present()
    assert few.shape < some.shape
    for name in ("event", "station"):
        ids = [getattr(one, f"{name}_ids")[getattr(one, name)] for one in (few, some)]
        np.testing.assert_array_equal(*ids)
    mean, _ = dense(PLANTED, few, Cells.of(wanted[0], few))
    basis = Basis.choose(PLANTED, records)
    of_some, of_few = condition(PLANTED, some, basis), condition(PLANTED, few, basis)
    np.testing.assert_allclose(of_some.mean(wanted[1]), mean, atol=0.004)
    variance = of_few.variance(Cells.of(wanted[0], few))
    np.testing.assert_allclose(of_some.variance(wanted[1]), variance, rtol=1e-3)


def test_large_matrices_take_all_threads_and_give_the_same(records, fitted, wanted, monkeypatch):
    monkeypatch.setattr(field, "LARGE", 1)
    again = condition(PLANTED, records)
    np.testing.assert_allclose(again.mean(wanted[1]), fitted.mean(wanted[1]), atol=1e-5)


def test_the_order_of_the_records_changes_nothing(table, fitted, wanted):
    kept = table[~table["new_event"] & ~table["new_site"]].sample(frac=1, random_state=3)
    other = condition(PLANTED, Records.of(kept, kept["residual"]))
    np.testing.assert_array_equal(other.mean(wanted[1]), fitted.mean(wanted[1]))
    np.testing.assert_array_equal(other.variance(wanted[1]), fitted.variance(wanted[1]))


def event_cells(table, records, event: int) -> tuple[np.ndarray, Cells]:
    rows = table[table["event_id"] == f"E{event:05d}"]
    return rows, Cells.of(rows, records)


def test_the_formulas_of_one_event_agree(table, records, fitted):
    _, cells = event_cells(table, records, 6)
    mean, variance = new_event(fitted.constants, cells.source_km[0], cells.place_km, cells.site)
    np.testing.assert_allclose(mean, fitted.mean(cells), atol=1e-4)
    covariance = fitted.event_covariance(cells)
    np.testing.assert_allclose(variance, np.diag(covariance), rtol=2e-3)
    assert np.linalg.eigvalsh(covariance).min() > -1e-6
    here = records.cells()
    matrix = PLANTED.between(here, here) + PLANTED.noise * np.eye(len(records))
    cross = PLANTED.between(cells, here)
    exact = PLANTED.between(cells, cells) - cross @ np.linalg.solve(matrix, cross.T)
    np.testing.assert_allclose(covariance, exact, atol=0.03 * PLANTED.process)


def test_own_records_of_an_event_count_as_in_a_dense_solution(table, records, fitted):
    rows, cells = event_cells(table, records, 12)
    first = np.arange(len(rows)) < len(rows) // 2
    order = np.r_[np.flatnonzero(first), np.flatnonzero(~first)]
    residual = rows["residual"].to_numpy()[first] - fitted.mean(cells)[first]
    mean, covariance = given_own_records(fitted.event_covariance(cells[order]), residual, PLANTED.noise)
    kept = table[~table["new_event"] & ~table["new_site"]]
    grown = Records.of(
        all_rows := table.loc[[*kept.index, *rows.index[first]]], all_rows["residual"].to_numpy()
    )
    exact_mean, exact_variance = dense(PLANTED, grown, Cells.of(rows[~first], grown))
    np.testing.assert_allclose(fitted.mean(cells)[~first] + mean, exact_mean, atol=0.04)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), np.sqrt(exact_variance), rtol=0.04)


def test_one_record_lowers_the_variance_and_three_hundred_more_so():
    rng = np.random.default_rng(0)
    place = rng.uniform(0, 100, (320, 2))
    covariance = 0.12 + 0.3 * np.exp(-np.hypot(*(place[:, None] - place).transpose(2, 0, 1)) / 15)
    residual = rng.normal(size=300)
    _, one = given_own_records(covariance[np.ix_(np.r_[0, 300:320], np.r_[0, 300:320])], residual[:1], 0.1)
    _, many = given_own_records(covariance, residual, np.full(300, 0.1))
    assert (np.diag(one) < 0.42).all()
    assert (np.diag(many) < np.diag(one)).all()
    mean, same = given_own_records(covariance, [], [])
    assert not mean.any()
    np.testing.assert_array_equal(same, covariance)


@pytest.mark.parametrize(("residual", "noise"), [([np.nan, 0.0], 0.1), ([0.0, 0.0], [0.1, 0.0])])
def test_bad_own_records_are_refused(residual, noise):
    with pytest.raises(DataError, match="record [01] of the event"):
        given_own_records(np.eye(3), residual, noise)


def test_samples_have_the_mean_and_covariance_and_follow_the_seed(table, records, fitted):
    _, cells = event_cells(table, records, 6)
    samples = fitted.sample(cells, 4000, seed=5)
    np.testing.assert_array_equal(samples, fitted.sample(cells, 4000, seed=5))
    np.testing.assert_allclose(samples.mean(axis=0), fitted.mean(cells), atol=0.05)
    np.testing.assert_allclose(np.cov(samples.T), fitted.event_covariance(cells), atol=0.04)


def test_parts_are_those_of_a_dense_solution(records, fitted, wanted):
    cells, here = wanted[1][:200], records.cells()
    weights = np.linalg.solve(
        PLANTED.between(here, here) + PLANTED.noise * np.eye(len(records)), records.residual
    )
    for name, covariance in PLANTED.parts_between(cells, here).items():
        np.testing.assert_allclose(fitted.parts(cells)[name], covariance @ weights, atol=0.004)


def dense_variance(records: Records, cells: Cells, *names: str) -> np.ndarray:
    """Variance of some parts of the field by the whole matrix."""
    here = records.cells()
    parts = PLANTED.parts_between(cells, here)
    cross = sum(parts[name] for name in names)
    matrix = PLANTED.between(here, here) + PLANTED.noise * np.eye(len(records))
    explained = (cross * np.linalg.solve(matrix, cross.T).T).sum(axis=1)
    return sum(getattr(PLANTED, name) for name in names) - explained


def test_source_terms_are_those_of_a_dense_solution(records, fitted, wanted):
    cells = wanted[1]
    mean, variance, prior = source_term(fitted, cells.source_km)
    np.testing.assert_allclose(mean, fitted.parts(cells)["source"], atol=1e-6)
    ratio = np.sqrt(variance / dense_variance(records, cells, "source"))
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert (ratio > 0.97).all()
    assert (ratio < 1.10).all()
    assert prior == PLANTED.source
    assert source_term(fitted, np.array([[1e4, 0.0, 0.0]]))[1] == pytest.approx(prior, rel=1e-3)


def test_source_terms_with_the_mean_of_paths_are_those_of_a_dense_solution(records, fitted):
    places, here = records.station_km[:20], records.cells()
    noisy = PLANTED.between(here, here) + PLANTED.noise * np.eye(len(records))
    mean, variance, prior = source_term(fitted, records.source_km[::9], places)
    for number, source in enumerate(records.source_km[::9]):
        new = np.full(len(places), -1)
        cells = Cells(np.repeat(source[np.newaxis], len(places), axis=0), places, new, new)
        parts = (PLANTED.parts_between(cells, there) for there in (here, cells))
        cross, own = ((part["source"] + part["path_shared"]).mean(axis=0) for part in parts)
        assert prior == pytest.approx(own.mean())
        assert mean[number] == pytest.approx(cross @ np.linalg.solve(noisy, records.residual), abs=0.005)
        exact = own.mean() - cross @ np.linalg.solve(noisy, cross)
        assert np.sqrt(variance[number] / exact) == pytest.approx(1, abs=0.09)


PATHS = ("path_own", "path_shared")


@pytest.mark.parametrize("with_source", [True, False])
@pytest.mark.parametrize("new_site", [True, False])
def test_the_variance_of_path_terms_is_near_that_of_a_dense_solution(
    records, fitted, wanted, new_site, with_source
):
    rows, cells = wanted
    cells = cells[(rows["new_site"] == new_site).to_numpy()][:150]
    variance = [
        path_variance(
            fitted, cells.source_km[[i]], cells.place_km[i], cells.site[i], with_source=with_source
        )[0]
        for i in range(len(cells))
    ]
    names = (*PATHS, "source") if with_source else PATHS
    ratio = np.sqrt(variance / dense_variance(records, cells, *names))
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert (ratio > 0.90).all()
    assert (ratio < 1.15).all()


def test_a_field_is_the_same_after_writing_and_reading(tmp_path, fitted, wanted):
    fitted.save(tmp_path / "field.npz")
    again = Field.load(tmp_path / "field.npz")
    np.testing.assert_array_equal(again.mean(wanted[1]), fitted.mean(wanted[1]))
    np.testing.assert_array_equal(again.variance(wanted[1]), fitted.variance(wanted[1]))
    (tmp_path / "field.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="damaged"):
        Field.load(tmp_path / "field.npz")


@pytest.fixture(scope="module")
def folded(records):
    return out_of_fold(PLANTED, records, np.arange(len(records.source_km)), event_blocks=3, site_folds=2)


def test_out_of_fold_is_a_fit_without_the_record(records, folded):
    kept = (folded.block != 1) & (folded.fold != 0)
    held = (folded.block == 1) & (folded.fold == 0)
    mean, variance = dense(PLANTED, records.chosen(kept), records.cells()[held])
    np.testing.assert_allclose(folded.mean[held], mean, atol=0.005)
    np.testing.assert_allclose(np.sqrt(folded.variance[held]), np.sqrt(variance), rtol=0.05)


def test_a_residual_does_not_enter_its_own_out_of_fold_mean(records, folded):
    residual = records.residual + 100.0 * (np.arange(len(records)) == 5)
    changed = dataclasses.replace(records, residual=residual)
    again = out_of_fold(PLANTED, changed, np.arange(len(records.source_km)), event_blocks=3, site_folds=2)
    assert again.mean[5] == folded.mean[5]


def test_other_events_at_the_site_are_known_to_a_fit_without_the_block(records):
    times = np.arange(len(records.source_km))
    of_records = times[records.event]
    mean, variance = out_of_block(PLANTED, records, times, records.cells(), of_records, event_blocks=3)
    held = blocks_of(times, 3)[records.event] == 1
    expected, expected_variance = dense(PLANTED, records.chosen(~held), records.cells()[held])
    np.testing.assert_allclose(mean[held], expected, atol=0.005)
    np.testing.assert_allclose(np.sqrt(variance[held]), np.sqrt(expected_variance), rtol=0.06)


def test_blocks_are_of_consecutive_events_and_have_no_gaps():
    time = np.array([40.0, 10.0, 30.0, 20.0])
    assert blocks_of(time, 2).tolist() == [1, 0, 1, 0]
    assert blocks_of(time, 2, [5.0, 10.0, 29.0, 30.0, 99.0]).tolist() == [0, 0, 0, 1, 1]


def test_more_blocks_than_events_are_refused(records):
    with pytest.raises(DataError, match="cannot be split"):
        out_of_fold(PLANTED, records, np.arange(len(records.source_km)), event_blocks=10_000)


def test_one_event_at_one_station_is_a_field_too():
    rows = planted_records(1, 1)
    records = Records.of(rows, rows["residual"])
    given = condition(PLANTED, records)
    mean, variance = dense(PLANTED, records, records.cells())
    np.testing.assert_allclose(given.mean(records.cells()), mean, rtol=1e-3)
    np.testing.assert_allclose(given.variance(records.cells()), variance, rtol=0.3)


def test_a_part_without_variance_is_left_out(table):
    rows = table[:600]
    records = Records.of(rows, rows["residual"])
    simple = dataclasses.replace(
        PLANTED, site_shared=0.0, source=0.0, path_own=0.0, path_shared=0.0, within=0.0
    )
    given = condition(simple, records)
    cells = Cells.of(table[500:900], records)
    mean, variance = dense(simple, records, cells)
    np.testing.assert_allclose(given.mean(cells), mean, atol=0.004)
    np.testing.assert_allclose(given.variance(cells), variance, rtol=0.01)


@pytest.mark.slow
def test_tensors_give_the_same_as_arrays(table, records, fitted):
    ops = pytest.importorskip("keras").ops
    _, cells = event_cells(table, records, 6)
    constants = {
        name: value if name == "covariance" else ops.convert_to_tensor(value)
        for name, value in fitted.constants.items()
    }
    arguments = (cells.source_km[0].astype("float32"), cells.place_km.astype("float32"), cells.site)
    found = new_event(constants, *(ops.convert_to_tensor(argument) for argument in arguments), xp=ops)
    for tensor, array in zip(found, new_event(fitted.constants, *arguments), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(tensor), array, atol=1e-4)


def test_new_events_are_told_apart(records):
    rows = planted_records(2, 2).assign(event_id=["a", "a", "b", "b"], site_id=["p", "q", "p", "q"])
    cells = Cells.of(rows, records)
    assert (cells.event < 0).all()
    assert (cells.site < 0).all()
    assert np.equal.outer(cells.event, cells.event).sum() == 8
    assert np.equal.outer(cells.site, cells.site).sum() == 8
