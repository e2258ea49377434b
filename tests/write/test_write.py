"""`WriteToMixpanel` end to end on the DirectRunner, against the emulator."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as Checked
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.display import DisplayData
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindow,
    IntervalWindow,
    Sessions,
    SlidingWindows,
    TimestampedValue,
)

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import MappingError, SettingError
from mixpanel_sink.results import FailedRecord, Receipt, Totals
from mixpanel_sink.settings.columns import TimeColumn
from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken, ServiceAccount
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy
from mixpanel_sink.write import WriteToMixpanel
from tests.running import FAST, IN_PROCESS, Kept, failing, run

SECRET = "s3cr3t-0123456789abcdef"
NOW_MS = int(time.time() * 1000) - 3_600_000
MAPPING = EventMapping(
    event="name", distinct_id="user", time=TimeColumn("at", unit="ms"), insert_id="id"
)


class Visit(NamedTuple):
    name: str
    user: str
    at: int
    id: str


def record(number: int, **more: Any) -> dict[str, Any]:
    return {"name": "Visit", "user": f"u{number}", "at": NOW_MS, "id": f"id-{number}", **more}


def raw(number: int) -> dict[str, Any]:
    properties = {"distinct_id": f"u{number}", "time": NOW_MS, "$insert_id": f"id-{number}"}
    return {"event": "Visit", "properties": properties}


def write(
    mixpanel: Emulator, mapping: EventMapping | None = MAPPING, **options: Any
) -> WriteToMixpanel:
    given: dict[str, Any] = {"endpoint": mixpanel.url, "quota": "none", "retry": FAST, **options}
    given.setdefault("credentials", ApiSecret("env:TEST_API_SECRET"))
    return WriteToMixpanel(mapping, **given)


TABLE = pa.table(
    {name: [record(n)[name] for n in range(5)] for name in ("name", "user", "at", "id")}
)


@pytest.mark.parametrize(
    ("records", "mapping"),
    [
        ([record(n) for n in range(5)], MAPPING),
        ([beam.Row(**record(n)) for n in range(5)], MAPPING),
        ([Visit(**record(n)) for n in range(5)], MAPPING),
        ([TABLE], MAPPING),
        (TABLE.to_batches(max_chunksize=3), MAPPING),
        ([raw(n) for n in range(5)], None),
    ],
    ids=["dicts", "rows", "named tuples", "table", "record batches", "events"],
)
def test_every_kind_of_record(
    mixpanel: Emulator, records: list[Any], mapping: EventMapping | None
) -> None:
    ran = run(records, write(mixpanel, mapping))
    assert sorted(mixpanel.insert_ids()) == [f"id-{n}" for n in range(5)]
    assert mixpanel.stats()["requests"] == 1
    ((receipt, _, _),) = ran.receipts
    assert isinstance(receipt, Receipt)
    assert (receipt.accepted, receipt.destination) == (5, mixpanel.url.removeprefix("http://"))
    assert ran.totals[0][0] == Totals(read=5, accepted=5, failed=0, requests=1)
    assert ran.counters["events_accepted"] == ran.counters["records_read"] == 5


def test_failed_records_of_both_stages(mixpanel: Emulator) -> None:
    mixpanel.faults([{"kind": "failed_records", "records": [{"index": 0, "message": "odd"}]}])
    ran = run([record(0), record(1), record(2, user="null")], write(mixpanel))
    failed = sorted((value for value, _, _ in ran.failed), key=lambda f: f.reason)
    assert all(isinstance(value, FailedRecord) for value in failed)
    assert [value.reason for value in failed] == ["distinct_id_reserved", "refused"]
    assert failed[0].record == record(2, user="null")
    assert failed[1].event["properties"]["$insert_id"] in ("id-0", "id-1")
    assert ran.totals[0][0] == Totals(read=3, accepted=1, failed=2, requests=1)
    assert ran.counters["failed_refused"] == 1


def stamped(*records: tuple[float, dict[str, Any]]) -> Any:
    return [TimestampedValue(value, at) for at, value in records]


WINDOWS = {
    "fixed": (FixedWindows(60), lambda at: {(at // 60 * 60, at // 60 * 60 + 60)}),
    "sliding": (
        SlidingWindows(60, 20),
        lambda at: {(at // 20 * 20 - 20 * k, at // 20 * 20 - 20 * k + 60) for k in range(3)},
    ),
    "sessions": (Sessions(30), lambda at: {(at, at + 30)}),
    "global": (None, None),
}


@pytest.mark.parametrize("kind", WINDOWS)
def test_results_keep_window_and_timestamp(mixpanel: Emulator, kind: str) -> None:
    windowfn, expected = WINDOWS[kind]
    mixpanel.faults([{"kind": "failed_records", "records": [{"index": 0, "message": "odd"}]}])
    records = stamped(
        (10, record(1)), (70, record(2, user="null")), (500, record(3)), (910, record(4))
    )
    before = [beam.Map(lambda x: x)] + ([beam.WindowInto(windowfn)] if windowfn else [])
    ran = run(records, write(mixpanel), *before)
    assert mixpanel.stats()["requests"] == 1
    assert mixpanel.stats()["events_distinct"] == 2
    assert len(set(mixpanel.insert_ids())) == 2
    seen: dict[str, tuple[float, set[Any]]] = {}
    for value, at, window in ran.failed:
        key = value.record["id"] if value.record else value.event["properties"]["$insert_id"]
        windows = seen.setdefault(key, (at, set()))[1]
        assert window not in windows, "a failed record came twice"
        windows.add(window)
    times = {"id-1": 10, "id-2": 70, "id-3": 500, "id-4": 910}
    assert len(seen) == 2
    for key, (at, windows) in seen.items():
        assert at == times[key]
        if expected is None:
            assert windows == {GlobalWindow()}
        else:
            assert windows == {IntervalWindow(*bounds) for bounds in expected(times[key])}
    latest = [at for _, at, _ in ran.receipts]
    assert set(latest) <= {500, 910}
    assert ran.totals[0][0] == Totals(read=4, accepted=2, failed=2, requests=1)


def test_failed_records_can_be_grouped_by_window(mixpanel: Emulator) -> None:
    records = stamped(*((n * 60, record(n, user="null" if n % 2 else "u")) for n in range(4)))
    with Checked(IN_PROCESS) as pipeline:
        result = (
            pipeline | beam.Create(records) | beam.Map(lambda x: x)
            | beam.WindowInto(FixedWindows(60)) | write(mixpanel)
        )  # fmt: skip
        counts = (
            (result.failed, result.receipts) | beam.Flatten()
            | beam.CombineGlobally(beam.combiners.CountCombineFn()).without_defaults()
        )  # fmt: skip
        assert_that(counts, equal_to([1, 1, 1]))


def test_with_beams_error_handler(mixpanel: Emulator) -> None:
    from apache_beam.transforms.error_handling import CollectingErrorHandler

    kept = Kept()
    with beam.Pipeline(IN_PROCESS) as pipeline:
        with CollectingErrorHandler() as handler:
            records = pipeline | beam.Create([record(0), record(1, at=None)])
            _ = records | write(mixpanel).with_error_handler(handler)
        _ = handler.output() | beam.Map(kept)
    assert [value.reason for value in kept.values] == ["time_null"]


@pytest.mark.parametrize(("events", "lanes", "most"), [(10_001, 1, 6), (9_000, 4, 8), (3, 4, 1)])
def test_fewest_requests_from_many_small_bundles(
    mixpanel: Emulator, events: int, lanes: int, most: int
) -> None:
    records = [record(n) for n in range(events)]
    ran = run(records, write(mixpanel, lanes=lanes), beam.Reshuffle())
    stats = mixpanel.stats()
    assert stats["requests"] <= most
    assert stats["events_distinct"] == events
    assert sum(receipt.accepted for receipt, _, _ in ran.receipts) == events


def test_a_byte_limit_binds(mixpanel: Emulator) -> None:
    records = [record(n, text="x" * 400) for n in range(300)]
    limits = Limits(batch_bytes=20_000, event_bytes=10_000)
    ran = run(records, write(mixpanel, limits=limits), beam.Reshuffle())
    assert mixpanel.stats()["events_distinct"] == 300
    assert max(receipt.raw_bytes for receipt, _, _ in ran.receipts) <= 20_000
    assert mixpanel.stats()["requests"] <= 11


@pytest.mark.parametrize("lanes", [1, 4])
def test_the_quota_holds_job_wide_without_a_single_429(mixpanel: Emulator, lanes: int) -> None:
    mixpanel.settings(quota="20/2s", latency_ms=5)
    limits = Limits(batch_events=10)
    begin = time.monotonic()
    sink = write(mixpanel, quota="20/2s", limits=limits, lanes=lanes)
    ran = run([record(n) for n in range(500)], sink)
    stats = mixpanel.stats()
    assert stats["max_attempts_in_window"] <= 20
    assert stats["requests_by_endpoint"]["/import"] == {"200": 50}
    assert stats["events_distinct"] == 500
    # On a machine that is slower than the quota nothing has to wait.
    is_slow = time.monotonic() - begin > 10
    assert is_slow or ran.counters["cumulativeThrottlingSeconds"] >= 2


def test_a_quota_of_events_is_not_broken_by_one_batch(mixpanel: Emulator) -> None:
    ran = run([record(n) for n in range(250)], write(mixpanel, quota="100 events/s"))
    assert max(receipt.accepted for receipt, _, _ in ran.receipts) <= 100
    started = sorted((r.started, r.accepted) for r, _, _ in ran.receipts)
    assert sum(n for at, n in started if at < started[0][0] + 1) <= 100


def test_the_next_run_of_the_process_remembers_the_quota(mixpanel: Emulator) -> None:
    mixpanel.settings(quota="3/2s")
    for first in (0, 20):
        run([record(first + n) for n in range(20)],
            write(mixpanel, quota="3/2s", limits=Limits(batch_events=10)))  # fmt: skip
    assert mixpanel.stats()["requests_by_endpoint"]["/import"] == {"200": 4}


def test_the_first_request_goes_alone(mixpanel: Emulator) -> None:
    mixpanel.settings(latency_ms=500)
    run([record(n) for n in range(50)], write(mixpanel, limits=Limits(batch_events=10)))
    first, second, *others = (entry["arrived"] for entry in mixpanel.requests())
    assert second - first >= 0.5
    assert min(others) - second < 0.5  # these go side by side


def test_401_stops_the_job_after_one_request(
    mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_API_SECRET", "another-secret-0123456789")
    said = failing([record(n) for n in range(100)], write(mixpanel, limits=Limits(batch_events=10)))
    assert said.startswith("AuthenticationError")
    assert "does not accept the API secret (401" in said
    assert "another region" in said
    assert "another-secret" not in said
    assert mixpanel.stats()["requests"] == 1
    assert quiet()


def quiet(seconds: float = 15.0) -> bool:
    """Whether the sink's threads end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any("/import#" in t.name for t in threading.enumerate()):
            return True
        time.sleep(0.05)
    return False


