"""The backbone: planted differences from a published model, the prior beyond the records, files."""

import dataclasses

import numpy as np
import pandas as pd
import pygmm
import pytest
from scipy.stats import norm

from tfgmm.core.errors import DataError
from tfgmm.serving.graph import TENSORS
from tfgmm.stats import backbone_fit, published, recentring, scaling_tables, tectonics
from tfgmm.stats.backbone import Backbone, Earthquakes
from tfgmm.stats.listed_regression import Listing
from tfgmm.stats.published_scaling import FunctionScaling
from tfgmm.stats.site_response import SiteResponse


def median_of(fitted, im, records):
    return fitted.median_of(im, records.assign(r_rup_km=records["r_km"]))


def scaling(im, magnitude, r_km, depth_km, vs30):
    saturated = np.log(r_km + 0.3 * np.exp(0.5 * magnitude))
    return 1.1 * (magnitude - 6) - 0.12 * (magnitude - 6) ** 2 - 1.5 * saturated - 0.003 * r_km + 1.5


def other(im, magnitude, r_km, depth_km, vs30):
    return scaling(im, magnitude, r_km, depth_km, vs30) + 2 * (magnitude - 5) - 0.04 * (r_km - 100)


def without_period(im, magnitude, r_km, depth_km, vs30):
    return scaling(im, magnitude, r_km, depth_km, vs30) + (np.nan if im != "PGA" else 0.0)


MODELS = (
    FunctionScaling("true", "crustal", scaling, (3.5, 8.0), 300.0),
    FunctionScaling("other", "crustal", other, (3.5, 8.0), 300.0),
    FunctionScaling("deep", "intraslab", scaling, (5.0, 8.0), 300.0),
)


def simulated(n=4000, seed=0, events=80, sites=70, factor=1.0, level=None) -> pd.DataFrame:
    """Records of M 4 to 5.5 that differ from the published model by a constant and the distance slope."""
    rng = np.random.default_rng(seed)
    event, site = rng.integers(0, events, n), rng.integers(0, sites, n)
    records = pd.DataFrame(
        {
            "event_id": [f"e{k}" for k in event],
            "site_id": [f"s{k}" for k in site],
            "magnitude": rng.uniform(4.0, 5.5, events)[event],
            "depth_km": rng.uniform(3, 18, events)[event],
            "r_km": np.exp(rng.uniform(np.log(20), np.log(250), n)),
            "vs30": np.exp(rng.uniform(np.log(180), np.log(900), sites))[site],
        }
    )
    vs30 = records["vs30"].where(rng.uniform(size=n) < 0.9)
    at_760 = scaling("PGA", *(records[name].to_numpy() for name in ("magnitude", "r_km", "depth_km")), 760)
    at_760 += 0.4 + 0.2 * np.log(np.hypot(records["r_km"], 10) / 80)
    response = dataclasses.replace(SiteResponse.published("PGA"), factor=factor)
    error = rng.normal(0, 0.3, events)[event] + rng.normal(0, 0.3, sites)[site] + rng.normal(0, 0.5, n)
    ln_im = at_760 + response.amplification(records["vs30"].to_numpy(), at_760) + error
    records = records.assign(ln_im=ln_im, truth=ln_im - error, vs30=vs30)
    if level is None:
        return records
    return records[rng.uniform(size=n) < norm.cdf((ln_im - level) / 0.45)]


@pytest.fixture(scope="module")
def fitted() -> Backbone:
    return backbone_fit.fit(simulated(8000, sites=300, factor=1.3), "PGA", models=MODELS)


def test_a_planted_difference_is_found(fitted):
    known = simulated(8000, sites=300, factor=1.3).dropna()
    error = median_of(fitted, "PGA", known) - known["truth"]
    assert abs(error.mean()) < 0.12 and error.std() < 0.1
    at_760 = fitted.median("PGA", [5.0], [10.0], np.log([[30, 200]]), vs30=760.0)[0]
    slope = (at_760 - scaling("PGA", 5.0, np.array([30, 200]), 10.0, 760)) @ [-1, 1]
    assert abs(slope - 0.2 * np.log(200 / 31)) < 0.15
    assert 1.1 < fitted.sites[0].factor < 1.5


def test_the_model_that_the_records_follow_gets_the_weight(fitted):
    assert fitted.classes == ("crustal",)
    weights = fitted.report.set_index("model")["weight"]
    assert weights.to_dict() == {"true": 1.0, "other": 0.0}
    assert fitted.report.set_index("model").loc["other", "note"] == "dropped: fits the records less well"


