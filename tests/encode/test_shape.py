"""What a shape makes of a table, and of which rows it says that they do not fit."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest

from mixpanel_sink import Constant, EventMapping, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.encode.apart import Shaped
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.shape import shape_table
from mixpanel_sink.errors import MappingError
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.inspect.verify.held import Refused
from mixpanel_sink.inspect.verify.shaped import shaped as proof
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.shape import Sample, Shape
from mixpanel_sink.stages.local import convert_tables

UTC = datetime.timezone.utc


def shaped(table: pa.Table, **settings: Any) -> list[dict[str, Any]]:
    result = shape_table(table, Shape(**settings))
    assert not result.failed, result.failed
    return rows(result)


def rows(result: Shaped) -> list[dict[str, Any]]:
    if result.records is not None:
        return result.records
    return rows_as_records(result.table, range(len(result.table)))


class TestJson:
    def test_objects_become_columns(self) -> None:
        table = pa.table({"id": [1, 2], "payload": ['{"plan": "pro", "n": 1}', '{"n": 2}']})
        assert shaped(table, json=["payload"]) == [
            {"id": 1, "plan": "pro", "n": 1},
            {"id": 2, "plan": None, "n": 2},
        ]

    def test_values_of_several_types_and_nested_ones_stay_as_they_are(self) -> None:
        texts = ['{"v": 1, "o": {"a": [1]}}', '{"v": "x"}', '{"v": 1.5}', "{}", None]
        table = pa.table({"p": texts})
        found = shaped(table, json="p")
        assert [row["v"] for row in found] == [1, "x", 1.5, None, None]
        assert found[0]["o"] == {"a": [1]}

    def test_large_integers_keep_their_digits(self) -> None:
        assert shaped(pa.table({"p": ['{"n": 9007199254740993}']}), json="p") == [
            {"n": 9007199254740993}
        ]

    @pytest.mark.parametrize("text", ["[1]", "{", "7", "plain"])
    def test_another_text_fails_its_record_only(self, text: str) -> None:
        result = shape_table(pa.table({"p": ['{"a": 1}', text]}), Shape(json="p"))
        assert {row: error.reason for row, error in result.failed.items()} == {1: "shape_failed"}
        assert rows(result) == [{"a": 1}]
        assert result.rows.tolist() == [0]

    def test_a_key_that_is_a_column_already_fails_its_record(self) -> None:
        table = pa.table({"user": ["u1", None, "u3"], "p": ['{"user": "x"}', '{"user": 7}', "{}"]})
        result = shape_table(table, Shape(json="p"))
        assert {row: error.reason for row, error in result.failed.items()} == {0: "shape_failed"}
        assert rows(result) == [{"user": 7}, {"user": "u3"}]  # one that is null has no value
        assert shaped(table, json={"p": "p_"})[0] == {"user": "u1", "p_user": "x"}

    def test_a_mapped_key_is_null_where_an_object_lacks_it(self) -> None:
        table = pa.table({"p": ['{"user": 7}', '{"user": "seven"}', "{}"]})
        for part in (table, table[2:]):
            result = shape_table(part, Shape(json="p"), needed=["user"])
            assert [row["user"] for row in rows(result)] == [7, "seven", None][-len(part) :]


class TestFlatten:
    def test_structs(self) -> None:
        table = pa.table({"geo": [{"city": "Bonn", "zip": 53111}, None]})
        assert shaped(table, flatten={"geo": "geo_"}) == [
            {"geo_city": "Bonn", "geo_zip": 53111},
            {"geo_city": None, "geo_zip": None},
        ]

    def test_maps(self) -> None:
        kind = pa.map_(pa.string(), pa.int64())
        table = pa.table({"m": pa.array([[("a", 1)], [("b", 2)], None], kind)})
        assert shaped(table, flatten=["m"]) == [
            {"a": 1, "b": None},
            {"a": None, "b": 2},
            {"a": None, "b": None},
        ]

    def test_parameters_as_google_analytics_has_them(self) -> None:
        def value(**given: Any) -> dict[str, Any]:
            parts = ("string_value", "int_value", "float_value", "double_value")
            return {**dict.fromkeys(parts), "set_timestamp_micros": 5, **given}

        parameters = [
            [
                {"key": "page", "value": value(string_value="/home")},
                {"key": "ga_session_id", "value": value(int_value=171)},
            ],
            [{"key": "engaged", "value": value(double_value=0.5)}],
            [],
        ]
        assert shaped(pa.table({"event_params": parameters}), flatten="event_params") == [
            {"page": "/home", "ga_session_id": 171, "engaged": None},
            {"page": None, "ga_session_id": None, "engaged": 0.5},
            {"page": None, "ga_session_id": None, "engaged": None},
        ]

    def test_a_key_twice_fails_its_record(self) -> None:
        pairs = [[{"key": "a", "value": 1}, {"key": "a", "value": 2}], [{"key": "b", "value": 3}]]
        result = shape_table(pa.table({"p": pairs}), Shape(flatten="p"))
        assert {row: error.reason for row, error in result.failed.items()} == {0: "shape_failed"}

    def test_a_column_that_this_file_lacks_is_nothing_to_flatten(self) -> None:
        assert shaped(pa.table({"a": [1]}), flatten="event_params") == [{"a": 1}]


class TestSplit:
    def test_into_columns(self) -> None:
        table = pa.table({"name": ["Ada Lovelace", "Plato", None, "Jean Paul Sartre"]})
        found = shaped(table, split={"name": {"by": " ", "into": ["first", "last"]}})
        assert [(row["first"], row["last"]) for row in found] == [
            ("Ada", "Lovelace"),
            ("Plato", None),
            (None, None),
            ("Jean", "Paul Sartre"),
        ]

    def test_into_a_list(self) -> None:
        assert shaped(pa.table({"tags": ["a,b", "c", None]}), split={"tags": ","}) == [
            {"tags": ["a", "b"]},
            {"tags": ["c"]},
            {"tags": None},
        ]


class TestJoin:
    def test_columns_become_one_of_text(self) -> None:
        table = pa.table({"day": ["1 May", "2 May", None, None], "hour": [7, None, 8, None]})
        found = shaped(table, join={"at": ["day", "hour"]})
        assert [row["at"] for row in found] == ["1 May 7", "2 May", "8", None]
        assert found[0]["day"] == "1 May", "the columns stay"

    def test_one_of_that_name_is_replaced(self) -> None:
        table = pa.table({"last": ["Lovelace"], "first": ["Ada"]})
        how = {"columns": ["last", "first", "second"], "by": ", "}
        assert shaped(table, join={"first": how})[0]["first"] == "Lovelace, Ada"

    def test_without_any_of_the_columns_there_is_nothing_to_join(self) -> None:
        assert shaped(pa.table({"a": [1]}), join={"at": ["day", "hour"]}) == [{"a": 1}]

    def test_a_value_that_is_no_text_fails_its_record(self) -> None:
        table = pa.table({"a": ["x", "y"], "b": [float("nan"), 0.5]})
        result = shape_table(table, Shape(join={"c": ["a", "b"]}))
        assert {row: error.reason for row, error in result.failed.items()} == {0: "shape_failed"}
        assert result.failed[0].message.endswith("or take b out of join.")
        assert rows(result)[0]["c"] == "y 0.5"

    def test_the_mapping_may_name_what_it_makes(self) -> None:
        shape = Shape(join={"at": ["Date", "Time"]}, drop=["Date", "Time"])
        assert shape.names(["Date", "Time", "n"]) == ["n", "at"]
        with pytest.raises(MappingError, match=r"names 'Tine'.*Time"):
            Shape(join={"at": ["Date", "Tine"]}).names(["Date", "Time"])


class TestCast:
    @pytest.mark.parametrize(
        ("values", "kind", "want"),
        [
            (["1", " 2 ", None], "integer", [1, 2, None]),
            (["9007199254740993"], "integer", [9007199254740993]),
            ([1.0, 2.0], "integer", [1, 2]),
            ([decimal.Decimal("12")], "integer", [12]),
            (["1.5", "2"], "number", [1.5, 2.0]),
            ([1, 2], "number", [1.0, 2.0]),
            (["yes", "FALSE", "1", "n"], "boolean", [True, False, True, False]),
            ([1, 0], "boolean", [True, False]),
            ([7, None], "text", ["7", None]),
            ([True], "text", ["true"]),
            (
                ["2024-05-06T07:08:09+02:00", "2024-05-06 07:08:09"],
                "time",
                [
                    datetime.datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC),
                    datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
                ],
            ),
        ],
    )
    def test_values(self, values: list[Any], kind: str, want: list[Any]) -> None:
        found = shaped(pa.table({"c": values}), cast={"c": kind})
        assert [row["c"] for row in found] == want

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            ("x", "integer"),
            (1.5, "integer"),
            ("1,5", "number"),
            ("maybe", "boolean"),
            ("5/6", "time"),
        ],
    )
    def test_a_value_that_does_not_fit_fails_its_record(self, value: Any, kind: str) -> None:
        result = shape_table(pa.table({"c": [value]}), Shape(cast={"c": kind}))
        assert [error.reason for error in result.failed.values()] == ["shape_failed"]
        assert len(result.table) == 0


class TestDefaults:
    def test_nulls_and_missing_columns(self) -> None:
        table = pa.table({"plan": ["pro", None]})
        assert shaped(table, defaults={"plan": "free", "source": "crm"}) == [
            {"plan": "pro", "source": "crm"},
            {"plan": "free", "source": "crm"},
        ]

    @pytest.mark.parametrize(
        "values",
        [
            [1, None],
            [["a"], None],
            [True, None],
            [1.5, None],
            pa.array([b"ab", None], pa.binary()),
            pa.array([1, None], pa.timestamp("us")),
            pa.array([1, None], pa.duration("us")),
        ],
    )
    def test_of_another_type(self, values: Any) -> None:
        """Values keep their types, and the default has its own."""
        table = pa.table({"n": values})
        events = events_of(table, Shape(defaults={"n": "none"}))
        assert events[0] == events_of(table, Shape())[0]
        assert events[1]["n"] == "none"

    def test_numbers_and_truth_values_are_not_each_other(self) -> None:
        table = pa.table({"n": [True, None], "m": [1, None]})
        events = events_of(table, Shape(defaults={"n": 1, "m": True}))
        assert [(each["n"], each["m"]) for each in events] == [(True, 1), (1, True)]
        assert [type(each["n"]) for each in events] == [bool, int]

    def test_a_dictionary(self) -> None:
        table = pa.table({"n": pa.array(["a", None]).dictionary_encode()})
        assert shaped(table, defaults={"n": "free"}) == [{"n": "a"}, {"n": "free"}]


class TestWhere:
    TABLE = pa.table({"n": [1, 2, None, 4], "c": ["DE", "AT", "DE", "FR"]})

    @pytest.mark.parametrize(
        ("where", "want"),
        [
            ("n > 1", [1, 3]),
            ("c IN ('DE', 'AT') AND n IS NOT NULL", [0, 1]),
            ("c = 'DE' OR n = 4", [0, 2, 3]),
            ("missing = 'x'", []),
            ("missing IS NULL", [0, 1, 2, 3]),
            ("LENGTH(c) = 2", [0, 1, 2, 3]),
        ],
    )
    def test_keeps_what_matches(self, where: str, want: list[int]) -> None:
        result = shape_table(self.TABLE, Shape(where=where))
        assert result.rows.tolist() == want
        assert result.left_out == 4 - len(want)

    @pytest.mark.parametrize(
        "where",
        [
            "n > SUM(n)", "COUNT(*) > 1", "n = MAX(n)", "n > QUANTILE_CONT(n, 0.5)",
            "ROW_NUMBER() OVER (ORDER BY n) < 3",
        ],
    )  # fmt: skip
    def test_what_would_depend_on_other_records(self, where: str) -> None:
        """On those of a batch, that is: on how the input happens to be cut."""
        with pytest.raises(MappingError, match="where looks at one record at a time"):
            Shape(where=where)

    def test_a_text_in_a_condition_is_no_function(self) -> None:
        for text in ('{"Agg":', '"expr":"Len"'):
            assert Shape(where=f"n = '{text}' OR GREATEST(n, 1) > 0").where
        assert Shape(where='"Len" > 0 AND "Agg" < 2').where

    @pytest.mark.parametrize("where", ["n >", "SELECT 1", "READ_CSV('x')", "n = 'x'"])
    def test_what_is_no_condition(self, where: str) -> None:
        with pytest.raises(MappingError, match=r"where cannot be (read|evaluated)"):
            shape_table(self.TABLE, Shape(where=where))


class TestSample:
    def test_keeps_the_same_users_whatever_the_table(self) -> None:
        users = [f"u{i}" for i in range(5000)]
        one = shape_table(pa.table({"u": users}), Shape(sample=Sample("u", 10)))
        other = shape_table(pa.table({"u": users[::-1] * 2}), Shape(sample=Sample("u", 10)))
        assert set(one.table["u"].to_pylist()) == set(other.table["u"].to_pylist())
        assert 400 < len(one.table) < 600
        assert one.left_out == 5000 - len(one.table)

    def test_all_and_none(self) -> None:
        table = pa.table({"u": ["a", None]})
        assert len(shape_table(table, Shape(sample=Sample("u", 100))).table) == 2
        assert shape_table(table, Shape(sample=Sample("u", 0.0001))).table["u"].to_pylist() == [
            None
        ]


class TestNames:
    def test_drop_and_rename_by_pattern(self) -> None:
        table = pa.table({"utm_source": ["x"], "internal_id": [1], "n": [2]})
        assert shaped(table, drop=["internal_*"], rename={"utm_(.*)": r"campaign_\1"}) == [
            {"campaign_source": "x", "n": 2}
        ]

    def test_two_columns_of_one_name(self) -> None:
        with pytest.raises(MappingError, match="two columns the name 'x'"):
            shape_table(pa.table({"a": [1], "b": [2]}), Shape(rename={"[ab]": "x"}))


class TestOneBadRecord:
    """Where values tell the types, one of another type costs one record."""

    TABLE = pa.table({"p": ['{"a": "x,y"}', '{"a": 5}', '{"a": null}', '{"a": "z"}', "{}"]})

    def test_split(self) -> None:
        result = shape_table(self.TABLE, Shape(json="p", split={"a": ","}))
        assert list(result.failed) == [1]
        assert "split needs text, and a is an int" in result.failed[1].message
        found = [row["a"] for row in result.table.to_pylist()]
        assert found == [["x", "y"], None, ["z"], None]

    @pytest.mark.parametrize(
        ("where", "rows"),
        [("a = 'z'", [3]), ("LENGTH(a) = 3", [0]), ("a IS NULL", [2, 4]), ("a LIKE '%'", [0, 3])],
    )
    def test_where(self, where: str, rows: list[int]) -> None:
        result = shape_table(self.TABLE, Shape(json="p", where=where))
        assert result.rows.tolist() == rows
        assert set(result.failed) <= {1}
        assert "IS NULL" in where or list(result.failed) == [1]

    @pytest.mark.parametrize("loose", [True, False])
    @pytest.mark.parametrize("where", ["CAST(a AS INTEGER) > 5", "b = 1 OR CAST(a AS INTEGER) > 5"])
    def test_where_that_converts(self, where: str, loose: bool) -> None:
        """A value that cannot be converted costs its record, whatever tells the column's type."""
        table = pa.table({"a": ["1", "x", "7", None, "9", "", "6"]})
        result = shape_table(table, Shape(where=where), loose=loose)
        assert result.rows.tolist() == [2, 4, 6]
        assert sorted(result.failed) == [1, 5]
        assert "conversion from `str`" in result.failed[1].message
        made = proof(table.to_pylist(), Shape(where=where), {}, table)
        assert [row for row, each in enumerate(made) if isinstance(each, dict)] == [2, 4, 6]
        assert [row for row, each in enumerate(made) if isinstance(each, Refused)] == [1, 5]

    def test_where_that_converts_no_value(self) -> None:
        result = shape_table(pa.table({"a": ["x"] * 50_000}), Shape(where="CAST(a AS INTEGER) > 5"))
        assert len(result.failed) == 50_000

    @pytest.mark.parametrize("where", ["n = CAST('x' AS INTEGER)", "CAST(day AS DATE) > n"])
    def test_where_that_cannot_be_converted_at_all(self, where: str) -> None:
        table = pa.table({"n": [1, 2], "day": ["2024-05-06", "2024-05-07"]})
        with pytest.raises(MappingError, match="cannot be evaluated"):
            shape_table(table, Shape(where=where))

    @pytest.mark.parametrize(
        ("kind", "where"), [(pa.int8(), "n + 100 > 150"), (pa.uint8(), "n - 100 < 0")]
    )
    def test_small_integers_do_not_overflow(self, kind: pa.DataType, where: str) -> None:
        table = pa.table({"n": pa.array([99, None], kind)})
        assert shape_table(table, Shape(where=where)).rows.tolist() == [0]
        made = proof(table.to_pylist(), Shape(where=where), {}, table)
        assert [isinstance(each, dict) for each in made] == [True, False]

    def test_where_of_dicts(self) -> None:
        """The types of dicts are told by their values; those of tables are declared."""
        table = pa.table({"n": [1, 2]})
        result = shape_table(table, Shape(where="n = 'x'"), loose=True)
        assert sorted(result.failed) == [0, 1]
        with pytest.raises(MappingError, match="cannot be evaluated"):
            shape_table(table, Shape(where="n = 'x'"))
        with pytest.raises(MappingError, match="cannot be evaluated"):
            shape_table(table, Shape(cast={"n": "integer"}, where="n = 'x'"), loose=True)