def poison(element: dict[str, Any]) -> dict[str, Any]:
    if element["id"] == "id-60":
        time.sleep(1.0)  # until some requests are under way
        raise RuntimeError("poison")
    return element


def test_a_bundle_that_fails_elsewhere_leaves_nobody_retrying(mixpanel: Emulator) -> None:
    # The first request passes, the others meet an endpoint that is out of order for long.
    mixpanel.faults([{"kind": "status", "status": 503, "times": 10_000, "skip": 1}])
    slow = RetryPolicy(first_wait=300, longest_wait=300)
    sink = write(mixpanel, retry=slow, limits=Limits(batch_events=10))
    with pytest.raises(Exception, match="poison"):
        run([record(n) for n in [*range(200, 1000), 60]], sink, beam.Map(poison))
    assert quiet()
    assert mixpanel.stats()["requests"] >= 2


def test_a_failed_run_and_its_repetition_double_nothing(mixpanel: Emulator) -> None:
    records = [record(n) for n in [*range(100, 300), *range(100)]]
    sink = write(mixpanel, limits=Limits(batch_events=10))
    with pytest.raises(Exception, match="poison"):
        run(records, sink, beam.Map(poison))
    assert 0 < mixpanel.stats()["events_distinct"] < 300
    run(records, sink)
    assert sorted(mixpanel.insert_ids()) == sorted(f"id-{n}" for n in range(300))


