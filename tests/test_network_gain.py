"""What added networks gain by distance: a planted gain, its figure and the grids of coordinates."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from helpers.finished_run import make_run
from helpers.prediction_tables import predictions
from tfgmm.core import drawing
from tfgmm.core.errors import UsageError
from tfgmm.evaluation import evaluation, network_gain, report, scored_run, scores
from tfgmm.runs.run import RunFolder

mpl.use("Agg")

FEW = {"resamples": 60}
#: Factor of the residuals of the dense run by class of distance, and the distance of every third site.
PLANTED = {"below 1": (0.5, 0.6), "2.5 to 5": (0.8, 3.0), "10 and above": (1.0, 20.0)}


def planted_runs() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A dense run whose residuals are smaller near added stations, and the sparse run."""
    table = predictions(n_sites=48, chunks=4, inits=1)
    number = table["site_id"].str[1:].astype(int) // 4 % 3
    factors, distances = (np.array(column)[number] for column in zip(*PLANTED.values(), strict=True))
    alone = table[table["network"] == "kik"].assign(nearest_added_km=np.nan)
    nearer = table["ln_im"] - factors * (table["ln_im"] - table["mean"])
    return table.assign(mean=nearer, nearest_added_km=distances), alone


@pytest.fixture(scope="module")
def gain() -> pd.DataFrame:
    dense, sparse = map(scores.partial_ensembles, planted_runs())
    return network_gain.gain_by_distance(dense, sparse, "kik", ("dense", "sparse"), **FEW)


def test_planted_gain_of_each_class_is_found(gain):
    rmse = gain[gain["statistic"] == "RMSE"].set_index(["cell", "nearest_added_km"])
    assert rmse.index.unique("cell").tolist() == list(network_gain.CELLS)
    for cell in network_gain.CELLS:
        assert set(rmse.loc[cell].index) == set(PLANTED)  # classes without records are left out
        for name, (factor, distance) in PLANTED.items():
            row = rmse.loc[(cell, name)]
            assert row["value"] == pytest.approx((factor - 1) * row["second"], abs=1e-6)
            assert row["mean_km"] == pytest.approx(distance)
            assert (row["high"] < 0) == (row["high_chunks"] < 0) == (factor < 1)


def test_gain_is_the_same_every_time(gain):
    dense, sparse = map(scores.partial_ensembles, planted_runs())
    again = network_gain.gain_by_distance(dense, sparse, "kik", ("dense", "sparse"), **FEW)
    pd.testing.assert_frame_equal(gain, again)


def test_runs_of_other_records_are_an_error():
    dense, sparse = map(scores.partial_ensembles, planted_runs())
    one_less = sparse.drop(index=sparse.index[sparse["site_role"] == "validation"][0])
    with pytest.raises(UsageError, match="same dataset, split and seed"):
        network_gain.gain_by_distance(dense, one_less, "kik", ("A", "B"))


def test_figure_has_a_panel_with_every_class(gain):
    figure = network_gain.draw(gain[gain["statistic"] == "RMSE"], "note")
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["< 1", "2.5–5", "≥ 10"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["new events", "known events"]
    drawing.plt.close(figure)


MINUTES = pd.DataFrame({"longitude": [139 + 31 / 60, 140.25], "latitude": [35 + 1 / 60, 36 + 59 / 60]})
HUNDREDTHS = pd.DataFrame({"longitude": [139.47, 140.36], "latitude": [35.11, 36.93]})


@pytest.mark.parametrize(
    ("stations", "named"),
    [
        (MINUTES, ["whole minutes of arc (1.9 km)"]),
        (HUNDREDTHS, ["hundredths of a degree (1.1 km)"]),
        (pd.concat([MINUTES, HUNDREDTHS]), ["minutes of arc (1.9 km) or hundredths"]),
        (pd.concat([MINUTES, HUNDREDTHS + 0.0012]), []),
    ],
)
def test_coarse_grids_of_coordinates_are_named(stations, named):
    sentence = network_gain.coarse_grid(stations)
    assert bool(sentence) == bool(named)
    assert all(text in sentence for text in named)


@pytest.mark.slow
def test_reports_of_two_runs_show_the_gain(tmp_path, tiny, small):
    tables = dict(zip((("kik", "meso"), ("kik",)), planted_runs(), strict=True))
    runs = []
    for networks, table in tables.items():
        path = make_run(tmp_path / "-".join(networks), tiny, small, table, networks=networks)
        scored = scored_run.gather(RunFolder.open(path), with_baselines=False)
        runs.append(evaluation.Evaluation(scored, []))
    for pair in (runs, runs[::-1]):
        *_, section = report.compare(pair)
        assert section.name == "gain_kik-meso_minus_kik"
        assert section.title == "Gain of meso by distance to the nearest added station"
        assert "minutes of arc" not in section.text
    assert not network_gain.is_denser(runs[1].scored, runs[0].scored)
    report.html(runs, tmp_path / "page.html")
    report.markdown(runs, tmp_path / "pages", "tfgmm report")
    assert "Gain of meso" in (tmp_path / "page.html").read_text()
    assert (tmp_path / "pages" / "gain_kik-meso_minus_kik.png").is_file()
    assert "](gain_kik-meso_minus_kik.png)" in (tmp_path / "pages" / "README.md").read_text()
