"""Runs beside each other, and their paired differences."""

import numpy as np
import pandas as pd
import pytest

from helpers.prediction_tables import predictions
from tfgmm.core.errors import UsageError
from tfgmm.evaluation import comparison, scores

FEW = {"resamples": 50}
UNKNOWN = "validation / validation"


@pytest.fixture(scope="module")
def dense() -> pd.DataFrame:
    """A run with an added network."""
    return scores.partial_ensembles(predictions(n_sites=30))


@pytest.fixture(scope="module")
def sparse(dense) -> pd.DataFrame:
    """The same run without the added network, and worse: residuals twice as large."""
    alone = dense[dense["network"] == "kik"]
    worse = alone["ln_im"] - 2 * (alone["ln_im"] - alone["mean"])
    return alone.assign(mean=worse, nearest_added_km=np.nan).sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def elsewhere(dense) -> pd.DataFrame:
    """A run with other added stations: near to those sites that were furthest from one."""
    return dense.assign(mean=dense["mean"] + 0.1, nearest_added_km=5.0 - dense["nearest_added_km"])


def between(first, second, **options):
    return comparison.between_runs(first, second, "kik", ("A", "B"), **FEW | options)


# --- side by side ------------------------------------------------------------------------------------


@pytest.fixture
def table(dense, sparse) -> pd.DataFrame:
    baseline = pd.concat([dense, dense.assign(model="ergodic")])
    runs = {"A": scores.four_way(sparse, "kik"), "B": scores.four_way(baseline, "kik")}
    return comparison.side_by_side(runs, {"A": ["kik"], "B": ["meso", "kik"]})


def test_runs_of_one_cell_and_model_stand_together(table):
    in_cell = table[table["cell"] == UNKNOWN]
    assert in_cell[["run", "model"]].to_numpy().tolist() == [
        ["A", scores.ENSEMBLE],
        ["B", scores.ENSEMBLE],
        ["B", "ergodic"],
    ]
    assert list(table["cell"].unique())[:4] == [f"{site} / {event}" for site, event in scores.CELLS]


def test_published_values_stand_beside_their_networks(table):
    of_cell = table[table["cell"] == UNKNOWN].set_index(["run", "model"])
    columns = ["published_rmse", "published_rmse_std", "published_z_std"]
    assert of_cell.loc[("A", scores.ENSEMBLE), columns].tolist() == [0.854, 0.090, 1.39]
    assert of_cell.loc[("B", scores.ENSEMBLE), columns].tolist() == [0.841, 0.080, 1.35]
    assert of_cell.loc[("B", "ergodic"), columns].isna().all()
    added = table[table["cell"].str.startswith("added")]
    assert len(added) > 0
    assert added[columns].isna().all(axis=None)


def test_no_published_values_for_another_measure_or_network(dense):
    other = pd.concat([dense, dense.assign(im="SA(1.0)")])
    table = scores.four_way(other, "kik")
    kik_only, knet = (
        comparison.side_by_side({"A": table}, {"A": networks}) for networks in (["kik"], ["kik", "knet"])
    )
    assert kik_only.groupby("im")["published_rmse"].count().to_dict() == {"PGA": 4, "SA(1.0)": 0}
    assert knet["published_rmse"].isna().all()
    assert not any("published" in column for column in comparison.readable(knet))


def test_readable_table(table):
    lines = comparison.readable(table).set_index(["sites / events", "model"])
    assert list(lines) == [
        "im",
        "A: RMSE",
        "A: z std",
        "published A: RMSE",
        "published A: z std",
        "B: RMSE",
        "B: z std",
        "published B: RMSE",
        "published B: z std",
    ]
    ours = table.set_index(["run", "cell", "model"]).loc[("A", UNKNOWN, scores.ENSEMBLE)]
    line = lines.loc[(UNKNOWN, scores.ENSEMBLE)]
    assert line["A: RMSE"] == f"{ours['rmse']:.3f} ± {ours['rmse_std']:.3f}"
    assert line["published A: RMSE"] == "0.854 ± 0.090"
    assert line["published B: z std"] == "1.35"
    assert lines.loc[(UNKNOWN, "ergodic"), "A: RMSE"] == ""
    assert lines.loc[("training / training", scores.ENSEMBLE), "published A: z std"] == ""


# --- between runs ------------------------------------------------------------------------------------


def test_differences_are_those_of_the_four_way_tables(dense, sparse):
    found = between(sparse, dense).set_index(["cell", "statistic"])
    tables = [scores.four_way(run, "kik").set_index("cell")["rmse_pooled"] for run in (sparse, dense)]
    for site, event in scores.CELLS:
        row = found.loc[(f"{site} / {event}", "RMSE")]
        first, second = (table[f"{site} / {event}"] for table in tables)
        assert row[["first", "second"]].tolist() == pytest.approx([first, second])
        assert row["value"] == pytest.approx(first - second)
        assert 0 < row["low"] < row["value"] < row["high"]