def test_a_secret_that_does_not_resolve(
    mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_API_SECRET")
    said = failing([record(0)], write(mixpanel))
    assert "the environment variable TEST_API_SECRET is not set" in said
    assert mixpanel.stats()["requests"] == 0


@pytest.mark.parametrize("variant", ["page", "reference"])
@pytest.mark.parametrize("columnar", [False, True])
def test_a_project_token_is_in_every_event(
    mixpanel: Emulator, variant: str, columnar: bool
) -> None:
    mixpanel.settings(variant=variant)
    mixpanel.faults([{"kind": "failed_records", "records": [{"index": 0}]}])
    source = [TABLE] if columnar else [record(n) for n in range(5)]
    ran = run(source, write(mixpanel, credentials=ProjectToken("env:TEST_TOKEN")))
    assert {e["properties"]["token"] for e in mixpanel.events()} == {"t0ken-0123456789abcdef"}
    assert len(ran.failed) == 1
    assert "t0ken" not in repr(ran)


GOOD: dict[str, Any] = {"mapping": MAPPING, "credentials": ApiSecret("env:X")}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mapping": {"event": "x"}}, "give an EventMapping"),
        ({"credentials": None}, "give ApiSecret, ServiceAccount or ProjectToken"),
        ({"credentials": "env:X"}, "give ApiSecret, ServiceAccount or ProjectToken"),
        ({"region": "mars"}, "us, eu and in"),
        ({"region": "us", "endpoint": "https://x"}, "not both"),
        ({"endpoint": "http://example.com"}, "unencrypted"),
        ({"quota": "often"}, "'60/hour'"),
        ({"quota": 60}, "'60/hour'"),
        ({"quota": "3/hour", "lanes": 4}, "at most 3 lanes"),
        ({"quota": "1 MB/s"}, "less than one event may have"),
        ({"lanes": 0}, "at least 1"),
        ({"max_in_flight": 0}, "at least 1"),
        ({"max_latency": 0}, "positive seconds"),
        ({"limits": 2000}, "limits is an int; give a Limits"),
        ({"retry": 5}, "retry is an int; give a RetryPolicy"),
    ],
)
def test_wrong_settings_are_refused_when_the_pipeline_is_built(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        WriteToMixpanel(**{**GOOD, **given})


@pytest.mark.parametrize(
    "make",
    [ApiSecret, ProjectToken, lambda secret: ServiceAccount("robot", secret, 1)],
)
def test_literal_secrets_are_refused_without_an_echo(make: Callable[[str], Any]) -> None:
    with pytest.raises(SettingError, match="must be a reference") as caught:
        WriteToMixpanel(MAPPING, make(SECRET))
    assert SECRET not in str(caught.value)


def test_an_unknown_column_is_refused_before_anything_runs(mixpanel: Emulator) -> None:
    wrong = EventMapping(event="name", distinct_id="usr", time="at")
    pipeline = beam.Pipeline(IN_PROCESS)
    rows = pipeline | beam.Create([Visit("a", "u", NOW_MS, "i")]).with_output_types(Visit)
    with pytest.raises(MappingError, match=r"usr.*user"):
        _ = rows | write(mixpanel, wrong)


def test_defaults() -> None:
    sink = WriteToMixpanel(**GOOD)
    shown = sink.display_data()
    assert (shown["destination"], shown["quota"]) == ("api.mixpanel.com", str(Quota()))
    assert "X" not in repr(shown)


def test_what_runners_show(mixpanel: Emulator) -> None:
    sink = write(mixpanel, max_latency=5, checkpoint="/somewhere/known", quota="3/minute")
    shown = {item.key: item.value for item in DisplayData.create_from(sink).items}
    host = mixpanel.url.removeprefix("http://")
    assert shown == {
        "destination": host, "host": host, "endpoint": "/import", "quota": "3/minute", "lanes": 1,
        "max_in_flight": 128, "batch_events": 2000, "on_failure": "dead_letter", "max_latency": 5,
        "checkpoint": "/somewhere/known", "mapping": "EventMapping", "check_accounting": True,
    }  # fmt: skip
    more = {"accepted": True, "check_accounting": False, "max_in_flight": 3, "lanes": 2}
    hidden = Privacy(drop=["email"], hash=["phone"], key="env:TEST_TOKEN")
    shown = write(mixpanel, privacy=hidden, rate_limiter=Allows(), **more).display_data()
    assert shown == {
        **shown, **more, "dropped": "email", "hashed": "phone", "rate_limiter": "Allows",
    }  # fmt: skip


class Allows:
    """The simplest rate limiter."""

    def allow(self) -> bool:
        return True