def test_beyond_the_records_the_published_scaling_carries_on(fitted):
    def rise(values):
        return values[2] - values[1], values[1] - values[0]

    magnitude, r_km = np.array([6.5, 7.0, 7.5]), np.full(3, 60.0)
    got = fitted.median("PGA", magnitude, [10.0] * 3, np.log(r_km)[:, None], vs30=760.0)[:, 0]
    np.testing.assert_allclose(rise(got), rise(scaling("", magnitude, r_km, 10.0, 760)), atol=0.04)


def test_beyond_the_distances_of_the_records_the_published_decay_carries_on(fitted):
    """The planted slope would amount to 0.4 more at 1000 km than at 250 km, and to as much less at 2 km."""
    r_km = np.array([1.0, 2.0, 600.0, 1000.0])
    at_760 = fitted.median("PGA", [5.0], [10.0], np.log([r_km]), vs30=760.0)[0]
    difference = at_760 - scaling("PGA", 5.0, r_km, 10.0, 760)
    assert np.ptp(difference) < 0.2


def test_records_of_another_magnitude_scaling_are_followed_and_left_behind():
    """Published scaling plus 0.5 per unit: found inside the records, faded two units beyond."""
    records = simulated(8000, events=300)
    records["ln_im"] += 0.5 * (records["magnitude"] - 4.75)
    fit = backbone_fit.fit(records, "PGA", models=MODELS[:1])
    magnitude = np.array([4.25, 5.25, 7.0, 8.0])
    got = fit.median("PGA", magnitude, [10.0] * 4, np.full((4, 1), np.log(80)), vs30=760.0)[:, 0]
    difference = got - scaling("", magnitude, 80.0, 10.0, 760)
    assert 0.25 < difference[1] - difference[0] < 0.6
    assert abs(difference[3] - difference[2]) < 0.05


def test_variance_grows_away_from_the_records(fitted):
    magnitude = np.array([4.75, 5.75, 6.5, 7.5])
    ln_r = np.log([[5.0, 70.0, 900.0]] * 4)
    variance = fitted.variance("PGA", magnitude, [10.0] * 4, ln_r)
    assert (np.diff(variance[:, 1]) > 0)[:2].all() and variance[3, 1] > 2 * variance[0, 1]
    assert variance[0, 0] > variance[0, 1] < variance[0, 2]
    # A depth of which there are no records.
    assert fitted.variance("PGA", [4.75], [150.0], ln_r[:1])[0, 1] > 2 * variance[0, 1]


def test_tables_hold_the_median_and_variance_of_the_regression(fitted):
    """At a few nodes, from the whole design."""
    rng = np.random.default_rng(5)
    index = rng.integers(0, fitted.median_table("PGA").shape[1:], (20, 3)).T
    magnitude, ln_r, depth = (
        nodes[number]
        for nodes, number in zip(
            (scaling_tables.MAGNITUDES, scaling_tables.LN_R, scaling_tables.DEPTHS_KM), index, strict=True
        )
    )
    columns = recentring.regressors(magnitude, np.exp(ln_r), depth, np.ones((20, 1)))
    delta = columns @ fitted.coefficients[0, :-1] - fitted.centres[0] * fitted.coefficients[0, -1]
    expected = scaling("PGA", magnitude, np.exp(ln_r), depth, 760) + delta
    inside = (magnitude > 3.5) & (magnitude < 8)  # outside the model's magnitudes the table is straight
    np.testing.assert_allclose(
        fitted.median_table("PGA")[0][tuple(index)][inside], expected[inside], atol=1e-9
    )
    variance = np.einsum("ij,jk,ik->i", columns, fitted.covariance[0, :-1, :-1], columns)
    np.testing.assert_allclose(fitted.variance_table("PGA")[0][tuple(index)], variance, atol=1e-9)


def test_listed_records():
    records = simulated(20_000, events=200, sites=150, level=-7.0)
    assert len(records) < 15_000
    truth = simulated(20_000, events=200, sites=150).dropna()
    far = truth[truth["r_km"] > 180]
    plain, listed = (
        backbone_fit.fit(records, "PGA", models=MODELS[:1], listing=listing)
        for listing in (None, Listing(level=-7.0))
    )
    error = [(median_of(fit, "PGA", far) - far["truth"]).mean() for fit in (plain, listed)]
    stddev = [fit.variance("PGA", [4.75], [10.0], [[np.log(200)]])[0, 0] ** 0.5 for fit in (plain, listed)]
    assert error[0] > 4 * stddev[0] and abs(error[1]) < 2.5 * stddev[1] < 0.3


