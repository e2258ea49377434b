"""One run at a time, whatever the clocks say."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys

import pytest

from mixpanel_sink.checkpoint import lease
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.stored import Folder
from mixpanel_sink.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Folder:
    return open_folder(str(tmp_path))


def put(folder: Folder, **more: object) -> None:
    """A lease of another machine's run, renewed at 1000."""
    other = lease.Holder("other", "ann@far", "far", 7, "1", 900.0, 1000.0, 3, 120.0)
    folder.write(lease.NAME, dataclasses.replace(other, **more).to_json())


def held_by(folder: Folder) -> str:
    found = folder.stored(lease.NAME)
    assert found is not None
    holder = lease.Holder.from_json(found.data)
    return holder.token if holder else "?"


def _renews(folder: Folder, token: str, now: float = 1000.0) -> bool:
    holder = lease.renew(folder, token, lambda: now)
    return holder is not None and holder.token == token


def never(seconds: float) -> None:
    raise AssertionError(f"slept {seconds} s")


def test_a_second_run_is_refused_and_told_who_holds_it(folder: Folder) -> None:
    put(folder)
    with pytest.raises(CheckpointError) as caught:
        lease.acquire(folder, "me", clock=lambda: 1030.0, sleep=never)
    assert "ann@far (process 7) has held it since 1970-01-01 00:15:00 UTC" in str(caught.value)
    assert "another run may start in 90 seconds" in str(caught.value)
    assert held_by(folder) == "other"


@pytest.mark.parametrize("now", [1121.0, 1e6, 800.0, -5.0])
def test_a_lease_that_looks_expired_is_watched_and_then_taken(folder: Folder, now: float) -> None:
    """After it expired, and after a clock has stepped back beyond its last renewal."""
    put(folder)
    slept: list[float] = []
    lease.acquire(folder, "me", clock=lambda: now, sleep=slept.append)
    assert slept == [lease.WATCH_SECONDS]
    assert held_by(folder) == "me"


@pytest.mark.parametrize("now", [5000.0, 10.0])
def test_a_holder_whose_clock_is_wrong_keeps_its_lease(folder: Folder, now: float) -> None:
    put(folder)

    def it_renews(_: float) -> None:
        assert _renews(folder, "other", 1001.0)

    with pytest.raises(CheckpointError, match="is in use"):
        lease.acquire(folder, "me", clock=lambda: now, sleep=it_renews)
    assert held_by(folder) == "other"


def test_a_process_of_this_machine_that_died_is_found_out_at_once(
    folder: Folder, tmp_path: pathlib.Path
) -> None:
    code = (
        "import os, sys; from mixpanel_sink.checkpoint import lease, folder\n"
        "lease.acquire(folder.open_folder(sys.argv[1]), 'dead'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == 9
    assert held_by(folder) == "dead"
    lease.acquire(folder, "me", sleep=never)
    assert held_by(folder) == "me"


def test_a_process_with_the_number_of_a_dead_one_is_another(folder: Folder) -> None:
    mine = lease.Holder.here("old", 120.0, 1000.0)
    folder.write(lease.NAME, dataclasses.replace(mine, started="1").to_json())
    lease.acquire(folder, "me", clock=lambda: 1001.0, sleep=never)
    assert held_by(folder) == "me"


def test_another_users_process_that_proc_hides_is_not_taken_for_dead(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where /proc is mounted with hidepid, and two people use one checkpoint."""

    def kill(pid: int, signal: int) -> None:
        assert (pid, signal) == (7, 0)
        raise PermissionError

    put(folder, machine=lease._machine())
    monkeypatch.setattr(lease, "_started", lambda pid: "")
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", kill)
        with pytest.raises(CheckpointError, match="in use: ann@far"):
            lease.acquire(folder, "me", clock=lambda: 1030.0, sleep=never)
    monkeypatch.setattr(os, "kill", lambda pid, signal: None)  # it is there, as a zombie
    lease.acquire(folder, "me", clock=lambda: 1030.0, sleep=never)
    assert held_by(folder) == "me"


def test_of_two_that_take_an_expired_lease_one_gets_it(folder: Folder) -> None:
    put(folder)

    def another_is_faster(_: float) -> None:
        lease.acquire(folder, "faster", clock=lambda: 1e6, sleep=lambda _: None)

    with pytest.raises(CheckpointError, match=f"process {os.getpid()}"):
        lease.acquire(folder, "slower", clock=lambda: 1e6, sleep=another_is_faster)
    assert held_by(folder) == "faster"


def test_a_damaged_lease_is_watched_too(folder: Folder) -> None:
    folder.write(lease.NAME, b'{"token": "oth')
    slept: list[float] = []
    lease.acquire(folder, "me", sleep=slept.append)
    assert len(slept) == 1
    assert held_by(folder) == "me"


def test_only_the_holder_renews_and_releases(folder: Folder) -> None:
    put(folder)
    assert not _renews(folder, "me")
    lease.release(folder, "me")
    assert held_by(folder) == "other"
    lease.check(folder, "other")
    lease.release(folder, "other")
    assert folder.stored(lease.NAME) is None
    assert lease.renew(folder, "other") is None


def test_a_lease_is_given_back_though_another_worker_renews_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder)
    remove = type(folder).remove
    renewals = [True]

    def late(self: Folder, name: str, expected: object) -> None:
        if renewals:
            renewals.clear()
            assert _renews(folder, "other")
        remove(self, name, expected)

    monkeypatch.setattr(type(folder), "remove", late)
    lease.release(folder, "other")
    assert folder.stored(lease.NAME) is None


class TestHeartbeat:
    def one_beat(self, folder: Folder) -> lease.Heartbeat:
        heart = lease.Heartbeat(folder.path, "other")
        heart.stop()
        heart._beat()
        return heart

    def test_it_renews_what_is_its_own(self, folder: Folder) -> None:
        put(folder)
        self.one_beat(folder).check()
        holder = lease.holder_of(folder)
        assert holder is not None
        assert holder.token == "other"
        assert holder.renewed > 1000.0

    def test_it_says_who_has_taken_the_lease(self, folder: Folder) -> None:
        put(folder)
        lease.acquire(folder, "me", clock=lambda: 9000.0, sleep=lambda _: None)
        with pytest.raises(CheckpointError) as caught:
            self.one_beat(folder).check()
        assert f"Another run has taken over the checkpoint {folder.path}: " in str(caught.value)
        assert f"(process {os.getpid()}) has held it since 1970-01-01 02:30:00" in str(caught.value)
        assert held_by(folder) == "me"

    def test_a_lease_that_was_given_back_stops_nobody(self, folder: Folder) -> None:
        """The last worker gives it back while others have not ended yet."""
        self.one_beat(folder).check()
        assert folder.stored(lease.NAME) is None

    def test_a_folder_that_cannot_be_read_for_a_while_stops_nobody(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(folder)
        with monkeypatch.context() as broken:
            broken.setattr(lease, "renew", lambda *_: 1 / 0)
            self.one_beat(folder).check()
        assert held_by(folder) == "other"