@pytest.mark.parametrize("declared", [True, False])
def test_types_that_a_part_of_a_file_tells_are_not_declared(declared: bool) -> None:
    """Of JSON lines, where numbers in one block say nothing about the next."""
    table = pa.table({"n": [1, 2], "e": ["A"] * 2, "u": ["u"] * 2, "t": [1_700_000_000] * 2})
    table = TableOrigin("a.jsonl", "k", 0, declared=declared).attach(table)
    mapping = EventMapping(
        event="e", distinct_id="u", time=TimeColumn("t", "s"), shape={"where": "n = 'x'"}
    )
    if declared:
        with pytest.raises(MappingError, match="cannot be evaluated"):
            list(convert_tables([table], mapping))
        return
    outputs = list(convert_tables([table], mapping))
    assert [output.reason for output in outputs] == ["shape_failed"] * 2  # type: ignore[union-attr]
    expected = Expectation(mapping, Limits(), None, None, 1_800_000_000_000).of([table])
    assert [each.reason for each in expected] == ["shape_failed"] * 2  # type: ignore[union-attr]


def test_two_fields_of_one_name() -> None:
    twins = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["k", "k"])
    with pytest.raises(MappingError, match="two fields named 'k'"):
        shape_table(pa.table({"s": twins}), Shape(flatten="s"))


