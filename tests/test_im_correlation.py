"""Correlation between intensity measures: planted matrices come back, part by part."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.correlation_tools import corr_clipped

from tfgmm.core.errors import DataError
from tfgmm.stats import im_correlation
from tfgmm.stats.im_correlation import PARTS, ImCorrelation, baker_jayaram_2008, estimate, positive_definite

IMS = ("PGA", "PGV", "SA(0.3)", "SA(1.0)")
PERIODS = {"between_event": [0.01, 0.7, 0.3, 1.0], "site_to_site": [0.01, 1.0, 0.2, 2.0]}
PERIODS["single_station"] = [0.02, 0.5, 0.06, 8.0]
STDDEV = {"between_event": 0.4, "site_to_site": 0.45, "single_station": 0.4}
PLANTED = {part: im_correlation.baker_jayaram_2008_by_period(s) for part, s in PERIODS.items()}


def covariance(*parts: str) -> np.ndarray:
    return sum(STDDEV[part] ** 2 * PLANTED[part] for part in parts)


def simulated(events: int, sites: int, records: int, seed: int = 1):
    """Residuals with planted parts; events and sites have very unequal numbers of records."""
    rng = np.random.default_rng(seed)
    draw = {
        part: rng.multivariate_normal(np.zeros(len(IMS)), covariance(part), size).T
        for part, size in (("between_event", events), ("site_to_site", sites), ("single_station", records))
    }
    event = rng.choice(events, records, p=(w := rng.uniform(0.5, 1.5, events)) / w.sum())
    site = rng.choice(sites, records, p=(w := rng.uniform(0.5, 1.5, sites)) / w.sum())
    mean = np.array([[0.3], [-2.0], [0.0], [1.0]])
    residuals = (
        mean + draw["between_event"][:, event] + draw["site_to_site"][:, site] + draw["single_station"]
    )
    return residuals, event, site


@pytest.fixture(scope="module")
def many():
    return simulated(3000, 2500, 20_000)


@pytest.mark.parametrize("missing", [False, True])
def test_planted_correlations_come_back(many, missing):
    residuals, event, site = many
    residuals = residuals.copy()
    if missing:
        residuals[1, :4000] = np.nan
        residuals[3, 3000:9000] = np.nan
    found = estimate(residuals, IMS, event, [f"site {number}" for number in site])
    whole = {
        "total": covariance(*STDDEV),
        "within_event": covariance("site_to_site", "single_station"),
        **{part: covariance(part) for part in STDDEV},
    }
    for part, correlation, stddev in zip(PARTS, found.correlation, found.stddev, strict=True):
        planted = np.sqrt(np.diag(whole[part]))
        within = 0.07 if missing else 0.05  # a pair may share 11,000 records only
        assert correlation == pytest.approx(whole[part] / np.outer(planted, planted), abs=within), part
        assert stddev == pytest.approx(planted, abs=0.03), part
    assert found.records[1, 3] == (11_000 if missing else 20_000)
    assert found.records[0, 0] == 20_000
    assert found.events[1, 3] == found.events[3, 1] == len(np.unique(event[_having(missing)]))
    assert found.sites[1, 3] == len(np.unique(site[_having(missing)]))


def _having(missing: bool) -> slice:
    """Records that have the second and the fourth measure."""
    return slice(9000 if missing else 0, None)


def test_is_the_solution_of_the_dense_quadratic_forms():
    residuals, event, site = simulated(13, 9, 200, seed=3)
    found = estimate(residuals, IMS, event, site)
    z_event, z_site = (np.eye(number.max() + 1)[number] for number in (event, site))
    z_event, z_site = (z[:, z.any(axis=0)] for z in (z_event, z_site))
    centre = np.eye(200) - 1 / 200
    forms = [
        centre @ projection @ centre
        for projection in (np.eye(200), z_event @ np.linalg.pinv(z_event), z_site @ np.linalg.pinv(z_site))
    ]
    kernels = (z_event @ z_event.T, z_site @ z_site.T, np.eye(200))
    traces = [[np.trace(form @ kernel) for kernel in kernels] for form in forms]
    products = np.array([residuals @ form @ residuals.T for form in forms])
    parts = np.linalg.solve(traces, products.reshape(3, -1)).reshape(3, len(IMS), len(IMS))
    for name, part in zip(("between_event", "site_to_site", "single_station"), parts, strict=True):
        stddev = np.sqrt(np.diag(part))
        number = PARTS.index(name)
        assert found.stddev[number] == pytest.approx(stddev, rel=1e-9)
        expected = positive_definite(np.clip(part / np.outer(stddev, stddev), -1, 1))
        assert found.correlation[number] == pytest.approx(expected, abs=1e-9)


def test_a_part_that_is_not_there_has_the_correlation_of_the_total():
    residuals, event, site = simulated(400, 300, 4000)
    elsewhere = np.random.default_rng(0).permutation(site)  # sites that explain nothing
    found = estimate(residuals, IMS, event, elsewhere)
    total, part = (found.correlation[PARTS.index(name)] for name in ("total", "site_to_site"))
    stddev = found.stddev[PARTS.index("site_to_site")]
    assert (stddev < 0.1).all()
    assert (stddev == 0).any()  # a negative variance
    for im in np.flatnonzero(stddev == 0):
        assert part[im] == pytest.approx(total[im], abs=0.03)  # up to what makes it positive definite


def test_every_matrix_is_positive_definite():
    found = estimate(*_few())
    assert repr(found).startswith(f"<ImCorrelation: measures {', '.join(found.ims)}; parts total, ")
    for matrix in found.correlation:
        np.linalg.cholesky(matrix)
        np.testing.assert_allclose(np.diag(matrix), 1, rtol=1e-12)
        np.testing.assert_allclose(matrix, matrix.T, rtol=1e-12)


def _few():
    residuals, event, site = simulated(12, 8, 150, seed=5)
    return residuals, IMS, event, site


def test_positive_definite_is_that_of_statsmodels():
    broken = np.array([[1, 0.9, -0.2], [0.9, 1, 0.9], [-0.2, 0.9, 1]])
    assert np.linalg.eigvalsh(broken)[0] < 0
    expected = corr_clipped(broken, threshold=im_correlation.SMALLEST_EIGENVALUE)
    np.testing.assert_allclose(positive_definite(broken), expected, rtol=1e-9)
    fine = PLANTED["between_event"]
    np.testing.assert_array_equal(positive_definite(fine), fine)


def test_too_few_records_and_parts_that_cannot_be_told_apart():
    residuals, event, site = simulated(40, 30, 300)
    with_gap = residuals.copy()
    with_gap[3, 50:] = np.nan
    with pytest.raises(DataError, match=r"PGA and SA\(1.0\) share 50 records, expected 100 or more"):
        estimate(with_gap, IMS, event, site)
    with pytest.raises(DataError, match="cannot be told apart"):
        estimate(residuals, IMS, np.arange(300), site)
    with pytest.raises(DataError, match="cannot be told apart"):
        estimate(residuals, IMS, event, event)


def test_baker_and_jayaram():
    # By the equation of the paper for two periods above 0.109 s, and its figure 4.
    found = baker_jayaram_2008(["PGA", "SA(0.1)", "SA(0.5)", "SA(1.0)", "SA(10.0)", "PGV", "SA(12.0)"])
    assert found[0, 0] == pytest.approx(1.0)
    assert found[2, 3] == pytest.approx(0.7489, abs=2e-4)  # 1 - cos(pi/2 - 0.366 ln 2)
    assert found[0, 3] == pytest.approx(0.52, abs=0.01)
    assert np.isnan(found[5:]).all() and np.isnan(found[:, 5:]).all()
    assert np.isfinite(found[:5, :5]).all() and (found[:5, :5] == found[:5, :5].T).all()


def test_table_has_a_row_per_part_and_pair():
    found = estimate(*_few())
    table = found.table()
    assert len(table) == len(PARTS) * 10
    row = table.set_index(["part", "im", "other_im"]).loc[("total", "SA(0.3)", "SA(1.0)")]
    assert row["correlation"] == found.correlation[0, 2, 3]
    assert row["baker_jayaram_2008"] == baker_jayaram_2008(["SA(0.3)", "SA(1.0)"])[0, 1]
    assert table.loc[table["other_im"] == "PGV", "baker_jayaram_2008"].isna().all()


def test_table_gives_the_correlations_back(tmp_path):
    found = estimate(*_few())
    found.table().assign(other=1).to_csv(tmp_path / "table.csv", index=False, float_format="%.6g")
    table = pd.read_csv(tmp_path / "table.csv")
    back = ImCorrelation.of_table(table.sample(frac=1, random_state=0).sort_values("im", kind="stable"))
    assert back.ims == found.ims
    for name in ("correlation", "stddev"):
        assert getattr(back, name) == pytest.approx(getattr(found, name), rel=1e-4, abs=1e-4)
    for name in ("records", "events", "sites"):
        np.testing.assert_array_equal(getattr(back, name), getattr(found, name))
    for matrix in back.correlation:
        np.linalg.cholesky(matrix)
    with pytest.raises(KeyError):
        ImCorrelation.of_table(table[(table["im"] != "PGV") | (table["other_im"] != "SA(1.0)")])
    with pytest.raises(KeyError):
        ImCorrelation.of_table(table[table["part"] != "site_to_site"])
    with pytest.raises(ValueError, match="not given once"):
        ImCorrelation.of_table(pd.concat([table, table.iloc[:1]]))
