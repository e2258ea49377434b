"""Which events are known: across many requests, deletions and restarts."""

import random
from collections import Counter
from pathlib import Path

import pytest

from mixpanel_sink.emulator import keys
from mixpanel_sink.emulator.counts import Counts
from mixpanel_sink.emulator.deletions import Deletion
from mixpanel_sink.emulator.rows import Entry, EventRow
from mixpanel_sink.emulator.store import Store

DAY = 86_400


def _event(key: int | None, *, project: int = 1, name: str = "A", time: int = 5) -> EventRow:
    return EventRow(project, key, name, f"u{key}", None, time, b'{"event":"A","properties":{}}')


def _stored(store: Store, events: list[EventRow], arrived: float, window: float | None) -> int:
    entry = Entry("/import", arrived)
    store.writer.record(entry, events, dedupe_window=window)
    assert entry.stored + entry.duplicates + entry.dropped == len(events)
    return entry.stored


@pytest.mark.parametrize("window", [None, 10.0])
def test_as_a_list_of_all_keys_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: float | None
) -> None:
    monkeypatch.setattr(keys, "_RECENT", 7)  # keys move into arrays, and arrays are joined
    draw = random.Random(1)
    store = Store(tmp_path / "keys.db")
    arrivals: dict[int, float] = {}
    for request in range(1, 200):
        if draw.random() < 0.1:
            store.close()
            store = Store(tmp_path / "keys.db")
        sent = [draw.choice((None, *range(-60, 60))) or None for _ in range(draw.randrange(1, 6))]
        new = 0
        for key in sent:
            known = key in arrivals and (window is None or arrivals[key] >= request - window)
            if key is None or not known:
                new += 1
            if key is not None and not known:
                arrivals[key] = request
        assert _stored(store, [_event(key) for key in sent], request, window) == new
    store.close()


@pytest.mark.parametrize("restart", [False, True])
def test_deleted_and_brought_back(tmp_path: Path, restart: bool) -> None:
    store = Store(tmp_path / "keys.db")

    def again() -> Store:
        if not restart:
            return store
        store.close()
        return Store(tmp_path / "keys.db")

    both = [_event(1), _event(2, name="B")]
    assert _stored(store, both, 1, None) == 2
    number, count = store.writer.deletions.delete(Deletion(1, event="A"), 1e12)
    assert count == 1
    store = again()
    # Dropped for thirty days, as the deletion's date is far in the future.
    assert _stored(store, both, 2, None) == 0
    store.writer._db.execute("UPDATE deletions SET submitted = 0")
    assert _stored(store, both, 3, None) == 1
    store = again()
    assert _stored(store, both, 4, None) == 0
    store.writer._db.execute("UPDATE deletions SET submitted = 1e12")
    store.writer.deletions.undo(number, 1)
    store = again()
    assert _stored(store, both, 5, None) == 0
    store.writer.deletions.delete(Deletion(1, event="A"), 0)
    store = again()
    assert _stored(store, both, 6, None) == 1
    store.close()


@pytest.mark.parametrize("seconds", [60, 3600, 86_400])
def test_counts_are_those_of_the_rows(tmp_path: Path, seconds: int) -> None:
    draw = random.Random(seconds)
    store = Store(tmp_path / "counts.db")
    for request in range(20):
        events = [
            _event(
                None,
                project=draw.randrange(1, 3) if request % 2 else 1,
                name=draw.choice("ABC"),
                time=draw.randrange(-DAY, draw.choice((DAY, 400 * DAY))) * 1000,
            )
            for _ in range(draw.randrange(1, 30))
        ]
        _stored(store, events, request, None)
    store.writer.deletions.delete(Deletion(1, event="B"), 0)
    rows = store.writer._db.execute("SELECT project, event, time FROM events").fetchall()
    wanted = Counter((of, name, time // 1000 // seconds * seconds) for of, name, time in rows)
    counts, unit = Counts(), {60: "minute", 3600: "hour", 86_400: "day"}[seconds]
    while counts.catch_up(store, unit, seconds=0):
        pass
    assert counts._counts[unit] == wanted
    told = counts.by_name(unit, 2)
    assert sum(map(sum, told["events"].values())) == sum(
        count for (project, *_), count in wanted.items() if project == 2
    )
    _stored(store, [_event(None, project=2)], 21, None)
    assert counts.catch_up(store, unit) is False
    assert sum(map(sum, counts.by_name(unit, 2)["events"].values())) == 1 + sum(
        map(sum, told["events"].values())
    )
    store.close()
