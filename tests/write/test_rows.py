"""The sink made of plain values, as Beam YAML and other languages make it."""

from __future__ import annotations

from typing import Any, NamedTuple

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.typehints.schemas import named_fields_from_element_type

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import SettingError
from mixpanel_sink.rows import FailedRow, WriteRowsToMixpanel

MAPPING: dict[str, Any] = {
    "event": "name",
    "distinct_id": "user",
    "time": {"column": "at", "unit": "ms"},
    "insert_id": "id",
}
AT = 1_704_067_200_000
SECRET = "env:TEST_API_SECRET"


class Visit(NamedTuple):
    name: str
    user: str
    at: int
    id: str


def visits(count: int, bad: int = 0) -> list[Visit]:
    users = ["null"] * bad + [f"u{i}" for i in range(count - bad)]
    return [Visit("Visit", user, AT, f"id-{i}") for i, user in enumerate(users)]


def write(mixpanel: Emulator, **settings: Any) -> WriteRowsToMixpanel:
    given = {"mapping": MAPPING, "api_secret": SECRET, "endpoint": mixpanel.url, "quota": "none"}
    return WriteRowsToMixpanel(**{**given, **settings})


def test_rows_go_in_and_rows_come_out(mixpanel: Emulator) -> None:
    with beam.Pipeline(FnApiRunner()) as pipeline:
        outputs = (
            pipeline
            | beam.Create(visits(2500, bad=2))
            | write(mixpanel, error_handling={"output": "bad"})
        )
        assert list(outputs) == ["receipts", "bad"]
        for rows in outputs.values():  # every SDK must be able to read them
            kinds = dict(named_fields_from_element_type(rows.element_type))
            assert Any not in kinds.values(), kinds
        reasons = outputs["bad"] | beam.Map(lambda row: (row.reason, row.field, row.msg[:11]))
        assert_that(reasons, equal_to([("distinct_id_reserved", "user", "distinct_id")] * 2))
        accepted = outputs["receipts"] | "Accepted" >> beam.Map(lambda row: row.accepted)
        assert_that(accepted, equal_to([2000, 498]), "Accepted")
    assert mixpanel.stats()["events_distinct"] == 2498


def test_what_mixpanel_refuses_comes_as_its_event(mixpanel: Emulator) -> None:
    mixpanel.faults(
        [{"kind": "failed_records", "records": [{"index": 1, "field": "x", "message": "no"}]}]
    )
    with beam.Pipeline(FnApiRunner()) as pipeline:
        outputs = (
            pipeline | beam.Create(visits(3)) | write(mixpanel, error_handling={"output": "failed"})
        )
        seen = outputs["failed"] | beam.Map(lambda row: (row.reason, "$insert_id" in row.element))
        assert_that(seen, equal_to([("refused", True)]))


def test_without_error_handling_a_failure_stops_the_pipeline(mixpanel: Emulator) -> None:
    with (
        pytest.raises(Exception, match=r"A record failed \(distinct_id_reserved\).*error_handling"),
        beam.Pipeline(FnApiRunner()) as pipeline,
    ):
        pipeline | beam.Create(visits(3, bad=1)) | write(mixpanel)


def test_without_error_handling_or_failures_it_runs(mixpanel: Emulator) -> None:
    with beam.Pipeline(FnApiRunner()) as pipeline:
        outputs = pipeline | beam.Create(visits(3)) | write(mixpanel)
        assert list(outputs) == ["receipts"]
    assert mixpanel.stats()["events_distinct"] == 3


@pytest.mark.parametrize(
    "mapping",
    [
        "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\ninsert_id: id",
        '{"event": "name", "distinct_id": "user", "time": {"column": "at", "unit": "ms"}}',
        beam.Row(event="name", distinct_id="user", time=beam.Row(column="at", unit="ms"), ip=None),
    ],
)
def test_forms_of_the_mapping(mixpanel: Emulator, mapping: Any) -> None:
    with beam.Pipeline(FnApiRunner()) as pipeline:
        pipeline | beam.Create(visits(3)) | write(mixpanel, mapping=mapping)
    assert mixpanel.stats()["events_distinct"] == 3


def test_raw_events_need_no_mapping(mixpanel: Emulator) -> None:
    properties = beam.Row(distinct_id="u", time=AT)
    with beam.Pipeline(FnApiRunner()) as pipeline:
        rows = pipeline | beam.Create([{"event": "Visit", "properties": properties.as_dict()}])
        rows | write(mixpanel, mapping=None)
    assert mixpanel.events()[0]["event"] == "Visit"


def test_service_account_and_track() -> None:
    write = WriteRowsToMixpanel(
        MAPPING,
        service_account="me",
        service_account_secret=SECRET,
        project_id="7",
        project_token="env:TEST_TOKEN",
        endpoint_kind="track",
        region="eu",
        lanes=2,
        checkpoint="gs://bucket/checkpoint",
        drop_properties=["email"],
    )
    shown = write._write.display_data()
    assert shown["destination"] == "api-eu.mixpanel.com"
    assert shown["endpoint"] == "/track"
    assert shown["lanes"] == 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"api_secret": None}, "No credentials: give api_secret"),
        ({"service_account": "me"}, "not both"),
        ({"api_secret": None, "service_account": "me"}, "needs service_account_secret"),
        ({"api_secret": "0123456789abcdef"}, "must be a reference"),
        ({"mapping": 3}, "mapping is an int"),
        ({"mapping": "event: ["}, "not valid YAML"),
        ({"mapping": {"evnt": "name"}}, "Did you mean 'event'?"),
        ({"quota": "sixty"}, "cannot be read"),
        ({"lanes": "two"}, "lanes is 'two'; it must be a whole number"),
        ({"max_latency": True}, "max_latency is True"),
        ({"region": "eo", "endpoint": None}, "us, eu or in"),
        ({"endpoint_kind": "imprt"}, "endpoint_kind"),
        ({"hash_key": SECRET}, "hash"),
        ({"error_handling": {"outptu": "failed"}}, "{output: NAME}"),
        ({"error_handling": {"output": ""}}, "{output: NAME}"),
        ({"error_handling": "failed"}, "{output: NAME}"),
        ({"error_handling": {"output": "receipts"}}, "is taken"),
    ],
)
def test_wrong_settings(mixpanel: Emulator, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError) as raised:
        write(mixpanel, **settings)
    assert says in str(raised.value)
    assert "0123456789abcdef" not in str(raised.value)


def test_the_rows_fields_are_those_of_a_failed_record() -> None:
    from mixpanel_sink.results import FailedRecord

    assert set(FailedRow._fields[2:]) <= set(FailedRecord._fields)
    left = set(FailedRecord._fields) - set(FailedRow._fields)
    assert left == {"message", "event_json", "record_json", "windows"}, "msg and element"
