"""The covariance of the field."""

import numpy as np

from helpers.field_records import PLANTED, planted_records
from tfgmm.stats.field_records import Records


def test_the_parts_add_up_and_a_site_is_one_place():
    table = planted_records(6, 5)
    cells = Records.of(table, table["residual"]).cells()
    whole = PLANTED.between(cells, cells)
    np.testing.assert_allclose(np.diag(whole), PLANTED.process)
    assert np.linalg.eigvalsh(whole).min() > -1e-9
    own = PLANTED.parts_between(cells, cells)["site_own"]
    np.testing.assert_array_equal(own > 0, np.equal.outer(cells.site, cells.site))
