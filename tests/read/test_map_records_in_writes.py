"""MapRecords before every kind of write: raw events, projects, privacy, profiles."""

from __future__ import annotations

import json

import pyarrow as pa

from mixpanel_sink import (
    ApiSecret,
    FailedRecord,
    MapRecords,
    Privacy,
    ProfileMapping,
    Project,
    ProjectToken,
    WriteProfilesToMixpanel,
    WriteToMixpanel,
)
from tests.read.test_map_records import (
    MAPPING,
    ReadTables,
    balanced,
    explode,
    ids_by_number,
    parquet,  # noqa: F401
    row,
    stored,
    write,
)
from tests.running import FAST, failures, run


def test_raw_events(mixpanel, parquet):
    def to_event(record):
        properties = {"distinct_id": record["user"], "time": record["at"], "n": record["n"]}
        return {"event": "Made", "properties": properties | {"$insert_id": f"i{record['n']}"}}

    run(ReadTables(parquet), write(mixpanel, None), MapRecords(to_event))
    assert ids_by_number(mixpanel) == {n: f"i{n}" for n in range(25_000)}


def test_projects_of_their_own(mixpanel, parquet):
    def with_project(record):
        if record["n"] % 10 == 9:
            return None
        return {**record, "project": "ab?"[record["n"] % 3]}

    projects = {
        name: Project(ApiSecret("env:TEST_API_SECRET"), endpoint=mixpanel.url, quota="none")
        for name in "ab"
    }
    run(ReadTables(parquet), write(mixpanel))
    every = ids_by_number(mixpanel)
    mixpanel.reset(quota="none")
    sink = WriteToMixpanel(MAPPING, projects=projects, destination="project", retry=FAST)
    ran = run(ReadTables(parquet), sink, MapRecords(with_project))
    kept = [n for n in range(25_000) if n % 10 != 9]
    sent = [n for n in kept if n % 3 != 2]
    assert ids_by_number(mixpanel) == {n: every[n] for n in sent}
    assert balanced(ran) == (len(kept), len(sent), len(kept) - len(sent))
    assert sorted(f.row for f in failures(ran)) == [n for n in kept if n % 3 == 2]


def test_failures_among_several_projects(mixpanel, parquet):
    projects = {
        name: Project(ApiSecret("env:TEST_API_SECRET"), endpoint=mixpanel.url, quota="none")
        for name in ("Visit", "other")
    }
    sink = WriteToMixpanel(MAPPING, projects=projects, destination="name", retry=FAST)
    ran = run(ReadTables(parquet), sink, MapRecords(explode))
    assert balanced(ran) == (25_000, 24_998, 2)
    for failed in failures(ran):
        assert (failed.reason, failed.destination) == ("function_failed", None)
        assert failed.message.startswith("explode raised")
        assert failed.record["n"] == failed.row
        assert failed.file == str(parquet)


def test_privacy_covers_the_failures(mixpanel, parquet):
    def break_user(record):
        record["user"] = record["secret"] = int(record["user"])

    source = [row(1, secret="s3cret"), pa.Table.from_pylist([row(2, secret="s3cret")])]
    sink = write(mixpanel, privacy=Privacy(drop=["secret"], hash=["user"]))
    ran = run(source, sink, MapRecords(break_user))
    one, two = sorted((failed.record for failed in failures(ran)), key=lambda r: r["n"])
    assert sorted(one) == sorted(two) == ["at", "n", "name", "user"]
    run([row(1), row(2)], sink)
    hashes = {event["n"]: event["distinct_id"] for event in stored(mixpanel)}
    assert (one["user"], two["user"]) == (hashes[1], hashes[2])
    assert not {"u1", "s3cret"} & set("".join(f.message for f in failures(ran)).split())


def test_profile_updates(mixpanel, parquet):
    sink = WriteProfilesToMixpanel(
        ProfileMapping(distinct_id="user", set=["n"]),
        ProjectToken("env:TEST_TOKEN"),
        endpoint=mixpanel.url,
        quota="none",
        retry=FAST,
    )
    ran = run(ReadTables(parquet), sink, MapRecords(explode))
    assert balanced(ran) == (25_000, 24_998, 2)
    assert [failed.reason for failed in failures(ran)] == ["function_failed"] * 2
    assert all(failed.message.startswith("explode raised") for failed in failures(ran))


def test_a_failure_of_the_function_is_not_sent_again(mixpanel):
    failed = FailedRecord("function_failed", "explode raised.", record_json=json.dumps(row(1)))
    ran = run([failed], write(mixpanel))
    assert [(f.reason, f.message) for f in failures(ran)] == [
        ("function_failed", "explode raised.")
    ]
    assert stored(mixpanel) == []
