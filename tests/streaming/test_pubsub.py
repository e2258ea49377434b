"""Beam's own ReadFromPubSub, on Google's Pub/Sub, to the emulator."""

from __future__ import annotations

import gc
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs.beam_options import parse
from mixpanel_sink.jobs.stream_pubsub import (
    MESSAGE_ID,
    PUBLISH_TIME,
    build,
    main,
    mapping_of,
    record_of,
)
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.columns import ColumnsId
from tests.streaming.conftest import Topic

AT = 1_704_067_200_000
MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\n"
pytestmark = pytest.mark.timeout(900)  # the first time Go compiles the server


def message(number: int, **more: Any) -> bytes:
    return json.dumps({"name": "Visit", "user": f"u{number}", "at": AT, **more}).encode()


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def arguments(mixpanel: Emulator, tmp_path: pathlib.Path) -> Callable[..., list[str]]:
    def make(source: str, *more: str, mapping: str = MAPPING) -> list[str]:
        (tmp_path / "mapping.yaml").write_text(mapping)
        return [
            f"--input={source}",
            f"--mapping={tmp_path}/mapping.yaml",
            "--api-secret=env:TEST_API_SECRET",
            f"--endpoint={mixpanel.url}",
            "--quota=none",
            "--max-latency=0.5",
            *more,
        ]

    return make


@contextmanager
def running(arguments: list[str]) -> Iterator[None]:
    result = build(*parse(arguments, "stream", "", None)).run()
    try:
        yield
    finally:
        result.cancel()
        del result
        gc.collect()  # a subscription of the pipeline's own goes with it, while there is a server


def test_messages_land_once_and_failures_are_published(mixpanel, topics, arguments):
    events, failed = topics(), topics()
    given = arguments(events.subscription, f"--failed-output={failed.name}")
    with running(given):
        ids = events.publish(*(message(i) for i in range(25)))
        bad = events.publish(b'{"name": ', message(99, user="null"))
        wait_for(lambda: mixpanel.stats()["events_distinct"] >= 25)
        # The stream goes on: only max_latency can have sent them, as no batch was full.
        assert sorted(mixpanel.insert_ids()) == sorted(ids)
        events.publish(message(25))
        wait_for(lambda: mixpanel.stats()["events_distinct"] >= 26)
        lines: list[Any] = []
        wait_for(lambda: bool(lines.extend(map(json.loads, failed.pull()))) or len(lines) >= 2)
    assert mixpanel.stats()["events_received"] == 26
    by_reason = {line["reason"]: line for line in lines}
    assert set(by_reason) == {"line_unreadable", "distinct_id_reserved"}
    assert by_reason["line_unreadable"]["message"].startswith(f"The message {bad[0]} is not JSON")
    assert by_reason["line_unreadable"]["record"] == '{"name": '
    assert by_reason["distinct_id_reserved"]["insert_id"] == bad[1]


def test_a_topic_an_attribute_as_id_and_the_publish_time(mixpanel, topics, arguments):
    events: Topic = topics()
    mapping = f"event: name\ndistinct_id: user\ntime: {PUBLISH_TIME}\n"
    before = time.time() * 1000
    with running(arguments(events.name, "--id-attribute=key", mapping=mapping)):

        def seen() -> bool:  # the pipeline's own subscription begins when it does
            events.publish(message(1), key="first")
            time.sleep(0.2)
            return bool(mixpanel.stats()["events_distinct"])

        wait_for(seen)
        events.publish(message(2), message(2), key="second")
        wait_for(lambda: bool(mixpanel.events(insert_id="second")))
    assert set(mixpanel.insert_ids()) == {"first", "second"}
    properties = mixpanel.events(insert_id="second")[0]["properties"]
    assert before - 1000 <= properties["time"] <= time.time() * 1000 + 1000
    assert properties["at"] == AT
    assert MESSAGE_ID not in properties


def test_a_message_that_was_published_twice_with_a_key_column(mixpanel, topics, arguments):
    events: Topic = topics()
    with running(arguments(events.subscription, mapping=MAPPING + "insert_id: user\n")):
        events.publish(message(1), message(1), message(2))
        wait_for(lambda: mixpanel.stats()["events_distinct"] >= 2)
    assert set(mixpanel.insert_ids()) == {"u1", "u2"}


class TestRecords:
    def test_the_object_and_what_the_mapping_asks_for(self):
        given = PubsubMessage(b'{"a": 1}', {"key": "k"}, "m1", "now")
        assert record_of(given, None, frozenset()) == {"a": 1}
        assert record_of(given, None, frozenset({MESSAGE_ID}))[MESSAGE_ID] == "m1"
        both = frozenset({MESSAGE_ID, PUBLISH_TIME})
        assert record_of(given, "key", both) == {"a": 1, MESSAGE_ID: "k", PUBLISH_TIME: "now"}
        assert record_of(given, "none", both)[MESSAGE_ID] is None

    @pytest.mark.parametrize("data", [b"", b"[1]", b"\xff", b"nope"])
    def test_no_object(self, data):
        failed = record_of(PubsubMessage(data, None, "m1"), None, frozenset({MESSAGE_ID}))
        assert isinstance(failed, FailedRecord)
        assert failed.reason == "line_unreadable"
        assert "The message m1" in failed.message

    def test_private_columns_are_not_shown(self):
        given = PubsubMessage(b'{"email": "a@example.com"', None, "m1")
        failed = record_of(given, None, frozenset(), keep_text=False)
        assert "example.com" not in failed.to_json()


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--input=", "--input is missing"),
        ("--mapping=", "--mapping is missing"),
        ("--input=gs://bucket/*.jsonl", "give projects/P/subscriptions/S"),
        ("--input=projects/x/subscriptions/events", "give projects/P/subscriptions/S"),
        ("--failed-output=gs://bucket/failed", "give projects/P/"),
        ("--failed-output=projects/test-project/subscriptions/events", "is a topic here"),
        ("--max-latency=0", "positive seconds"),
        ("--max_latencey=3", "did you mean --max-latency?"),
        ("--checkpoint=log", "stream has no --checkpoint; it is for import and replay"),
        ("--report=run.html", "stream has no --report"),
        ("--api-secret=env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
    ],
)
def test_wrong_settings(mixpanel, arguments, capsys, argument, says):
    given = arguments("projects/test-project/subscriptions/events")
    name = argument.partition("=")[0]
    assert main([each for each in given if not each.startswith(name + "=")] + [argument]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_ids_from_a_position_are_refused(mixpanel, arguments, capsys):
    """The mapping is not changed behind the user's back; without insert_id the message's id is."""
    given = "projects/test-project/subscriptions/events"
    assert main(arguments(given, mapping=MAPPING + "insert_id: {from: position}\n")) == 2
    assert "has no position in a file. Leave insert_id out" in capsys.readouterr().err
    settings, _ = parse(arguments(given, mapping=MAPPING), "stream", "", None)
    assert mapping_of(settings).insert_id == ColumnsId((MESSAGE_ID,))
    settings, _ = parse(arguments(given, mapping=MAPPING + "insert_id: id\n"), "stream", "", None)
    assert mapping_of(settings).insert_id == ColumnsId(("id",))


def test_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--id-attribute" in capsys.readouterr().out
