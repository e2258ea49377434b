"""Updates of profiles: records by a mapping, and raw updates, to their JSON."""

from __future__ import annotations

import decimal
import functools
import json
import math
from typing import Any

import numpy as np
import orjson
import pytest

from mixpanel_sink.api.endpoints import ENGAGE, GROUPS, Endpoint
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.encode.operations import OPERATIONS, check_operation
from mixpanel_sink.encode.profile_updates import MappedUpdateEncoder, RawUpdateEncoder
from mixpanel_sink.errors import RecordError
from mixpanel_sink.settings.columns import Column, Constant, TimeColumn
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping, UpdateMapping

TOKEN = "t0ken"
NOW = 1_750_000_000_000


def encode(mapping: UpdateMapping, **record: Any) -> dict[str, Any]:
    encoder = MappedUpdateEncoder(mapping, mapping.endpoint, Limits(), TOKEN, lambda: NOW)
    text = encoder.encode({"u": "u1", **record}).json
    update: dict[str, Any] = json.loads(text)
    assert orjson.dumps(update) == text
    assert list(update)[-1] == "$token"
    assert update.pop("$token") == TOKEN
    return update


def check(update: Any, endpoint: Endpoint = ENGAGE, **limits: Any) -> dict[str, Any]:
    text = RawUpdateEncoder(endpoint, Limits(**limits), TOKEN).encode(update).json
    checked: dict[str, Any] = json.loads(text)
    assert checked.pop("$token") == TOKEN
    return checked


def refused(make: Any) -> RecordError:
    with pytest.raises(RecordError) as caught:
        make()
    assert caught.value.message.endswith((".", "?"))
    return caught.value


HEAD = {"$distinct_id": "u1", "$ip": "0"}
U = {"$distinct_id": "u1"}
P = functools.partial(ProfileMapping, distinct_id="u")
G = GroupMapping(group_key="k", group_id="u")
WRONG, UNKNOWN, TWICE = "operation_wrong_value", "operation_unknown", "duplicate_property"


