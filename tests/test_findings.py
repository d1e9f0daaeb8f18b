"""What a run has learned, in words, from made-up intervals."""

import numpy as np
import pandas as pd
import pytest

from tfgmm.evaluation import findings, scores
from tfgmm.evaluation.findings import AHEAD, BEHIND, LEVEL, NETWORKS, PLACES, SIGMA, UNTOLD, USE
from tfgmm.stats.calibration import CALIBRATED

NEW, KNOWN, BOTH = PLACES.values()
RIVAL = "regression + field"
REAL = findings.Scope(
    "900 records: magnitude 4.0 to 7.0", "137.00°E to 141.00°E", "from 2015", False, "Beyond."
)


def row(cell, model, value, low, high, chunks=(np.nan, np.nan), counts=(50, 60)) -> dict:
    """A paired difference of the RMSE of the ensemble, 0.6, with its intervals."""
    return {
        "im": "PGA", "cell": cell, "model": model, "statistic": "RMSE", "first": 0.6,
        "second": 0.6 - value, "value": value, "low": low, "high": high, "low_chunks": chunks[0],
        "high_chunks": chunks[1], "n": 1000, "events": counts[0], "sites": counts[1],
    }  # fmt: skip


def everywhere(model, *interval, **more) -> list[dict]:
    return [row(cell, model, *interval, **more) for cell in PLACES]


def sigma(spread=(1.0, 0.95, 1.05), coverage=(0.9, 0.88, 0.92), model=scores.ENSEMBLE) -> pd.DataFrame:
    """Scores of sigma that are the same in all places."""
    values = {"z std": spread, "coverage 90%": coverage}
    return pd.DataFrame(
        [
            {"im": "PGA", "cell": cell, "model": model, "statistic": name, "value": v, "low": a, "high": b}
            for cell in PLACES
            for name, (v, a, b) in values.items()
        ]
    )


def said(rows, score_table=None, scope=REAL) -> dict[str, findings.Finding]:
    table = sigma() if score_table is None else score_table
    return {one.what: one for one in findings.of_measure("PGA", pd.DataFrame(rows), table, scope)}


@pytest.mark.parametrize(
    ("interval", "verdict", "words"),
    [
        ((-0.04, -0.06, -0.01), AHEAD, f"Ahead of {RIVAL} by 0.040 (0.010 to 0.060)."),
        ((0.04, 0.01, 0.06), BEHIND, f"Behind {RIVAL} by 0.040 (0.010 to 0.060)."),
        ((-0.01, -0.03, 0.02), LEVEL, f"Level with {RIVAL}, +0.010 (-0.020 to +0.030)."),
        ((0.01, np.nan, np.nan), UNTOLD, f"No interval beside {RIVAL} (-0.010)."),
    ],
)
def test_each_verdict_has_its_direction_and_its_interval(interval, verdict, words):
    rows = everywhere(RIVAL, *interval)
    assert set(findings.verdicts(pd.DataFrame(rows))["verdict"]) == {verdict}
    place = said(rows)[BOTH]
    assert place.text == words
    assert place.short == f"RMSE 0.600 (a factor of 1.82), {verdict} 1 of 1 rival with the same information"


def test_the_wider_of_the_two_intervals_counts():
    chunks_wider = row("validation / validation", RIVAL, -0.04, -0.06, -0.01, (-0.09, 0.01))
    chunks_narrower = row("validation / training", RIVAL, -0.04, -0.08, 0.01, (-0.05, -0.03))
    table = findings.verdicts(pd.DataFrame([chunks_wider, chunks_narrower])).set_index("cell")
    assert table["verdict"].tolist() == [LEVEL, LEVEL]
    assert table.loc["validation / validation", ["low", "high"]].tolist() == [-0.09, 0.01]


def test_an_interval_that_ends_at_zero_is_level():
    assert findings.verdicts(pd.DataFrame([row("validation / validation", RIVAL, -0.1, -0.2, 0.0)]))[
        "verdict"
    ].tolist() == [LEVEL]


def test_a_difference_that_cannot_be_written_is_none():
    rows = everywhere(RIVAL, -0.0002, -0.0004, -0.0001)
    assert set(findings.verdicts(pd.DataFrame(rows))["verdict"]) == {LEVEL}


