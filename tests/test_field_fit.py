"""The fit of the covariance of the field."""

import dataclasses

import numpy as np
import pytest

from helpers.field_records import PLANTED, planted_records
from tfgmm.core.errors import DataError
from tfgmm.stats import field_fit
from tfgmm.stats.field_covariance import RANGES, VARIANCES
from tfgmm.stats.field_records import Records


@pytest.mark.slow
def test_planted_standard_deviations_come_back():
    # Few source regions are independent: the source terms of one draw differ from the planted ones.
    tables = [planted_records(800, 400, 0.3, clusters=200, seed=seed) for seed in range(4)]
    fitted = [field_fit.fit(Records.of(table, table["residual"])).stddevs for table in tables]
    for name, planted in PLANTED.stddevs.items():
        assert np.mean([one[name] for one in fitted]) == pytest.approx(planted, abs=0.03), name


@pytest.mark.parametrize("seed", range(3))
def test_thirty_events_at_twenty_stations_are_enough(seed):
    table = planted_records(30, 20, seed=seed)
    fitted = field_fit.fit(Records.of(table, table["residual"]))
    assert fitted.process + fitted.noise == pytest.approx(table["residual"].var(), rel=0.3)
    assert fitted.noise > 0.02
    assert fitted.event > 0.03


def test_mean_products_are_those_of_all_pairs_one_by_one():
    table = planted_records(12, 9, 0.7)
    table.loc[table["station_id"] == "S0003", "site_id"] = "S0004"
    records = Records.of(table, table["residual"])
    classes = field_fit.mean_products(records)
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
    fitted = field_fit.fit(Records.of(table, table["residual"], np.full(len(table), 0.08)))
    assert fitted.noise == pytest.approx(0.08)


@pytest.mark.parametrize(("events", "stations", "named"), [(1, 20, "1 event"), (20, 1, "1 site")])
def test_too_few_events_or_sites_are_refused(events, stations, named):
    table = planted_records(events, stations)
    with pytest.raises(DataError, match=named):
        field_fit.fit(Records.of(table, table["residual"]))


def test_zero_residuals_are_refused():
    table = planted_records(8, 8)
    with pytest.raises(DataError, match="zero"):
        field_fit.fit(Records.of(table, 0.0 * table["residual"]))


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
        fit = field_fit.fit(records)
        estimated = field_fit.standard_errors(fit, records)
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
        fit = field_fit.fit(records) if noise is None else field_fit.fit(given)
        fitted.append(field_fit.standard_errors(fit, given)["phi_ss"])
    assert 0 < fitted[1] != fitted[0]


def test_terms_without_variance_have_no_range():
    table = planted_records(60, 40, 0.5, clusters=12)
    records = Records.of(table, table["residual"])
    fit = dataclasses.replace(field_fit.fit(records), source=0.0, site_shared=0.0)
    errors = field_fit.standard_errors(fit, records)
    assert np.isnan(errors["site_km"]) and errors["source"] > 0.02
    assert errors["source_km"] > 0  # of the path terms


def planted_residuals(seed: int, planted=PLANTED):
    table = planted_records(120, 60, 0.7, clusters=30, seed=seed, planted=planted)
    return Records.of(table, table["residual"])


def ranges_of(covariance):
    return [getattr(covariance, name) for name in RANGES]


def test_one_measure_is_fitted_as_by_itself():
    records = planted_residuals(0)
    assert field_fit.fit_measures({"PGA": records}) == {"PGA": field_fit.fit(records)}


def test_measures_alike_share_their_ranges_and_have_variances_of_their_own():
    near = planted_residuals(0)
    twice = dataclasses.replace(near, residual=2 * near.residual)
    fitted = field_fit.fit_measures({"SA(1.0)": near, "PGV": planted_residuals(1), "SA(2.0)": twice})
    assert list(fitted) == ["SA(1.0)", "PGV", "SA(2.0)"]
    assert ranges_of(fitted["SA(1.0)"]) == ranges_of(fitted["PGV"]) == ranges_of(fitted["SA(2.0)"])
    for name in VARIANCES:
        assert getattr(fitted["SA(2.0)"], name) == pytest.approx(4 * getattr(fitted["SA(1.0)"], name))
    shared, alone = fitted["PGV"], field_fit.fit(planted_residuals(1))
    assert ranges_of(shared) != ranges_of(alone)


def test_a_measure_whose_records_say_otherwise_keeps_its_own_ranges():
    wide = dataclasses.replace(PLANTED, site_shared=0.3, site_km=120.0, within=0.2, within_km=50.0)
    records = {
        "PGA": planted_residuals(0),
        "SA(0.1)": planted_residuals(1),
        "SA(3.0)": planted_residuals(2, wide),
    }
    fitted = field_fit.fit_measures(records)
    assert ranges_of(fitted["PGA"]) == ranges_of(fitted["SA(0.1)"])
    assert fitted["SA(3.0)"] == field_fit.fit(records["SA(3.0)"])
    assert fitted["SA(3.0)"].within_km > 2 * fitted["PGA"].within_km
