"""Failures are never silent, and the log gives nothing away."""

from __future__ import annotations

import pytest

from mixpanel_sink.report.failure_log import FailureLog
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.results.shown import record_as_json

NULL = FailedRecord(
    "time_null", "time (at) is null.", "at", record_json='{"at": null, "who": "u1"}'
)
RESERVED = FailedRecord("distinct_id_reserved", "distinct_id is reserved.", file="a", row=7)


def test_the_first_of_each_reason_then_a_summary_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    log = FailureLog(60.0, lambda: now[0])
    for second in range(130):
        now[0] = float(second)
        log.add(NULL)
        if second == 10:
            log.add(RESERVED)
    first, other, *summaries = caplog.messages
    assert first.startswith("A record failed: time_null, field at: time (at) is null.")
    assert "at (null), who (text of 2)" in first
    assert other.startswith("12 records failed on this worker so far (time_null: 11, ")
    assert "a, row 7" in other
    assert [line.partition(" records")[0] for line in summaries] == ["72"]
    assert {each.levelname for each in caplog.records} == {"WARNING"}


def test_another_pipeline_in_this_process_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog()
    for run in ("one", "one", "two"):
        log.begin(run)
        log.add(NULL)
    assert len(caplog.messages) == 2
    assert caplog.messages[0] == caplog.messages[1]


def test_no_value_of_a_record(caplog: pytest.LogCaptureFixture) -> None:
    event = '{"event": "A", "properties": {"email": "ada@example.com", "n": [1], "token": 5}}'
    FailureLog().add(FailedRecord("refused", "Mixpanel refused it.", event_json=event))
    (line,) = caplog.messages
    assert "email (text of 15), n (list), token (number)" in line
    assert "ada" not in line


def test_a_record_that_is_no_object(caplog: pytest.LogCaptureFixture) -> None:
    FailureLog().add(FailedRecord("unsupported_record", "It is a list.", record_json="[1]"))
    assert caplog.messages[0].endswith("It is a list. More like it are summed up once a minute.")


def test_a_value_that_json_does_not_have_is_not_called_an_object(
    caplog: pytest.LogCaptureFixture,
) -> None:
    record = record_as_json({"price": float("nan"), "by": object()})
    FailureLog().add(FailedRecord("non_finite_number", "price is nan.", record_json=record))
    assert "price (non finite number), by (unsupported type)" in caplog.messages[0]
