"""Tables of published models: against the models themselves, and the same for arrays and TENSORS."""

from typing import ClassVar

import numpy as np
import pytest

from tfgmm.serving.graph import TENSORS
from tfgmm.stats import published, published_scaling, scaling_tables, tectonics
from tfgmm.stats.published_scaling import FunctionScaling, models_of_pygmm, tabulate
from tfgmm.stats.scaling_tables import DEPTHS_KM, LN_R, MAGNITUDES

IMS = ["PGA", "SA(1.0)", "PGV"]


def at(table, magnitude, r_km, depth_km) -> np.ndarray:
    """One class, one place an event."""
    curves = scaling_tables.curves(table[:, None], np.ones((len(magnitude), 1)), magnitude, depth_km)
    return scaling_tables.along(curves, scaling_tables.positions(np.log(r_km)[:, None]))[:, 0]


def plain(im, magnitude, r_km, depth_km, vs30):
    """A model with a quadratic that turns at M 5, and a bend at 6."""
    return -0.5 * (magnitude - 5) ** 2 - 1.2 * np.log(r_km + 3) + 0.01 * depth_km + (magnitude > 6)


PLAIN = FunctionScaling("plain", "crustal", plain, (4.5, 8.0), 300.0, jumps=(6.0,))


@pytest.mark.slow
@pytest.mark.parametrize("model", models_of_pygmm("japan"), ids=lambda model: model.name)
def test_tables_are_close_to_the_published_model(model):
    rng = np.random.default_rng(0)
    n, crustal = 150, model.tectonic_class == "crustal"
    low, high = model.magnitudes
    # At 760 m/s the site response of some is not quite linear for the strongest motion.
    magnitude = rng.uniform(low, min(high, 7.5), n)
    depth = rng.uniform(2, 19 if crustal else 115, n)
    top = published_scaling.depth_to_top(magnitude, depth)
    # Away from bends: R well beyond the depth, the rupture well below the surface, no jump near.
    r_km = np.maximum(np.exp(rng.uniform(1, 5.7, n)), 2.5 * top)
    away = (top > 1.5) & (np.abs(magnitude[:, None] - [*model.jumps, 99]).min(axis=1) > 0.1)
    epicentral = np.sqrt(np.maximum(r_km**2 - top**2, 0))
    distance = epicentral if model.model.distance == "r_epi_km" else r_km
    with published._without_warnings():
        rows = zip(magnitude, distance, depth, top, strict=True)
        expected = np.array(
            [model.model.medians(IMS, m, r, depth_km=z, top_km=t, vs30=760.0) for m, r, z, t in rows]
        ).T
    table = tabulate(model, tuple(IMS))
    for number in range(len(IMS)):
        error = np.abs(at(table[number], magnitude, r_km, depth) - expected[number])[away]
        assert np.quantile(error, 0.9) < 0.01 and error.max() < 0.03


def test_beyond_its_range_a_model_carries_on_along_a_straight_line():
    table = tabulate(PLAIN, ("PGA",))[0]
    low = table[MAGNITUDES < 4.55][:, 10, 3]
    np.testing.assert_allclose(np.diff(low, 2), 0, atol=1e-9)
    assert np.diff(low)[0] > 0  # the quadratic itself would rise towards M 3 just as much: its slope at 4.5
    assert np.isclose(np.diff(low)[0], 0.1 * (plain("", 5.0, 9, 0, 0) - plain("", 4.5, 9, 0, 0)) / 0.5)
    np.testing.assert_allclose(np.diff(table[MAGNITUDES > 7.95], 2, axis=0), 0, atol=1e-9)


def test_a_model_of_arrays_is_taken_as_it_is():
    class Arrays:
        name, tectonic_class, distance, jumps = "arrays", "interface", "r_hyp_km", (6.0,)
        ranges: ClassVar = {"magnitude": (5.0, 8.0), "r_hyp_km": (0, 250)}

        @staticmethod
        def ln_im(im, magnitude, distance_km, depth_km, vs30):
            assert vs30 == 760
            return plain(im, magnitude, distance_km, depth_km, vs30), 0 * magnitude + 0.7

    model = FunctionScaling.of_arrays(Arrays())
    assert (model.tectonic_class, model.magnitudes, model.max_r_km) == ("interface", (5.0, 8.0), 250)
    magnitude, r_km = np.array([5.5, 7.0]), np.array([30.0, 90.0])
    got = at(tabulate(model, ("PGA",))[0], magnitude, r_km, np.array([10.0, 40.0]))
    np.testing.assert_allclose(got, plain("", magnitude, r_km, np.array([10.0, 40.0]), 760), atol=0.005)


