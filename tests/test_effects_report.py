"""A finished run -> tables and maps of the source, site and path effects in its records."""

import dataclasses
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PatchCollection, PathCollection

from helpers.untrained_run import IMS
from tfgmm.core import drawing
from tfgmm.core.errors import DataError, UsageError
from tfgmm.evaluation import effects
from tfgmm.runs.run import RunFolder


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def finished(tmp_path, field_run):
    return shutil.copytree(field_run, tmp_path / "run")


@pytest.fixture
def one() -> effects.Effects:
    cells = pd.DataFrame({"longitude": [139.625, 139.875, 140.125], "latitude": [35.375, 35.625, 35.375]})
    sources = cells.assign(
        source_and_mean_path_term=[-0.2, 0.1, 0.1], explained=[0.5, 0.1, 0.6], observed=[-0.5, 0.7, np.nan]
    )
    paths = cells.assign(
        source_and_path_term=[-0.3, 0.0, 0.2], explained=[0.0, 0.4, 0.6], observed=[np.nan, 0.6, -0.1]
    )
    sites = pd.DataFrame({"longitude": [139.5, 140.2, 140.0, 139.9], "latitude": [35.4, 35.4, 35.8, 35.5]})
    sites = sites.assign(site_term=[0.1, -0.1, 0.3, 0.0], observed=[0.3, -0.2, 0.5, np.nan])
    station = pd.Series({"station_id": "S7", "longitude": 139.7, "latitude": 35.6})
    summary = pd.DataFrame({"term": ["tau"], "value": [0.3], "standard_error": [0.05], "unit": ["ln"]})
    return effects.Effects(sources, sites, paths, station, summary)


