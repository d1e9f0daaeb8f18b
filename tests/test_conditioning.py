"""One distribution from members and what is known: the same by NumPy, by a graph and by hand."""

import types

import numpy as np
import pytest
import tensorflow as tf

from helpers.field_records import PLANTED, planted_records
from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.prediction import conditioning, field_graph
from tfgmm.prediction.conditioning import Condition, Conditioned, FieldMoments, MemberMoments
from tfgmm.stats.calibration import Calibration
from tfgmm.stats.field import condition
from tfgmm.stats.field_records import Cells, Records
from tfgmm.stats.support import Shrinkage

CALIBRATION = Calibration(a=1.2, b=0.4, length_km=5.0, c=3.0)
MEMBERS, PLACES = 3, 7
SHRINKAGE = Shrinkage(n0=10.0, variance_u=0.2)


@pytest.fixture(scope="module")
def field():
    """A field of 40 events at 30 stations."""
    rows = planted_records(40, 30)
    return condition(PLANTED, Records.of(rows, rows["residual"]))


@pytest.fixture(scope="module")
def numbers():
    """Output, backbone and field of every member at some places, and distances of the places."""
    rng = np.random.default_rng(0)
    shape = MEMBERS, PLACES
    return {
        "network": rng.normal(0, 0.3, shape),
        "stddev": rng.uniform(0.3, 0.8, shape),
        "median": rng.normal(-3, 1, shape),
        "variance": rng.uniform(0.01, 0.05, shape),
        "of_classes": rng.uniform(0.0, 0.05, shape),
        "field": rng.normal(size=shape),
        "field_variance": rng.uniform(0.2, 0.5, shape),
        "support": rng.uniform(0, 30, PLACES),
        "nearest_km": rng.uniform(0, 30, PLACES),
    }


def predicted(numbers, with_field, calibration, xp) -> dict:
    """As the ensemble and the graph call the functions."""
    names = ("network", "stddev", "median", "variance", "of_classes", "field", "field_variance")
    members = [
        MemberMoments(u, s, of_backbone, FieldMoments(*of_field, 0.1) if with_field else None)
        for u, s, *of_backbone, mean, variance in zip(*(numbers[name] for name in names), strict=True)
        for of_field in [(mean, variance)]
    ]
    distance = None if calibration is None else numbers["nearest_km"]
    return conditioning.combined(
        members, numbers["support"], SHRINKAGE, calibration=calibration, nearest_km=distance, xp=xp
    )


@pytest.mark.parametrize("with_field", [False, True])
@pytest.mark.parametrize("calibration", [None, CALIBRATION])
def test_graph_computes_what_numpy_computes(numbers, with_field, calibration):
    expected = predicted(numbers, with_field, calibration, np)

    @tf.function(autograph=False)
    def graph(**tensors):
        of_places = {name: tensors.pop(name) for name in ("support", "nearest_km")}
        members = {name: tf.unstack(values) for name, values in tensors.items()}
        return predicted(members | of_places, with_field, calibration, tf.math)

    found = graph(**{name: tf.constant(values, tf.float32) for name, values in numbers.items()})
    assert set(found) == set(expected)
    assert ("within_event" in found) == with_field
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)


def test_terms_and_variances_by_hand(numbers):
    found = predicted(numbers, True, None, np)
    support, withheld = numbers["support"], SHRINKAGE.unsupported(numbers["support"])
    u, spread = numbers["network"].mean(axis=0), (numbers["network"] + numbers["median"]).var(axis=0)
    mean = numbers["median"].mean(axis=0) + SHRINKAGE.share(support) * u + numbers["field"].mean(axis=0)
    np.testing.assert_allclose(found["mean"], mean)
    variance = (numbers["stddev"] ** 2).mean(axis=0) + numbers["field_variance"].mean(axis=0)
    np.testing.assert_allclose(found["aleatory"] ** 2, variance)
    epistemic = spread + withheld * np.maximum(0.2 - spread, 0) + numbers["variance"].mean(axis=0)
    epistemic += withheld * numbers["of_classes"].mean(axis=0)
    np.testing.assert_allclose(found["epistemic"] ** 2, epistemic)
    np.testing.assert_allclose(found["stddev"], np.hypot(found["aleatory"], found["epistemic"]))
    np.testing.assert_allclose(found["between_event"], np.sqrt(0.1))
    np.testing.assert_allclose(np.hypot(found["between_event"], found["within_event"]), found["stddev"])


def test_calibration_by_hand(numbers):
    raw, found = (predicted(numbers, False, chosen, np) for chosen in (None, CALIBRATION))
    unknown_site = 0.4 * (1 - np.exp(-numbers["nearest_km"] / 5))
    of_backbone = numbers["variance"].mean(axis=0)
    of_backbone += SHRINKAGE.unsupported(numbers["support"]) * numbers["of_classes"].mean(axis=0)
    np.testing.assert_allclose(found["mean"], raw["mean"])
    np.testing.assert_allclose(found["aleatory"], 1.2 * raw["aleatory"])
    epistemic = unknown_site**2 + 3 * (raw["epistemic"] ** 2 - of_backbone) + of_backbone
    np.testing.assert_allclose(found["epistemic"] ** 2, epistemic)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("at_once", [3, 1000])
