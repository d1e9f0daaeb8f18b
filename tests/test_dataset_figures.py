"""Figures of a dataset: what is drawn, and with which labels."""

import dataclasses

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, to_hex

from tfgmm.core import drawing
from tfgmm.data import figures as drawn

mpl.use("Agg")


@pytest.fixture
def ax():
    yield plt.figure().add_subplot()
    plt.close("all")


def test_stations_of_each_network_have_a_marker_and_colour(ax, small):
    kik, meso = drawn.station_map(ax, small.stations)
    for artist, network in ((kik, "kik"), (meso, "meso")):
        places = small.stations.loc[small.stations["network"] == network, ["longitude", "latitude"]]
        np.testing.assert_allclose(artist.get_offsets(), places)
    assert [to_hex(artist.get_edgecolor()[0]) for artist in (kik, meso)] == ["#d55e00", "#0072b2"]
    assert len(kik.get_paths()[0].vertices) != len(meso.get_paths()[0].vertices), "circle and triangle"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["kik (20)", "meso (12)"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Longitude (°E)", "Latitude (°N)")


def test_the_map_has_a_coast_and_holds_all_stations(ax, small):
    drawn.station_map(ax, small.stations)
    (coast,) = [artist for artist in ax.collections if isinstance(artist, LineCollection)]
    assert len(coast.get_segments()) > 0
    for limits, column in ((ax.get_xlim(), "longitude"), (ax.get_ylim(), "latitude")):
        assert small.stations[column].between(*limits, inclusive="neither").all()


def test_no_two_of_many_networks_look_the_same(ax, small):
    places = pd.concat([small.stations] * 2)[:36]
    artists = drawn.station_map(ax, places.assign(network=[f"n{i:02d}" for i in range(36)]))
    looks = {(a.get_paths()[0].vertices.tobytes(), to_hex(a.get_edgecolor()[0])) for a in artists}
    assert len(looks) == 36


def test_hits_are_counted_in_20_equal_distance_bins(ax):
    hits = pd.DataFrame({"r_hyp_km": [1.0, 4.0, 6.0, 96.0, 100.0], "magnitude": [5.0, 5.04, 5.0, 6.0, 6.0]})
    bins = drawn.bin_edges(hits)
    np.testing.assert_allclose(bins[0], np.arange(0, 101, 5))
    counts = drawn.hit_counts(ax, hits, bins, LogNorm(1, 10)).get_array()
    row = {magnitude: int(np.searchsorted(bins[1], magnitude)) - 1 for magnitude in (5.0, 6.0)}
    assert (counts[row[5.0], 0], counts[row[5.0], 1], counts[row[6.0], 19]) == (2, 1, 2)
    assert counts.count() == 3, "empty cells stay white"


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e4), st.one_of(st.floats(-1, 10), st.integers(-20, 200).map(lambda i: i / 20))
        ),
        min_size=1,
        max_size=20,
    )
)
def test_the_bins_hold_all_records(pairs):
    hits = pd.DataFrame(pairs, columns=["r_hyp_km", "magnitude"])
    bins = drawn.bin_edges(hits)
    assert np.histogram2d(hits["r_hyp_km"], hits["magnitude"], bins)[0].sum() == len(hits)
    assert len(bins[0]) == 21


def test_table(small):
    table = drawn.magnitudes_and_distances(small)
    record = small.records.iloc[7]
    event = small.events.set_index("event_id").loc[record["event_id"]]
    station = small.stations.set_index("station_id").loc[record["station_id"]]
    east = (event["longitude"] - station["longitude"]) * 111.195 * np.cos(np.radians(35.75))
    north = (event["latitude"] - station["latitude"]) * 111.195
    expected = np.sqrt(east**2 + north**2 + event["depth_km"] ** 2)
    assert table["r_hyp_km"][7] == pytest.approx(expected, rel=0.01)
    assert (table["network"][7], table["magnitude"][7]) == (station["network"], event["magnitude"])
    assert len(table) == len(small.records)


@pytest.mark.parametrize("simulated", [True, False])
def test_figures_are_written_and_say_that_they_are_simulated(small, tmp_path, monkeypatch, simulated):
    texts = []

    def keep(figure, path):
        texts.append([text.get_text() for text in figure.findobj(mpl.text.Text)])
        plt.close(figure)

    monkeypatch.setattr(drawing, "save", keep)
    drawn.draw(dataclasses.replace(small, provenance={"simulated": simulated}), tmp_path)
    assert [("simulated records" in text) for text in texts] == [simulated] * 2
    assert {"Hypocentral distance (km)", "Moment magnitude", "Number of records"} <= set(texts[1])
    assert sum(text.endswith("records") for text in texts[1]) >= 2, "a panel a network"


def test_draw_returns_what_it_wrote(small, tmp_path):
    paths = drawn.draw(small, tmp_path / "figures")
    names = ["stations.png", "stations.pdf", "hit-counts.png", "hit-counts.pdf"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(names)
    assert plt.imread(paths[0]).shape[1] > 800, "200 dots per inch"


def test_networks_that_leave_panels_empty(small):
    names = dict(zip(small.stations["station_id"], [f"n{i % 4}" for i in range(32)], strict=True))
    stations = small.stations.assign(network=small.stations["station_id"].map(names))
    figure = drawn._hits_figure(dataclasses.replace(small, stations=stations), "")
    assert sum("records" in ax.get_title(loc="left") for ax in figure.axes) == 4
    assert len(figure.axes) == 5, "four panels and the colour bar"
    plt.close(figure)