class TestByMapping:
    def test_all_columns_are_set_where_nothing_else_is_said(self) -> None:
        update = encode(ProfileMapping(distinct_id="u"), plan="pro", city=None, n=1)
        assert update == {**HEAD, "$set": {"n": 1, "plan": "pro"}}

    def test_every_operation_in_one_update(self) -> None:
        mapping = ProfileMapping(
            distinct_id="u",
            set=["plan"],
            set_once=["since"],
            add=["n", "spent"],
            append=["bought"],
            union=["tags", "tag"],
            remove=["left"],
            unset=["gone", "also"],
            rename={"plan": "Plan", "tag": "tags2"},
            constants={"source": "warehouse"},
        )
        update = encode(
            mapping,
            plan="pro", since="2024-01-15", n=1, spent=decimal.Decimal("29.99"),
            bought={"b": 1, "a": [2]}, tags=["a", "b"], tag="c", left="x", gone="old",
            also=["older", "oldest"], unused=1,
        )  # fmt: skip
        assert update == {
            **HEAD,
            "$set": {"source": "warehouse", "Plan": "pro"},
            "$set_once": {"since": "2024-01-15"},
            "$add": {"n": 1, "spent": 29.99},
            "$append": {"bought": {"a": [2], "b": 1}},
            "$union": {"tags": ["a", "b"], "tags2": ["c"]},
            "$remove": {"left": "x"},
            "$unset": ["older", "oldest", "old"],
        }

    def test_all_is_what_nothing_else_uses(self) -> None:
        mapping = ProfileMapping(
            distinct_id="u", set="all", add=["n"], exclude=["secret"], ip="addr", time="at"
        )
        at = np.datetime64("2025-01-01", "s").item()
        update = encode(mapping, n=2, plan="p", secret=1, addr="1.2.3.4", at=at)
        assert update == {
            "$distinct_id": "u1", "$ip": "1.2.3.4", "$time": 1_735_689_600_000,
            "$add": {"n": 2}, "$set": {"plan": "p"},
        }  # fmt: skip

    @pytest.mark.parametrize("value", [None, "", "0"])
    def test_without_an_address_nobody_is_placed(self, value: Any) -> None:
        assert encode(ProfileMapping(distinct_id="u", ip="a", set=["p"]), a=value, p=1)["$ip"] == (
            "0"
        )

    def test_about_the_update(self) -> None:
        mapping = ProfileMapping(distinct_id="u", ip=None, ignore_time=True)
        assert encode(mapping, p=1) == {
            "$distinct_id": "u1", "$ignore_time": True, "$set": {"p": 1}
        }  # fmt: skip

    def test_delete_stands_alone(self) -> None:
        mapping = ProfileMapping(distinct_id="u", set=["p"], delete="gone", constants={"a": 1})
        assert encode(mapping, p=1, gone=True) == {**HEAD, "$delete": ""}
        assert encode(mapping, p=1, gone=np.bool_(True)) == {**HEAD, "$delete": ""}
        for value in (False, None):
            assert encode(mapping, p=1, gone=value) == {**HEAD, "$set": {"a": 1, "p": 1}}

    def test_nulls(self) -> None:
        mapping = ProfileMapping(
            distinct_id="u", set=["p"], set_once=["o"], add=["n"], append=["l"], drop_nulls=False
        )
        assert encode(mapping, p=None, o=None, n=None, l=None) == {
            **HEAD, "$set": {"p": None}, "$set_once": {"o": None}
        }  # fmt: skip

    @pytest.mark.parametrize(
        "value", [math.nan, math.inf, np.float32("nan"), decimal.Decimal("NaN")]
    )
    def test_what_json_does_not_hold(self, value: Any) -> None:
        mapping = ProfileMapping(distinct_id="u", set=["p"], add=["n"])
        error = refused(lambda: encode(mapping, p=value, n=1))
        assert (error.reason, error.field) == ("non_finite_number", "p")
        dropping = ProfileMapping(distinct_id="u", set=["p"], add=["n"], non_finite="drop")
        assert encode(dropping, p=value, n=1) == {**HEAD, "$add": {"n": 1}}
        assert encode(dropping, p=1, n=value) == {**HEAD, "$set": {"p": 1}}

    @pytest.mark.parametrize("operation", ["set", "set_once", "add", "append", "union", "remove"])
    def test_decimals_that_a_float_rounds(self, operation: str) -> None:
        mapping: Any = ProfileMapping(distinct_id="u", **{operation: ["p"]})
        exact = decimal.Decimal("0.1234567890123456789012")
        made = encode(mapping, p=exact)[f"${operation}"]["p"]
        assert made == ([0.12345678901234568] if operation == "union" else 0.12345678901234568)
        encoder = MappedUpdateEncoder(mapping, ENGAGE, Limits(), "t")
        assert encoder.encode({"u": "u1", "p": exact}).rounded_decimals == 1
        if operation != "add":
            made = encode(mapping, p=[exact, {"a": exact}])[f"${operation}"]["p"]
            assert made == [0.12345678901234568, {"a": 0.12345678901234568}]

    def test_groups(self) -> None:
        mapping = GroupMapping(group_key=Constant("company"), group_id="u", set=["plan"])
        assert encode(mapping, plan="pro") == {
            "$group_key": "company", "$group_id": "u1", "$ip": "0", "$set": {"plan": "pro"}
        }  # fmt: skip
        numbers = GroupMapping(group_key="k", group_id="g")
        assert encode(numbers, k="team", g=12, p=1)["$group_id"] == "12"

    def test_an_identity_that_is_null(self) -> None:
        stands_in = ProfileMapping(distinct_id=Column("u", if_null="nobody"))
        assert encode(stands_in, u=None, p=1)["$distinct_id"] == "nobody"
        error = refused(lambda: encode(ProfileMapping(distinct_id="u"), u=None, p=1))
        assert (error.reason, error.field) == ("distinct_id_null", "u")

    @pytest.mark.parametrize(
        ("mapping", "record", "reason", "field"),
        [
            (P(add=["n"]), {"n": "1"}, WRONG, "n"),
            (P(add=["n"]), {"n": True}, WRONG, "n"),
            (P(add=["n"]), {"n": [1]}, WRONG, "n"),
            (P(unset=["x"]), {"x": 5}, WRONG, "$unset"),
            (P(unset=["x"]), {"x": ["a", 5]}, WRONG, "$unset"),
            (P(unset=["x"]), {"x": []}, "update_empty", None),
            (P(delete="x"), {"x": "yes"}, WRONG, "x"),
            (P(delete="x"), {"x": False}, "update_empty", None),
            (P(delete="x"), {}, "missing_column", "x"),
            (P(), {"p": None}, "update_empty", None),
            (P(), {}, "update_empty", None),
            (P(), {"u": "", "p": 1}, "distinct_id_null", "$distinct_id"),
            (P(), {"u": "null", "p": 1}, "distinct_id_reserved", "$distinct_id"),
            (P(), {"u": 1.5, "p": 1}, "distinct_id_wrong_type", "$distinct_id"),
            (P(set=["p"]), {}, "missing_column", "p"),
            (ProfileMapping(distinct_id="v", set=["p"]), {"p": 1}, "missing_column", "v"),
            (P(ip="a"), {"a": 5, "p": 1}, "ip_wrong_type", "$ip"),
            (P(time="t"), {"t": None, "p": 1}, "time_null", "t"),
            (P(time="t"), {"t": 5, "p": 1}, "time_without_unit", "t"),
            (
                P(time=TimeColumn("t", "s")),
                {"t": 5, "p": 1}, "time_out_of_range", "t",
            ),
            (P(rename={"a": "b"}), {"a": 1, "b": 2}, TWICE, None),
            (P(constants={"b": 1}, set="all"), {"b": 2}, TWICE, None),
            (P(), {"p": "x" * 3_000_000}, "event_too_large", "$set"),
            (P(), {"p": "\ud800"}, "invalid_text", None),
            (P(), {"p": object()}, "unsupported_type", "p"),
            (G, {"k": "", "p": 1}, "group_key_wrong_type", "$group_key"),
            (G, {"k": "c", "u": 1.5, "p": 1}, "group_id_wrong_type", "$group_id"),
            (G, {"k": None, "p": 1}, "group_key_null", "k"),
        ],
    )  # fmt: skip
    def test_one_bad_record(
        self, mapping: UpdateMapping, record: dict[str, Any], reason: str, field: str | None
    ) -> None:
        error = refused(lambda: encode(mapping, **record))
        assert error.reason == reason
        if field is not None:
            assert error.field == field

    def test_a_key_that_is_no_text(self) -> None:
        encoder = MappedUpdateEncoder(ProfileMapping(distinct_id="u"), ENGAGE, Limits(), TOKEN)
        assert refused(lambda: encoder.encode({"u": "u1", 5: 1})).reason == "bad_key"

    def test_long_strings_are_counted(self) -> None:
        encoder = MappedUpdateEncoder(ProfileMapping(distinct_id="u"), ENGAGE, Limits(), TOKEN)
        assert encoder.encode({"u": "u1", "p": "x" * 256, "q": "x"}).long_strings == 1


