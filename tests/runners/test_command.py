"""The same command on every runner that a machine can hold.

Each in a process of its own: Beam keeps the first Prism that it looked for.
"""

from __future__ import annotations

import pathlib

from tests.jobs.test_import_parquet import shop, write
from tests.prism import PRISM
from tests.runners.matrix import IN_ONE_PROCESS, RUNNERS

ROOT = pathlib.Path(__file__).parent.parent.parent


def test_exact_events_requests_and_quota_and_a_summary(send, server, tmp_path, runner):
    users = [None if i % 25 == 3 else f"u{i}" for i in range(10_500)]
    users[77] = "null"
    source = write(tmp_path / "a.parquet", shop(10_500, user=users), row_group_size=900)
    server.settings(quota="4/2s")
    run = send(source, "--quota=4/2s", *runner.arguments, own_process=True)
    assert run.code == 0, run.err
    assert "10,500 read = 10,079 accepted + 421 failed" in run.out
    stats = server.stats()
    assert stats["events_distinct"] == 10_079
    assert stats["requests_by_endpoint"] == {"/import": {"200": 6}}
    assert stats["max_attempts_in_window"] <= 4
    failed = {(f["reason"], f["row"]) for f in run.failed}
    expected = {("distinct_id_null", row) for row in range(3, 10_500, 25)}
    assert failed == {("distinct_id_reserved", 77)} | expected
    # What the workers counted reaches the launcher.
    _, _, summary = run.out.partition("Failures, and an example of each\n")
    reason, place, message, *_ = summary.splitlines()
    assert reason.split() == ["MXS511", "distinct_id_null", "420"]
    assert place.strip() == f"{source}, row 3"
    assert message.strip().startswith("distinct_id (user) is null")


def test_wrong_secret_is_one_sentence(send, server, tmp_path, monkeypatch, runner):
    monkeypatch.setenv("OTHER", "not-the-secret")
    source = write(tmp_path / "a.parquet", shop(5000))
    run = send(source, "--api-secret=env:OTHER", *runner.arguments, own_process=True)
    assert run.code == 1
    (said,) = [line for line in run.err.splitlines() if line.startswith("Error: ")]
    assert "does not accept the API secret" in said
    assert "not-the-secret" not in run.err + run.out
    assert server.stats()["events_distinct"] == 0
    assert server.stats()["requests"] == 1


def test_many_files_and_one_that_is_none(send, server, tmp_path, runner):
    for number in range(4):
        write(tmp_path / f"{number}.parquet", shop(1200, first=1200 * number))
    write(tmp_path / "empty.parquet", shop(0))
    (tmp_path / "torn.parquet").write_bytes(b"PAR1" + bytes(100))
    run = send(tmp_path / "*.parquet", *runner.arguments, own_process=True)
    assert run.code == 1, run.err
    assert "4,800 read = 4,800 accepted + 0 failed" in run.out
    assert server.stats()["events_distinct"] == 4800
    assert server.stats()["requests_by_endpoint"] == {"/import": {"200": 3}}


@IN_ONE_PROCESS
def test_a_file_without_rows(send, server, tmp_path, runner):
    run = send(write(tmp_path / "a.parquet", shop(0)), *runner.arguments, own_process=True)
    assert run.code == 0, run.err
    assert "0 read = 0 accepted + 0 failed" in run.out


def test_a_busy_mixpanel_loses_and_doubles_nothing(send, server, tmp_path, runner):
    """429s, a 503, and an answer that is lost after the events were stored."""
    source = write(tmp_path / "a.parquet", shop(12_000), row_group_size=2000)
    server.faults(
        [
            {"kind": "rate_limit", "retry_after": "1", "skip": 1},
            {"kind": "status", "status": 503, "skip": 1},
            {"kind": "reset", "stored": True, "path": "/import", "skip": 1},
        ]
    )
    run = send(source, *runner.arguments, own_process=True)
    assert run.code == 0, run.err
    assert "12,000 read = 12,000 accepted + 0 failed" in run.out
    stats = server.stats()
    assert stats["events_distinct"] == 12_000
    answered = stats["requests_by_endpoint"]["/import"]
    assert answered["429"] == answered["503"] == 1
    assert stats["duplicates"] == 2000


def test_the_document_has_each_runners_options():
    text = (ROOT / "docs/runners.md").read_text().replace('"$(which prism)"', str(PRISM))
    for options in RUNNERS.values():
        if len(options) > 1:  # the default needs none
            assert " ".join(options) in text
