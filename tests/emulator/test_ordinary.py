"""Requests that are taken by a look at whole columns: only what all the rules take as it is."""

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink.emulator import clock, ingest_events, ordinary, rules
from mixpanel_sink.emulator.delivery import Delivery, Desk
from mixpanel_sink.emulator.identity import Identities
from mixpanel_sink.emulator.rows import Entry
from mixpanel_sink.emulator.settings import Settings
from mixpanel_sink.emulator.store import Store

NOW = int(time.time())
RULES = {
    "page": rules.Rules(now=NOW, max_event_bytes=2000, underscores=True),
    "reference": rules.Rules(now=NOW, max_event_bytes=2000, whole_time=True),
    "recent": rules.Rules(now=NOW, max_event_bytes=2000, oldest=NOW - 5 * 86_400),
}
_good = {"time": NOW, "distinct_id": "u", "$insert_id": "i-1"}
_values = st.sampled_from(
    (
        *(None, True, 5, 1.5, "", "x", "null", "NULL", "a_b", "a\nb", "é", "x" * 36, "x" * 37),
        *("x" * 300, [], [1], {}, {"a": 1}, 0, 31_536_000, 31_536_000_000, NOW * 1000, NOW + 9999),
        *(NOW - 6 * 86_400, (NOW - 6 * 86_400) * 1000, 2**63, "[", "{", "}", '"', "\\"),
    )
)
_names = st.sampled_from(
    ("time", "distinct_id", "$insert_id", "token", "x", "bucket", "$ignore", "$user_id", "é" * 200)
)
_properties = st.dictionaries(_names, _values, max_size=3).map(lambda given: {**_good, **given})
_events = st.builds(
    lambda name, properties, extra: {"event": name, "properties": properties, **extra},
    st.sampled_from(("A", "B", "$identify", "", "x" * 300, None, 5)) | st.just("A"),
    st.just(_good) | _properties | _values,
    st.just({}) | st.dictionaries(st.sampled_from(("y", "z")), _values, max_size=1),
)


@given(
    events=st.lists(st.just({"event": "A", "properties": _good}) | _events, min_size=1, max_size=3),
    wanted=st.sampled_from(list(RULES.values())),
)
@settings(deadline=None, max_examples=500)
def test_what_is_ordinary_breaks_no_rule(events: list, wanted: rules.Rules) -> None:
    texts = [orjson.dumps(event) if _writable(event) else b"{}" for event in events]
    found = ordinary.columns(texts, wanted)
    if found is None:
        return
    for number, (event, text) in enumerate(zip(events, texts, strict=True)):
        properties = event["properties"]
        assert rules.check(event, len(text), wanted) == 0
        assert not properties.keys() & {"$ignore", "bucket", "$bucket", "$user_id", "$device_id"}
        assert event["event"] not in ("$identify", "$create_alias", "$merge")
        assert found.times[number] == rules.epoch_ms(properties["time"])
        assert found.names[number] == event["event"]
        assert found.distinct_ids[number] == properties["distinct_id"]
        assert found.insert_ids[number] == properties["$insert_id"]
    assert found.tokens == {event["properties"].get("token") for event in events}


def _writable(event: object) -> bool:
    try:
        orjson.dumps(event)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("wanted", RULES.values(), ids=list(RULES))
@pytest.mark.parametrize("unit", [1, 1000])
def test_common_requests_are(wanted: rules.Rules, unit: int) -> None:
    events = [
        {"event": name, "properties": {**_good, "time": (NOW - n) * unit, "n": n, "text": "a b"}}
        for n, name in enumerate("ABABC")
    ]
    found = ordinary.columns([orjson.dumps(event) for event in events], wanted)
    assert found is not None
    assert found.times == [(NOW - n) * 1000 for n in range(5)]


_ROWS = ("events", "texts", "blocks", "ids", "duplicates", "details", "shares", "requests")
_EXTRA = (
    *('"x":1e308', '"x":1e309', '"x":-1E+400', '"x":2.5e-400', '"x":1e22 ', '"x":' + "9" * 309),
    *(
        '"x":' + "9" * 240 + "e99",
        '"x":01',
        '"x":1.',
        '"x":NaN',
        '"x":"é"',
        '"x":"\\ud83d"',
        '"x":"\udcff"',
    ),
    *('"x":"\t"', '"x":"1e999"', '"x":"y1e999, z"', '"x":"' + "x" * 300 + '"', '"x":[1]'),
    *('"x":{}', '"":0', '"x":' + "[" * 300 + "]" * 300, '"$ignore":true', '"bucket":0'),
    *('"$bucket":null', '"$user_id":"v"', '"$device_id":"d"', '"token":"other"', '"token":5'),
    *('"token":null', '"time":5', '"time":1.5', '"time":true', '"time":1700000000000.0'),
    *('"time":1e12', '"time":99999999999999999999999', '"distinct_id":"NULL"', '"distinct_id":5'),
    *('"$insert_id":"a_b"', '"$insert_id":""', '"$insert_id":null', '"$insert_id":"Undefined"'),
    *(",".join(f'"{n}":0' for n in range(count)) for count in (250, 251, 252, 300)),
)


