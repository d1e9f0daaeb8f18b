"""One process at a time is at work on something."""

import os
import time

import pytest

from tfgmm.core import lease
from tfgmm.core.errors import UsageError
from tfgmm.core.lease import Lease


def test_one_holds_it_at_a_time(tmp_path):
    first, second = Lease(tmp_path / "x"), Lease(tmp_path / "x")
    assert first.take() and not second.take()
    assert f"process {os.getpid()} on" in second.owner
    first.release()
    assert second.take()
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_without_a_name_is_of_a_killed_process(tmp_path, monkeypatch):
    """Killed between the making of the file and the writing of the name."""
    monkeypatch.setattr(lease, "BLANK_S", 0.2)
    (tmp_path / ".tfgmm-x.lease").touch()
    with lease.held(tmp_path / "x"):
        assert not Lease(tmp_path / "x").take()
    assert list(tmp_path.iterdir()) == []


def test_what_another_holds_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "PATIENCE_S", 0.1)
    other = Lease(tmp_path / "x")
    other.take()
    with (
        pytest.raises(UsageError, match=r"x is in the hands of process \d+ on .*: try again"),
        lease.held(tmp_path / "x"),
    ):
        pytest.fail("the block must not run")
    with pytest.raises(UsageError, match=r"process \d+ on .* is at work in"):
        lease.refuse_held(tmp_path)
    other.release()
    lease.refuse_held(tmp_path)


OTHER = "filelock/2\npid=1\nhost=another\nmode=lease\ntoken=00\nduration={}\n"


@pytest.mark.slow
@pytest.mark.parametrize("text", [OTHER.format(0.6), "no lease at all\n", OTHER.format(0.6)[:30]])
def test_a_lease_of_another_machine_ends_when_it_is_silent(tmp_path, monkeypatch, text):
    """Its file names another host, or nothing that can be read; nobody touches it."""
    monkeypatch.setattr(lease, "DURATION_S", 0.6)
    monkeypatch.setattr(lease, "BLANK_S", 0.1)
    (tmp_path / ".tfgmm-x.lease").write_text(text)
    mine = Lease(tmp_path / "x")
    assert mine.is_remote
    assert not mine.take()
    time.sleep(0.7)
    assert mine.take(5.0)
    mine.release()


def test_a_lease_under_another_duration_is_held(tmp_path):
    (tmp_path / ".tfgmm-x.lease").write_text(OTHER.format(30.0))
    assert not Lease(tmp_path / "x").take()


def test_a_lost_lease_is_told(tmp_path):
    mine = Lease(tmp_path / "x")
    mine.take()
    mine.refuse_lost()
    mine._lose(None)
    with pytest.raises(lease.DataError, match="has gone to process"):
        mine.refuse_lost()
    mine.release()
