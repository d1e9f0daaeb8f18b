"""Calibration finds what was planted, repairs an over-confident model and leaves a good one alone."""

import json

import numpy as np
import pandas as pd
import pytest

from helpers.prediction_tables import predictions
from tfgmm.core.errors import DataError, UsageError
from tfgmm.evaluation import residuals, scores
from tfgmm.stats import calibration
from tfgmm.stats.calibration import Calibration

PLANTED = Calibration(a=1.3, b=0.5, length_km=8.0, c=2.0)


def folds(planted: Calibration, n_events: int = 400, n_sites: int = 60, seed: int = 0) -> pd.DataFrame:
    """Partial ensembles that report sigma 0.5 and a small epistemic part; the truth is as planted."""
    rng = np.random.default_rng(seed)
    table = predictions(n_events=n_events, n_sites=n_sites, chunks=4, inits=1, seed=seed)
    table = table[table["network"] == "kik"].drop(columns=["arm", "init"])
    site = table["site_id"].str[1:].astype(int)
    x, y = rng.uniform(-60, 60, (2, n_sites))
    n = len(table)
    aleatory, epistemic = rng.uniform(0.2, 0.35, n), rng.uniform(0.0, 0.1, n)
    table = table.assign(x_km=x[site], y_km=y[site], stddev=np.sqrt(aleatory + epistemic))
    table = table.assign(epistemic=epistemic, model=scores.ENSEMBLE)
    true = planted.stddev(calibration.nearest_trained_km(table), aleatory, epistemic)
    return table.assign(ln_im=table["mean"] + true * rng.normal(size=n))


def z_std(table: pd.DataFrame) -> dict[str, float]:
    return {
        cell: ((rows["ln_im"] - rows["mean"]) / rows["stddev"]).std()
        for cell, rows in scores.cells(table, "kik").items()
        if cell.endswith("/ validation")
    }


def test_parameters_are_recovered():
    (fitted,) = calibration.fit(folds(PLANTED, n_events=1000), "kik").values()
    assert fitted.a == pytest.approx(PLANTED.a, rel=0.05)
    assert fitted.b == pytest.approx(PLANTED.b, rel=0.15)
    assert fitted.length_km == pytest.approx(PLANTED.length_km, rel=0.5)
    assert fitted.c == pytest.approx(PLANTED.c, rel=0.4)
    distance = np.array([0.0, 3.0, 10.0, 30.0])
    np.testing.assert_allclose(
        fitted.stddev(distance, 0.25, 0.05), PLANTED.stddev(distance, 0.25, 0.05), rtol=0.03
    )


def test_overconfident_model_is_repaired_in_the_validation_cells():
    table = folds(PLANTED)
    assert min(z_std(table).values()) > 1.2
    calibrated = calibration.apply(table, calibration.fit(table, "kik"))
    assert all(0.95 < z < 1.05 for z in z_std(calibrated).values())


def test_good_model_is_left_nearly_unchanged():
    table = folds(Calibration())
    calibrated = calibration.apply(table, calibration.fit(table, "kik"))
    ratio = calibrated["stddev"] / table["stddev"]
    assert ratio.between(0.93, 1.07).all()


def test_only_stopping_events_at_trained_and_stopping_sites_of_the_reference_count():
    table = folds(PLANTED)
    expected = calibration.fit(table, "kik")
    used = (
        table["event_role"].eq("stopping")
        & table["site_role"].ne("validation")
        & table["network"].eq("kik")
    )
    other = table["ln_im"].where(used, 1e3)
    assert calibration.fit(table.assign(ln_im=other), "kik") == expected
    added = table[used].assign(network="meso", ln_im=1e3)
    assert calibration.fit(pd.concat([table, added], ignore_index=True), "kik") == expected
    assert calibration.fit(table.assign(ln_im=table["ln_im"].where(~used, 1e3)), "kik") != expected


def test_measures_have_their_own():
    worse = folds(PLANTED).assign(im="SA(1.0)")
    fitted = calibration.fit(pd.concat([folds(Calibration()), worse], ignore_index=True), "kik")
    assert list(fitted) == ["PGA", "SA(1.0)"]
    assert fitted["SA(1.0)"].a > fitted["PGA"].a + 0.2


def test_a_part_that_the_records_do_not_show_stays_as_it_is():
    """One member a chunk: no epistemic variance to learn c from."""
    table = folds(Calibration(a=1.2)).assign(epistemic=0.0)
    assert calibration.fit(table, "kik")["PGA"].c == 1


def test_formula():
    one = Calibration(a=2.0, b=0.6, length_km=5.0, c=3.0)
    assert one.variance(0.0, 0.25, 0.01) == pytest.approx((1.0, 0.03))
    unknown = 0.6 * (1 - np.exp(-2.0))
    assert one.variance(10.0, 0.25, 0.01) == pytest.approx((1.0, unknown**2 + 0.03))
    assert one.stddev([0.0, 1e9], 0.25, 0.0) == pytest.approx([1.0, np.hypot(1.0, 0.6)])
    assert Calibration().stddev([0.0, 50.0], 0.25, 0.11) == pytest.approx([0.6, 0.6])


