"""Maps and distributions: what is drawn, and with which labels."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, QuadMesh

from helpers.prediction_tables import predictions
from tfgmm.core import drawing
from tfgmm.core.grid import Grid
from tfgmm.evaluation import figures, scores

mpl.use("Agg")

GRID = Grid(pixel_km=4.0, input_size=68, output_size=28)


@pytest.fixture
def ax():
    yield plt.figure().add_subplot()
    plt.close("all")


@pytest.fixture
def partial() -> pd.DataFrame:
    return scores.partial_ensembles(predictions(n_events=12, n_sites=12))


def coast_points(artist, limits: dict) -> np.ndarray:
    points = np.concatenate(artist.get_segments()) if artist.get_segments() else np.empty((0, 2))
    low, high = np.transpose([limits["xlim"], limits["ylim"]])
    return points[((points >= low) & (points <= high)).all(axis=1)]


@pytest.mark.parametrize(
    ("cape", "longitude", "latitude"),
    [
        ("Inubosaki", 140.869, 35.708),
        ("Nojimazaki", 139.889, 34.902),
        ("Futtsu", 139.785, 35.312),
        ("Manazuru", 139.160, 35.141),
    ],
)
def test_coastline_passes_the_capes(ax, cape, longitude, latitude):
    limits = {"xlim": (138.9, 141.0), "ylim": (34.8, 36.6)}
    ax.set(**limits)
    points = coast_points(drawing.coastline(ax), limits)
    km = np.hypot((points[:, 0] - longitude) * 91, (points[:, 1] - latitude) * 111)
    assert km.min() < 3
    assert (ax.get_xlim(), ax.get_ylim()) == tuple(limits.values())


@pytest.mark.parametrize(
    "limits", [{"xlim": (-117.9, -117.4), "ylim": (35.5, 36)}, {"xlim": (145, 146), "ylim": (32, 33)}]
)
def test_no_coast_inland_and_at_sea(ax, limits):
    ax.set(**limits)
    assert len(coast_points(drawing.coastline(ax), limits)) == 0


def test_map_has_units_coast_and_colour_bar(ax):
    lon, lat = GRID.lonlat(28)
    values = np.arange(28.0 * 28).reshape(28, 28)
    image = drawing.ln_im_map(ax, lon, lat, values, "Median of PGA (ln g)", cmap="magma")
    np.testing.assert_array_equal(np.asarray(image.get_array()).reshape(28, 28), values)
    assert ax.get_xlabel() == "Longitude (°E)"
    assert ax.get_ylabel() == "Latitude (°N)"
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "Median of PGA (ln g)"
    assert ax.get_ylim() == (lat.min(), lat.max())  # north is up
    limits = {"xlim": ax.get_xlim(), "ylim": ax.get_ylim()}
    (coast,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert len(coast_points(coast, limits)) > 100


def test_map_puts_values_where_they_belong(ax):
    lon, lat = GRID.lonlat(28)
    values = np.zeros((28, 28))
    values[0, 0] = 1.0
    image = drawing.ln_im_map(ax, lon, lat, values, "x")
    corners = image.get_coordinates()
    assert image.get_array().ravel()[0] == 1
    assert corners[0, 0, 0] < lon[0, 0] < corners[0, 1, 0]
    assert corners[1, 0, 1] < lat[0, 0] < corners[0, 0, 1]


def test_stations_stand_at_their_coordinates(ax, small):
    artist = drawing.stations(ax, small.stations, s=20)
    np.testing.assert_array_equal(artist.get_offsets(), small.stations[["longitude", "latitude"]])
    assert artist.get_sizes() == [20]


def test_residual_distribution_marks_mean_and_standard_deviation(ax):
    z = pd.Series(np.random.default_rng(0).normal(0.3, 1.4, 4000))
    density, bins, _ = figures.residual_distribution(ax, z)
    assert (density * np.diff(bins)).sum() == pytest.approx(1)
    marks = sorted(line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2)
    np.testing.assert_allclose(marks, [z.mean() - z.std(), z.mean(), z.mean() + z.std()])
    normal = next(line for line in ax.lines if line.get_label() == "standard normal")
    assert max(normal.get_ydata()) == pytest.approx(1 / np.sqrt(2 * np.pi))
    assert ax.texts[0].get_text() == f"mean {z.mean():.2f}\nstd {z.std():.2f}\nn 4,000"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Standardised residual", "Density")


def test_far_residuals_are_counted_in_the_last_bin(ax):
    density, bins, _ = figures.residual_distribution(ax, pd.Series([0.0, 0.0, 40.0, -40.0]))
    counts = density * np.diff(bins) * 4
    assert counts[0] == pytest.approx(1) and counts[-1] == pytest.approx(1)


def test_four_cells(partial):
    figure = figures.four_cells(partial, "kik", "PGA (simulated records)")
    chosen = scores.cells(partial, "kik")
    assert [ax.get_title() for ax in figure.axes] == [f"{s} sites, {e} events" for s, e in scores.CELLS]
    for ax, records in zip(figure.axes, chosen.values(), strict=False):
        z = (records["ln_im"] - records["mean"]) / records["stddev"]
        assert f"mean {z.mean():.2f}\nstd {z.std():.2f}" in ax.texts[0].get_text()
    assert figure.get_suptitle() == "PGA (simulated records)"
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "", *["Standardised residual"] * 2]
    assert [ax.get_ylabel() for ax in figure.axes] == ["Density", "", "Density", ""]
    plt.close(figure)


def test_style_does_not_leak(partial):
    before = dict(mpl.rcParams)
    plt.close(figures.four_cells(partial, "kik"))
    assert dict(mpl.rcParams) == before


@pytest.fixture
def event_maps():
    lon, lat = GRID.lonlat(28)
    x, y = GRID.axes_km(28)
    planted = -3 - 0.02 * np.hypot(*np.meshgrid(x, y))
    content = {"planted": planted, "mean": planted + 0.01 * x, "stddev": np.full((28, 28), 0.6)}
    coordinates = {"longitude": (("row", "col"), lon), "latitude": (("row", "col"), lat)}
    return xr.Dataset({name: (("row", "col"), v) for name, v in content.items()}, coordinates)


def values_of(ax) -> tuple[np.ndarray, plt.Normalize]:
    (image,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
    return np.asarray(image.get_array()).reshape(28, 28), image.norm


def test_simulated_event_shows_medians_on_one_scale_and_their_difference(event_maps, small):
    event = small.events.iloc[3]
    figure = figures.simulated_event(event_maps, event, small.stations, "SA(1.0)")
    (a, of_a), (b, of_b), (c, of_c), (d, _) = (values_of(ax) for ax in figure.axes[:4])
    np.testing.assert_allclose(a, np.exp(event_maps["planted"]))
    np.testing.assert_allclose(b, np.exp(event_maps["mean"]))
    np.testing.assert_allclose(c, event_maps["mean"] - event_maps["planted"], atol=1e-12)
    np.testing.assert_array_equal(d, event_maps["stddev"])
    assert (
        (of_a.vmin, of_a.vmax) == (of_b.vmin, of_b.vmax) == (min(a.min(), b.min()), max(a.max(), b.max()))
    )
    assert of_c.vmin == -of_c.vmax == pytest.approx(-0.54)
    assert [ax.get_ylabel() for ax in figure.axes[4:]] == [
        *["SA(1.0) (g)"] * 2,
        *("Difference in ln SA(1.0)", "Standard deviation of ln SA(1.0)"),
    ]
    assert [ax.get_title("left") for ax in figure.axes[:4]] == [
        *("(a) Planted median", "(b) Predicted median"),
        *("(c) Predicted minus planted", "(d) Predicted total sigma"),
    ]
    star = next(c for c in figure.axes[0].collections if c.get_zorder() == 3)
    np.testing.assert_array_equal(star.get_offsets(), [[event["longitude"], event["latitude"]]])
    assert figure.get_suptitle().endswith("(simulated records)")
    plt.close(figure)


def test_simulated_event_with_chosen_panels_has_plain_ticks_and_no_white_corners(event_maps, small):
    chosen = ("planted", "stddev")
    figure = figures.simulated_event(event_maps, small.events.iloc[3], small.stations, "PGA", chosen)
    ax, _, bar, _ = figure.axes
    figure.canvas.draw()
    ticks = [label.get_text() for label in bar.get_yticklabels()]
    assert {"0.005", "0.01", "0.02"} <= set(ticks)
    lon, lat = event_maps["longitude"].to_numpy(), event_maps["latitude"].to_numpy()
    assert ax.get_xlim() == (lon[:, 0].max(), lon[:, -1].min())
    assert ax.get_ylim() == (lat[-1].max(), lat[0].min())
    plt.close(figure)


def test_figures_are_saved_as_png_and_pdf_and_closed(tmp_path):
    for name in ("map_SA(1.0)", "map_SA(1.5)"):
        figure = plt.figure(figsize=(1, 1))
        drawing.save(figure, tmp_path / "figures" / name)
        assert not plt.fignum_exists(figure.number)
    found = {p.name: p.read_bytes()[:4] for p in (tmp_path / "figures").iterdir()}
    assert found == {
        "map_SA(1.0).png": b"\x89PNG",
        "map_SA(1.5).png": b"\x89PNG",
        "map_SA(1.0).pdf": b"%PDF",
        "map_SA(1.5).pdf": b"%PDF",
    }


def test_figures_are_saved_with_chosen_endings_and_resolution(tmp_path):
    for dpi in (50, 100):
        drawing.save(plt.figure(figsize=(1, 1)), tmp_path / f"at-{dpi}", (".png",), dpi=dpi)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["at-100.png", "at-50.png"]
    small, large = (plt.imread(tmp_path / f"at-{dpi}.png").shape[:2] for dpi in (50, 100))
    assert small == (60, 60)  # an inch, and a margin of a tenth on each side
    assert large == (120, 120)
