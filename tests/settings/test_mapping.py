"""EventMapping: one thing from Python and YAML, and wrong ones refused with a helpful sentence."""

import itertools
import pathlib
import pickle
import random
from typing import Any

import pytest
import yaml

from mixpanel_sink import (
    Column,
    Constant,
    ContentId,
    EventMapping,
    GroupMapping,
    PositionId,
    TimeColumn,
)
from mixpanel_sink.errors import MappingError
from mixpanel_sink.settings.shape import Sample, Shape, Split
from mixpanel_sink.settings.yaml import load_yaml

BASE: dict[str, Any] = {"event": "e", "time": "t", "distinct_id": "u"}
FULL = """
event: {constant: Flight}
time: {column: t, unit: ms, timezone: Europe/Berlin}
distinct_id: {column: u, if_null: nobody}
device_id: d
user_id: w
insert_id: [a, b]
ip: {column: i}
properties: [p, q, r]
rename: {p: P}
constants: {source: test, list: [1, 2]}
include_mapped: true
drop_nulls: false
non_finite: drop
"""


def _refused(*words: str, **settings: Any) -> None:
    """From Python and from a dict alike."""
    for make in (EventMapping, lambda **given: EventMapping.from_dict(given)):
        with pytest.raises(MappingError) as caught:
            make(**{**BASE, **settings})
        for word in words:
            assert word in str(caught.value)


def test_yaml_and_python_give_the_same() -> None:
    mapping = EventMapping(
        event=Constant("Flight"),
        time=TimeColumn("t", "ms", "Europe/Berlin"),
        distinct_id=Column("u", if_null="nobody"),
        device_id="d",
        user_id="w",
        insert_id=("a", "b"),
        ip="i",
        properties=["p", "q", "r"],
        rename={"p": "P"},
        constants={"source": "test", "list": [1, 2]},
        include_mapped=True,
        drop_nulls=False,
        non_finite="drop",
    )
    assert EventMapping.from_yaml(FULL) == mapping
    assert pickle.loads(pickle.dumps(mapping)) == mapping


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("insert_id: {from: content}", {"insert_id": ContentId()}),
        ("insert_id: {from: position}", {"insert_id": PositionId()}),
        ("insert_id: a", {"insert_id": "a"}),
        ("insert_id: {column: a}", {"insert_id": ["a"]}),
        ("insert_id: {columns: [a, b]}", {"insert_id": ["a", "b"]}),
        ("ip: null", {"ip": None}),
        ("ip: {constant: 1.2.3.4}", {"ip": Constant("1.2.3.4")}),
        ("properties: all", {}),
        ("exclude: [x]", {"exclude": ("x",)}),
        ('exclude: ["no", "1"]', {"exclude": ["no", "1"]}),
    ],
)
def test_forms_of_yaml(text: str, settings: Any) -> None:
    read = EventMapping.from_yaml(f"event: e\ntime: t\ndistinct_id: u\n{text}")
    assert read == EventMapping(**{**BASE, **settings})
    assert read == EventMapping(**{**BASE, **load_yaml(text)})


def test_dicts_mean_in_python_what_they_mean_in_yaml() -> None:
    mapping = EventMapping(
        event={"constant": "Visit"},
        time={"column": "at", "unit": "ms", "time_zone": "Europe/Berlin"},
        distinct_id={"column": "user", "if_null": ""},
    )
    assert mapping == EventMapping(
        event=Constant("Visit"),
        time=TimeColumn("at", "ms", "Europe/Berlin"),
        distinct_id=Column("user", ""),
    )
    group = GroupMapping(group_key={"constant": "company"}, group_id="id", time={"column": "at"})
    assert group == GroupMapping(group_key=Constant("company"), group_id="id", time="at")
    with pytest.raises(MappingError, match=r"unknown setting 'units'\. Did you mean 'unit'"):
        EventMapping(event="e", distinct_id="u", time={"column": "at", "units": "ms"})