def test_distance_is_to_the_nearest_station_with_training_records_of_the_fold():
    rows = [
        # chunk, station, x, y, event role, site role, distance
        (0, "A", 0.0, 0.0, "training", "training", 0.0),
        (0, "A", 0.0, 0.0, "validation", "training", 0.0),
        (0, "B", 3.0, 4.0, "validation", "validation", 5.0),
        (0, "C", 3.0, 5.0, "validation", "training", np.sqrt(34)),  # no training event: it taught nothing
        (0, "D", 0.0, 2.0, "training", "stopping", 2.0),
        (1, "A", 0.0, 0.0, "training", "validation", 5.0),
        (1, "B", 3.0, 4.0, "training", "training", 0.0),
    ]
    columns = ["chunk", "station_id", "x_km", "y_km", "event_role", "site_role", "expected"]
    table = pd.DataFrame(rows, columns=columns, index=range(10, 17)).assign(im="PGA").sample(frac=1)
    np.testing.assert_allclose(calibration.nearest_trained_km(table), table["expected"])
    untrained = table[table["event_role"] != "training"]
    with pytest.raises(DataError, match="chunk 0 of PGA has no training record"):
        calibration.nearest_trained_km(untrained)


def test_apply_keeps_rows_and_says_that_it_is_another_model():
    one = folds(PLANTED, n_events=8, n_sites=24)
    table = pd.concat([one, one.assign(im="SA(1.0)")], ignore_index=True).sample(frac=1, random_state=0)
    calibrated = calibration.apply(table, {"PGA": PLANTED, "SA(1.0)": PLANTED})
    assert set(calibrated["model"]) == {scores.ENSEMBLE + calibration.CALIBRATED}
    changed = ["model", "stddev", "epistemic"]
    pd.testing.assert_frame_equal(calibrated.drop(columns=changed), table.drop(columns=changed))
    distance = calibration.nearest_trained_km(table)
    aleatory = table["stddev"] ** 2 - table["epistemic"]
    np.testing.assert_allclose(calibrated["stddev"], PLANTED.stddev(distance, aleatory, table["epistemic"]))
    np.testing.assert_allclose(calibrated["stddev"] ** 2 - calibrated["epistemic"], PLANTED.a**2 * aleatory)
    with pytest.raises(DataError, match=r"PGA has no calibration: it was fitted to SA\(1.0\) only"):
        calibration.apply(table, {"SA(1.0)": PLANTED})


def test_a_run_without_stopping_set_cannot_be_calibrated():
    table = folds(PLANTED, n_events=8, n_sites=24)
    paper = table[(table["site_role"] != "stopping") & (table["event_role"] != "stopping")]
    with pytest.raises(UsageError, match="--stopping paper"):
        calibration.fit(paper, "kik")


def test_change_of_the_epistemic_part_by_hand():
    table = predictions(n_events=4, n_sites=6, chunks=2, inits=3)
    partial, full = scores.partial_ensembles(table), residuals.full_ensemble(table)
    (row,) = calibration.epistemic_change(partial, full).to_dict("records")
    by_record = table.groupby(["event_id", "station_id"])["mean"]
    assert row["full"] == pytest.approx(by_record.var(ddof=0).mean(), rel=1e-4)
    by_fold = table.groupby(["event_id", "station_id", "chunk"])["mean"]
    assert row["partial"] == pytest.approx(by_fold.var(ddof=0).mean(), rel=1e-4)
    assert row["ratio"] == pytest.approx(row["full"] / row["partial"])
    one = calibration.epistemic_change(partial.assign(epistemic=0.0), full)
    assert one["ratio"].isna().all()


def test_written_and_read(tmp_path):
    content = {"PGA": PLANTED, "SA(1.0)": Calibration()}
    calibration.write(content, tmp_path)
    assert calibration.read(tmp_path) == content
    assert json.loads((tmp_path / "calibration.json").read_text())["parameters"]["PGA"]["b"] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ('{"parameters": {"PGA": {"a": 1, "q": 2}}}', "is damaged"),
        ('{"parameters": {"PGA": {"a": "x"}}}', "is damaged"),
        ('{"parameters": {"PGA": {"b": -0.5}}}', "b of PGA is -0.5, expected 0 to 1"),
        ('{"parameters": {"PGA": {"a": NaN}}}', "a of PGA is nan, expected 0.1 to 10"),
    ],
)
def test_damaged_file_is_refused(tmp_path, text, message):
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(DataError, match=message):
        calibration.read(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match="has no calibration: make it with tfgmm evaluate"):
        calibration.read(tmp_path)