def test_rivals_with_the_same_information_are_named_and_simpler_models_are_not():
    rows = everywhere(RIVAL, -0.04, -0.06, -0.01) + everywhere("regression", -0.3, -0.4, -0.2)
    rows += everywhere(scores.FIELD_ALONE, -0.01, -0.03, 0.02)
    place = said(rows)[NEW]
    assert place.short.endswith("ahead of 1, level with 1 of 2 rivals with the same information")
    assert f"Level with {scores.FIELD_ALONE} (no network), +0.010" in place.text
    assert "0.300" not in place.text


def test_without_rivals_the_simpler_models_stand_for_them():
    place = said(everywhere("regression", -0.3, -0.4, -0.2))[NEW]
    assert place.short.endswith("ahead of 1 of 1 simpler model")


def test_few_events_bear_the_mark_of_a_narrow_interval():
    place = said(everywhere(RIVAL, -0.04, -0.06, -0.01, counts=(9, 60)))[NEW]
    assert "(0.010 to 0.060)*" in place.text and "Too narrow" in place.text


def test_places_without_records_are_left_out():
    assert [*said([row("validation / training", RIVAL, 0.0, -0.1, 0.1)])] == [KNOWN, NETWORKS, SIGMA, USE]


def test_networks_that_do_harm_are_told_and_not_recommended():
    alone = [
        row("training / validation", scores.FIELD_ALONE, 0.1, 0.07, 0.14),
        row("validation / training", scores.FIELD_ALONE, 0.0, -0.02, 0.02),
        row("validation / validation", scores.FIELD_ALONE, -0.05, -0.07, -0.02),
    ]
    told = said(alone)
    assert told[NETWORKS].short == (
        f"do harm for {NEW}; help for {BOTH}; make no difference that these records can tell for {KNOWN}"
    )
    assert f"{scores.FIELD_ALONE}, has smaller errors for {NEW}" in told[NETWORKS].text
    assert told[USE].short.endswith(f"not for {NEW}, where the networks do harm")


def test_networks_that_change_nothing_are_told():
    told = said(everywhere(scores.FIELD_ALONE, 0.001, -0.02, 0.02))[NETWORKS]
    assert told.short == "nowhere make a difference that these records can tell"
    assert told.text == "These records give no reason for networks: backbone and field suffice here."


def test_networks_that_help_everywhere_are_told():
    told = said(everywhere(scores.FIELD_ALONE, -0.05, -0.07, -0.02))[NETWORKS]
    assert (told.short, told.text) == ("help everywhere", "")


def test_without_a_field_the_share_of_the_networks_is_not_told():
    assert said(everywhere(RIVAL, -0.04, -0.06, -0.01))[NETWORKS].short == "not told apart"


@pytest.mark.parametrize(
    ("spread", "coverage", "word"),
    [
        ((1.0, 0.95, 1.05), (0.9, 0.88, 0.92), "right everywhere"),
        ((1.3, 1.2, 1.4), (0.8, 0.75, 0.85), "too small everywhere"),
        ((0.8, 0.7, 0.9), (0.95, 0.93, 0.97), "too large everywhere"),
        ((1.2, 1.1, 1.3), (0.95, 0.93, 0.97), "wrong in shape everywhere"),
        (
            (1.0, np.nan, np.nan),
            (0.9, np.nan, np.nan),
            "cannot be told (too few events or sites) everywhere",
        ),
    ],
)
def test_sigma_is_judged(spread, coverage, word):
    told = said(everywhere(RIVAL, 0.0, -0.1, 0.1), sigma(spread, coverage))[SIGMA]
    assert told.short == word
    assert f"{NEW}: {spread[0]:.2f}" in told.text


def test_sigma_is_that_of_predictions_which_are_calibrated_where_they_can_be():
    raw, calibrated = sigma((2.0, 1.8, 2.2), (0.6, 0.5, 0.7)), sigma(model=scores.ENSEMBLE + CALIBRATED)
    told = said(everywhere(RIVAL, 0.0, -0.1, 0.1), pd.concat([raw, calibrated]))[SIGMA]
    assert told.short == "right everywhere"


def test_a_run_of_simulated_records_is_not_for_real_ground_motion():
    rows = everywhere(RIVAL, 0.0, -0.1, 0.1)
    simulated = findings.dataclasses.replace(REAL, simulated=True)
    assert said(rows, scope=simulated)[USE].short.startswith("not for real ground motion")
    real = said(rows)[USE]
    assert real.short == "within the ranges of its records, 137.00°E to 141.00°E"
    assert (
        real.text
        == "The networks learned from 900 records: magnitude 4.0 to 7.0. Beyond. New events: from 2015."
    )
