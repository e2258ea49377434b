"""Every rule for one event, over HTTP: what is refused, and what is just inside."""

import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink.emulator import rules

NOW = int(time.time())
RULES = rules.Rules(now=time.time(), max_event_bytes=2**20)


def _failed(api, event) -> tuple[str, str] | None:
    answer = api.send([event])
    if answer.status_code == 200:
        return None
    (record,) = answer.json()["failed_records"]
    assert record["message"]
    return record["field"], record["message"]


@pytest.mark.parametrize("name", ["", None, 5, ["a"]])
def test_event_name_refused(api, name) -> None:
    assert _failed(api, api.event(name))[0] == "event"


@pytest.mark.parametrize("name", ["x", "x" * 255, "é" * 127, "$pageview", "x" * 256, "é" * 128])
def test_event_name_taken(api, name) -> None:
    assert _failed(api, api.event(name)) is None


@pytest.mark.parametrize("event", [5, "text", None, [], {}])
def test_not_an_event(api, event) -> None:
    assert _failed(api, event) is not None


@pytest.mark.parametrize("properties", [None, [], "a", 5])
def test_properties_refused(api, properties) -> None:
    assert _failed(api, {"event": "a", "properties": properties})[0] == "properties"


@pytest.mark.parametrize(
    "value",
    [
        ...,
        None,
        "1700000000",
        True,
        [1],
        0,
        -1,
        31_535_999,
        31_535_999_999,
        NOW + 6 * 3600,  # far enough for a slow run of all tests
        (NOW + 6 * 3600) * 1000,
        1_700_000_000_000_000,
        1e300,
    ],
    ids=lambda value: "" if type(value) is int else None,  # workers collect in different seconds
)
def test_time_refused(api, value) -> None:
    assert _failed(api, api.event(time=value))[0] == "properties.time"


@pytest.mark.parametrize(
    "value",
    [31_536_000, 31_536_000_000, NOW, NOW * 1000, NOW + 3500, 1_609_459_200_000],
    ids=lambda value: "" if type(value) is int else None,
)
def test_time_taken(api, value) -> None:
    assert _failed(api, api.event(time=value)) is None


RESERVED = str.split(
    "anonymous nil none null undefined unknown 0 -1 true false [] {} <nil> n/a na anon "
    "00000000-0000-0000-0000-000000000000"
)


@pytest.mark.parametrize("value", [..., None, 5, [], *RESERVED, "NULL", "Anonymous", "N/A"])
def test_distinct_id_refused(api, value) -> None:
    assert _failed(api, api.event(distinct_id=value))[0] == "properties.distinct_id"


@pytest.mark.parametrize("value", ["", "a", "nobody", "1", "ÄÖ 🎈", "00"])
def test_distinct_id_taken(api, value) -> None:
    assert _failed(api, api.event(distinct_id=value)) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a" * 37,
        "a b",
        "é",
        "a\n",
        5,
        None,
        "a.b",
        "0",
        "-1",
        "null",
        "True",
        "Unknown",
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_insert_id_refused(api, value) -> None:
    assert _failed(api, api.event(**{"$insert_id": value}))[0] == "properties.$insert_id"


def test_underscores_in_an_insert_id(page, reference) -> None:
    """The page's own examples have them; the reference's alphabet does not."""
    assert _failed(page, page.event(**{"$insert_id": "a_b"})) is None
    field, _ = _failed(reference, reference.event(**{"$insert_id": "a_b"}))
    assert field == "properties.$insert_id"


@pytest.mark.parametrize("value", ["a", "A-9", "a" * 36])
def test_insert_id_taken(api, value) -> None:
    assert _failed(api, api.event(**{"$insert_id": value})) is None


def _with_properties(api, count: int) -> dict:
    event = api.event()
    for number in range(count - len(event["properties"])):
        event["properties"][f"p{number}"] = number
    return event


def test_number_of_properties(api) -> None:
    assert _failed(api, _with_properties(api, 254)) is None
    assert _failed(api, _with_properties(api, 255))[0] == "properties"


def test_length_of_lists(api) -> None:
    assert _failed(api, api.event(items=[1] * 254)) is None
    assert _failed(api, api.event(items=[1] * 255))[0] == "properties.items"
    assert _failed(api, api.event(deep={"items": [1] * 255}))[0] == "properties.deep"


def test_keys_of_objects(api) -> None:
    assert _failed(api, api.event(o={str(n): n for n in range(254)})) is None
    assert _failed(api, api.event(o={str(n): n for n in range(255)}))[0] == "properties.o"


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ({"b": {"c": 1}}, True),
        ({"b": {"c": [1, 2]}}, True),
        ({"b": {"c": {}}}, True),
        ({"b": {"c": {"d": 1}}}, False),
        ([{"b": {"c": 1}}], True),
        ([{"b": {"c": {"d": 1}}}], False),
        ([[[1]]], True),
        ([[[[1]]]], False),
    ],
)
def test_nesting(api, value, taken: bool) -> None:
    failed = _failed(api, api.event(a=value))
    assert failed is None if taken else failed[0] == "properties.a"


def test_very_deep_nesting_is_no_crash(api) -> None:
    value: object = 1
    for _ in range(500):
        value = {"a": value}
    assert _failed(api, api.event(a=value))[0] == "properties.a"
    update = {"$token": api.emulator.project_token, "$distinct_id": "u", "$set": value}
    assert api.send([update], path="/engage?verbose=1").json()["status"] == 0
    body = b"[" * 5000 + b"]" * 5000
    assert api.send(body).status_code == 400


