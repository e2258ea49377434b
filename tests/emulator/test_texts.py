"""What is stored of events: blocks, and the rows that are made of them when a query asks."""

import random
import threading
import time
from pathlib import Path

import pytest

from mixpanel_sink.emulator.deletions import Deletion
from mixpanel_sink.emulator.rows import Entry, EventRow
from mixpanel_sink.emulator.schema import connect
from mixpanel_sink.emulator.store import Store
from mixpanel_sink.emulator.texts import Texts
from mixpanel_sink.emulator.wanted import Wanted

NOW = time.time()
_IDS = (None, "", "u", "u 1", "u\x001", "é", "\x00", "[", "x" * 300)


def _event(rand: random.Random, number: int) -> EventRow:
    return EventRow(
        rand.choice((1, 1, 1, 2)),
        rand.choice((None, number)),
        rand.choice("ABC"),
        rand.choice(_IDS),
        rand.choice(_IDS),
        int(NOW * 1000) - rand.randrange(10_000),
        b'{"event":"A","properties":{"n":%d}}' % number,
    )


def _usual(event: EventRow) -> EventRow:
    return event._replace(distinct_id=f"u{event.time}", insert_id=f"i{event.time}")


def _rows(store: Store) -> list[tuple]:
    store.events.stored(0)
    return store.writer._db.execute("SELECT * FROM events ORDER BY seq").fetchall()


@pytest.mark.parametrize("seed", range(6))
def test_rows_are_those_of_the_events_that_arrived(seed: int, tmp_path: Path) -> None:
    rand, store = random.Random(seed), Store(tmp_path / "rows.db")
    model: dict[int, tuple] = {}
    deleted: list[tuple[int, int, list[tuple]]] = []
    last = 0
    for _ in range(60):
        step = rand.randrange(10)
        if step == 0:
            assert _rows(store) == sorted(model.values())
        elif step == 1 and len(deleted) < 5:
            name, project = rand.choice("ABC"), rand.choice((1, 2))
            number, count = store.writer.deletions.delete(Deletion(project, event=name), NOW)
            gone = [row for row in model.values() if row[2:4] == (project, name)]
            assert count == len(gone)
            deleted.append((number, project, gone))
            for row in gone:
                del model[row[0]]
        elif step == 2 and deleted:
            number, project, gone = deleted.pop()
            assert store.writer.deletions.undo(number, project) == len(gone)
            model |= {last + n: (last + n, *row[1:]) for n, row in enumerate(gone, start=1)}
            last += len(gone)
        else:
            events = [_event(rand, last + n) for n in range(1, rand.randrange(2, 6))]
            if rand.random() < 0.5:
                events = list(map(_usual, events))
            request = store.writer.record(Entry("/import", NOW), events)
            for event in events:
                last += 1
                model[last] = (last, request, event.project, *event[2:6])
        _check_queries(store, model, rand)
    assert _rows(store) == sorted(model.values())
    store.close()


def _check_queries(store: Store, model: dict[int, tuple], rand: random.Random) -> None:
    """What is answered without the table."""
    newest, before = sorted(model, reverse=True), rand.randrange(1, max(model, default=1) + 2)
    assert store.events.find({}, 7, None) == newest[:7]
    older = [number for number in newest if number < before and model[number][2] == 2]
    assert store.events.find({"project": "2"}, 7, before) == older[:7]
    asked = rand.sample(range(1, max(model, default=1) + 9), 5)
    for detail in store.events.details(asked):
        number = detail["seq"]
        assert (number, detail["request"], detail["project"]) == model[number][:3]
        assert detail["user"] == model[number][4]
    assert {each["seq"] for each in store.events.details(asked)} == set(asked) & set(model)
    user, id = (rand.choice([id for id in _IDS if id is not None]) for _ in range(2))
    for wanted in (Wanted(distinct_id=user), Wanted(insert_id=id), Wanted("", None, user, id)):
        fitting = [
            number
            for number in newest
            if wanted.distinct_id in (None, model[number][4])
            and wanted.insert_id in (None, model[number][5])
        ]
        assert store.search.portion(wanted, seconds=60).numbers == fitting[:100]


def test_two_connections_fill_the_table_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "rows.db")
    rand = random.Random(1)
    for request in range(300):
        events = [_event(rand, request * 40 + n) for n in range(40)]
        store.writer.record(Entry("/import", NOW), events)
    fillings = [
        threading.Thread(target=Texts(connect(str(tmp_path / "rows.db"))).fill_table)
        for _ in range(3)
    ]
    for filling in fillings:
        filling.start()
    store.writer.record(Entry("/import", NOW), [_event(rand, 20_000)])
    for filling in fillings:
        filling.join()
    assert [row[0] for row in _rows(store)] == list(range(1, 12_002))
    store.close()