def test_example_configs_are_mappings() -> None:
    for path in (pathlib.Path(__file__).parents[2] / "configs").glob("flights.yaml"):
        EventMapping.from_yaml(path.read_text())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("event: e\ntime: t\n  distinct_id: u", ["not valid YAML", "line 3"]),
        ("event: [e", ["not valid YAML"]),
        ("event: !!python/object/apply:os.getcwd []\ntime: t", ["not valid YAML", "line 1"]),
        ("event: e\ntime: t\nevent: f", ["'event' twice", "line 3"]),
        ("rename: {a: b, a: c}\nevent: e\ntime: t", ["'a' twice"]),
        ("", ["keys and values"]),
        ("- event", ["keys and values"]),
        ("evnt: e\ntime: t", ["'evnt'", "Did you mean 'event'"]),
        ("distinct-id: e\ntime: t", ["Did you mean 'distinct_id'"]),
        ("event: e\ndistinct_id: u", ["'time'", "give it a column"]),
        ("time: t\ndistinct_id: u", ["'event'", "give it a column"]),
        ("event: e\ntime: {column: t, unti: s}\ndistinct_id: u", ["'unti'", "'unit'"]),
        ("event: e\ntime: {constant: t}\ndistinct_id: u", ["time", "{column: ...}"]),
        ("event: {name: e}\ntime: t\ndistinct_id: u", ["event", "{constant: ...}"]),
        ("event: {constant: 5}\ntime: t\ndistinct_id: u", ["event", "5", "quote it"]),
        ("event: e\ntime: t\ndistinct_id: {column: u, if_null: 5}", ["if_null", "quote it"]),
        ("event: e\ntime: t\ndistinct_id: u\nexclude: [no]", ["False", "quote it"]),
        ("event: e\ntime: t\ndistinct_id: u\ninsert_id: {from: row}", ["{from: position}"]),
        ("event: e\ntime: t\ndistinct_id: u\nproperties: {column: a}", ["list of columns"]),
    ],
)
def test_bad_yaml(text: str, words: list[str]) -> None:
    with pytest.raises(MappingError) as caught:
        EventMapping.from_yaml(text)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"distinct_id": None}, ["no user", "distinct_id"]),
        ({"event": Constant("")}, ["empty"]),
        ({"event": Constant("x" * 256)}, ["255 bytes", "cut"]),
        ({"event": Constant("\ud800")}, ["Unicode"]),
        ({"event": Column("e", "")}, ["empty"]),
        ({"distinct_id": Constant("Anonymous")}, ["'Anonymous'", "refuses"]),
        ({"distinct_id": Column("u", "unknown")}, ["'unknown'", "refuses"]),
        ({"event": 5}, ["event", "5"]),
        ({"event": ""}, ["''", "text"]),
        ({"device_id": Constant("d")}, ["device_id"]),
        ({"insert_id": []}, ["insert_id", "empty list"]),
        ({"insert_id": ["a", "a"]}, ["insert_id", "'a' twice"]),
        ({"insert_id": 5}, ["insert_id", "5"]),
        ({"insert_id": [5]}, ["5", "text"]),
        ({"properties": "p"}, ["list of columns"]),
        ({"properties": 5}, ["list of columns"]),
        ({"properties": ["p", "p"]}, ["properties", "'p' twice"]),
        ({"properties": [["p"]]}, ["['p']", "text"]),
        ({"exclude": "password"}, ["list of columns"]),
        ({"exclude": None}, ["list of columns"]),
        ({"exclude": [5]}, ["5", "text"]),
        ({"exclude": ["\ud800"]}, ["Unicode"]),
        ({"properties": ["p"], "exclude": ["p"]}, ["'p'", "properties and exclude"]),
        ({"rename": ["p"]}, ["rename"]),
        ({"rename": {"p": 5}}, ["5", "text"]),
        ({"rename": {"p": "time"}}, ["'p'", "'time'", "writes itself"]),
        ({"rename": {"p": "x", "q": "x"}}, ["'p'", "'q'", "'x'"]),
        ({"rename": {"p": "x"}, "constants": {"x": 1}}, ["'p'", "constants"]),
        ({"rename": {"p": "x"}, "exclude": ["p"]}, ["'p'", "not become a property"]),
        ({"rename": {"p": "x"}, "properties": ["q"]}, ["'p'", "not become a property"]),
        ({"rename": {"u": "user"}}, ["'u'", "include_mapped"]),
        ({"constants": ["a"]}, ["constants"]),
        ({"constants": {5: "a"}}, ["5", "text"]),
        ({"constants": {"token": "a"}}, ["'token'", "writes itself"]),
        ({"constants": {"a": float("nan")}}, ["a is nan"]),
        ({"constants": {"a": "\ud800"}}, ["'a'"]),
        ({"constants": {"a": {"b": {"c": {}}}}}, ["nests deeper"]),
        ({"constants": {"a": 2**64}}, ["64 bits"]),
        ({"include_mapped": "yes"}, ["include_mapped", "'yes'"]),
        ({"non_finite": "null"}, ["non_finite", '"fail" or "drop"']),
    ],
)
def test_contradictions_and_wrong_types(settings: Any, words: list[str]) -> None:
    _refused(*words, **settings)


