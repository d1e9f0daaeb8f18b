"""Parts of sigma as predicted beside those of residuals, and the covariance of the field."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from helpers.field_records import PLANTED, planted_records
from helpers.prediction_tables import PHI_S2S, PHI_SS, TAU, predictions
from tfgmm.data.schemas import TERMS
from tfgmm.evaluation import scores, variability
from tfgmm.stats import field, field_fit
from tfgmm.stats.field_records import Cells, Records

KNOWN, HELD_OUT = "training / validation", "validation / validation"
#: Standard deviations of one record of a validation event, at a known site and at a held-out one.
STDDEVS = {
    "event_stddev": (0.3, 0.3),
    "site_stddev": (0.1, 0.5),
    "path_stddev": (0.15, 0.2),
    "within_stddev": (0.4, 0.35),
}


def with_field(table: pd.DataFrame) -> pd.DataFrame:
    """Predictions of members with the columns of a field, whose terms are zero."""
    held, new = table["site_role"] == "validation", table["event_role"] != "training"
    columns = {
        name: np.where(new, np.where(held, out, known), np.nan) for name, (known, out) in STDDEVS.items()
    }
    columns["site_stddev"] = np.where(held, *STDDEVS["site_stddev"][::-1])
    total = np.sqrt(sum(np.nan_to_num(values, nan=0.2) ** 2 for values in columns.values()))
    return table.assign(**dict.fromkeys(TERMS, 0.0), **columns, field_stddev=0.3, stddev=total)


@pytest.fixture(scope="module")
def table():
    return scores.partial_ensembles(with_field(predictions(n_events=120, n_sites=120, chunks=4)))


@pytest.fixture(scope="module")
def compared(table):
    tidy = variability.tidy(variability.decompositions(table, "kik"))
    cells = [KNOWN, HELD_OUT, "added / validation"]
    shared = pd.DataFrame({"im": "PGA", "cell": cells, "shared": [0.31, 0.32, 0.33]})
    return variability.compare_parts(table, shared, tidy, "kik").set_index(["cell", "part"])


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "number"), [(KNOWN, 0), (HELD_OUT, 1)])
def test_predicted_parts_are_those_of_the_table(compared, cell, number):
    tau, site, path, within = (of_cells[number] for of_cells in STDDEVS.values())
    found = compared.loc[cell, "predicted"]
    expected = {"tau": tau, "phi_s2s": site, "phi_p2p": path, "phi_ss": within}
    for part, value in expected.items():
        assert found[part] == pytest.approx(value), part
    assert found["epistemic"] == pytest.approx(0.1 / np.sqrt(2), rel=0.1)  # of two members
    squares = (found[["tau", "phi_s2s", "phi_p2p", "phi_ss", "epistemic"]] ** 2).sum()
    assert squares == pytest.approx(found["sigma"] ** 2)


@pytest.mark.slow
def test_found_parts_stand_beside_what_the_residuals_can_tell(compared):
    held = compared.loc[HELD_OUT]
    for part, planted in (("tau", TAU), ("phi_s2s", PHI_S2S), ("phi_ss", PHI_SS)):
        assert held.loc[part, "estimate"] == pytest.approx(planted, abs=0.1), part
    assert held.loc[["phi_p2p", "epistemic"], ["expected", "estimate"]].isna().all(axis=None)
    assert held.loc["tau", "expected"] == 0.32
    assert held.loc["phi_s2s", "expected"] == held.loc["phi_s2s", "predicted"]
    squares = (held.loc[["tau", "phi_s2s", "phi_ss"], "expected"] ** 2).sum()
    assert squares == pytest.approx(held.loc["sigma", "predicted"] ** 2)
    assert set(compared.index.unique("cell")) == {KNOWN, HELD_OUT, "added / validation"}
    assert held.loc["sigma", "predicted_low"] < held.loc["sigma", "predicted"]
    assert held.loc["sigma", "predicted"] < held.loc["sigma", "predicted_high"]


@pytest.mark.slow
def test_records_of_an_event_share_what_the_field_says():
    """Of new events of a field: what a fit to its residuals, and to samples of them, finds as tau."""
    rows = planted_records(200, 60, clusters=150)
    new = rows["event_id"] >= "E00100"
    records = Records.of(rows[~new], rows.loc[~new, "residual"])
    fitted = field.condition(PLANTED, records)
    roles = {
        "event_role": "validation",
        "site_role": "training",
        "network": "kik",
        "nearest_added_km": np.nan,
    }
    table = rows[new].assign(im="PGA", chunk=0, model=scores.ENSEMBLE, **roles)
    shared = variability.shared_in_events(table, lambda im, chunk: fitted, "kik").set_index("cell")
    mean = fitted.mean(Cells.of(table, records))
    found = variability.decompose(table.assign(ln_im=table["residual"], mean=mean)).table
    tau = found.set_index("part").loc["tau"]
    assert shared.loc[KNOWN, "shared"] > PLANTED.event**0.5
    assert shared.loc[KNOWN, "shared"] == pytest.approx(tau["estimate"], rel=0.2)


@pytest.mark.slow
def test_the_floor_has_the_own_site_term_in_place_of_what_is_unknown(table):
    covariances = {("PGA", chunk): PLANTED for chunk in range(4)}
    one = variability.floor(table, covariances, "kik").iloc[0]
    known = scores.cells(table, "kik")[KNOWN]
    square = ((known["ln_im"] - known["mean"]) ** 2).mean()
    assert one["known_site"] == pytest.approx(np.sqrt(square))
    assert one["floor"] == pytest.approx(np.sqrt(square - 0.1**2 + PLANTED.site_own))
    assert one["site_own"] == pytest.approx(np.sqrt(PLANTED.site_own))
    assert one["site_km"] == PLANTED.site_km


@pytest.mark.slow
def test_backbone_and_field_stand_without_the_networks(table):
    held = scores.cells(table, "kik")[HELD_OUT].assign(backbone=1.0, event_term=0.5, path_term=0.25)
    both = pd.concat([held, scores.cells(table, "kik")["training / training"]])
    noise = pd.Series(0.16, both.index)
    found = scores.without_networks(both, noise)
    assert len(found) == len(held), "no training records"
    assert (found["model"] == scores.FIELD_ALONE).all()
    np.testing.assert_allclose(found["mean"], 1.75)
    np.testing.assert_allclose(found["stddev"], 0.5)


def test_parts_of_the_field_have_the_mean_and_range_of_the_chunks():
    of_chunks = [dataclasses.replace(PLANTED, event=value**2) for value in (0.3, 0.4, 0.5)]
    parts = variability.field_parts(PLANTED, of_chunks).set_index("part")
    assert parts.loc["event", ["mean", "lowest", "highest"]].tolist() == pytest.approx([0.4, 0.3, 0.5])
    assert parts.loc["event", "all_records"] == pytest.approx(0.35)
    assert parts.loc["path_km", ["unit", "all_records", "mean"]].tolist() == ["km", 20.0, 20.0]
    assert parts.loc["noise", "all_records"] == pytest.approx(np.sqrt(PLANTED.noise))
    assert len(parts) == 12


@pytest.mark.slow
def test_covariance_by_distance_is_near_the_planted_one():
    rows = planted_records(300, 100, 0.5, clusters=100)
    records = Records.of(rows, rows["residual"])
    fitted = field.condition(field_fit.fit(records), records)
    classes = variability.field_classes(fitted)
    assert not classes["is_record"].any()
    one_event = classes[classes["source_class"] == 0]
    for rows, expected in ((classes, classes["product"]), (one_event, PLANTED.at(one_event))):
        error = np.sqrt(np.average((rows["fitted"] - expected) ** 2, weights=rows["pairs"]))
        assert error < 0.05 * (PLANTED.process + PLANTED.noise)
    same_site = classes[(classes["site_class"] == 0) & (classes["source_class"] == 4)].iloc[0]
    h = np.exp(-same_site["source_km"] / PLANTED.source_km)
    by_hand = PLANTED.site_own + PLANTED.site_shared
    by_hand += h * (PLANTED.source + PLANTED.path_own + PLANTED.path_shared)
    # Stations of one site stand at one place.
    assert PLANTED.at(same_site.to_frame().T.infer_objects())[0] == pytest.approx(by_hand)
