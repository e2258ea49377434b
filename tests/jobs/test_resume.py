"""--checkpoint, as the command line sees it: going on, and whose it is."""

from __future__ import annotations

import os
import re

import pytest

from mixpanel_sink.checkpoint import lease
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.process import forget
from tests.jobs.test_import_parquet import shop, write

ROWS = 10_000


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "a.parquet", shop(ROWS), row_group_size=4000)


@pytest.fixture
def checkpoint(tmp_path):
    return f"--checkpoint={tmp_path}/checkpoint"


def test_a_failed_run_says_how_to_go_on_and_the_next_one_does(send, server, source, checkpoint):
    server.faults([{"kind": "status", "status": 401, "skip": 3}])
    first = send(source, checkpoint)
    assert first.code == 1
    assert re.search(r"Mixpanel has accepted [\d,]+ so far|Nothing was accepted so far", first.err)
    assert "batches that were accepted are not sent again" in first.err
    sent = server.stats()["requests_by_endpoint"]["/import"]["200"]
    forget()
    second = send(source, checkpoint)
    assert second.code == 0, second.err
    assert f"{ROWS:,} read = {ROWS:,} accepted + 0 failed" in second.out
    known = int(re.search(r"known to checkpoint +([\d,]+)$", second.out, re.M)[1].replace(",", ""))
    # Requests that were under way when the first run ended may have been entered after it.
    assert known >= 2000 * sent
    assert f" (200: {5 - known // 2000})" in second.out
    stats = server.stats()
    assert stats["events_distinct"] == ROWS
    forget()
    third = send(source, checkpoint)
    assert third.code == 0
    assert "1 file was imported before, 0 are new." in third.out
    assert server.stats()["requests"] == stats["requests"]


@pytest.mark.parametrize("other", ["project or region", "endpoint"])
def test_anothers_checkpoint_is_refused_before_anything_is_sent(
    send, server, source, checkpoint, tmp_path, monkeypatch, other
):
    assert send(source, checkpoint).code == 0
    requests = server.stats()["requests"]
    more = []
    if other == "project or region":
        monkeypatch.setenv("OTHER_SECRET", "another-secret")
        more = ["--api-secret=env:OTHER_SECRET"]
    if other == "endpoint":
        monkeypatch.setenv("TEST_TOKEN", server.project_token)
        more = ["--endpoint-kind=track", "--project-token=env:TEST_TOKEN", "--api-secret="]
    forget()
    run = send(source, checkpoint, *more)
    assert run.code == 2, run.err
    (said,) = [line for line in run.err.splitlines() if line.startswith("Error: ")]
    assert f"belongs to another {other}. Give each import a folder of its own" in said
    assert server.stats()["requests"] == requests


def test_a_folder_that_cannot_be_made_is_refused(send, server, source, tmp_path):
    (tmp_path / "file").write_text("")
    run = send(source, f"--checkpoint={tmp_path}/file/folder")
    assert run.code == 2
    assert "cannot be used" in run.err
    assert server.stats()["requests"] == 0


def test_a_log_that_cannot_be_written_ends_the_run_clearly(
    send, server, source, tmp_path, monkeypatch
):
    """Its folder goes away while the job runs."""
    monkeypatch.setattr("mixpanel_sink.checkpoint.journal.WAITS", (0.01,))
    monkeypatch.setattr(
        "mixpanel_sink.checkpoint.journal._LocalFolder.write",
        lambda *_: os.rmdir(tmp_path / "nowhere"),
    )
    run = send(source, f"--checkpoint={tmp_path}/checkpoint")
    assert run.code == 1
    (said,) = [line for line in run.err.splitlines() if line.startswith("Error: ")]
    assert "cannot be written (No such file or directory). Fix that and run the job again" in said


def test_the_second_of_two_runs_is_refused_and_says_who_is_first(
    send, server: Emulator, source, checkpoint, tmp_path
):
    folder = open_folder(f"{tmp_path}/checkpoint")
    (tmp_path / "checkpoint").mkdir()
    lease.acquire(folder, "first")
    run = send(source, checkpoint)
    assert run.code == 2
    assert f"(process {os.getpid()}) has held it since 20" in run.err
    assert server.stats()["requests"] == 0
    lease.release(folder, "first")
    assert send(source, checkpoint).code == 0
    assert folder.stored(lease.NAME) is None