@pytest.mark.parametrize("value", [decimal.Decimal("1.5"), decimal.Decimal(10) ** 60])
def test_a_condition_on_long_decimals(value: decimal.Decimal) -> None:
    table = pa.table({"d": pa.array([value, None, decimal.Decimal(1)], pa.decimal256(76, 2))})
    assert shape_table(table, Shape(where="d > 1.2")).rows.tolist() == [0]
    assert _proof_keeps(table, "d > 1.2") == [0]


@pytest.mark.parametrize(
    "where", ["LOWER(c) = 'a'", "c LIKE 'A%'", "LENGTH(c) > 0 AND n < 2", "c || '!' = 'A!'"]
)
def test_a_condition_on_dictionaries(where: str) -> None:
    """Such as the categories that pandas writes to Parquet."""
    text, number = pa.array(["A", "b", None]), pa.array([1, 2, None], pa.int8())
    table = pa.table({"c": text.dictionary_encode(), "n": number.dictionary_encode()})
    assert shape_table(table, Shape(where=where)).rows.tolist() == [0]
    assert _proof_keeps(table, where) == [0]


def _proof_keeps(table: pa.Table, where: str) -> list[int]:
    """The rows that the proof expects."""
    for name, column in {"e": ["A"], "u": ["u"], "t": [1_700_000_000]}.items():
        table = table.append_column(name, [column * len(table)])
    mapping = EventMapping(
        event="e", distinct_id="u", time=TimeColumn("t", "s"), shape={"where": where}
    )
    expectation = Expectation(mapping, Limits(), None, None, 1_800_000_000_000)
    return [row for row, each in enumerate(expectation.each(table)) if each is not None]