@pytest.mark.parametrize("zone", ["Europe/Berln", "", "../../etc/passwd", 5, "\0"])
def test_bad_time_zone(zone: Any) -> None:
    with pytest.raises(MappingError, match=r"time zone .* unknown.*Europe/Berlin"):
        TimeColumn("t", timezone=zone)


@pytest.mark.parametrize("unit", ["seconds", "", 5, ["s"]])
def test_bad_unit(unit: Any) -> None:
    with pytest.raises(MappingError, match="s, ms, us, ns, iso8601"):
        TimeColumn("t", unit)


# Against the input's columns


@pytest.mark.parametrize(
    ("settings", "part", "name", "near"),
    [
        ({"distinct_id": "orign"}, "distinct_id", "orign", "origin"),
        ({"time": "dates"}, "time", "dates", "date"),
        ({"insert_id": ["origin", "kee"]}, "insert_id", "kee", "key"),
        ({"properties": ["origin", "kez"]}, "properties", "kez", "key"),
        ({"rename": {"Key": "k"}}, "rename", "Key", "key"),
        ({"exclude": ["keys"]}, "exclude", "keys", "key"),
    ],
)
def test_unknown_column(settings: Any, part: str, name: str, near: str) -> None:
    good = {"event": Constant("E"), "time": "date", "distinct_id": "origin"}
    with pytest.raises(MappingError) as caught:
        EventMapping(**{**good, **settings}).check_columns(["origin", "date", "key"])
    for word in (part, repr(name), f"Did you mean {near!r}", "'origin', 'date', 'key'"):
        assert word in str(caught.value)


def test_check_columns_takes_what_fits_and_refuses_twins_and_crowds() -> None:
    mapping = EventMapping(**BASE)
    mapping.check_columns(["e", "t", "u", "p"])
    with pytest.raises(MappingError, match="two columns named 'p'"):
        mapping.check_columns(["e", "t", "u", "p", "p"])
    with pytest.raises(MappingError, match=r"'time'.*writes itself"):
        mapping.check_columns(["e", "t", "u", "time"])
    crowd = ["e", "t", "u", *map(str, range(300))]
    mapping.check_columns(crowd)  # nulls may thin it out
    with pytest.raises(MappingError, match="300 properties"):
        EventMapping(**BASE, drop_nulls=False).check_columns(crowd)


ROUND_TRIPS = [
    FULL,
    "event: e\ntime: t\ndistinct_id: u",
    "event: e\ntime: t\ndevice_id: d\ninsert_id: {from: content}\nip: null\nexclude: [a]",
    "event: e\ntime: {column: t, unit: s}\nuser_id: {column: u, if_null: nobody}\ninsert_id: k",
    "event: e\ntime: {column: t, format: ['%d.%m.%Y', '%F']}\ndistinct_id: u",
    "event: e\ntime: t\ndistinct_id: {constant: me}\ninsert_id: {from: position}",
]


