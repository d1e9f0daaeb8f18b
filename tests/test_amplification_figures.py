"""Site amplification, drawn."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.contour import QuadContourSet

from tfgmm.core.grid import Grid
from tfgmm.site_amplification import site_maps, writing

mpl.use("Agg")

GRID = Grid(pixel_km=4.0, input_size=68, output_size=28)
STATIONS = pd.DataFrame({"longitude": [139.8, 140.0, 140.2], "latitude": [35.6, 35.9, 35.7]})
NAMES = ["one_ensemble", "layers"]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def maps() -> xr.Dataset:
    rng, (longitude, latitude) = np.random.default_rng(0), GRID.lonlat(28)
    plane, stack = ("row", "col"), ("estimator", "row", "col")
    inside = np.zeros((28, 28), bool)
    inside[4:24, 4:24] = True
    taught = np.ones((28, 28), bool)
    taught[:, :10] = False
    significant = np.zeros((2, 28, 28), bool)
    significant[:, 4:14] = inside[4:14]
    return xr.Dataset(
        {
            "amplification": (stack, rng.normal(0, 0.2, (2, 28, 28))),
            "standard_error": (stack, rng.uniform(0, 0.2, (2, 28, 28))),
            "difference": (stack, rng.normal(0, 0.1, (2, 28, 28))),
            "significant": (stack, significant),
            "compared": (stack, np.stack([inside, inside])),
            "taught": (plane, taught),
            "footprint": (plane, inside),
            "z_bedrock": (
                plane,
                100.0 + 4000 * np.exp(-((longitude - 139.95) ** 2 + (latitude - 35.75) ** 2) * 20),
            ),
        },
        {"estimator": NAMES, "longitude": (plane, longitude), "latitude": (plane, latitude)},
    )


def meshes(ax) -> QuadMesh:
    (mesh,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
    return mesh


@pytest.mark.slow
def test_amplification_stands_above_its_error(maps):
    figure = writing.draw_amplification(maps, STATIONS, "PGA", "a note")
    panels = figure.axes[:4]
    titles = [site_maps.TITLES[name] for name in NAMES]
    assert [ax.get_title() for ax in panels] == titles * 2
    where = (maps["taught"] & maps["footprint"]).to_numpy()
    for ax, (variable, number) in zip(
        panels,
        [("amplification", 0), ("amplification", 1), ("standard_error", 0), ("standard_error", 1)],
        strict=True,
    ):
        drawn = np.ma.filled(meshes(ax).get_array().reshape(28, 28), np.nan)
        np.testing.assert_allclose(drawn[where], maps[variable].to_numpy()[number][where])
        assert np.isnan(drawn[~where]).all()  # what nobody has taught is not shown
    low, high = meshes(panels[0]).get_clim()
    assert low == -high and meshes(panels[1]).get_clim() == (low, high)  # one scale, white is nothing
    assert meshes(panels[2]).get_clim()[0] == 0
    labels = {ax.get_ylabel() for ax in figure.axes[4:]}
    assert labels == {"ln amplification of PGA", "Standard error (ln units)"}
    assert figure.get_suptitle() == "a note"


def test_map_has_coast_contours_and_stations(maps):
    ax = writing.draw_amplification(maps, STATIONS, "PGA").axes[0]
    (contours,) = [c for c in ax.collections if isinstance(c, QuadContourSet)]
    assert list(contours.levels) == [500, 1000, 2000, 3000, 4000]
    assert any(isinstance(c, LineCollection) and c.get_segments() for c in ax.collections)
    offsets = [c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)]
    assert any(np.array_equal(points, STATIONS.to_numpy()) for points in offsets)
    bare = writing.draw_amplification(maps.drop_vars("z_bedrock"), STATIONS, "PGA").axes[0]
    assert not [c for c in bare.collections if isinstance(c, QuadContourSet)]


def test_differences_tell_chance_from_what_is_significant(maps):
    figure = writing.draw_difference(maps.drop_vars(["taught", "z_bedrock"]), STATIONS, "PGA")
    for ax, name in zip(figure.axes, NAMES, strict=False):
        assert ax.get_title() == f"{site_maps.TITLES[name]}\nsignificant: 50%"
        (hatched,) = [c for c in ax.collections if isinstance(c, QuadContourSet)]
        assert hatched.hatches == ["////"]
        box = hatched.get_paths()[0].get_extents()
        northern = maps["latitude"].to_numpy()[4, 14]
        assert box.ymax < northern  # the significant half is not hatched


@pytest.fixture
def spectra() -> pd.DataFrame:
    rows = [
        (im, place, name, 0.1 * k + 0.05 * j, place != "Far")
        for k, im in enumerate(["SA(1.0)", "PGA", "SA(0.3)"])
        for j, place in enumerate(["Tokyo", "Far"])
        for name in NAMES
    ]
    table = pd.DataFrame(rows, columns=["im", "place", "estimator", "amplification", "taught"])
    return table.assign(low=table["amplification"] - 0.2, high=table["amplification"] + 0.2)


def test_spectra_rise_with_period_and_pga_stands_first(spectra):
    figure = writing.draw_against_period(spectra, "a note")
    panels = {ax.get_title(): ax for ax in figure.axes}
    assert [label.get_text() for label in panels["Tokyo"].get_xticklabels()] == ["PGA", "0.3", "1"]
    for place, expected in (("Tokyo", [0.1, 0.2, 0.0]), ("Far", [0.15, 0.25, 0.05])):
        for curve in panels[place].containers:
            np.testing.assert_allclose(curve.lines[0].get_ydata(), expected)
            assert (np.diff(curve.lines[0].get_xdata()) > 0).all()
    titles = {site_maps.TITLES[name] for name in NAMES}
    assert {text.get_text() for text in figure.legends[0].get_texts()} == titles
    faces = {
        place: {
            tuple(collection.get_facecolor()[0]) == (1, 1, 1, 1)
            for collection in ax.collections
            if isinstance(collection, PathCollection) and len(collection.get_offsets())
        }
        for place, ax in panels.items()
    }
    assert faces == {"Tokyo": {False}, "Far": {True}}  # hollow: not taught


def test_pga_stands_left_of_the_shortest_period_and_crowded_ticks_have_no_label(spectra):
    ims = ["PGV", "PGA", *(f"SA({period})" for period in (0.01, 0.02, 0.03, 0.1, 0.2, 0.4, 0.8))]
    row = spectra.iloc[:1]
    table = pd.concat([row.assign(im=im) for im in ims[::-1]], ignore_index=True)
    (panel,) = (ax for ax in writing.draw_against_period(table).axes if ax.get_title())
    labels = [label.get_text() for label in panel.get_xticklabels()]
    assert labels == ["PGV", "PGA", "0.01", "0.02", "0.1", "0.2", "0.4", "0.8"]
    assert (np.diff(panel.get_xticks()) > 0).all() and panel.get_xticks(minor=True) == [0.03]


def test_factors_stand_where_their_logarithms_are(spectra):
    figure = writing.draw_against_period(spectra)
    figure.canvas.draw()
    (right,) = figure.axes[-1].child_axes
    ticks = {
        label.get_text(): place
        for label, place in zip(right.get_yticklabels(), right.get_yticks(), strict=True)
    }
    assert ticks["1"] == 0 and all(
        np.log(float(text)) == pytest.approx(place) for text, place in ticks.items()
    )
