"""--checkpoint, as the command line sees it: going on, and whose it is."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.process import forget
from tests.jobs.conftest import MAPPING
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
    assert "Sent so far from this process, at least:" in first.err
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
    assert f"{ROWS:,} read = {ROWS:,} accepted + 0 failed" in third.out
    assert server.stats()["requests"] == stats["requests"]


@pytest.mark.parametrize("other", ["input", "mapping", "project or region", "endpoint"])
def test_anothers_checkpoint_is_refused_before_anything_is_sent(
    send, server, source, checkpoint, tmp_path, monkeypatch, other
):
    assert send(source, checkpoint).code == 0
    requests = server.stats()["requests"]
    more, mapping = [], MAPPING
    if other == "input":
        source = write(tmp_path / "b.parquet", shop(ROWS, first=ROWS), row_group_size=4000)
    if other == "mapping":
        mapping = MAPPING + "insert_id: {from: content}\n"
    if other == "project or region":
        monkeypatch.setenv("OTHER_SECRET", "another-secret")
        more = ["--api_secret=env:OTHER_SECRET"]
    if other == "endpoint":
        monkeypatch.setenv("TEST_TOKEN", server.project_token)
        more = ["--endpoint_kind=track", "--project_token=env:TEST_TOKEN", "--api_secret="]
    forget()
    run = send(source, checkpoint, *more, mapping=mapping)
    assert run.code == 2, run.err
    (said,) = [line for line in run.err.splitlines() if line.startswith("Error: ")]
    whose = "mapping or other privacy settings" if other == "mapping" else other
    assert f"belongs to another {whose}. Give each import a folder of its own" in said
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


def test_two_runs_at_a_time(send, server: Emulator, source, checkpoint, tmp_path):
    server.settings(latency_ms=50)
    try:
        with ThreadPoolExecutor(2) as pool:
            runs = list(
                pool.map(
                    lambda n: send(
                        source, checkpoint, f"--failed_output={tmp_path}/failed{n}",
                        own_process=True,
                    ),
                    range(2),
                )
            )  # fmt: skip
    finally:
        server.settings(latency_ms=0)
    for run in runs:
        assert run.code == 0, run.err
        assert f"{ROWS:,} read = {ROWS:,} accepted + 0 failed" in run.out
    assert server.stats()["events_distinct"] == ROWS
