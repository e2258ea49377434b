"""Search anywhere in events, downloads, and a request in detail."""

import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink.emulator.rows import Entry, EventRow
from mixpanel_sink.emulator.schema import SCHEMA
from mixpanel_sink.emulator.search import Search
from mixpanel_sink.emulator.store import Store
from mixpanel_sink.emulator.texts import Texts
from mixpanel_sink.emulator.wanted import Wanted

DAY = 1_700_006_400


def _get(api, path: str, **query):
    answer = requests.get(f"{api.emulator.url}/emulator/{path}", params=query, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def _search(api, **query) -> dict:
    return _get(api, "search", **query).json()


def _names(found: dict) -> list[str]:
    return [row["event"]["event"] for row in found["events"]]


def test_anywhere_in_names_ids_and_properties(api) -> None:
    events = [
        api.event("Order Placed", distinct_id="u-ann", note="nothing"),
        api.event("Sign Up", distinct_id="u-bob", deep={"list": [{"city": "São Paulo"}]}),
        api.event("Log In", distinct_id="u-cal", **{"$insert_id": "id-4711"}),
        api.event("Quote", distinct_id="u-dan", text='say "50%_off"'),
    ]
    api.send(events)
    for text, name in (
        ("rder pl", "Order Placed"),
        ("U-BOB", "Sign Up"),
        ("4711", "Log In"),
        ("São", "Sign Up"),
        ('"50%_', "Quote"),
    ):
        assert _names(_search(api, search=text)) == [name]
    assert _names(_search(api, search="50__")) == []
    assert _names(_search(api, search="nothing", event="Order Placed")) == ["Order Placed"]
    assert _names(_search(api, search="nothing", event="Sign Up")) == []
    assert _names(_search(api, distinct_id="u-cal")) == ["Log In"]
    assert _search(api, search="u-", project=7)["matched"] == 0


def test_counts_follow_the_search_and_the_range(api) -> None:
    api.send([api.event("A" if n % 2 else "B", time=DAY + n * 3600, n=n) for n in range(30)])
    found = _search(api, event="A", unit="day")
    assert found["counts"] == {"A": {str(DAY): 12, str(DAY + 86400): 3}}
    assert (found["matched"], found["searched"], found["total"]) == (15, 30, 30)
    assert found["before"] is None
    part = _search(api, unit="day", **{"from": DAY + 86400, "to": DAY + 86400 + 7200})
    assert part["counts"] == {"A": {str(DAY + 86400): 1}, "B": {str(DAY + 86400): 1}}


def test_only_what_is_new(api) -> None:
    api.send([api.event("A")])
    first = _search(api, search="A")
    api.send([api.event("A"), api.event("A")])
    second = _search(api, search="A", above=first["newest"])
    assert (second["matched"], second["total"]) == (2, 2)


def test_a_portion_ends_in_time_and_the_next_goes_on() -> None:
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    rows = [EventRow(1, None, "A", "u", str(n), n, b'{"n":%d}' % n) for n in range(70_000)]
    for start in range(0, len(rows), 2000):
        Texts(db).add(1, rows[start : start + 2000])
    search, wanted = Search(db), Wanted("69999")
    # Long enough for one look at the clock: at least a step of the way is gone each time.
    first = search.portion(wanted, seconds=1e-9)
    assert first.floor in (70_000, 62_000)
    numbers, before, rounds = [], None, 0
    while before != 1:
        part = search.portion(Wanted("999"), before=before, seconds=0.001)
        numbers += part.numbers
        before, rounds = part.floor + 1, rounds + 1
        assert rounds < 5000
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == sum("999" in str(n) for n in range(70_000))


_WORDS = (
    "a",
    "User",
    "user",
    "é",
    "\0",
    "_",
    "[",
    "{",
    "@",
    "`",
    "~",
    "/",
    "<",
    ")",
    "*",
    "-",
    ",)",
)
_WRITERS = (
    lambda text: json.dumps({"p": text}),
    lambda text: json.dumps({"p": text, "q": 1}, ensure_ascii=False, indent="\t"),
    lambda text: json.dumps({"p": text}).replace("/", "\\/") + "\r",  # as PHP does
    lambda text: json.dumps({"p": text}, ensure_ascii=False).replace("<", "\\u003c"),  # Go
)
_texts = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=3).map("".join)
_events = st.builds(
    EventRow,
    project=st.integers(1, 2),
    key=st.none(),
    event=_texts,
    distinct_id=st.none() | _texts,
    insert_id=st.none() | _texts,
    time=st.integers(0, 20_000_000),
    json=st.builds(
        lambda text, write: write(text).encode(),
        _texts,
        st.sampled_from(_WRITERS),
    ),
)
_wanted = st.builds(
    Wanted,
    text=st.just("") | _texts,
    event=st.none() | _texts,
    distinct_id=st.none() | _texts,
    insert_id=st.none() | _texts,
    project=st.none() | st.integers(1, 2),
    request=st.none() | st.integers(0, 3),
    since=st.none() | st.integers(0, 20_000_000),
    until=st.none() | st.integers(0, 20_000_000),
)


