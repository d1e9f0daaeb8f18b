"""A finished run -> tables and maps of what was learned about sources and paths."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PatchCollection, PathCollection

from helpers.finished_run import make_run
from helpers.prediction_tables import predictions
from tfgmm.core import drawing
from tfgmm.core.errors import DataError, UsageError
from tfgmm.evaluation import effects

IMS = ("PGA", "SA(1.0)")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def finished(tmp_path, tiny, small):
    return make_run(tmp_path / "run", tiny, small, predictions(ims=IMS), ims=IMS)


@pytest.fixture
def one() -> effects.Effects:
    sources = pd.DataFrame(
        {
            "longitude": [139.625, 139.875, 140.125],
            "latitude": [35.375, 35.625, 35.375],
            "predicted": [-0.2, 0.1, 0.1],
            "observed": [-0.5, 0.7, -0.2],
        }
    )
    station = pd.Series({"station_id": "S7", "longitude": 139.7, "latitude": 35.6})
    return effects.Effects(sources, pd.DataFrame(), sources.tail(2), station)


@pytest.fixture
def stations() -> pd.DataFrame:
    return pd.DataFrame({"longitude": [139.5, 140.2, 140.0, 139.9], "latitude": [35.4, 35.4, 35.8, 35.5]})


def test_tables_and_figures_of_every_measure_are_written(finished, monkeypatch):
    drawn = {}
    monkeypatch.setattr(drawing, "save", lambda figure, path: drawn.update({path: figure.get_suptitle()}))
    found = effects.write(finished, "S3", 0.5)
    assert drawn == {
        finished / "figures" / f"effects_{im}": f"{im}, kik, meso (simulated records)" for im in IMS
    }
    assert list(found) == list(IMS)
    for im, one in found.items():
        sources, paths = (
            pd.read_csv(finished / "tables" / f"effects_{name}_{im}.csv") for name in ("sources", "paths")
        )
        pd.testing.assert_frame_equal(sources.drop(columns="simulated"), one.sources)
        pd.testing.assert_frame_equal(paths.drop(columns=["station_id", "simulated"]), one.paths)
        assert sources["simulated"].all() and paths["simulated"].all()
        assert set(paths["station_id"]) == {"S3"}
        assert sources["records"].sum() == 40 * 24
    assert not np.allclose(found["PGA"].sources["observed"], found["SA(1.0)"].sources["observed"])


@pytest.mark.parametrize(
    ("spoil", "options", "error", "words"),
    [
        (lambda run: None, {"station": "S99"}, UsageError, "station S99"),
        (lambda run: None, {"cell_deg": -1.0}, UsageError, "-1 degrees"),
        (lambda run: None, {"cell_deg": 50.0}, DataError, "fewer than 2 source cells"),
        (lambda run: (run / "predictions.parquet").unlink(), {}, UsageError, "no predictions yet"),
        (lambda run: (run / "events.parquet").unlink(), {}, DataError, "events.parquet is missing"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(finished, spoil, options, error, words):
    spoil(finished)
    with pytest.raises(error, match=words):
        effects.write(finished, **options)
    assert not (finished / "tables").exists() and not (finished / "figures").exists()


def test_cells_stand_around_their_centres(one):
    ax = plt.figure().add_subplot()
    artist = effects.cells_map(ax, one.sources, "observed", 0.25, "Effect on ln PGA")
    boxes = [path.get_extents() for path in artist.get_paths()]
    np.testing.assert_allclose(boxes[0].extents, [139.5, 35.25, 139.75, 35.5])
    np.testing.assert_allclose(artist.get_array(), one.sources["observed"])
    low, high = artist.get_clim()
    assert low == -high and 0.5 < high <= 0.7  # white is no effect
    assert artist.cmap(0.5)[:3] != ax.get_facecolor()[:3]  # no effect is not no record
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Longitude (°E)", "Latitude (°N)")
    assert ax.figure.axes[1].get_ylabel() == "Effect on ln PGA"
    assert any(isinstance(c, LineCollection) and c.get_segments() for c in ax.collections)


def test_learned_effects_stand_beside_observed_ones(one, stations):
    figure = effects.draw(one, stations, "PGA", 0.25, "kik")
    drawn = {}
    for ax in figure.axes[:4]:
        (cells,) = [c for c in ax.collections if isinstance(c, PatchCollection)]
        drawn[ax.get_title(loc="left")] = list(cells.get_array())
    assert drawn == {
        "(a) Sources, learned": [-0.2, 0.1, 0.1],
        "(b) Sources, observed": [-0.5, 0.7, -0.2],
        "(c) Paths to S7, learned": [0.1, 0.1],
        "(d) Paths to S7, observed": [0.7, -0.2],
    }
    for ax in figure.axes[:2]:
        (hull,) = ax.patches
        assert {tuple(point) for point in hull.get_xy()} == set(
            stations.iloc[:3].itertuples(index=False, name=None)
        )
    for ax in figure.axes[2:4]:
        (triangle,) = [c for c in ax.collections if isinstance(c, PathCollection)]
        np.testing.assert_allclose(triangle.get_offsets(), [[139.7, 35.6]])
    assert figure.get_suptitle() == "kik"
