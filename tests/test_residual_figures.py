"""Figures of residuals: what is drawn, where, and with which labels."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection

from helpers.prediction_tables import predictions
from tfgmm.evaluation import figures, residuals, scores, variability

mpl.use("Agg")

HELD_OUT = "validation / validation"
BIAS, SCATTER = figures._BIAS_COLOUR, figures._SCATTER_COLOUR


@pytest.fixture
def ax():
    yield plt.figure().add_subplot()
    plt.close("all")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def scored() -> pd.DataFrame:
    """Partial ensembles with made-up places."""
    table = scores.partial_ensembles(predictions(n_events=160))
    site, event = (table[f"{name}_id"].str[1:].astype(int) for name in ("site", "event"))
    return residuals.with_variables(
        table.assign(
            origin_time=pd.to_datetime((2000 + event % 3).astype(str), utc=True),
            longitude=139.3 + site / 20,
            latitude=35.4 + site % 5 / 5,
            event_longitude=139.2 + event % 40 / 20,
            event_latitude=35.2 + event % 7 / 5,
            vs30_m_s=200.0 + 20 * site,
        )
    )


@pytest.fixture(scope="module")
def binned(scored) -> pd.DataFrame:
    """Trends of the records of trained sites and events."""
    return residuals.trends(scored, "kik").query("cell == 'training / training'")


@pytest.fixture(scope="module")
def rows(scored) -> pd.DataFrame:
    return scores.cells(scored, "kik")["training / training"]


def hollow(ax: plt.Axes, colour: str) -> np.ndarray:
    """Places of the markers without interval."""
    (line,) = [a for a in ax.lines if a.get_markerfacecolor() == "white" and a.get_color() == colour]
    return line.get_xydata()


@pytest.mark.parametrize("variable", ["magnitude", "r_hyp_km"])
def test_bins_have_their_values_and_intervals(ax, rows, binned, variable):
    of = binned[binned["variable"] == variable]
    artist = figures.against(ax, rows, of, variable)
    known = of[of["bias_low"].notna()]
    assert len(known) > 2
    middle = {
        "magnitude": (known["low"] + known["high"]) / 2,
        "r_hyp_km": np.sqrt(known["low"] * known["high"]),
    }[variable]
    for drawn, name in zip(ax.containers, ("bias", "scatter"), strict=True):
        line, _, (bars,) = drawn.lines
        np.testing.assert_allclose(line.get_xydata(), np.transpose([middle, known[name]]))
        ends = np.array(bars.get_segments())[:, :, 1]
        np.testing.assert_allclose(ends, known[[f"{name}_low", f"{name}_high"]])
    assert artist is ax.containers[0]
    assert [drawn.lines[0].get_color() for drawn in ax.containers] == [BIAS, SCATTER]
    assert ax.get_xlabel() == figures.LABELS[variable]
    assert ax.get_xscale() == ("log" if variable == "r_hyp_km" else "linear")


def test_bins_without_interval_are_hollow_and_not_joined(ax, rows, binned):
    of = binned[binned["variable"] == "magnitude"].reset_index(drop=True)
    of.loc[2, ["bias_low", "bias_high", "scatter_low", "scatter_high"]] = np.nan
    artist = figures.against(ax, rows, of, "magnitude")
    at = of.loc[2, ["low", "high"]].mean()
    for name, colour in (("bias", BIAS), ("scatter", SCATTER)):
        assert np.isclose(hollow(ax, colour), [at, of.loc[2, name]]).all(axis=1).any()
    assert at not in artist.lines[0].get_xdata()


def test_all_records_are_points_or_hexagons(ax, rows, binned, monkeypatch):
    of = binned[binned["variable"] == "magnitude"]
    figures.against(ax, rows, of, "magnitude")
    (points,) = [c for c in ax.collections if isinstance(c, PathCollection)]
    residual = rows["ln_im"] - rows["mean"]
    np.testing.assert_allclose(points.get_offsets(), np.transpose([rows["magnitude"], residual]))
    ax.clear()
    monkeypatch.setattr(figures, "_MANY", 10)
    figures.against(ax, rows, of, "magnitude")
    (hexagons,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
    assert hexagons.get_array().sum() == len(rows)


def test_ticks_of_distance_are_plain_numbers(ax, rows, binned):
    figures.against(ax, rows, binned[binned["variable"] == "r_hyp_km"], "r_hyp_km")
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    ticks = [t for t in ax.get_xticks() if low <= t <= high]
    assert ticks == [20, 50, 100, 200]
    assert {"20", "50", "100", "200"} <= {label.get_text() for label in ax.get_xticklabels()}
    assert len(ax.get_xticks(minor=True)) == 0


def test_trends_have_a_panel_a_variable(rows, binned):
    figure = figures.trends(rows, binned, "PGA", "kik")
    shown = [ax for ax in figure.axes if ax.get_visible()]
    names = ["magnitude", "r_hyp_km", "depth_km", "vs30_m_s", "year"]
    assert [ax.get_xlabel() for ax in shown] == [figures.LABELS[name] for name in names]
    assert len(figure.axes) == 6
    assert figure.get_supylabel() == "Residual of ln PGA (observed − predicted)"
    assert figure.get_suptitle() == "kik"


def test_terms_stand_where_sites_and_events_are(scored):
    one = variability.decompose(scores.cells(scored, "kik")[HELD_OUT])
    figure = figures.terms(one, scored, "PGA", "kik")
    for ax, terms, key in zip(figure.axes, (one.site_terms, one.event_terms), ("", "event_"), strict=False):
        (points,) = [c for c in ax.collections if isinstance(c, PathCollection)]
        places = scored.drop_duplicates(terms.index.name).set_index(terms.index.name)
        names = [f"{key}longitude", f"{key}latitude"]
        placed = pd.DataFrame(np.asarray(points.get_offsets()), columns=names).assign(
            term=points.get_array()
        )
        expected = places.loc[terms.index, names].assign(term=terms).sort_values("term")
        np.testing.assert_allclose(placed.sort_values("term"), expected)
        low, high = points.get_clim()
        assert low == -high  # white is no term
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("Longitude (°E)", "Latitude (°N)")
        assert any(isinstance(c, LineCollection) and c.get_segments() for c in ax.collections)
    assert figure.axes[0].get_title() == f"{len(one.site_terms)} site terms"
    assert figure.axes[2].get_ylabel() == "Term in ln PGA"


def test_bars_are_the_parts_with_their_intervals(ax):
    parts = ["sigma", "phi_ss", "tau", "phi_s2s"]  # in any order
    low, high = [0.5, 0.3, 0.1, 0.2], [0.9, 0.7, 0.5, 0.6]
    table = pd.DataFrame({"part": parts, "estimate": [0.7, 0.5, 0.3, 0.4], "low": low, "high": high})
    other = table.assign(estimate=2 * table["estimate"], low=np.nan, high=np.nan, model="b")
    first, second = figures.decomposition(ax, pd.concat([table.assign(model="a"), other]))
    np.testing.assert_allclose([bar.get_height() for bar in first], [0.3, 0.4, 0.5, 0.7])
    np.testing.assert_allclose([bar.get_height() for bar in second], [0.6, 0.8, 1.0, 1.4])
    (bars,) = first.errorbar[2]
    ends = np.array(bars.get_segments())[:, :, 1]
    np.testing.assert_allclose(ends, [[0.1, 0.5], [0.2, 0.6], [0.3, 0.7], [0.5, 0.9]])
    assert first[0].get_x() + first[0].get_width() == pytest.approx(second[0].get_x())
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
    assert ax.get_ylabel() == "Standard deviation (ln units)"


def classes() -> pd.DataFrame:
    """Classes of pairs of one event and of two, of a field whose fit is half of what was found."""
    rows = [
        # source class, site class, source km, site km, pairs, product
        (0, 1, 0.0, 3.0, 1000, 0.5),
        (0, 2, 0.0, 9.0, 1000, 0.4),
        (1, 0, 1.0, 0.0, 1000, 0.3),
        (2, 0, 2.0, 0.0, 1000, 0.2),
        (1, 2, 1.0, 3.0, 1000, 0.1),
        (1, 3, 1.0, 5.0, 3000, 0.2),
        (1, 9, 1.0, 50.0, 1000, 8.0),
    ]
    columns = ["source_class", "site_class", "source_km", "site_km", "pairs", "product"]
    return pd.DataFrame(rows, columns=columns).assign(fitted=lambda table: table["product"] / 2)


def test_covariance_in_one_event_is_drawn_by_distance_of_stations(ax):
    (curve,) = figures.covariance_within_events(ax, classes())
    points = ax.get_lines()[0]
    np.testing.assert_allclose(points.get_xydata(), [[3, 0.5], [9, 0.4]])
    np.testing.assert_allclose(curve.get_xydata(), [[3, 0.25], [9, 0.2]])
    assert ax.get_xlabel() == "Distance of the stations (km)"
    assert ax.get_ylabel() == "Covariance of residuals (ln units²)"


def test_covariance_of_two_events_is_drawn_by_distance_of_hypocentres(ax):
    """Means over the classes of a curve, weighted by pairs; pairs of one event are left out."""
    curves = figures.covariance_between_events(ax, classes())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["same site", "stations 0.5-7 km apart"]
    found, _, near, _ = ax.get_lines()[:4]
    np.testing.assert_allclose(found.get_xydata(), [[1, 0.3], [2, 0.2]])
    np.testing.assert_allclose(near.get_xydata(), [[1, 0.175]])
    np.testing.assert_allclose(curves[0].get_ydata(), [0.15, 0.1])
    assert ax.get_xlabel() == "Distance of the hypocentres (km)"


def test_pit_histogram_has_bins_and_band(ax):
    table = pd.DataFrame(
        {
            "left": [0.0, 0.5],
            "right": [0.5, 1.0],
            "density": [0.8, 1.2],
            "low": [0.6, 1.1],
            "high": [1.0, 1.3],
        }
    )
    band = figures.pit_histogram(ax, table)
    (steps,) = ax.patches
    assert [list(part) for part in steps.get_data()[:2]] == [[0.8, 1.2], [0, 0.5, 1]]
    corners = {tuple(point) for point in band.get_paths()[0].vertices.round(6)}
    assert {(0, 0.6), (0.5, 0.6), (0.5, 1.1), (1, 1.1), (0, 1.0), (0.5, 1.3), (1, 1.3)} <= corners
    assert steps.get_zorder() > band.get_zorder() or not steps.get_fill()  # the band hides nothing
    assert ax.get_xlabel() == "Probability integral transform"


def test_coverage_is_drawn_in_per_cent(ax):
    statistics = ["coverage 50%", "coverage 90%", "RMSE"]
    values = {"value": [0.45, 0.8, 0.6], "low": [0.4, 0.7, 0.5], "high": [0.5, 0.85, 0.7]}
    table = pd.DataFrame({"statistic": statistics, **values, "model": "a"})
    first, second = figures.coverage(ax, pd.concat([table, table.assign(model="b")]))
    np.testing.assert_allclose(first.lines[0].get_xydata(), [[50, 45], [90, 80]])
    (bars,) = first.lines[2]
    np.testing.assert_allclose(np.array(bars.get_segments())[:, :, 1], [[40, 50], [70, 85]])
    assert first.lines[0].get_color() != second.lines[0].get_color()
    assert first.lines[0].get_marker() != second.lines[0].get_marker()  # also told apart without colour


def test_full_ensemble_stands_beside_the_records_out_of_fold(scored):
    full = residuals.full_ensemble(predictions())
    figure = figures.standardised(full, scored, "kik", "PGA")
    for ax, rows in zip(figure.axes, (full, scores.cells(scored, "kik")[HELD_OUT]), strict=True):
        z = (rows["ln_im"] - rows["mean"]) / rows["stddev"]
        assert f"std {z.std():.2f}\nn {len(z):,}" in ax.texts[0].get_text()
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert "mixes networks" in titles[0] and titles[1].startswith("(b) Out of fold")


@pytest.mark.parametrize(
    ("maps", "limit", "extend"),
    [
        (([0.1, -0.31], [np.nan]), 0.35, "neither"),
        (([0.0], []), 0.05, "neither"),
        (([0.1] * 98 + [2.0, 3.0], [-0.4]), 0.4, "max"),
        (([0.1] * 98 + [2.0, -3.0],), 0.1, "both"),
        (([0.1] * 98 + [-2.0, -3.0],), 0.1, "min"),
    ],
)
def test_one_scale_of_colours_holds_all_but_few_values(maps, limit, extend):
    found = figures.scale(*maps)
    assert found[1] == extend
    assert found[0] == pytest.approx(limit, abs=0.051 if extend in ("both", "min") else 1e-9)


def test_longitudes_of_a_narrow_map_stand_apart():
    """As of the events of Ridgecrest, in one column of a figure."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained")
    ax = axes[1]
    figures.map_frame(ax, pd.Series([-117.8, -117.4]), pd.Series([35.3, 36.0]))
    figure.draw_without_rendering()
    low, high = ax.get_xlim()
    labels = [
        label.get_window_extent() for label in ax.get_xticklabels()
        if low <= label.get_position()[0] <= high
    ]  # fmt: skip
    assert len(labels) > 1
    assert all(one.x1 + 2 < other.x0 for one, other in itertools.pairwise(labels))
    assert low < -117.8 and high > -117.4


def test_years_are_whole_numbers():
    rows = pd.DataFrame({"year": [2015, 2016, 2017.0], "ln_im": 0.1, "mean": 0.0})
    columns = [f"{name}{end}" for name in ("bias", "scatter") for end in ("", "_low", "_high")]
    binned = pd.DataFrame({"low": [2014.5], "high": [2015.5]} | {name: [0.1] for name in columns})
    ax = plt.figure().add_subplot()
    figures.against(ax, rows, binned, "year")
    assert all(float(tick).is_integer() for tick in ax.get_xticks())