def test_another_measure_of_records_listed_by_pga():
    """SA follows PGA with a correlation of 0.8 in what remains of a record."""
    rng = np.random.default_rng(4)
    everything = simulated(20_000, events=200, sites=150)
    everything["ln_pga"] = everything["ln_im"]
    residual = everything["ln_im"] - everything["truth"]
    everything["truth"] += 0.5
    everything["ln_im"] = everything["truth"] + 0.9 * residual + rng.normal(0, 0.35, len(residual))
    kept = everything[rng.uniform(size=len(everything)) < norm.cdf((everything["ln_pga"] + 7.0) / 0.45)]
    far = everything[everything["r_km"] > 180].dropna()
    errors = []
    for listing in (None, Listing(level=-7.0)):
        fit = backbone_fit.fit(kept, "SA(1.0)", models=MODELS[:1], listing=listing)
        errors.append((median_of(fit, "SA(1.0)", far) - far["truth"]).mean())
    assert errors[0] > 0.4 and abs(errors[1]) < 0.4 * errors[0]
    with pytest.raises(DataError, match="bring the PGA"):
        backbone_fit.fit(kept.drop(columns="ln_pga"), "SA(1.0)", models=MODELS[:1], listing=Listing())


def test_a_model_without_the_period_is_dropped():
    models = (*MODELS[:1], FunctionScaling("short", "crustal", without_period, (3.5, 8.0), 300.0))
    fit = backbone_fit.fit(simulated(), "SA(1.0)", models=models)
    assert fit.report["weight"].to_list() == [1, 0]
    assert fit.report["note"].to_list()[1] == "dropped: has no such period"
    with pytest.raises(DataError, match="no published model of the class crustal has this measure"):
        backbone_fit.fit(simulated(), "SA(1.0)", models=models[1:])


def test_classes_by_depth_and_by_column():
    records = simulated()
    deep = records["event_id"].isin([f"e{k}" for k in range(40)])
    records.loc[deep, "depth_km"] += 60
    fit = backbone_fit.fit(records, "PGA", models=MODELS)
    assert fit.classes == ("crustal", "intraslab")
    np.testing.assert_allclose(fit.class_weights([10, 70, 26]), [[1, 0], [0, 1], [0, 1]])
    known = records.assign(tectonic_class="intraslab")
    assert backbone_fit.fit(known, "PGA", models=MODELS).classes == ("intraslab",)
    with pytest.raises(DataError, match="holds 'volcanic'"):
        backbone_fit.fit(records.assign(tectonic_class="volcanic"), "PGA", models=MODELS)


