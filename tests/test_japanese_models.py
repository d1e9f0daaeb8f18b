"""Zhao et al. (2006) and Morikawa & Fujiwara (2013) against OpenQuake's values, and their laws."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tfgmm.core.errors import UsageError
from tfgmm.core.imt import STANDARD_GRAVITY
from tfgmm.stats import published
from tfgmm.stats.japanese_models import CLASSES, MODELS, morikawa_fujiwara_2013, zhao_2006

REFERENCE = pd.read_csv(Path(__file__).parent / "data" / "japanese_models.csv", comment="#")
FUNCTIONS = {"Zhao06": zhao_2006, "MF13": morikawa_fujiwara_2013}
IMS = {
    "Zhao06": ["PGV", "PGA", *(f"SA({t})" for t in (0.05, 0.07, 0.2, 0.5, 1.0, 1.7, 3.0, 5.0))],
    "MF13": ["PGV", "PGA", *(f"SA({t})" for t in (0.05, 0.07, 0.2, 0.5, 1.0, 2.7, 5.0, 10.0))],
}
EVERY_CASE = [(name, tectonic, im) for name in FUNCTIONS for tectonic in CLASSES for im in IMS[name]]


@pytest.mark.parametrize("tectonic", CLASSES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_of_openquake(name, tectonic):
    rows = REFERENCE.query("model == @name and tectonic_class == @tectonic")
    assert len(rows) == 60
    for im, table in rows.groupby("im"):
        columns = (table[column] for column in ("magnitude", "r_rup_km", "depth_km", "vs30_m_s"))
        predicted = FUNCTIONS[name](im, *columns, tectonic_class=tectonic)
        # OpenQuake divides PGV by the acceleration of gravity too.
        unit = 100 * STANDARD_GRAVITY if im == "PGV" else 1
        np.testing.assert_allclose(predicted.median - np.log(unit), table["median"], atol=2e-6)
        for part in ("stddev", "tau", "phi"):
            np.testing.assert_allclose(getattr(predicted, part), table[part], atol=2e-6)


@pytest.mark.parametrize("name, tectonic, im", EVERY_CASE)
def test_laws(name, tectonic, im):
    axes = np.arange(4.5, 8.05, 0.1), np.geomspace(5, 300, 40), [5, 15, 60, 125, 162], [150, 350, 800, 1200]
    predicted = FUNCTIONS[name](im, *np.ix_(*axes), tectonic_class=tectonic)
    assert predicted.median.shape == tuple(map(len, axes))
    assert np.isfinite(predicted.median).all()
    assert ((predicted.stddev > 0.5) & (predicted.stddev < 1.2)).all()
    magnitude, distance, depth, vs30 = (np.diff(predicted.median, axis=axis) for axis in range(4))
    assert (distance < 0).all()
    if (name, im) == ("Zhao06", "PGV"):  # made from SA; oversaturates a little beside large ruptures
        assert (magnitude[:, axes[1] > 40] > 0).all() and (magnitude > -0.05).all()
    else:
        assert (magnitude > 0).all()
    assert (depth >= 0).all()
    if im not in ("PGA", "SA(0.05)", "SA(0.07)", "SA(0.2)"):
        assert (vs30 <= 0).all()  # MF13 is constant on hard rock


def test_scalars_and_arrays_give_the_same():
    many = zhao_2006(
        "SA(1.0)", [6.0, 7.0], 40.0, 20.0, [[250.0], [500.0], [700.0]], tectonic_class="crustal"
    )
    assert many.median.shape == many.stddev.shape == many.tau.shape == (3, 2)
    one = zhao_2006("SA(1.0)", 7.0, 40.0, 20.0, 500.0, tectonic_class="crustal")
    assert one.median.shape == ()
    assert one.median == many.median[1, 1]
    np.testing.assert_allclose(many.stddev, np.hypot(many.tau, many.phi))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_periods_between_and_beyond_those_of_the_tables(name):
    def predict(im):
        return FUNCTIONS[name](im, [6.0, 7.5], 50.0, 30.0, 400.0, tectonic_class="intraslab")

    low, high = (3.0, 3.5) if name == "MF13" else (3.0, 4.0)
    weight = np.log(3.4 / low) / np.log(high / low)
    expected = (1 - weight) * predict(f"SA({low})").median + weight * predict(f"SA({high})").median
    np.testing.assert_allclose(predict("SA(3.4)").median, expected)
    for im in ("SA(0.04)", "SA(10.5)"):
        beyond = predict(im)
        assert beyond.median.shape == beyond.stddev.shape == (2,)
        assert np.isnan(beyond.median).all() and np.isnan(beyond.stddev).all()


def test_site_classes_of_zhao_begin_above_their_borders():
    def median(vs30):
        return zhao_2006("SA(1.0)", 6.5, 30.0, 10.0, vs30, tectonic_class="crustal").median

    borders = np.array([200.0, 300.0, 600.0, 1100.0])
    assert (median(borders) == median(borders - 50)).all()
    assert (median(borders + 0.1) < median(borders) - 0.1).all()
    assert np.isnan(median(np.nan))


def test_morikawa_fujiwara_saturate_in_magnitude_and_take_the_depth_of_sediments():
    def median(magnitude, **options):
        fixed = {"r_rup_km": 80.0, "depth_km": 30.0, "vs30_m_s": 350.0, "tectonic_class": "interface"}
        return morikawa_fujiwara_2013("SA(3.0)", magnitude, **fixed, **options).median

    assert median(8.1) < median(8.2) == median(9.0)
    depths = np.array([10.0, 57.8, 300.0, 3000.0])
    # Coefficients pd and Dmin at 3 s.
    expected = 0.323118 * np.log(np.maximum(depths, 57.8) / 300)
    np.testing.assert_allclose(median(7.0, d1400_m=depths) - median(7.0), expected, atol=1e-12)


def test_zero_distance_is_finite_but_for_intraslab_events():
    for function in FUNCTIONS.values():
        for tectonic in ("crustal", "interface"):
            assert np.isfinite(function("PGA", 7.0, 0.0, 5.0, 400.0, tectonic_class=tectonic).median)


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_unknown_names_are_refused(function):
    with pytest.raises(UsageError, match="'volcanic': write crustal, interface, intraslab"):
        function("PGA", 6.0, 50.0, 10.0, 400.0, tectonic_class="volcanic")
    with pytest.raises(UsageError, match="PGD"):
        function("PGD", 6.0, 50.0, 10.0, 400.0, tectonic_class="crustal")


@pytest.mark.parametrize("tectonic", CLASSES)
def test_pgv_of_zhao_is_near_that_of_morikawa_and_fujiwara(tectonic):
    arguments = np.array([6.0, 7.0, 7.5]), np.array([60.0, 90.0, 150.0]), 30.0, 400.0
    with_sa = zhao_2006("PGV", *arguments, tectonic_class=tectonic)
    own = morikawa_fujiwara_2013("PGV", *arguments, tectonic_class=tectonic)
    assert np.abs(with_sa.median - own.median).max() < np.log(2.2)
    one = zhao_2006("PGV", 7.0, 90.0, 30.0, 400.0, tectonic_class=tectonic)
    assert one.median == pytest.approx(with_sa.median[1], rel=1e-12)
    assert one.stddev == pytest.approx(np.hypot(one.tau, one.phi))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("im", ["PGA", "PGV", "SA(3.0)"])
def test_models_have_what_published_models_have(model, im):
    rng = np.random.default_rng(0)
    records = pd.DataFrame(
        {
            "magnitude": rng.uniform(7.9, 8.5, 60),  # MF13 bends at 8.2
            "depth_km": rng.uniform(1, 150, 60),
            "vs30": rng.choice([180.0, 200.0, 200.1, 300.0, 500.0, 600.0, 900.0, 1100.0, 1300.0], 60),
            "r_epi_km": rng.uniform(5, 150, 60),
        }
    )
    records["r_hyp_km"] = np.hypot(records["r_epi_km"], records["depth_km"])
    exact = published.evaluate(model, im, records)
    np.testing.assert_allclose(published.interpolate(model, im, records), exact, atol=0.03)
    columns = records[["magnitude", model.distance, "depth_km", "vs30"]]
    np.testing.assert_allclose(np.column_stack(model.ln_im(im, *columns.to_numpy().T)), exact)
    assert set(model.ranges) <= {"magnitude", "r_hyp_km", "depth_km", "vs30"}
    assert model.tectonic_class in published.CLASSES