@given(
    requests_=st.lists(st.lists(_events, min_size=1, max_size=5), max_size=5),
    deleted=st.sets(st.integers(1, 25), max_size=3),
    wanted=_wanted,
    above=st.integers(0, 10),
    before=st.none() | st.integers(1, 25),
)
@settings(deadline=None)
def test_as_a_look_at_each_event_would(requests_, deleted, wanted, above, before) -> None:
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    number, kept = 0, {}
    for request, rows in enumerate(requests_):
        Texts(db).add(request, rows)
        for row in rows:
            number += 1
            kept[number] = (request, row)
    if deleted:
        db.executemany("DELETE FROM events WHERE seq = ?", [(number,) for number in deleted])
        db.executemany("INSERT INTO gone VALUES (?)", [(number,) for number in deleted])
    kept = {number: row for number, row in kept.items() if number not in deleted}
    fitting = {n: row for n, (request, row) in kept.items() if _fits(wanted, request, row)}
    inside = [n for n in fitting if n > above and (before is None or n < before)]
    found = Search(db).portion(wanted, above=above, before=before, limit=4, seconds=60)
    assert found.numbers == sorted(inside, reverse=True)[:4]
    assert found.matched == len(inside)
    counts: dict[str, dict[int, int]] = {}
    for n in inside:
        start = fitting[n].time // 3_600_000 * 3600
        of_name = counts.setdefault(fitting[n].event, {})
        of_name[start] = of_name.get(start, 0) + 1
    assert found.counts == counts
    texts = [text for portion in Search(db).all(wanted) for text in portion]
    assert texts == [row.json for row in fitting.values()]


@pytest.mark.parametrize(
    ("text", "written", "found"),
    [
        ("x/y", rb'{"a":"x\/y"}', True),  # PHP
        ("a<b>&", rb'{"a":"a\u003cb\u003E\u0026"}', True),  # Go
        (",)", b'{"a":1,\t"b":2}', False),
        ("1-", b'{"a":1\r}', False),
    ],
)
def test_the_spellings_of_other_clients(text: str, written: bytes, found: bool) -> None:
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    Texts(db).add(1, [EventRow(1, None, "A", "u", "i", 0, written)])
    assert Search(db).portion(Wanted(text), seconds=60).matched == found


def test_large_events_are_searched_a_few_at_a_time() -> None:
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    for n in range(300):
        Texts(db).add(1, [EventRow(1, None, "A", "u", str(n), 0, b"%100000d;" % n)])
    search = Search(db)
    assert search.portion(Wanted(" 250;"), seconds=60).numbers == [251]
    assert len(search._buffer) < 20_000_000


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.search.portion(Wanted("a"), seconds=60).matched,
        lambda store: len(list(store.search.all(Wanted("a")))),
        lambda store: len(store.events.stored()),
        lambda store: len(store.events.details([1])),
        lambda store: len(list(store.events.export(1, 0, 10, None, 100))),
    ],
)
def test_a_reset_meanwhile(tmp_path: Path, ask: Callable[[Store], int]) -> None:
    store = Store(tmp_path / "reset.db")
    event = EventRow(1, 1, "A", "u", "i", 5, b'{"event":"A","properties":{}}')
    store.writer.record(Entry("/import", 0.0), [event])
    cleared = []

    def clear(query: str) -> None:
        if "FROM texts" in query and not cleared:
            cleared.append(query)
            store.writer.clear()

    store._reading.set_trace_callback(clear)
    assert ask(store) == 1
    assert cleared
    assert ask(store) == 0
    store.close()


