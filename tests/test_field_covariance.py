"""The covariance of the field and its fit."""

import dataclasses

import numpy as np
import pytest

from helpers.field_records import PLANTED, planted_records
from tfgmm.core.errors import DataError
from tfgmm.stats.field_covariance import Covariance, mean_products
from tfgmm.stats.field_records import Records


@pytest.mark.slow
def test_planted_standard_deviations_come_back():
    # Few source regions are independent: the source terms of one draw differ from the planted ones.
    tables = [planted_records(800, 400, 0.3, clusters=200, seed=seed) for seed in range(4)]
    fitted = [Covariance.fit(Records.of(table, table["residual"])).stddevs for table in tables]
    for name, planted in PLANTED.stddevs.items():
        assert np.mean([one[name] for one in fitted]) == pytest.approx(planted, abs=0.03), name


@pytest.mark.parametrize("seed", range(3))
def test_thirty_events_at_twenty_stations_are_enough(seed):
    table = planted_records(30, 20, seed=seed)
    fitted = Covariance.fit(Records.of(table, table["residual"]))
    assert fitted.process + fitted.noise == pytest.approx(table["residual"].var(), rel=0.3)
    assert fitted.noise > 0.02
    assert fitted.event > 0.03


def test_mean_products_are_those_of_all_pairs_one_by_one():
    table = planted_records(12, 9, 0.7)
    table.loc[table["station_id"] == "S0003", "site_id"] = "S0004"
    records = Records.of(table, table["residual"])
    classes = mean_products(records)
    product = np.outer(records.residual, records.residual)
    same_event = np.equal.outer(records.event, records.event)
    site = records.site[records.station]
    alike = np.equal.outer(site, site) & ~same_event
    of_site = classes[(classes["site_class"] == 0) & (classes["source_class"] > 0)]
    assert of_site["pairs"].sum() == alike.sum()
    assert (of_site["pairs"] * of_site["product"]).sum() == pytest.approx(product[alike].sum(), rel=1e-5)
    itself = classes[classes["is_record"]].iloc[0]
    assert itself["pairs"] == len(records)
    assert itself["product"] == pytest.approx((records.residual**2).mean(), rel=1e-5)


def test_the_noise_of_the_records_is_kept():
    table = planted_records(60, 30)
    fitted = Covariance.fit(Records.of(table, table["residual"], np.full(len(table), 0.08)))
    assert fitted.noise == pytest.approx(0.08)


def test_the_parts_add_up_and_a_site_is_one_place():
    table = planted_records(6, 5)
    cells = Records.of(table, table["residual"]).cells()
    whole = PLANTED.between(cells, cells)
    np.testing.assert_allclose(np.diag(whole), PLANTED.process)
    assert np.linalg.eigvalsh(whole).min() > -1e-9
    own = PLANTED.parts_between(cells, cells)["site_own"]
    np.testing.assert_array_equal(own > 0, np.equal.outer(cells.site, cells.site))


@pytest.mark.parametrize(("events", "stations", "named"), [(1, 20, "1 event"), (20, 1, "1 site")])
def test_too_few_events_or_sites_are_refused(events, stations, named):
    table = planted_records(events, stations)
    with pytest.raises(DataError, match=named):
        Covariance.fit(Records.of(table, table["residual"]))


def test_zero_residuals_are_refused():
    table = planted_records(8, 8)
    with pytest.raises(DataError, match="zero"):
        Covariance.fit(Records.of(table, 0.0 * table["residual"]))


def test_records_that_cannot_be_used_are_refused_by_name():
    table = planted_records(6, 6)
    with pytest.raises(DataError, match="residual of the record of event E00000 at station S0002 is nan"):
        Records.of(table, table["residual"].mask(table.index == 2))
    with pytest.raises(DataError, match=r"noise .* above 0"):
        Records.of(table, table["residual"], np.zeros(len(table)))
    with pytest.raises(DataError, match="station S0001 has two records of event E00000"):
        Records.of(table.assign(station_id="S0001"), table["residual"])
    with pytest.raises(DataError, match="no record"):
        Records.of(table[:0], [])


def test_standard_errors_are_those_of_repeated_records():
    names = ["tau", "phi_s2s", "path", "phi_ss"]  # the source terms of few regions scatter more
    errors, estimates = [], []
    for seed in range(8):
        table = planted_records(60, 40, 0.7, clusters=12, seed=seed)
        records = Records.of(table, table["residual"])
        fit = Covariance.fit(records)
        estimated = fit.standard_errors(records)
        errors.append([estimated[name] for name in names])
        estimates.append([fit.stddevs[name] - PLANTED.stddevs[name] for name in names])
    true = np.sqrt(np.square(estimates).mean(axis=0))
    ratio = np.median(errors, axis=0) / true
    assert ((ratio > 0.4) & (ratio < 3.5)).all()


def test_a_known_noise_adds_no_error():
    table = planted_records(60, 40, 0.5, clusters=12)
    records, fitted = Records.of(table, table["residual"]), []
    for noise in (None, np.full(len(table), PLANTED.noise)):
        given = Records.of(table, table["residual"], noise)
        fit = Covariance.fit(records) if noise is None else Covariance.fit(given)
        fitted.append(fit.standard_errors(given)["phi_ss"])
    assert 0 < fitted[1] != fitted[0]


def test_terms_without_variance_have_no_range():
    table = planted_records(60, 40, 0.5, clusters=12)
    records = Records.of(table, table["residual"])
    fit = dataclasses.replace(Covariance.fit(records), source=0.0, site_shared=0.0)
    errors = fit.standard_errors(records)
    assert np.isnan(errors["site_km"]) and errors["source"] > 0.02
    assert errors["source_km"] > 0  # of the path terms
