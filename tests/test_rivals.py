"""Simple medians with the field of their residuals."""

import logging

import numpy as np
import pandas as pd
import pytest

from helpers.prediction_places import with_places
from helpers.prediction_tables import predictions
from tfgmm.data.schemas import is_training
from tfgmm.evaluation import rivals
from tfgmm.stats import ergodic, field_fit
from tfgmm.stats.field_records import Cells, Records
from tfgmm.stats.mixture import moments


@pytest.fixture(scope="module")
def fold() -> pd.DataFrame:
    table = with_places(predictions(n_events=40, n_sites=40, inits=1))
    return table[table["chunk"] == 0].reset_index(drop=True)


@pytest.fixture(scope="module")
def median(fold) -> np.ndarray:
    return ergodic.fit(fold[is_training(fold)]).median_of(fold)


def test_the_mean_is_that_of_a_dense_solution(fold, median):
    trained = is_training(fold).to_numpy()
    records = Records.of(fold[trained], (fold["ln_im"] - median)[trained])
    covariance = field_fit.fit(records)
    known, wanted = records.cells(), Cells.of(fold, records)
    noisy = covariance.between(known, known) + covariance.noise * np.eye(len(records))
    expected = median + covariance.between(wanted, known) @ np.linalg.solve(noisy, records.residual)
    name, mean, stddev = next(iter(rivals.predict(fold, {"regression": median, "again": median})))
    assert name == "regression + field"
    np.testing.assert_allclose(mean, expected, atol=5e-3)
    assert (stddev**2 > covariance.noise * 0.999).all()
    assert (stddev**2 < (covariance.process + covariance.noise) * 1.001).all()


def test_the_mean_of_two_holds_their_difference_as_variance(fold, median):
    first, second, both = rivals.predict(fold, {"regression": median, "boosting": median + 0.3})
    assert both[0] == "mean of regression and boosting + field"
    mean, *variances = moments([first[1], second[1]], [first[2] ** 2, second[2] ** 2])
    np.testing.assert_allclose(both[1], mean)
    np.testing.assert_allclose(both[2] ** 2, sum(variances))


def test_the_field_tells_the_terms_of_known_sites_and_events(fold, median):
    model = next(iter(rivals.predict(fold, {"regression": median, "again": median})))
    for role, other in (("site_role", "event_role"), ("event_role", "site_role")):
        known = ((fold[role] == "training") & (fold[other] == "validation")).to_numpy()
        with_field, alone = ((fold["ln_im"] - mean)[known].std() for mean in (model[1], median))
        assert with_field < 0.95 * alone


def test_too_few_records_for_a_field_are_said(fold, median, caplog):
    few = fold[fold["site_id"].isin(fold["site_id"].unique()[:2])].reset_index(drop=True)
    with caplog.at_level(logging.WARNING):
        assert not list(rivals.predict(few, {"regression": median[: len(few)]}))
    assert "no rival with a field in chunk 0" in caplog.text
