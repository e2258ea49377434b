"""Only what changed: whatever happens in between, Mixpanel holds what the input says in the end."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixpanel_sink.api.endpoints import ENGAGE, GROUPS
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.checkpoint.profile_store import ProfileStore
from mixpanel_sink.checkpoint.profiles import ProfileState, entries_of
from mixpanel_sink.results import FailedRecord

OWNER = Owner("", "mapping", "engage", "projects")
Row = tuple[str, int]


def update(user: str, value: int, **about: object) -> bytes:
    said = {"$distinct_id": user, **about, "$set": {"n": value}, "$token": "t"}
    return json.dumps(said, separators=(",", ":")).encode()


def opened(path: str, run: str) -> ProfileState:
    """As the process of a run sees it."""
    store = ProfileStore(path, OWNER)
    store.settle()
    return ProfileState(store, ENGAGE, run)


class Mixpanel:
    """What it holds, and what happens to the requests of a run."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.sent = 0

    def run(self, path: str, run: str, rows: list[Row], fates: Iterable[str]) -> bool:
        """One run over an input; says whether it came to its end with all accepted."""
        state = opened(path, run)
        clean = True
        try:
            for start in range(0, len(rows), 3):  # batches of Convert
                records = [update(*row) for row in rows[start : start + 3]]
                mask = state.changed(records).send
                wanted = [record for record, send in zip(records, mask, strict=True) if send]
                for at in range(0, len(wanted), 2):  # requests
                    fate = next(iter(fates), "ok")
                    if not self.request(state, wanted[at : at + 2], fate):
                        return False
                    clean &= fate == "ok"
            state.flush()
            return clean
        finally:
            state.store.close()

    def request(self, state: ProfileState, records: list[bytes], fate: str) -> bool:
        """One request; False if the process is killed."""
        chunk = EventChunk.of(records, [Run(len(records), 0, ("",))])
        begun = state.begin(chunk)
        if fate == "killed before it arrives":
            return False
        refused = records[:1] if fate in ("refused", "left") else []
        self.sent += len(records)
        for record in records[len(refused) :]:
            said = json.loads(record)
            self.held[said["$distinct_id"]] = said["$set"]["n"]
        if fate == "killed before the answer":
            return False
        left = [EventChunk.of(refused, [Run(1, 0, ("",))])] if fate == "left" else []
        failed = (
            [] if left else [FailedRecord("refused", "", event_json=r.decode()) for r in refused]
        )
        state.end(begun, chunk, failed, left)
        return True


KILLED = "killed before it arrives", "killed before the answer"
FATES = ["ok", "ok", "ok", "refused", "left", *KILLED]
rows = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=7)


@pytest.fixture(autouse=True)
def _no_power_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda number: None)  # which takes most of the time


@settings(
    max_examples=2000 if os.environ.get("MIXPANEL_SINK_LONG") else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(rows, st.lists(st.sampled_from(FATES), max_size=5)), max_size=5), rows)
def test_in_the_end_mixpanel_holds_the_input(
    runs: list[tuple[list[Row], list[str]]], last: list[Row]
) -> None:
    """Over runs that are killed or refused, with profiles that come twice, go, and come back."""
    mixpanel, number = Mixpanel(), itertools.count()
    with tempfile.TemporaryDirectory() as path:
        for rows_of_day, fates in runs:
            fate = iter(fates)
            if mixpanel.run(path, f"r{next(number)}", rows_of_day, fate):
                expected = dict(rows_of_day)
                assert {user: mixpanel.held.get(user) for user in expected} == expected
        assert mixpanel.run(path, f"r{next(number)}", last, ())
        assert {user: mixpanel.held.get(user) for user in dict(last)} == dict(last)
        if len(dict(last)) == len(last):  # each once
            before = mixpanel.sent
            assert mixpanel.run(path, f"r{next(number)}", last, ())
            assert mixpanel.sent == before, "nothing has changed"


@pytest.mark.parametrize("first", [None, 1, 0], ids=["new", "same", "other"])
def test_a_second_update_that_is_lost_leaves_its_profile_unknown(
    tmp_path: pathlib.Path, first: int | None
) -> None:
    """1 is accepted, 2 arrives and the process is killed: the next run must send 1 again."""
    mixpanel, path = Mixpanel(), str(tmp_path)
    if first is not None:
        assert mixpanel.run(path, "r0", [("a", first)], ())
    twice = [("a", 1), ("x", 1), ("y", 1), ("a", 2)]
    fates = ["ok", "killed before the answer"] if first == 1 else ["ok", "ok", KILLED[1]]
    assert not mixpanel.run(path, "r1", twice, iter(fates))
    assert mixpanel.held["a"] == 2
    assert mixpanel.run(path, "r2", [("a", 1)], ())
    assert mixpanel.held["a"] == 1


def test_what_counts_as_the_same() -> None:
    def mark(record: bytes) -> tuple[int, int]:
        entry = entries_of([record], ENGAGE)
        return int(entry.keys[0]), int(entry.contents[0])

    same = update("u", 1)
    assert mark(same) == mark(update("u", 1, **{"$time": 5, "$ignore_time": True}))
    assert mark(same) != mark(update("u", 2))
    assert mark(same)[0] == mark(update("u", 2))[0]
    assert mark(same)[1] != mark(update("u", 1, **{"$ip": "1.2.3.4"}))[1]
    assert mark(same)[0] != mark(update("v", 1))[0]
    other = same.replace(b'"$token":"t"', b'"$token":"other"')
    assert mark(other)[0] != mark(same)[0], "another project"
    assert mark(other)[1] == mark(same)[1]
    swapped = b'{"$set":{"b":1,"a":2},"$distinct_id":"u","$token":"t"}'
    assert mark(swapped) == mark(b'{"$distinct_id":"u","$set":{"a":2,"b":1},"$token":"t"}')
    group = b'{"$group_key":"company","$group_id":"acme","$set":{"a":1},"$token":"t"}'
    assert entries_of([group], GROUPS).ids.to_pylist() == ["company\0acme"]


def test_a_profile_that_was_removed_is_new_when_it_comes_back(tmp_path: pathlib.Path) -> None:
    mixpanel = Mixpanel()
    assert mixpanel.run(str(tmp_path), "r0", [("a", 1), ("b", 1)], ())
    store = ProfileStore(str(tmp_path), OWNER)
    store.settle()
    state = ProfileState(store, ENGAGE, "r1", gone=True)
    assert len(state.base.keys) == 2
    assert mixpanel.request(state, [b'{"$distinct_id":"a","$set":{"n":0},"$token":"t"}'], "ok")
    state.flush()
    store.close()
    state = opened(str(tmp_path), "r2")
    assert len(state.base.keys) == 1
    assert state.changed([update("a", 1), update("b", 1)]).send.tolist() == [True, False]


def test_a_bundle_that_is_retried_sends_again(tmp_path: pathlib.Path) -> None:
    mixpanel = Mixpanel()
    assert mixpanel.run(str(tmp_path), "r0", [("a", 1)], ())
    state = opened(str(tmp_path), "r1")
    for _ in range(2):  # it failed before its request, and comes again
        assert state.changed([update("a", 2)]).send.all()
    assert state.changed([update("a", 1)]).send.all(), "it follows what was sent"
    assert state.changed([update("b", 1), update("a", 1)]).places.tolist() == [0]