def _line(rand: random.Random, fault: int | None = None) -> bytes:
    """An event's JSON, in which something may be wrong, or odd."""
    parts = [
        f'"time":{rand.choice((NOW, NOW * 1000)) - rand.randint(0, 9)}',
        f'"distinct_id":"u{rand.randint(0, 9)}"',
        f'"$insert_id":"{rand.choice("abcdef")}-{rand.randint(0, 99)}"',
        *rand.sample(('"token":"emulator-token"', '"n":-0.5', '"e":"12e34"', '"a":null'), 2),
    ]
    name = rand.choice("ABé")
    if fault == 0:
        name = rand.choice(("", "$identify", "x" * 300, "\\u0041"))
    elif fault == 1:
        parts.pop(rand.randrange(len(parts)))
    elif fault is not None:
        parts.insert(rand.randint(0, len(parts)), rand.choice(_EXTRA))
    line = f'{{"event":"{name}","properties":{{{",".join(parts)}}}}}'.encode(
        errors="surrogateescape"
    )
    if fault == 2:
        at = rand.randrange(len(line))
        odd = rand.choice((b"", b" ", b"\xff", b"}", b'"', b"e", b"9"))
        line = line[:at] + odd + line[at + 1 :]
    return line


def _body(rand: random.Random) -> tuple[bytes, str]:
    """Some events as NDJSON or as an array, and which."""
    lines = [_line(rand) for _ in range(rand.randint(1, 8))]
    for _ in range(rand.choice((0, 0, 1, 1, 1, 2))):
        lines[rand.randrange(len(lines))] = _line(rand, rand.randrange(12))
    if rand.random() < 0.2:
        return b"[" + b",".join(lines) + b"]", "application/json"
    return rand.choice((b"\n", b"\r\n", b"\n\n")).join(lines), "application/x-ndjson"


@pytest.mark.parametrize("variant", ["page", "reference"])
@pytest.mark.parametrize("legacy", [False, True], ids=["", "legacy"])
def test_both_ways_answer_and_store_the_same(
    variant: str, legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_events, "time", SimpleNamespace(time=lambda: NOW))
    monkeypatch.setattr(clock, "stamp", lambda: NOW)
    kept = Settings(variant=variant, max_event_bytes=3000)
    stores = [Store(tmp_path / f"{way}.db") for way in ("ordinary", "each")]
    desks = [Desk(kept, store, Identities()) for store in stores]
    ways: dict[bool, int] = {True: 0, False: 0}

    def columns(texts: Sequence[bytes], wanted: rules.Rules) -> ordinary.Columns | None:
        found = _columns(texts, wanted)
        ways[found is not None] += 1
        return found

    _columns = ordinary.columns
    seeds = range(20_000 if os.environ.get("MIXPANEL_SINK_LONG") else 500)
    for seed in seeds:
        rand = random.Random(f"{variant} {legacy} {seed}")
        body, content_type = _body(rand)
        strict = rand.choice((True, False, None))
        delivery = Delivery(
            body, "", content_type, strict=strict, legacy=legacy, project=kept.projects[0]
        )
        made = []
        for desk, way in zip(desks, (columns, lambda texts, wanted: None), strict=True):
            monkeypatch.setattr(ordinary, "columns", way)
            entry = Entry("/import", NOW)
            made.append((*ingest_events.import_events(delivery, desk, entry), entry))
        assert made[0] == made[1], f"seed {seed}"
    assert min(ways.values()) > len(seeds) // 10, ways
    for store in stores:
        assert store.events.stored()
    for table in _ROWS:
        one, other = (
            store.writer._db.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
            for store in stores
        )
        assert one == other, table
    assert stores[0].writer._db.execute("SELECT 1 FROM duplicates").fetchone()
    for store in stores:
        store.close()
