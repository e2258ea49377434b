"""Failed records as elements of `WriteToMixpanel`, and the source that reads them."""

from __future__ import annotations

import json
import pathlib

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from mixpanel_sink import ApiSecret, EventMapping, Privacy, Project, SettingError, WriteToMixpanel
from mixpanel_sink.read.failed_records import ReadFailedRecords, parse
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.write_profiles import WriteProfilesToMixpanel

AT = 1_704_067_200_000
FNAPI = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def event(insert_id: str) -> str:
    properties = {"distinct_id": "u", "time": AT, "$insert_id": insert_id}
    return json.dumps({"event": "e", "properties": properties})


def record(**values: object) -> str:
    return json.dumps({"name": "e", "user": "u", "at": AT} | values)


MAPPING = EventMapping.from_yaml("event: name\ndistinct_id: user\ntime: {column: at, unit: ms}")


def test_parse() -> None:
    good = b'\xef\xbb\xbf{"reason": "refused", "message": "m", "row": 3}\r'
    assert list(parse(("f", good))) == [FailedRecord("refused", "m", row=3)]
    assert list(parse(("f", b"  "))) == []
    assert list(parse(("f", good), {"time_null"})) == []
    (bad,) = parse(("f", b"\xff{"), {"time_null"})
    assert bad.reason == "line_unreadable"
    assert bad.file == "f"
    assert json.loads(bad.record_json or "") == "\\xff{"


def test_the_source_reads_plain_and_packed_files(tmp_path: pathlib.Path) -> None:
    import gzip

    lines = [FailedRecord("refused", "m", row=i).to_json() for i in range(6)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:3]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[3:]).encode()))
    with beam.Pipeline(runner=FNAPI) as pipeline:
        rows = pipeline | ReadFailedRecords(f"{tmp_path}/*") | beam.Map(lambda f: f.row)
        assert_that(rows, equal_to(list(range(6))))


def test_unknown_reasons() -> None:
    with pytest.raises(SettingError, match="Did you mean 'refused'"):
        ReadFailedRecords("x", only=["refusd"])


def test_each_goes_to_the_project_that_it_was_for(mixpanel, credentials) -> None:
    projects = {
        name: Project(credentials, endpoint=mixpanel.url, quota="none") for name in ("a", "b")
    }
    failed = [
        FailedRecord("gave_up", "m", destination="a", event_json=event("1")),
        FailedRecord("time_null", "m", destination="b", record_json=record(), insert_id="2"),
        FailedRecord("gave_up", "m", destination="c", event_json=event("3")),
    ]
    with beam.Pipeline(runner=FNAPI) as pipeline:
        result = (
            pipeline
            | beam.Create(failed)
            | WriteToMixpanel(MAPPING, projects=projects, destination="project")
        )
        reasons = result.failed | beam.Map(lambda f: (f.reason, f.destination))
        assert_that(reasons, equal_to([("destination_unknown", None)]))
    assert sorted(mixpanel.insert_ids()) == ["1", "2"]


def test_raw_events_that_failed(mixpanel, credentials) -> None:
    ready = {"event": "e", "properties": {"distinct_id": "u", "time": AT, "$insert_id": "1"}}
    nan = {"x": {"$not_json": "non_finite_number", "like": None}}
    bad = {**ready, "properties": {**ready["properties"], **nan}}
    failed = [FailedRecord("time_null", "m", record_json=json.dumps(each)) for each in (ready, bad)]
    with beam.Pipeline(runner=FNAPI) as pipeline:
        write = WriteToMixpanel(None, credentials, endpoint=mixpanel.url, quota="none")
        result = pipeline | beam.Create(failed) | write
        reasons = result.failed | beam.Map(lambda f: (f.reason, f.field))
        assert_that(reasons, equal_to([("non_finite_number", "x")]))
    assert mixpanel.insert_ids() == ["1"]


def test_updates_are_not_sent_again(mixpanel, monkeypatch) -> None:
    credentials = ApiSecret("env:TEST_API_SECRET", token="env:TEST_TOKEN")
    update = json.dumps({"$distinct_id": "u", "$add": {"n": 1}})
    failed = [FailedRecord("ambiguous", "m", event_json=update)]
    with beam.Pipeline(runner=FNAPI) as pipeline:
        write = WriteProfilesToMixpanel(None, credentials, endpoint=mixpanel.url, quota="none")
        result = pipeline | beam.Create(failed) | write
        assert_that(
            result.failed | beam.Map(lambda f: (f.reason, f.event_json)),
            equal_to([("unsupported_record", update)]),
        )
    assert mixpanel.stats()["requests"] == 0


def test_hashes_are_not_hashed_again(mixpanel, credentials) -> None:
    privacy = Privacy(hash=["user"])
    write = WriteToMixpanel(MAPPING, credentials, endpoint=mixpanel.url, privacy=privacy)
    failed = beam.Pipeline() | beam.Create([FailedRecord("x", "y")])
    with pytest.raises(SettingError, match="hashes already"):
        failed | write