@pytest.mark.parametrize("text", ROUND_TRIPS)
def test_to_dict_is_the_inverse_of_from_dict(text: str) -> None:
    mapping = EventMapping.from_yaml(text)
    settings = mapping.to_dict()
    assert EventMapping.from_dict(settings) == mapping
    assert settings.keys() == yaml.safe_load(text).keys()
    assert EventMapping.from_yaml(yaml.safe_dump(settings)) == mapping


def test_columns_to_read() -> None:
    assert EventMapping(**BASE).columns() is None
    mapping = EventMapping(**BASE, ip="i", insert_id=["u", "k"], properties=["p", "e"])
    assert mapping.columns() == ["e", "u", "i", "t", "k", "p"]


def test_plan_does_not_depend_on_the_order_of_the_input() -> None:
    mapping = EventMapping(**BASE, rename={"a": "z"})
    columns = ["e", "t", "u", "a", "b", "B", "é"]
    plans = {mapping.plan(tuple(random.sample(columns, len(columns)))) for _ in range(20)}
    assert plans == {(("B", "B"), ("b", "b"), ("z", "a"), ("é", "é"))}


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{LAUGHS}event: *i\ndistinct_id: u\ntime: t", "over 100,000 values"),
        ("event: &e [*e]\ndistinct_id: u\ntime: t", "over 100,000 values"),
        ("event: &e {constant: *e}\ndistinct_id: u\ntime: t", "over 100,000 values"),
        ("event: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("event: " + "{a: " * 5000 + "}" * 5000, "nested too deeply"),
        ("event: !!python/name:os.system\ntime: t", "not valid YAML"),
        ("event: !!python/object/new:os.system [true]\ntime: t", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("", "must be|is empty|mapping"),
    ],
)
def test_yaml_is_bounded_and_runs_no_code(text: str, said: str) -> None:
    with pytest.raises(MappingError, match=said) as caught:
        EventMapping.from_yaml(text)
    assert len(str(caught.value)) < 1000


def test_a_few_aliases_are_welcome() -> None:
    text = "event: e\ndistinct_id: &id user\ntime: t\ninsert_id: [*id, t]\n"
    plain = text.replace("&id ", "").replace("*id", "user")
    assert EventMapping.from_yaml(text) == EventMapping.from_yaml(plain)


class TestShape:
    YAML = """
event: event_name
time: {column: at, unit: ms}
distinct_id: user
shape:
  flatten: {params: p_}
  split: {name: {by: " ", into: [first, last]}}
  where: amount > 0
  sample: {column: user, percent: 10}
"""

    def test_the_same_in_python_and_yaml(self) -> None:
        shape = Shape(
            flatten={"params": "p_"},
            split={"name": Split(" ", ["first", "last"])},
            where="amount > 0",
            sample=Sample("user", 10),
        )
        time = TimeColumn("at", "ms")
        given = EventMapping("event_name", time, distinct_id="user", shape=shape)
        assert EventMapping.from_yaml(self.YAML) == given
        assert EventMapping.from_dict(given.to_dict()) == given

    def test_columns_are_checked_after_it(self) -> None:
        shape = {"split": {"name": {"by": " ", "into": ["first"]}}}
        mapping = EventMapping("event", "at", distinct_id="first", shape=shape)
        mapping.check_columns(["event", "at", "name"])
        with pytest.raises(MappingError, match="'first', which the input does not have"):
            mapping.check_columns(["event", "at", "title"])

    def test_what_only_the_data_tell_is_not_refused(self) -> None:
        mapping = EventMapping("event", "at", distinct_id="user", shape={"json": "payload"})
        mapping.check_columns(["payload"])
        with pytest.raises(MappingError, match="Did you mean 'payloads'"):
            mapping.check_columns(["payloads", "event", "at", "user"])

    def test_a_reader_fetches_what_it_needs(self) -> None:
        mapping = EventMapping("e", "t", distinct_id="u", properties=["p"], shape={"json": "p"})
        assert mapping.columns() is None