def test_time_may_have_a_fraction_unless_strict(api) -> None:
    event = api.event(time=1_700_000_000.5)
    field, message = _failed(api, event)
    assert field == "properties.time"
    assert "integer" in message
    assert api.send([event], path="/import?strict=0").status_code == 200
    assert api.emulator.stats()["events_distinct"] == 1


def test_time_is_a_number_on_the_page(page, reference) -> None:
    for api, status in ((page, 200), (reference, 400)):
        event = api.event(time=1_700_000_000.5)
        assert api.send([event], path="/import").status_code == status


@pytest.mark.parametrize("form", ["a list", "an object"])
def test_bytes_of_a_list_and_of_an_object(api, form: str) -> None:
    def sized(size: int) -> object:
        text = "x" * (size - 4)
        return [text] if form == "a list" else {"a": text[4:]}

    fits = sized(8192)
    assert len(orjson.dumps(fits)) == 8192
    assert _failed(api, api.event(items=fits, others=fits)) is None  # each has its own limit
    assert "8192 bytes" in _failed(api, api.event(items=sized(8193)))[1]


def test_ignored_events_are_accepted_and_dropped(api) -> None:
    ignored = api.event(**{"$ignore": True})
    assert api.send([ignored, api.event(**{"$ignore": False})]).status_code == 200
    stats = api.emulator.stats()
    assert (stats["events_accepted"], stats["events_distinct"]) == (2, 1)
    assert stats["events_dropped"] == 1
    assert api.emulator.requests()[0]["dropped"] == 1


@pytest.mark.parametrize("name", ["bucket", "$bucket"])
def test_buckets_hide_other_events(api, name: str) -> None:
    assert api.send([api.event(**{name: "a"}), api.event()]).status_code == 200
    stats = api.emulator.stats()
    assert (stats["events_distinct"], stats["events_hidden"]) == (2, 1)
    shown = api.emulator.event_details()
    assert [event["hidden"] for event in shown] == [False, True]


def test_event_size(api) -> None:
    api.emulator.settings(max_event_bytes=5000)
    notes = [["x" * 200] * 30]
    assert "5000" in _failed(api, api.event(notes=notes))[1]
    assert _failed(api, api.event(notes=["x" * 200] * 20)) is None


def test_default_event_size(page, reference) -> None:
    big = {f"p{n}": {str(m): "x" * 200 for m in range(30)} for n in range(200)}  # 1.3 MB
    assert _failed(reference, reference.event(**big)) is not None
    assert _failed(page, page.event(**big)) is None


def test_long_strings_are_cut_and_counted(api) -> None:
    event = api.event(
        "n" * 256,
        **{"k" * 256: 1},
        long="x" * 300,
        wide="é" * 200,
        inside={"a": "y" * 256, "i" * 300: 2},
        fine="z" * 255,
    )
    assert _failed(api, event) is None
    (stored,) = api.emulator.events()
    properties = stored["properties"]
    assert properties["long"] == "x" * 255
    assert properties["wide"] == "é" * 127
    assert properties["inside"] == {"a": "y" * 255, "i" * 255: 2}
    assert properties["k" * 255] == 1
    assert stored["event"] == "n" * 255
    assert properties["fine"] == "z" * 255
    assert api.emulator.stats()["truncated_strings"] == 6


def test_one_bad_record_costs_one_record(api) -> None:
    events = [api.event(time="noon") if n % 100 == 7 else api.event() for n in range(2000)]
    answer = api.send(events, ndjson=True, zipped=True)
    said = answer.json()
    assert [record["index"] for record in said["failed_records"]] == list(range(7, 2000, 100))
    assert said["num_records_imported"] == 1980
    (row,) = api.emulator.requests()
    assert (row["events"], row["accepted"], row["failed"]) == (2000, 1980, 20)


_strings = st.text('ab"\\[{é\n', max_size=4) | st.sampled_from(
    [letter * length for letter in ("x", "é") for length in (127, 128, 255, 256, 600)]
)
_values = st.recursive(
    _strings | st.integers(0, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_strings, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.tuples(_strings, st.dictionaries(_strings, _values, max_size=4)), max_size=4))
@settings(deadline=None)
def test_a_glance_at_the_json_finds_what_a_look_at_each_value_does(events) -> None:
    ids = {"time": 1_700_000_000, "distinct_id": "u", "$insert_id": "i"}
    batch = [{"event": name or "A", "properties": {**ids, **more}} for name, more in events]
    texts = [orjson.dumps(event) for event in batch]
    for event, text, plain in zip(batch, texts, rules.plain(texts), strict=True):
        looked = rules.check(event, len(text), RULES)
        assert rules.check(event, len(text), RULES, plain=plain) == looked


def test_most_events_need_no_look_at_each_value() -> None:
    texts = [b'{"event":"A","properties":{"a":"' + b"x" * 255 + b'","b":1}}'] * 2
    assert rules.plain(texts) == [True, True]
    assert rules.plain([*texts, b'{"event":"A","properties":{"a":[1]}}']) == [True, True, False]


def test_many_properties_are_seen_in_plain_events() -> None:
    ids = {"time": 1_700_000_000, "distinct_id": "u", "$insert_id": "i"}
    event = {"event": "A", "properties": {**ids, **{f"p{n}": n for n in range(252)}}}
    assert rules.plain([orjson.dumps(event)]) == [True]
    assert isinstance(rules.check(event, 5000, RULES, plain=True), rules.Problem)