def _fits(wanted: Wanted, request: int, row: EventRow) -> bool:
    # Where the text is in a string; or as a whole with what is around strings.
    own = json.dumps(wanted.text, ensure_ascii=False)[1:-1]
    plain = row.json.decode().replace("\\/", "/").replace("\\u003c", "<")
    needles = {own, json.dumps(wanted.text)[1:-1]}
    return (
        any(needle.lower() in plain.lower() for needle in needles)
        and wanted.event in (None, row.event)
        and wanted.distinct_id in (None, row.distinct_id)
        and wanted.insert_id in (None, row.insert_id)
        and wanted.project in (None, row.project)
        and wanted.request in (None, request)
        and (wanted.since is None or row.time >= wanted.since)
        and (wanted.until is None or row.time < wanted.until)
    )


@pytest.mark.parametrize("query", ["unit=year", "from=x", "before=x"])
def test_wrong_questions(page, query: str) -> None:
    answer = requests.get(f"{page.emulator.url}/emulator/search?{query}", timeout=10)
    assert answer.status_code == 400


def test_download_as_json_lines(api) -> None:
    events = [api.event("A" if n % 2 else "B") for n in range(10)]
    api.send(events)
    answer = _get(api, "download", event="A")
    assert "events.jsonl" in answer.headers["Content-Disposition"]
    assert [json.loads(line) for line in answer.text.splitlines()] == events[1::2]
    api.send([api.event("C")])
    assert len(_get(api, "download", request=2).text.splitlines()) == 1


@pytest.mark.parametrize("zipped", [False, True])
def test_a_request_in_detail(api, zipped: bool) -> None:
    events = [api.event(), api.event(time="noon"), api.event()]
    answer = api.send(events, ndjson=True, zipped=zipped)
    shown = api.emulator.request(1, limit=2)
    assert shown["body"] == {"kept": True, "records": events[:2], "total": 3}
    assert json.loads(shown["answer"]) == answer.json()
    (failed,) = shown["failed_records"]
    assert (failed["index"], failed["field"]) == (1, "properties.time")
    assert failed["insert_id"] == events[1]["properties"]["$insert_id"]
    assert shown["status"] == 400
    body = _get(api, "requests/1/body").content
    assert body == b"\n".join(json.dumps(event).encode() for event in events)


def test_failures_that_no_answer_tells(api) -> None:
    api.send([api.event(time="noon")], path="/import?strict=0")
    api.send([api.event("")], path="/track")
    assert [len(api.emulator.request(n)["failed_records"]) for n in (1, 2)] == [1, 1]


def test_a_body_that_cannot_be_read(api) -> None:
    api.send(b"{oops")
    body = api.emulator.request(1)["body"]
    assert body["text"] == "{oops"
    assert "not valid JSON" in body["error"]
    api.send(gzip.compress(b"[]")[:-4], Content_Encoding="gzip")
    assert "gzip" in api.emulator.request(2)["body"]["error"]


def test_the_answer_of_a_fault_is_what_was_sent(api) -> None:
    api.emulator.faults([{"kind": "status", "status": 503, "body": "away"}, {"kind": "garbage"}])
    api.send([api.event()])
    api.send([api.event()])
    assert api.emulator.request(1)["answer"] == "away"
    assert api.emulator.request(2)["answer"].startswith("<html>")


def test_only_the_newest_bodies_are_kept(api) -> None:
    body = json.dumps([api.event()])
    for _ in range(1001):
        api.post("/track", body)
    assert api.emulator.request(1)["body"]["kept"] is False
    assert api.emulator.request(2)["body"]["kept"] is True
    answer = requests.get(f"{api.emulator.url}/emulator/requests/1/body", timeout=10)
    assert answer.status_code == 400


def test_about_tells_the_keys_to_this_machine_only(api) -> None:
    said = _get(api, "about").json()
    assert (said["api_secret"], said["token"]) == ("emulator-secret", "emulator-token")
    url = api.emulator.url + "/emulator/about"
    elsewhere = requests.get(url, headers={"Host": "evil.example"}, timeout=10).json()
    assert (elsewhere["api_secret"], elsewhere["token"]) == (None, None)
    assert said["version"] == elsewhere["version"]
