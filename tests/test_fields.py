"""The field of a chunk: what it tells of records that it has not seen, and how it joins the networks."""

import numpy as np
import pandas as pd
import pytest

from helpers.field_records import PLANTED, planted_records
from tfgmm.core.errors import DataError
from tfgmm.data.schemas import STOPPING, TERM_STDDEVS, TERMS, TRAINING, VALIDATION, is_training
from tfgmm.network import fields
from tfgmm.stats.field_records import Cells


@pytest.fixture(scope="module")
def records():
    """Planted residuals about a backbone; a fifth of the events stops, a fifth of all validates."""
    table = planted_records(80, 30, share=0.7)
    rng = np.random.default_rng(1)
    roles = {
        name: dict(zip(ids, rng.choice([TRAINING, STOPPING, VALIDATION], len(ids), p=p), strict=True))
        for name, ids, p in (
            ("event_id", table["event_id"].unique(), (0.6, 0.2, 0.2)),
            ("site_id", table["site_id"].unique(), (0.7, 0.1, 0.2)),
        )
    }
    backbone = rng.normal(-4, 1, len(table))
    return table.assign(
        event_role=table["event_id"].map(roles["event_id"]),
        site_role=table["site_id"].map(roles["site_id"]),
        backbone=backbone,
        ln_im=backbone + table["residual"],
    ).sample(frac=1, random_state=2)


def condition(records):
    return fields.condition(records, fields.covariances({"PGA": records})["PGA"])


@pytest.fixture(scope="module")
def field(records):
    return condition(records[is_training(records)])


@pytest.fixture(scope="module")
def members(records):
    """Predictions of two networks, each of which knows a part of the residuals."""
    rng = np.random.default_rng(3)
    u = {init: rng.normal(0, 0.2, len(records)) + 0.1 * records["residual"] for init in (0, 1)}
    rows = [
        records.assign(init=init, mean=records["backbone"] + u[init], stddev=0.3 + 0.1 * init) for init in u
    ]
    return pd.concat(rows, ignore_index=True).sample(frac=1, random_state=4)


def times(records):
    ids = np.sort(records["event_id"].unique())
    return pd.Series(pd.date_range("2000-01-01", periods=len(ids)), ids)


