"""A run whose lease another one has taken over stops at once, and says who holds it now."""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading
import time
from typing import Any

import pytest

from mixpanel_sink.checkpoint import lease
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import CheckpointError
from mixpanel_sink.process import forget
from tests.jobs.test_import_parquet import shop, write


def take_over(path: str) -> None:
    """Another run takes the lease, to whom it looks expired."""
    later = time.time() + 10 * lease.LOCAL_SECONDS
    while True:
        with contextlib.suppress(CheckpointError):  # it is renewed at that moment
            lease.acquire(open_folder(path), "another", clock=lambda: later, sleep=lambda _: None)
            return


def test_a_run_that_waits_for_the_quota_stops(
    send: Any, server: Emulator, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget()
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "1.parquet", shop(10_000))

    def another() -> None:
        end = time.monotonic() + 120
        while server.stats()["requests"] < 2 and time.monotonic() < end:
            time.sleep(0.02)
        take_over(f"{tmp_path}/cp")

    thread = threading.Thread(target=another)
    thread.start()
    # Two requests go out; the next one would have to wait for an hour.
    run = send(f"{tmp_path}/in", f"--checkpoint={tmp_path}/cp", "--quota=2/hour")
    thread.join()
    forget()
    assert run.code == 1
    assert f"Another run has taken over the checkpoint {tmp_path}/cp: " in run.err
    assert f"(process {os.getpid()}) has held it since" in run.err
    assert "Mixpanel has accepted 4,000 so far, in 2 requests." in run.err
    assert "To go on, run the same command again; batches that were accepted are not" in run.err
    assert server.stats()["requests"] == 2
    holder = lease.holder_of(open_folder(f"{tmp_path}/cp"))
    assert holder is not None
    assert holder.token == "another"


def test_a_run_that_only_reads_stops(
    send: Any, server: Emulator, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a filter that leaves everything out, nothing is ever sent."""
    forget()
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "1.parquet", shop(100))
    keep_alive = lease.keep_alive

    def lost(checkpoint: Any) -> Any:
        heart = keep_alive(checkpoint)
        if heart is not None:
            take_over(checkpoint.path)
            heart.stop()
            heart._beat()
        return heart

    monkeypatch.setattr("mixpanel_sink.stages.converter.keep_alive", lost)
    run = send(f"{tmp_path}/in", f"--checkpoint={tmp_path}/cp", "--events=None")
    forget()
    assert run.code == 1
    assert "Another run has taken over the checkpoint" in run.err
    assert server.stats()["requests"] == 0
