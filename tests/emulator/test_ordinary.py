"""Requests that are taken by a look at whole columns: only what all the rules take as it is."""

import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink.emulator import ordinary, rules

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
    found = ordinary.columns(events, texts, wanted)
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
    found = ordinary.columns(events, [orjson.dumps(event) for event in events], wanted)
    assert found is not None
    assert found.times == [(NOW - n) * 1000 for n in range(5)]
