"""`ProfileMapping` and `GroupMapping`: the same in Python and YAML; contradictions are refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from mixpanel_sink.errors import MappingError
from mixpanel_sink.settings.columns import Column, Constant, TimeColumn
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping

YAML = """
distinct_id: {column: user, if_null: nobody}
set: [plan, mail]
set_once: [since]
add: [logins]
append: [bought]
union: [tags]
remove: [left]
unset: [gone]
delete: erased
rename: {mail: $email}
constants: {source: warehouse}
ip: address
time: {column: at, unit: ms, timezone: Europe/Berlin}
ignore_time: true
drop_nulls: false
non_finite: drop
"""


def test_yaml_is_the_same_as_python() -> None:
    mapping = ProfileMapping.from_yaml(YAML)
    assert mapping == ProfileMapping(
        distinct_id=Column("user", "nobody"), set=["plan", "mail"], set_once=["since"],
        add=["logins"], append=["bought"], union=["tags"], remove=["left"], unset=["gone"],
        delete="erased", rename={"mail": "$email"}, constants={"source": "warehouse"},
        ip="address", time=TimeColumn("at", "ms", "Europe/Berlin"), ignore_time=True,
        drop_nulls=False, non_finite="drop",
    )  # fmt: skip
    assert pickle.loads(pickle.dumps(mapping)) == mapping
    columns = [
        "user", "address", "at", "erased",
        "plan", "mail", "since", "logins", "bought", "tags", "left", "gone",
    ]  # fmt: skip
    assert sorted(mapping.columns() or []) == sorted(columns)
    mapping.check_columns(columns)


@pytest.mark.parametrize(
    "mapping",
    [
        ProfileMapping(distinct_id="u"),
        ProfileMapping(distinct_id=Column("u", if_null="x"), set=["a"], add=["n"], delete="gone"),
        ProfileMapping(distinct_id="u", set=[], constants={"a": 1}, ip=None, time="at"),
        GroupMapping(group_key=Constant("company"), group_id="id", unset=["x"], ignore_time=True),
    ],
)
def test_to_dict_is_the_inverse_of_from_dict(mapping: Any) -> None:
    assert type(mapping).from_dict(mapping.to_dict()) == mapping


def test_groups() -> None:
    text = "group_key: {constant: company}\ngroup_id: id\nset: all\nexclude: [secret]"
    mapping = GroupMapping.from_yaml(text)
    assert mapping.identity == (Constant("company"), Column("id"))
    assert mapping.columns() is None
    assert mapping.plan(["id", "plan", "secret"]) == (("$set", "plan", "plan"),)
    assert not hasattr(mapping, "add")


def test_what_is_set_where_nothing_is_said() -> None:
    assert ProfileMapping(distinct_id="u").set == "all"
    for other in ({"add": ["n"]}, {"delete": "gone"}, {"constants": {"a": 1}}):
        assert ProfileMapping(distinct_id="u", **other).set == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"set": "plan"}, r'set is .plan.; it is a list of columns or "all"'),
        ({"add": "n"}, "add is 'n'; it is a list of columns"),
        ({"add": ["n", "n"]}, "twice"),
        ({"add": [5]}, "not a name"),
        ({"set": ["n"], "add": ["n"]}, "in both .* and .*"),
        ({"set": ["a"], "append": ["b"], "rename": {"a": "b"}}, "in both"),
        ({"set": ["a"], "constants": {"a": 1}}, "in both constants and set"),
        ({"set": ["a"], "exclude": ["a"]}, "'a' is in both set and exclude"),
        ({"exclude": "a"}, "exclude is a list"),
        ({"rename": {"u": "id"}}, "rename names the column 'u', which does not become a property"),
        ({"set": ["a"], "rename": {"b": "c"}}, "rename names the column 'b'"),
        ({"unset": ["a"], "rename": {"a": "c"}}, "rename names the column 'a'"),
        ({"rename": ["a"]}, "names and what they become"),
        ({"constants": {"a": float("nan")}}, "cannot be sent"),
        ({"constants": {5: 1}}, "not a name"),
        ({"delete": Constant("x")}, "delete is"),
        ({"ip": 5}, "ip is 5"),
        ({"ip": Constant("")}, "quote it"),
        ({"ignore_time": "yes"}, "ignore_time is 'yes'"),
        ({"non_finite": "keep"}, "non_finite is"),
        ({"time": TimeColumn, "set": ["a"]}, "time is"),
        ({"distinct_id": Constant(5)}, "distinct_id's constant is 5"),
        ({"distinct_id": None}, "distinct_id is None"),
    ],
)
def test_contradictions(given: dict[str, Any], said: str) -> None:
    with pytest.raises(MappingError, match=said):
        ProfileMapping(**{"distinct_id": "u", **given})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("set: [a]", "does not say what 'distinct_id' is"),
        ("distinct_id: u\nsett: [a]", "'sett' is unknown. Did you mean 'set'"),
        ("distinct_id: u\nevent: x", "'event' is unknown"),
        ("distinct_id: u\nset: [a]\nset: [b]", "'set' twice"),
        ("- distinct_id", "A mapping is a list of keys"),
        ("distinct_id: {columm: u}", "distinct_id is a column's name or one of"),
        ("distinct_id: [", "not valid YAML at line"),
    ],
)
def test_wrong_yaml(text: str, said: str) -> None:
    with pytest.raises(MappingError, match=said):
        ProfileMapping.from_yaml(text)


def test_groups_do_not_add() -> None:
    with pytest.raises(MappingError, match="'add' is unknown"):
        GroupMapping.from_yaml("group_key: {constant: c}\ngroup_id: g\nadd: [n]")


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        (ProfileMapping(distinct_id="usr"), "names the column 'usr'.*Did you mean 'user'"),
        (ProfileMapping(distinct_id="user", add=["n"]), "add names the column 'n'"),
        (ProfileMapping(distinct_id="user", exclude=["n"]), "exclude names the column 'n'"),
        (ProfileMapping(distinct_id="user", rename={"n": "m"}), "rename names the column 'n'"),
        (ProfileMapping(distinct_id="user", rename={"a": "b"}), "both become the property 'b'"),
        (ProfileMapping(distinct_id="user", set="all", constants={"b": 1}), "both become"),
    ],
)  # fmt: skip
def test_columns_that_the_input_does_not_have(mapping: ProfileMapping, said: str) -> None:
    with pytest.raises(MappingError, match=said):
        mapping.check_columns(["user", "a", "b"])


def test_how_files_are_read() -> None:
    mapping = ProfileMapping.from_yaml("distinct_id: u\nset: all\nsource: {delimiter: ';'}\n")
    assert mapping.source == {"delimiter": ";"}
    with pytest.raises(MappingError, match="source is 'csv'"):
        ProfileMapping.from_yaml("distinct_id: u\nset: all\nsource: csv\n")