@pytest.mark.slow
def test_tables_and_figures_of_every_measure_are_written(finished, monkeypatch):
    drawn = {}
    notes = set()

    def save(figure, path):
        drawn[path] = figure.get_suptitle()
        notes.add(figure.legends[0].get_title().get_text())

    monkeypatch.setattr(drawing, "save", save)
    found = effects.write(finished, "K03", 0.5)
    names = [f"{name}_{im}" for im in IMS for name in ("effects", "effects_sites")]
    assert {path.name for path in drawn} == set(names)
    assert drawn[finished / "figures" / "effects_PGA"] == "PGA, kik, meso (simulated records)"
    digest = RunFolder.open(finished).dataset().digest()
    assert all(f"data hash {digest[:12]}" in note and "all records" in note for note in notes)
    for im, one in found.items():
        tables = {name: getattr(one, name) for name in ("sources", "sites", "paths", "summary")}
        for name, table in tables.items():
            written = pd.read_csv(finished / "tables" / f"effects_{name}_{im}.csv")
            assert written["simulated"].all()
            assert set(written["conditioned_on"]) == {"all records"}
            assert set(written["data_hash"]) == {RunFolder.open(finished).dataset().digest()}
            pd.testing.assert_frame_equal(written[table.columns], table, check_dtype=False)
        paths = pd.read_csv(finished / "tables" / f"effects_paths_{im}.csv")
        assert set(paths["station_id"]) == {"K03"}
        assert one.sites["records"].sum() == one.sources["records"].sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "options", "error", "words"),
    [
        (lambda run: None, {"station": "S99"}, UsageError, "station S99"),
        (lambda run: None, {"cell_deg": -1.0}, UsageError, "-1 degrees"),
        (lambda run: None, {"cell_deg": 50.0}, DataError, "fewer than 2 source cells"),
        (
            lambda run: (run / "conditioned/field_PGA.npz").unlink(),
            {},
            DataError,
            "field_PGA.npz is missing",
        ),
        (
            lambda run: (run / "conditioned/stations.parquet").unlink(),
            {},
            DataError,
            "stations.parquet is m",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(finished, spoil, options, error, words):
    spoil(finished)
    with pytest.raises(error, match=words):
        effects.write(finished, **options)
    assert not (finished / "tables").exists() and not (finished / "figures").exists()


def test_cells_stand_around_their_centres(one):
    ax = plt.figure().add_subplot()
    artist = effects.cells_map(ax, one.sources, "observed", 0.25, 0.6)
    boxes = [path.get_extents() for path in artist.get_paths()]
    np.testing.assert_allclose(boxes[0].extents, [139.5, 35.25, 139.75, 35.5])
    assert list(artist.get_array()) == [-0.5, 0.7]
    assert artist.get_clim() == (-0.6, 0.6)  # white is no effect
    assert artist.cmap(0.5)[:3] != ax.get_facecolor()[:3]  # no effect is not no record
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Longitude (°E)", "Latitude (°N)")
    assert any(isinstance(c, LineCollection) and c.get_segments() for c in ax.collections)


def test_terms_stand_beside_observed_effects_and_are_hatched_where_little_is_explained(one):
    figure = effects.draw(one, "PGA", 0.25, "kik")
    drawn, hatched = {}, {}
    for ax in figure.axes[:4]:
        cells, *hatches = [c for c in ax.collections if isinstance(c, PatchCollection)]
        drawn[ax.get_title(loc="left")] = list(cells.get_array())
        hatched[ax.get_title(loc="left")] = [len(c.get_paths()) for c in hatches if c.get_hatch()]
    assert drawn == {
        "(a) Sources": [-0.2, 0.1, 0.1],
        "(b) Sources, observed": [-0.5, 0.7],
        "(c) Sources and paths to S7": [-0.3, 0.0, 0.2],
        "(d) To S7, observed": [0.6, -0.1],
    }
    assert list(hatched.values()) == [[1], [], [1], []]
    assert [ax.get_ylabel() for ax in figure.axes[4:]] == ["Effect on ln PGA"]
    limits = {
        c.get_clim() for ax in figure.axes[:4] for c in ax.collections
        if isinstance(c, PatchCollection) and c.get_array() is not None
    }  # fmt: skip
    assert np.allclose(list(limits), [(-0.7, 0.7)])  # one scale of all maps, up to the largest effect
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[1:] == ["under 20 % of the variance explained", "outline of the stations", "station S7"]
    for ax in figure.axes[:2]:
        (hull,) = ax.patches
        corners = one.sites[["longitude", "latitude"]].iloc[:3].itertuples(index=False, name=None)
        assert {tuple(point) for point in hull.get_xy()} == set(corners)
    for ax in figure.axes[2:4]:
        (triangle,) = [c for c in ax.collections if isinstance(c, PathCollection)]
        np.testing.assert_allclose(triangle.get_offsets(), [[139.7, 35.6]])
    assert figure.get_suptitle() == "kik"


def test_a_station_with_few_records_says_why_its_map_is_empty(one):
    empty = dataclasses.replace(one, paths=one.paths.assign(observed=np.nan))
    axes = effects.draw(empty, "PGA", 0.25).axes
    assert [text.get_text() for text in axes[3].texts] == ["no source cell has 3 records\nat station S7"]
    assert not effects.draw(one, "PGA", 0.25).axes[3].texts


def test_what_is_not_on_the_maps_is_not_explained_below_them(one):
    away = dataclasses.replace(
        one,
        sources=one.sources.assign(explained=0.9),
        paths=one.paths.assign(explained=0.9),
        sites=one.sites.assign(longitude=one.sites["longitude"] + 5),
        station=one.station.replace(one.station["longitude"], 150.0),
    )
    words = [text.get_text() for text in effects.draw(away, "PGA", 0.25).legends[0].get_texts()]
    assert words == ["land and sea without a value", "station S7 (outside the map)"]


@pytest.mark.parametrize("explained", [0.0, 0.5])
def test_sites_stand_on_the_map_of_new_places(one, explained):
    longitude, latitude = np.meshgrid(np.linspace(139.4, 140.3, 5), np.linspace(35.9, 35.3, 4))
    dims = ("row", "col")
    layers = {"site_term": (dims, np.zeros((4, 5))), "explained_shared": (dims, np.full((4, 5), explained))}
    coordinates = {"longitude": (dims, longitude), "latitude": (dims, latitude)}
    figure = effects.draw_sites(one, xr.Dataset(layers, coordinates), "PGA", "kik")
    points = [next(c for c in ax.collections if isinstance(c, PathCollection)) for ax in figure.axes[:2]]
    np.testing.assert_allclose(points[0].get_array(), one.sites["site_term"])
    np.testing.assert_allclose(points[1].get_array(), one.sites["observed"].dropna())
    assert points[0].get_clim() == points[1].get_clim()
    contours = [c for c in figure.axes[0].collections if getattr(c, "hatches", None)]
    assert bool(contours) == (explained < effects.LITTLE_EXPLAINED)