def blocks(records):
    """Block of time of each record: a quarter of the training events each."""
    origin_time = times(records)
    first = origin_time[np.sort(records.loc[is_training(records), "event_id"].unique())].to_numpy()
    edges = first[[-(-len(first) * number // 4) for number in (1, 2, 3)]]
    return np.searchsorted(edges, origin_time[records["event_id"]].to_numpy(), side="right")


def moved_by(records, changed):
    """How far what is told of each record moves, if the training records in `changed` do."""
    other = records.assign(ln_im=records["ln_im"] + np.where(changed & is_training(records), 1.0, 0.0))
    told, told_of_other = (fields.unseen(table, PLANTED, times(records)) for table in (records, other))
    assert told.index.equals(records.index)
    return (told_of_other - told)["field_mean"].abs()


def test_of_few_sites_it_knows_other_events_at_the_site(records):
    one = records.index[is_training(records)][5]
    site = records.loc[one, "site_id"]
    same_time = pd.Series(blocks(records) == blocks(records)[records.index.get_loc(one)], records.index)
    assert moved_by(records, same_time)[one] < 1e-9
    assert moved_by(records, records["site_id"].eq(site))[one] > 0.1


def test_of_many_sites_it_knows_other_events_and_sites(records, monkeypatch):
    monkeypatch.setattr(fields, "FEWEST_SITES", 10)
    monkeypatch.setattr(fields, "FEWEST_EVENTS", 10)
    one = records.index[is_training(records)][5]
    event, site = records.loc[one, ["event_id", "site_id"]]
    moved = moved_by(records, records["event_id"].eq(event) | records["site_id"].eq(site))
    assert moved[one] < 1e-9 and moved.max() > 0.1


def test_sites_of_few_records_do_not_count_as_many_sites(records, monkeypatch):
    monkeypatch.setattr(fields, "FEWEST_SITES", 10)
    monkeypatch.setattr(fields, "FEWEST_EVENTS", 10)
    crowd = records["site_id"].isin(sorted(records["site_id"].unique())[6:])
    thinned = records[~crowd | ~is_training(records) | ~records.duplicated("site_id")]
    assert thinned.loc[is_training(thinned), "site_id"].nunique() > 10
    one = thinned.index[is_training(thinned) & ~crowd.loc[thinned.index]][5]
    assert moved_by(thinned, thinned["site_id"].eq(thinned.loc[one, "site_id"]))[one] > 0.1


def test_what_it_tells_of_stopping_records_is_from_other_times(records, field):
    told = fields.unseen(records, field.covariance, times(records))
    trained, validates = (
        is_training(records),
        (records[["event_role", "site_role"]] == VALIDATION).any(axis=1),
    )
    assert (told[validates] == 0).all(axis=None)
    block = blocks(records)
    for number in range(4):
        other = records[~trained & ~validates & (block == number)]
        given = fields.condition(records[trained & (block != number)], field.covariance)
        cells = Cells.of(other, given.records)
        np.testing.assert_allclose(told.loc[other.index, "field_mean"], given.mean(cells), atol=0.005)
        np.testing.assert_allclose(
            told.loc[other.index, "field_variance"], given.variance(cells), rtol=0.05
        )


def test_standardised_by_what_it_leaves_open_residuals_are_standard(records, field):
    told = fields.unseen(records, field.covariance, times(records))
    left = records["ln_im"] - records["backbone"] - told["field_mean"]
    known = told["field_variance"] > 0
    z = (left / np.sqrt(told["field_variance"] + 0.10))[known]
    assert z.std() == pytest.approx(1, abs=0.1)
    residual = records["residual"][known]
    assert left[known].std() < residual.std()


def test_terms_are_the_parts_of_the_field(field, members):
    table = fields.with_terms(field, members)
    assert table.index.equals(members.index)
    cells = Cells.of(table, field.records)
    np.testing.assert_allclose(table[TERMS].sum(axis=1), field.mean(cells), atol=1e-9)
    np.testing.assert_allclose(table["field_stddev"] ** 2, field.variance(cells), rtol=1e-6)
    new = ~table["event_id"].isin(field.records.event_ids)
    total = (table.loc[new, TERM_STDDEVS[1:]] ** 2).sum(axis=1)
    expected = table["field_stddev"] ** 2 + table["stddev"] ** 2
    np.testing.assert_allclose(total, expected[new], rtol=0.01)
    assert table.loc[~new, "event_stddev"].isna().all()


def test_of_a_new_event_field_and_network_add(field, members):
    table = fields.add(fields.with_terms(field, members))
    new = ~table["event_id"].isin(field.records.event_ids)
    expected = members["mean"] + field.mean(Cells.of(members, field.records))
    np.testing.assert_allclose(table.loc[new, "mean"], expected[new], atol=1e-9)
    np.testing.assert_allclose(
        table["stddev"],
        np.hypot(members["stddev"], np.sqrt(field.variance(Cells.of(members, field.records)))),
    )


def test_of_a_known_event_the_records_tell_in_place_of_the_network(field, members):
    table = fields.add(fields.with_terms(field, members))
    known = table["event_id"].isin(field.records.event_ids)
    expected = members["backbone"] + field.mean(Cells.of(members, field.records))
    assert known.any()
    np.testing.assert_allclose(table.loc[known, "mean"], expected[known], atol=1e-9)


def test_too_few_records_say_what_to_do(records):
    with pytest.raises(DataError, match="or train with --field no"):
        fields.covariances({"PGA": records.iloc[:3]})