def test_paired_interval_is_narrower_than_that_of_each_run(dense):
    """Residuals 5 % larger: hidden in the scatter of either run, plain in the difference."""
    larger = dense.assign(mean=dense["ln_im"] - 1.05 * (dense["ln_im"] - dense["mean"]))
    row = between(larger, dense).set_index(["cell", "statistic"]).loc[(UNKNOWN, "RMSE")]
    assert row["low"] > 0
    assert row["high"] - row["low"] < 0.1 * row["first"]


@pytest.mark.parametrize("second", ["sparse", "elsewhere"])
def test_exchanging_the_runs_changes_the_sign(dense, second, request):
    second = request.getfixturevalue(second)
    one, other = between(dense, second), between(second, dense)
    np.testing.assert_allclose(one["value"], -other["value"])
    np.testing.assert_allclose(one["low"], -other["high"])
    pd.testing.assert_frame_equal(one[["cell", "statistic", "n"]], other[["cell", "statistic", "n"]])


def test_cells_are_of_reference_records_with_that_without_near_added_stations(dense, sparse):
    cells = [f"{site} / {event}" for site, event in scores.CELLS]
    near = "the same, no added station within 1 km"
    assert between(sparse, dense)["cell"].unique().tolist() == [*cells, near]
    assert between(sparse, sparse)["cell"].unique().tolist() == cells


def test_near_an_added_station_of_either_run_is_near(dense, elsewhere):
    of_cell = scores.cells(dense, "kik")[UNKNOWN]
    far = of_cell["nearest_added_km"].between(1, 4, inclusive="neither")
    assert 0 < far.sum() < (of_cell["nearest_added_km"] > 1).sum()
    found = between(dense, elsewhere).set_index(["cell", "statistic"])["n"]
    assert found["the same, no added station within 1 km", "RMSE"] == far.sum()


def test_models_of_only_one_run_are_left_out(dense, sparse):
    first = pd.concat([sparse, sparse.assign(model="ergodic"), sparse.assign(model="A's own")])
    second = pd.concat([dense, dense.assign(model="ergodic")])
    assert between(first, second)["model"].unique().tolist() == [scores.ENSEMBLE, "ergodic"]


def one_less(run):
    return run.drop(index=run.index[run["network"] == "kik"][0])


def another_role(run):
    roles = run["site_role"].where(run["station_id"] != "S1", "stopping")
    return run.assign(site_role=roles)


@pytest.mark.parametrize("change", [one_less, another_role])
@pytest.mark.parametrize("swap", [False, True])
def test_other_records_or_roles_are_an_error(dense, change, swap):
    runs = (change(dense), dense)[:: -1 if swap else 1]
    with pytest.raises(UsageError, match="A scores .* same dataset, split and seed"):
        between(*runs)


def test_other_observations_are_an_error(dense):
    with pytest.raises(UsageError, match="different observed values"):
        between(dense, dense.assign(ln_im=dense["ln_im"] + 0.01))


@pytest.mark.parametrize("column", ["model", "network"])
def test_nothing_in_common_is_an_error(dense, column):
    with pytest.raises(UsageError, match="in common"):
        between(dense.assign(**{column: "other"}), dense)


# --- between models ----------------------------------------------------------------------------------


def test_every_other_model_is_compared_on_the_same_records(dense):
    worse = dense.assign(model="ergodic", mean=dense["mean"] - 0.3)
    better = dense.assign(model="better", mean=dense["ln_im"])
    models = pd.concat([dense, worse, better])
    found = comparison.between_models(models, scores.ENSEMBLE, scores.by_cell("kik"), **FEW)
    of_cell = found[found["cell"] == UNKNOWN].set_index(["model", "statistic"])
    assert of_cell.index.unique("model").tolist() == ["ergodic", "better"]
    assert of_cell.loc[("ergodic", "bias"), ["value", "low", "high"]].tolist() == pytest.approx([-0.3] * 3)
    assert of_cell.loc[("better", "RMSE"), "second"] == 0
    assert of_cell.loc[("better", "RMSE"), "low"] > 0


def test_models_on_different_records_are_an_error(dense):
    models = pd.concat([dense, one_less(dense).assign(model="ergodic")])
    with pytest.raises(UsageError, match="the other models"):
        comparison.between_models(models, scores.ENSEMBLE, scores.by_cell("kik"))


@pytest.mark.parametrize("model", [scores.ENSEMBLE, "unknown"])
def test_a_model_alone_or_unknown_is_an_error(dense, model):
    with pytest.raises(UsageError, match="nothing to compare"):
        comparison.between_models(dense, model, scores.by_cell("kik"))