def test_the_order_of_the_steps() -> None:
    table = pa.table({"p": ['{"amount": "12"}', '{"amount": "3"}', "{}"]})
    assert shaped(
        table, json="p", cast={"amount": "integer"}, defaults={"amount": 0}, where="amount >= 3"
    ) == [{"amount": 12}, {"amount": 3}]


def events_of(table: pa.Table, shape: Shape) -> list[dict[str, Any]]:
    """The properties that a table's rows become."""
    count = len(table)
    table = table.append_column("u", [["u"] * count]).append_column("t", [[1_700_000_000] * count])
    mapping = EventMapping(
        event=Constant("A"), distinct_id="u", time=TimeColumn("t", "s"), shape=shape
    )
    chunks = list(convert_tables([table], mapping))
    assert not any(isinstance(chunk, FailedRecord) for chunk in chunks)
    events = [orjson.loads(event) for chunk in chunks for event in chunk.events()]  # type: ignore[union-attr]
    return [{k: v for k, v in e["properties"].items() if k in table.schema.names} for e in events]


def test_metadata_go_along() -> None:
    table = pa.table({"a": [1]}).replace_schema_metadata({b"k": b"v"})
    assert shape_table(table, Shape(where="a = 1")).table.schema.metadata == {b"k": b"v"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cast": {"a": "int"}}, "Did you mean 'integer'"),
        ({"rename": {"(": "x"}}, "not a regular expression"),
        ({"sample": {"column": "u", "percent": 0}}, "above 0"),
        ({"split": {"a": ""}}, "split needs a separator"),
        ({"where": " "}, "a condition"),
        ({"drop": "internal_*"}, "list of patterns"),
        ({"json": 7}, "a list of columns"),
        ({"wher": "x"}, "Did you mean 'where'"),
        ({"defaults": {"n": 2**70}}, "beyond 64 bits"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MappingError, match=message):
        Shape.from_dict(settings)


def test_a_column_that_is_missing_is_no_misspelling_of_one_that_the_shape_names() -> None:
    shape = Shape(flatten=["app_info", "geo"], drop=["privacy_info"])
    assert shape.names(["privacy_info", "geo"]) is None  # GA4 has app_info in apps only
    with pytest.raises(MappingError, match="Did you mean 'app_infos'"):
        shape.names(["app_infos", "geo"])