def test_weights_of_tectonic_classes():
    weights = tectonics.class_weights([10, 25, 42.5, 60, 100])
    np.testing.assert_allclose(weights[:, 1], [0, 0.5, 0.25, 0, 0])
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    known = tectonics.class_weights([10, 10], ["interface", None])
    np.testing.assert_allclose(known, [[0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("im", ["PGA", "PGV", "SA(0.3)", "SA(3.0)"])
def test_site_response_is_that_of_pygmm(im):
    with published._without_warnings():
        model = pygmm.BooreStewartSeyhanAtkinson2014
        column = int(
            np.argmin(
                np.abs(model.COEFF["period"] - ({"PGA": 0, "PGV": -1}.get(im) or float(im[3:-1] or 0)))
            )
        )
        for vs30, pga in [(200, 0.5), (300, 0.1), (760, 0.3), (1400, 0.2)]:
            expected = model.calc_site_term(pga, vs30, None)[column]
            got = SiteResponse.published(im).amplification(np.array(float(vs30)), np.log(pga))
            assert np.isclose(got, expected, atol=2e-3)


def test_strong_motion_is_amplified_less(fitted):
    weak, strong = (fitted.sites[0].amplification(np.array(250.0), np.log(pga)) for pga in (0.01, 0.5))
    assert weak - strong > 0.2
    # And so of the median itself, as M and R bring the motion to such levels.
    soft, rock = (
        fitted.median("PGA", [7.5], [10], np.log([[5.0, 200]]), vs30=v)[0] for v in (250.0, 760.0)
    )
    assert (soft - rock)[0] < (soft - rock)[1] - 0.2


def test_records_of_a_table_have_the_median_of_their_earthquake_and_place(fitted):
    some = simulated(50).reset_index(drop=True)
    expected = [
        fitted.median("PGA", [m], [z], [[np.log(r)]], vs30=vs30).item()
        for m, z, r, vs30 in some[["magnitude", "depth_km", "r_km", "vs30"]].to_numpy()
    ]
    np.testing.assert_allclose(median_of(fitted, "PGA", some), expected)


def test_unknown_vs30_is_the_median_of_the_training(fitted):
    place = "PGA", [5.0], [10.0], [[4.0, 4.0]]
    known = fitted.median(*place, vs30=fitted.vs30_m_s)
    np.testing.assert_array_equal(fitted.median(*place, vs30=[np.nan, fitted.vs30_m_s]), known)
    np.testing.assert_array_equal(fitted.median(*place), known)


@pytest.mark.slow
def test_the_median_of_arrays_and_tensors(fitted):
    import tensorflow as tf

    rng = np.random.default_rng(2)
    magnitude, depth = rng.uniform(4, 8, 3), rng.uniform(0, 40, 3)
    ln_r, vs30 = rng.uniform(0, 6, (3, 50)), rng.uniform(100, 1600, (3, 50))

    @tf.function
    def graph(magnitude, depth, ln_r, vs30):
        earthquakes = Earthquakes(magnitude, depth, tf.ones((3, 1)))
        return fitted.tables("PGA").at(earthquakes, vs30, ln_r_rup=ln_r, xp=TENSORS)[0]

    got = graph(*(a.astype(np.float32) for a in (magnitude, depth, ln_r, vs30)))
    np.testing.assert_allclose(
        got.numpy(), fitted.median("PGA", magnitude, depth, ln_r, vs30=vs30), atol=1e-5
    )


def test_a_saved_backbone_is_the_same(fitted, tmp_path):
    path = tmp_path / "backbone.npz"
    held = dataclasses.replace(fitted, listing=Listing(-6.0, 0.4))
    held.save(path)
    loaded = Backbone.load(path)
    for field in dataclasses.fields(Backbone):
        ours, theirs = getattr(held, field.name), getattr(loaded, field.name)
        if isinstance(ours, pd.DataFrame):
            pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)
        else:
            # Tables are stored as float32.
            np.testing.assert_allclose(ours, theirs, rtol=1e-6) if isinstance(ours, np.ndarray) else None
            assert isinstance(ours, np.ndarray) or ours == theirs
    before = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [0, 100, -50])
def test_a_damaged_file_is_refused(fitted, tmp_path, cut):
    path = tmp_path / "backbone.npz"
    fitted.save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="cannot be read as a backbone"):
        Backbone.load(path)


def test_a_measure_that_is_not_there_is_refused(fitted):
    with pytest.raises(DataError, match=r"no SA\(2.0\), only"):
        fitted.median("SA(2.0)", [5.0, 6.0], [10.0, 5.0], [[4.0], [3.0]])


@pytest.mark.parametrize("column", ["ln_im", "r_km", "depth_km", "magnitude"])
def test_missing_values_are_refused(column):
    records = simulated(200)
    records.loc[7, column] = np.nan
    with pytest.raises(DataError, match=f"{column} of 1 records"):
        backbone_fit.fit(records, "PGA", models=MODELS)


def test_an_unknown_class_has_the_variance_of_the_classes():
    records = simulated()
    deep = records["event_id"].isin([f"e{k}" for k in range(40)])
    records.loc[deep, "depth_km"] += 60
    tables = backbone_fit.fit(records, "PGA", models=MODELS).tables("PGA")
    assert len(tables.classes) == 2
    place, vs30 = {"ln_r_rup": np.log([[40.0, 90.0]])}, np.full((1, 2), 760.0)

    def at(*weights):
        earthquake = Earthquakes(np.array([6.0]), np.array([30.0]), np.array([weights], float))
        return tables.at(earthquake, vs30, **place)

    first, second, both = at(1, 0), at(0, 1), at(0.3, 0.7)
    for known in (first, second):
        np.testing.assert_allclose(known[2], 0, atol=1e-12)
    expected = 0.3 * 0.7 * (first[0] - second[0]) ** 2
    assert (expected > 1e-4).all()
    # In a curve the square is interpolated between nodes of distance.
    np.testing.assert_allclose(both[2], expected, atol=0.02 * expected.max() + 1e-3)