LONG = list(range(300))


class TestLists:
    """Mixpanel refuses an update with an empty union, or with nulls in one."""

    @pytest.mark.parametrize("value", [[], [None], [None, math.nan], None])
    def test_a_union_that_adds_nothing_is_left_out(self, value: Any) -> None:
        mapping = P(set=["p"], union=["tags"], non_finite="drop")
        assert encode(mapping, p=1, tags=value) == {**HEAD, "$set": {"p": 1}}
        alone = refused(lambda: encode(P(union=["tags"], non_finite="drop"), tags=value))
        assert alone.reason == "update_empty"

    def test_nulls_in_a_union_are_left_out(self) -> None:
        assert encode(P(union=["tags"]), tags=["a", None])["$union"] == {"tags": ["a"]}
        assert check({**U, "$union": {"t": [None, "a"]}})["$union"] == {"t": ["a"]}

    def test_of_raw_updates_too(self) -> None:
        assert check({**U, "$union": {"a": [], "b": [1]}}) == {**U, "$union": {"b": [1]}}
        assert check({**U, "$union": {"a": []}, "$set": {"p": 1}}) == {**U, "$set": {"p": 1}}
        assert check({**U, "$unset": [], "$set": {"p": 1}}) == {**U, "$set": {"p": 1}}
        for nothing in ({"$union": {"a": []}}, {"$union": {}}, {"$unset": []}):
            assert refused(lambda update=nothing: check({**U, **update})).reason == (  # type: ignore[misc]
                "update_empty"
            )

    @pytest.mark.parametrize("value", [LONG, tuple(LONG)])
    def test_a_profiles_list_may_be_longer_than_an_events(self, value: Any) -> None:
        assert encode(P(), p=value)["$set"] == {"p": LONG}
        assert encode(P(union=["p"]), p=value)["$union"] == {"p": LONG}
        assert check({**U, "$append": {"p": value}})["$append"] == {"p": LONG}

    def test_but_not_larger_than_256_kb(self) -> None:
        error = refused(lambda: encode(P(), p=["x" * 1000] * 260))
        assert (error.reason, error.field) == ("list_too_long", "p")