def test_the_field_is_that_of_all_pairs(field, monkeypatch, known, at_once):
    """At stations and elsewhere, in blocks and at once."""
    monkeypatch.setattr(field_graph, "_PLACES_AT_ONCE", at_once)
    rng = np.random.default_rng(2)
    source_km = np.c_[rng.uniform(0, 150, (4, 2)), rng.uniform(5, 80, 4)]
    place_km = rng.uniform(0, 150, (8, 2))
    numbers = conditioning.site_numbers(
        field, ["S0003", "S0011", "nowhere", "S0029", "S0003", "S0000", "S0001", "here"]
    )
    assert numbers.tolist() == [3, 11, -1, 29, 3, 0, 1, -1]
    event, place = np.repeat(np.arange(4), 8), np.tile(np.arange(8), 4)
    site = numbers[place] if known else -1 - place
    cells = Cells(source_km[event], place_km[place], -1 - event, site)
    graph = field_graph.FieldGraph.of(field)
    sources, places = tf.constant(source_km, tf.float32), tf.constant(place_km, tf.float32)
    given = [tf.constant(numbers, tf.int32)] if known else []
    for mean, variance in (
        graph.at(sources, places, *given),
        graph.at_own(sources, *(tf.stack([values] * 4) for values in (places, *given))),
    ):
        np.testing.assert_allclose(mean, field.mean(cells).reshape(4, -1), atol=1e-4)
        np.testing.assert_allclose(variance, field.variance(cells).reshape(4, -1), rtol=1e-3)


def test_site_terms_can_be_left_out_of_the_mean(field):
    graph, rng = field_graph.FieldGraph.of(field), np.random.default_rng(3)
    source_km, place_km = rng.uniform(5, 80, (1, 3)), rng.uniform(0, 150, (6, 2))
    inputs = [tf.constant(values, tf.float32) for values in (source_km, place_km)]
    (whole, variance), (rest, same) = graph.at(*inputs), graph.at(*inputs, site_terms=False)
    cells = Cells(np.repeat(source_km, 6, axis=0), place_km, np.full(6, -1), -1 - np.arange(6))
    expected = field.parts(cells)["site_shared"]
    assert np.abs(expected).max() > 0.02
    np.testing.assert_allclose((whole - rest)[0], expected, atol=1e-5)
    np.testing.assert_array_equal(same, variance)


def test_no_places_are_no_error(field):
    graph = field_graph.FieldGraph.of(field)
    assert [values.shape for values in graph.at(tf.zeros([2, 3]), tf.zeros([0, 2]))] == [(2, 0)] * 2


def test_what_is_shared_is_computed_once():
    asked, shared = [], [1]
    assert conditioning.of_each([shared, None, [2], shared], lambda one: asked.append(one) or one[0]) == [
        *(1, None, 2, 1)
    ]
    assert asked == [[1], [2]]


class Run(types.SimpleNamespace):
    """What `Condition.of_run` asks of a run with two chunks."""

    path, data, conditioned_on = "runs/made", {"digest": "of training"}, {"data": "of all"}

    def has_backbone(self, im):
        return True

    def whole_backbone(self, im):
        return f"whole {im}"

    def backbone(self, im, chunk, init):
        return f"{im} {chunk} {init}"

    def field(self, im, chunk=None):
        return f"field {chunk}"


def test_conditions():
    members = [(0, 1), (0, 0), (1, 0)]
    every = Condition.of_run(Run(), "PGA", members)
    assert every.attributes == {"conditioned_on": "all records", "data_hash": "of all"}
    assert every.of(members) == [Conditioned("whole PGA", "field None")] * 3
    assert every.by_chunk[0] is every.by_chunk[1]
    training = Condition.of_run(Run(), "PGA", members, "training")
    assert training.attributes == {"conditioned_on": "training records", "data_hash": "of training"}
    first, second = (Conditioned(f"PGA {chunk} 0", f"field {chunk}") for chunk in (0, 1))
    assert training.of(members) == [first, first, second]
    with pytest.raises(UsageError, match="condition 'some': choose all or training"):
        Condition.of_run(Run(), "PGA", members, "some")
    with pytest.raises(
        UsageError, match="finish it with the tfgmm train .* or choose --condition training"
    ):
        Condition.of_run(Run(conditioned_on={}), "PGA", members)
    alone = Run(has_backbone=lambda im: False)
    assert Condition.of_run(alone, "PGA", members).of(members) == [Conditioned()] * 3


def test_pixels_of_tensors_are_those_of_arrays():
    grid = Grid(
        longitude=139.7, latitude=35.7, crs="EPSG:32654", input_size=68, output_size=28, pixel_km=2.0
    )
    x_km, y_km = np.random.default_rng(3).uniform(-35, 35, (2, 200))
    expected = grid.pixel_at(x_km, y_km)
    found = grid.pixel_at(tf.constant(x_km), tf.constant(y_km), tf.math)
    for values, tensor in zip(expected, found, strict=True):
        np.testing.assert_array_equal(tensor, values)
    assert 0 < expected[2].sum() < 200