def test_a_jump_is_halved():
    table = tabulate(PLAIN, ("PGA",))[0]
    five_nine, six, six_one = table[[29, 30, 31], 20, 0]
    assert np.isclose(six - five_nine, 0.5 - 0.5 * (1.0**2 - 0.9**2), atol=1e-4)
    assert np.isclose(six_one - six, 0.5 - 0.5 * (1.1**2 - 1.0**2), atol=1e-4)


def test_outside_the_nodes_the_edge_counts():
    table = tabulate(PLAIN, ("PGA",))[0]
    inside = at(table, np.array([9.0, 3.0]), np.array([1.0, 1000.0]), np.array([200.0, 0.0]))
    outside = at(table, np.array([9.9, 1.0]), np.array([0.1, 5000.0]), np.array([700.0, -3.0]))
    np.testing.assert_array_equal(inside, outside)


def test_hat_functions_interpolate_and_add_up_to_one():
    x = np.array([-10.0, 0.0, 3.3, 125.0, 161.0, 900.0])
    weights = scaling_tables.hat_weights(x, DEPTHS_KM)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights @ DEPTHS_KM, np.clip(x, 0, 200))


@pytest.mark.slow
def test_arrays_and_tensors_give_the_same_numbers():
    import tensorflow as tf

    rng = np.random.default_rng(1)
    table = np.stack([tabulate(PLAIN, ("PGA",))[0]] * 2, axis=1) + np.array([0.0, 0.3])[:, None, None]
    weights = rng.dirichlet([1, 1], 5)
    magnitude, depth = rng.uniform(2, 10, 5), rng.uniform(-5, 250, 5)
    ln_r = rng.uniform(-1, 8, (5, 40))
    ln_r[0, :5] = LN_R[[0, 1, 35, -2, -1]]
    curves = scaling_tables.curves(table, weights, magnitude, depth)
    expected = scaling_tables.along(curves, scaling_tables.positions(ln_r))

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.float32)] * 2
        + [tf.TensorSpec([None, None], tf.float32)] * 2
    )
    def graph(magnitude, depth, weights, ln_r):
        held = tf.constant(table, tf.float32)
        curves = scaling_tables.curves(held, weights, magnitude, depth, TENSORS)
        return scaling_tables.along(curves, scaling_tables.positions(ln_r, TENSORS), TENSORS)

    got = graph(*(a.astype(np.float32) for a in (magnitude, depth, weights, ln_r)))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_regions_of_models():
    assert [
        tectonics.region_at(*place) for place in [(139.7, 35.7), (-117.5, 35.7), (242.5, 35.7), (0, 0)]
    ] == [*("japan", "california", "california", "global")]
    fixed = {model.name: model.model.fixed for model in models_of_pygmm("new_zealand")}
    assert fixed["BSSA14"]["region"] == "new_zealand"  # the only one that has terms for it
    assert fixed["ASK14"]["region"] == "global" and fixed["CY14"]["region"] == "california"
    assert "region" not in fixed["AGA16 interface"]


def test_a_single_place_is_computed_as_one_of_many():
    model = published_scaling.models_of_pygmm("japan")[1]
    many = model.medians(["PGA"], [6.0, 6.0], [30.0, 60.0], [10.0, 10.0])
    one = model.medians(["PGA"], [6.0], [30.0], [10.0])
    assert one.item() == pytest.approx(many[0, 0], abs=0.01)


def test_medians_at_places_are_those_of_the_classes_that_the_depth_allows():
    r_km = np.array([30.0, 100.0])
    of_pygmm = {"ASK14", "BSSA14", "CB14", "CY14"}
    rock = published_scaling.medians_at_places("global", "PGA", 6.0, 10.0, r_hyp_km=r_km, vs30=760.0)
    assert set(rock) == of_pygmm
    near = published_scaling.medians_at_places(
        "global", "PGA", 6.0, 10.0, r_hyp_km=r_km, r_rup_km=r_km, vs30=760.0
    )
    model = next(m for m in published_scaling.models("global") if m.name == "BSSA14")
    expected = model.medians(["PGA"], np.full(2, 6.0), r_km, np.full(2, 10.0))[0]
    np.testing.assert_allclose(near["BSSA14"], expected, atol=1e-6)
    assert (rock["BSSA14"] > near["BSSA14"]).all()  # a likely rupture is nearer than its hypocentre
    soft = published_scaling.medians_at_places("global", "PGA", 6.0, 10.0, r_hyp_km=r_km, vs30=300.0)
    assert all((soft[name] > rock[name]).all() for name in of_pygmm)
    deep = published_scaling.medians_at_places("japan", "PGA", 6.0, 80.0, r_hyp_km=r_km, vs30=760.0)
    assert set(deep) == {"AGA16 intraslab", "Zhao06 intraslab", "MF13 intraslab"}