class TestSizes:
    def test_2000_properties(self) -> None:
        names = {f"p{n}": n for n in range(2000)}
        assert check({**U, "$set": names})["$set"] == names
        for more in ({"$set": {**names, "p": 1}}, {"$set": names, "$unset": ["q"]}):
            error = refused(lambda update=more: check({**U, **update}))  # type: ignore[misc]
            assert error.reason == "too_many_properties"

    def test_one_megabyte(self) -> None:
        assert check({**U, "$set": {"p": "x" * 900_000}})
        error = refused(lambda: check({**U, "$set": {"p": "x" * 1_000_000}}))
        assert (error.reason, error.field) == ("event_too_large", "$set")


class TestRaw:
    @pytest.mark.parametrize(
        "update",
        [
            {"$distinct_id": "u1", "$set": {"plan": "pro", "n": None}},
            {"$distinct_id": "u1", "$set_once": {"since": "2024"}},
            {"$distinct_id": "u1", "$add": {"n": -1.5}},
            {"$distinct_id": "u1", "$append": {"l": {"a": 1}}},
            {"$distinct_id": "u1", "$union": {"l": [1, 2]}},
            {"$distinct_id": "u1", "$remove": {"l": "x"}},
            {"$distinct_id": "u1", "$unset": ["a", "b"]},
            {"$distinct_id": "u1", "$delete": ""},
            {"$distinct_id": "u1", "$latitude": -33.9, "$longitude": 151, "$set": {"a": 1}},
            {
                "$distinct_id": "u1", "$ip": "1.2.3.4", "$time": 1_700_000_000,
                "$ignore_time": True, "$ignore_alias": False,
                "$set": {"a": 1}, "$add": {"n": 1},
            },
        ],
    )  # fmt: skip
    def test_they_stay_as_they_are(self, update: dict[str, Any]) -> None:
        assert check(update) == update

    def test_another_token_is_replaced(self) -> None:
        assert check({"$token": "another", "$distinct_id": "u1", "$set": {}})["$set"] == {}

    def test_nulls_of_a_tables_row_say_nothing(self) -> None:
        row = {"$distinct_id": "u1", "$set": {"a": 1}, "$add": None, "$delete": None, "$ip": None}
        assert check(row) == {"$distinct_id": "u1", "$set": {"a": 1}}

    @pytest.mark.parametrize("value", [True, "", "null"])
    def test_ways_to_delete(self, value: Any) -> None:
        assert check({"$distinct_id": "u1", "$delete": value})["$delete"] == ""

    def test_no_address(self) -> None:
        assert check({"$distinct_id": "u1", "$ip": 0, "$set": {}})["$ip"] == "0"

    @pytest.mark.parametrize(
        ("update", "endpoint", "reason", "field"),
        [
            ({**U}, ENGAGE, "operation_missing", None),
            ({**U, "$set": None}, ENGAGE, "operation_missing", None),
            ({"$set": {"a": 1}}, ENGAGE, "not_an_update", "$distinct_id"),
            ({"event": "E", "properties": {}}, ENGAGE, UNKNOWN, "event"),
            ({"$distinct_id": "", "$set": {}}, ENGAGE, "distinct_id_null", "$distinct_id"),
            ({**U, "$latitude": "1", "$set": {}}, ENGAGE, WRONG, "$latitude"),
            ({**U, "$latitude": 91, "$set": {}}, ENGAGE, WRONG, "$latitude"),
            ({**U, "$longitude": True, "$set": {}}, ENGAGE, WRONG, "$longitude"),
            ({"$ip": "1", "$set": {}}, ENGAGE, "distinct_id_null", "$distinct_id"),
            ({"$distinct_id": "", "$set": {}, "$sett": {}}, ENGAGE, UNKNOWN, "$sett"),
            ({**U, "$group_id": "x", "$set": {}}, ENGAGE, UNKNOWN, "$group_id"),
            ({**U, "$delete": "", "$set": {}}, ENGAGE, WRONG, "$delete"),
            ({**U, "$delete": False}, ENGAGE, WRONG, "$delete"),
            ({**U, "$delete": 0}, ENGAGE, WRONG, "$delete"),
            ({**U, "$set": ["a"]}, ENGAGE, WRONG, "$set"),
            ({**U, "$add": {"n": "1"}}, ENGAGE, WRONG, "n"),
            ({**U, "$union": {"n": "1"}}, ENGAGE, WRONG, "n"),
            ({**U, "$unset": "a"}, ENGAGE, WRONG, "$unset"),
            ({**U, "$unset": {"a": 1}}, ENGAGE, WRONG, "$unset"),
            ({**U, "$time": "now", "$set": {}}, ENGAGE, "time_wrong_type", "$time"),
            ({**U, "$time": math.nan, "$set": {}}, ENGAGE, "time_wrong_type", "$time"),
            ({**U, "$ignore_time": 1, "$set": {}}, ENGAGE, WRONG, "$ignore_time"),
            ({**U, "$ip": 5, "$set": {}}, ENGAGE, "ip_wrong_type", "$ip"),
            ({**U, "$set": {5: 1}}, ENGAGE, "bad_key", None),
            ({"$group_key": "c", "$group_id": "a", "$add": {"n": 1}}, GROUPS, UNKNOWN, "$add"),
            ({"$group_key": "c", "$set": {"n": 1}}, GROUPS, "group_id_null", "$group_id"),
            ({"$group_id": "c", "$set": {"n": 1}}, GROUPS, "group_key_null", "$group_key"),
        ],
    )  # fmt: skip
    def test_one_bad_update(
        self, update: dict[Any, Any], endpoint: Endpoint, reason: str, field: str | None
    ) -> None:
        error = refused(lambda: check(update, endpoint))
        assert error.reason == reason
        if field is not None:
            assert error.field == field

    def test_hints(self) -> None:
        assert "Did you mean $set?" in str(
            refused(lambda: check({"$distinct_id": "u", "$sett": {}}))
        )
        of_users = {"$group_key": "c", "$group_id": "a", "$append": {}}
        assert "user profiles only" in str(refused(lambda: check(of_users, GROUPS)))

    def test_a_limit(self) -> None:
        update = {"$distinct_id": "u", "$set": {"a": "x" * 500, "b": 1}}
        error = refused(lambda: check(update, event_bytes=300, batch_bytes=1000))
        assert (error.reason, error.field) == ("event_too_large", "$set")


def test_every_operation_of_the_page_is_there() -> None:
    page = ["$set", "$set_once", "$add", "$append", "$union", "$remove", "$unset", "$delete"]
    assert sorted(OPERATIONS["engage"]) == sorted(page)
    for operation in page:
        with pytest.raises(RecordError):
            check_operation(operation, 5)
