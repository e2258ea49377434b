"""A change of what running jobs hold is deliberate: see docs/upgrade.md."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest

from mixpanel_sink import Quota
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.send.lane import Lane
from mixpanel_sink.settings.retry import RetryPolicy
from mixpanel_sink.stages.send_steps import timer_family
from tests.contract import describe

STORED: dict[str, Any] = json.loads(describe.STORED.read_text())
MEANT = "If this change is meant: python -m tests.contract.describe, and docs/upgrade.md."


@pytest.mark.parametrize("name", list(describe.writes()))
def test_names_state_timers_and_coders(name: str) -> None:
    assert describe.graph(*describe.writes()[name]) == STORED["graphs"][name], MEANT


def test_every_graph_is_stored() -> None:
    assert list(STORED["graphs"]) == list(describe.writes()), MEANT


def test_fields_of_results_keep_their_order() -> None:
    assert describe.results() == STORED["results"], MEANT


def test_the_lanes_state() -> None:
    assert describe.lane_state() == STORED["lane state"], MEANT


def test_state_that_is_stored_is_understood() -> None:
    """What a job of the version before holds: a request of ten seconds ago still counts."""
    now = 1_700_000_020.0
    lane = Lane(Quota.parse("1/hour"), 4, "test", RetryPolicy(), lambda: now)
    lane.merge(orjson.dumps(STORED["lane state"]))
    state = orjson.loads(lane.snapshot())
    assert state["by"]["process"][0][0][2] == 1
    chunk = EventChunk.from_bytes(base64.b64decode(STORED["chunk"]))
    assert (chunk.count, chunk.raw_bytes, chunk.runs) == (
        describe.CHUNK.count,
        describe.CHUNK.raw_bytes,
        describe.CHUNK.runs,
    )


def test_the_contract_covers_the_state() -> None:
    """A list of nothing would compare equal for ever."""
    send = STORED["graphs"]["events"]["Write/Send/ParDo(SendChunks)"]
    assert set(send["state"]) == {"tails", "size", "lane"}
    assert send["state"]["size"] == ["read_modify_write_spec", "tuple(varint, varint, varint)"]
    within = STORED["graphs"]["events, streaming"]["Write/Send/ParDo(SendChunksWithin)"]
    assert {*send["state"], "due"} == set(within["state"])
    assert {name: domain for name, (domain, _) in within["timers"].items()} == {
        f"ts-flush-{timer_family('Write')}": "EVENT_TIME",
        f"ts-latency-{timer_family('Write')}": "PROCESSING_TIME",
    }
    assert send["made by"] == "mixpanel_sink.stages.send_steps.send_chunks"
    assert STORED["lane state"]["v"] == 2
