"""What the benchmark counts, fits and writes; times are not tested."""

import keras
import numpy as np
import pandas as pd
import pytest

from tfgmm.network.batches import EventRecords


@pytest.fixture(scope="module")
def benchmark(import_script):
    return import_script("benchmark")


@pytest.fixture(scope="module")
def growth(import_script):
    return import_script("growth")


def two_events() -> EventRecords:
    """Of two and of three records."""
    return EventRecords(
        names=np.array(["a", "b"]),
        events=np.array([[10.0] * 6, [20.0] * 6], "float32"),
        splits=np.array([0, 2, 5]),
        pixels=np.arange(10).reshape(5, 2).astype("int32"),
        ln_im=np.arange(5, dtype="float32")[:, np.newaxis],
        variance=np.zeros((5, 1), "float32"),
        weight=np.ones((5, 1), "float32"),
    )


def test_operations_of_a_layer_by_hand(benchmark):
    maps = keras.Input((10, 10, 3))
    x = keras.layers.Conv2D(4, 3)(maps)
    x = keras.layers.Conv2DTranspose(5, 2, strides=2)(x)
    model = keras.Model(maps, keras.layers.Conv2D(2, 1)(x))
    first = 2 * 8 * 8 * 9 * 3 * 4 * 2  # nobody needs the gradient by the maps
    upsampled = 2 * 8 * 8 * 4 * 4 * 5 * 3
    last = 2 * 16 * 16 * 5 * 2 * 3
    assert benchmark.operations(model) == first + upsampled + last


def test_contenders_take_turns(benchmark):
    asked = []

    def contender(name, seconds):
        def run(steps):
            asked.append((name, steps))
            return seconds

        return run

    found = benchmark.median_of({"slow": contender("slow", 10.0), "fast": contender("fast", 0.1)}, 2)
    assert {name: times.tolist() for name, times in found.items()} == {"slow": [10] * 2, "fast": [0.1] * 2}
    assert asked[2:] == [("slow", 1), ("fast", 15)] * 2


def test_records_of_many_events_are_those_of_a_few(growth):
    five = growth.repeated(two_events(), 5, None)
    np.testing.assert_array_equal(five.splits, [0, 2, 5, 7, 10, 12])
    np.testing.assert_array_equal(five.ln_im[:, 0], [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1])
    assert five.events[:, 0].tolist() == [10, 20, 10, 20, 10]


def test_as_many_stations_as_asked_for(growth):
    three = growth.repeated(two_events(), 3, 4)
    np.testing.assert_array_equal(three.splits, [0, 4, 8, 12])
    np.testing.assert_array_equal(three.ln_im[:, 0], [0, 1, 0, 1, 2, 3, 4, 2, 0, 1, 0, 1])
    np.testing.assert_array_equal(three.pixels[:, 0], 2 * three.ln_im[:, 0])
    assert set(three.weight[:, 0]) == {0.25}


def test_exponents_of_powers(growth):
    size = np.array([1.0, 3.0, 10.0])
    table = pd.concat(
        pd.DataFrame({"what": what, "size": size, "ms": 5 * size**power, "own GB": size**0.5})
        for what, power in (("area", 1.0), ("pairs", 2.0))
    )
    found = growth.exponents(table).set_index("what")
    np.testing.assert_allclose(found["ms"], [1, 2])
    np.testing.assert_allclose(found["own GB"], 0.5)


def test_a_process_of_its_own_has_its_own_memory(growth):
    alone = growth.alone(growth.peak_gb)
    assert 0 < alone < growth.peak_gb()


def test_those_who_predict_give_the_same_answer(import_script, small, tmp_path):
    asked = import_script("predictors").Asked(small, "quick", 2, tmp_path, members=2)
    assert len(asked.ensemble.members) == 2
    events = asked.events.head(2)
    expected = asked.ensemble.at_sites(events, asked.sites)["mean"]
    np.testing.assert_allclose(asked._exported(events), expected, atol=1e-4)
    assert asked._keras(events).shape == (*expected.shape, 1)
    assert all(callable(one) for what in asked.contenders().values() for one in what.values())


def test_tables_are_written(benchmark, tmp_path):
    table = pd.DataFrame({"preset": ["standard"], "ms": [1.26]})
    benchmark.write([benchmark.Result("step", "A step", table, {"ms": ".1f"})], tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "## A step" in page and "| standard | 1.3  |" in page
    assert pd.read_csv(tmp_path / "step.csv")["ms"].item() == 1.26
