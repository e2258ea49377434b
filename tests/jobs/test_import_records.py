"""JSON lines, CSV and Avro, each through its own command on real files."""

from __future__ import annotations

import csv
import datetime
import decimal
import functools
import gzip
import json
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.read import csv_lines
from mixpanel_sink.read.csv import CsvRows
from mixpanel_sink.read.records import BLOCK_RECORDS, BadRecord, elements_of
from pipelines import avro_to_mixpanel, csv_to_mixpanel, json_lines_to_mixpanel

AT = 1_704_067_200_000
ROOT = pathlib.Path(__file__).parents[2]
UTC = datetime.timezone.utc


def orders(count: int, first: int = 0, **more: Any) -> list[dict[str, Any]]:
    return [
        {"name": "Order", "user": f"u{i}", "at": AT + i, "amount": i + 0.5, **more}
        for i in range(first, first + count)
    ]


def json_lines(path: pathlib.Path, lines: Iterable[Any]) -> pathlib.Path:
    text = "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def properties(server: Emulator, limit: int = 10_000) -> list[dict[str, Any]]:
    return [event["properties"] for event in server.events(limit)]


class TestBlocks:
    def test_gaps_and_bad_records_end_no_block(self):
        count = 3 * BLOCK_RECORDS // 2
        rows = [(3 * n, {"n": n}) for n in range(count)]
        bad = [(3 * n + 1, BadRecord("Bad.", f"text {n}")) for n in range(count)]
        elements = list(elements_of(sorted([*rows, *bad], key=lambda x: x[0]), "a", "key", True))
        blocks = [element for element in elements if isinstance(element, RecordBlock)]
        assert [len(block.records) for block in blocks] == [BLOCK_RECORDS, count - BLOCK_RECORDS]
        placed = []
        for block in blocks:
            assert block.origin is not None
            assert block.offsets is not None
            places = map(block.origin.source, block.offsets)
            placed += [(at.row, at.file, n) for at, n in zip(places, block.records, strict=True)]
        assert placed == [(row, "a", record) for row, record in rows]
        failed = [element for element in elements if not isinstance(element, RecordBlock)]
        assert [(f.row, f.file, f.record) for f in failed] == [
            (row, "a", record.text) for row, record in bad
        ]

    def test_offsets_only_where_there_is_a_gap(self):
        rows: list[Any] = [(n, {}) for n in range(5, 5 + BLOCK_RECORDS)]
        rows += [(row, {}) for row in (20_000, 20_002)]
        first, second = elements_of(rows, "a", "key", True)
        assert (first.origin.first_row, first.offsets) == (5, None)
        assert (second.origin.first_row, second.offsets) == (20_000, [0, 2])

    def test_what_came_before_a_file_breaks_off(self):
        def rows():
            yield 0, {"n": 0}
            yield 2, {"n": 2}
            raise EOFError

        elements = elements_of(rows(), "a", "key", True)
        assert next(elements).offsets == [0, 2]
        with pytest.raises(EOFError):
            next(elements)


class TestJsonLines:
    @pytest.fixture
    def send(self, send: Callable[..., Any]) -> Callable[..., Any]:
        return functools.partial(send, module=json_lines_to_mixpanel)

    def test_every_line_lands_once(self, send, server, tmp_path):
        json_lines(tmp_path / "a.jsonl", orders(3000))
        json_lines(tmp_path / "b.jsonl.gz", orders(1500, first=3000))
        for _ in range(2):
            run = send(f"{tmp_path}/*.jsonl*")
            assert run.code == 0, run.err
            assert "4,500 read = 4,500 accepted + 0 failed" in run.out
        assert server.stats()["events_distinct"] == 4500
        assert server.stats()["requests"] == 6

    def test_equal_lines_stay_apart_unless_ids_are_from_content(self, send, server, tmp_path):
        source = json_lines(tmp_path / "a.jsonl", orders(1) * 3)
        assert send(source).code == 0
        assert server.stats()["events_distinct"] == 3
        server.reset(quota="none")
        mapping = "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\n"
        assert send(source, mapping=mapping + "insert_id: {from: content}").code == 0
        assert server.stats()["events_distinct"] == 1

    def test_a_file_written_anew_has_ids_of_its_own(self, send, server, tmp_path):
        for first in (0, 10):
            assert send(json_lines(tmp_path / "a.jsonl", orders(10, first=first))).code == 0
        assert server.stats()["events_distinct"] == 20

    def test_bad_lines_cost_one_record_each(self, send, server, tmp_path):
        lines: list[Any] = list(orders(6))
        lines[1:3] = ['{"name": "Order", "user"', "[1, 2]"]
        lines.insert(4, "")
        run = send(json_lines(tmp_path / "a.jsonl", lines))
        assert run.code == 0, run.err
        assert "6 read = 4 accepted + 2 failed" in run.out
        assert server.stats()["events_distinct"] == 4
        assert [(f["reason"], f["row"]) for f in run.failed] == [
            ("line_unreadable", 1),
            ("line_unreadable", 2),
        ]
        assert run.failed[0]["record"] == lines[1]
        assert run.failed[0]["message"].startswith("Line 2 is not JSON")
        assert "Line 3 holds a list" in run.failed[1]["message"]
        assert {f["file"] for f in run.failed} == {f"{tmp_path}/a.jsonl"}
        rows = sorted(int(p["$insert_id"].rpartition("-")[2]) for p in properties(server))
        assert rows == [0, 3, 5, 6], "ids are from the line's number"

    def test_empty_and_bad_lines_between_records(self, send, server, tmp_path):
        lines = [line for order in orders(300) for line in (order, "", "[1]")]
        lines[3 * 7] = {"name": "Order", "at": AT, "user": None}
        run = send(json_lines(tmp_path / "a.jsonl", lines))
        assert run.code == 0, run.err
        assert "600 read = 299 accepted + 301 failed" in run.out
        ids = {p["time"] - AT: int(p["$insert_id"].rpartition("-")[2]) for p in properties(server)}
        assert ids == {n: 3 * n for n in range(300) if n != 7}
        assert {f["file"] for f in run.failed} == {f"{tmp_path}/a.jsonl"}
        rows = {f["row"]: f["reason"] for f in run.failed}
        assert rows == {21: "distinct_id_null"} | {
            row: "line_unreadable" for row in range(2, 900, 3)
        }

    def test_records_of_many_shapes(self, send, server, tmp_path):
        lines = [
            {**orders(1)[0], "tags": ["a", 1, None], "nested": {"deep": {"x": True}}},
            {**orders(1)[0], "amount": "free"},
            {**orders(1)[0], "big": 2**63 + 5, "none": None},
            {"name": "Order", "at": AT},
            {**orders(1)[0], "user": None},
        ]
        run = send(json_lines(tmp_path / "a.jsonl", lines))
        assert run.code == 0
        assert [(f["reason"], f["row"], f["file"]) for f in run.failed] == [
            ("missing_column", 3, f"{tmp_path}/a.jsonl"),
            ("distinct_id_null", 4, f"{tmp_path}/a.jsonl"),
        ]
        first, second, third = sorted(properties(server), key=lambda p: p["$insert_id"])
        assert first["tags"] == ["a", 1, None]
        assert first["nested"] == {"deep": {"x": True}}
        assert second["amount"] == "free"
        assert third["big"] == 2**63 + 5
        assert "none" not in third

    def test_an_integer_that_would_be_rounded_is_refused(self, send, tmp_path):
        lines = [{**orders(1)[0], "big": 10**20}, *orders(1)]
        run = send(json_lines(tmp_path / "a.jsonl", lines))
        assert [(f["reason"], f["field"]) for f in run.failed] == [("integer_too_large", "big")]

    def test_a_line_nested_too_deep_for_the_parser_of_long_numbers(self, send, server, tmp_path):
        deep = '{"n": 1234567890123456789, "list": ' + "[" * 1000 + "]" * 1000 + "}"
        run = send(json_lines(tmp_path / "a.jsonl", [orders(1)[0], deep, *orders(1, first=1)]))
        assert run.code == 0, run.err
        assert [(f["reason"], f["row"]) for f in run.failed] == [("line_unreadable", 1)]
        assert run.failed[0]["message"] == "Line 2 is nested too deep. Correct or remove it."
        assert {p["distinct_id"] for p in properties(server)} == {"u0", "u1"}

    @pytest.mark.parametrize("option", ["--dry_run", "--dry-run=5"])
    def test_a_dry_run_shows_events_and_sends_none(self, send, server, tmp_path, option):
        source = json_lines(tmp_path / "a.jsonl", orders(3))
        run = send(source, option, module=json_lines_to_mixpanel)
        assert run.code == 0
        assert "Dry run: nothing was sent." in run.out
        assert '"event":' in run.out
        assert server.stats()["requests"] == 0

    def test_raw_events_without_a_mapping(self, send, server, tmp_path):
        event = {"event": "E", "properties": {"distinct_id": "u", "time": AT, "$insert_id": "i1"}}
        run = send(json_lines(tmp_path / "a.jsonl", [event, {"event": "F"}]), "--mapping=")
        assert run.code == 0
        assert server.insert_ids() == ["i1"]
        assert [(f["reason"], f["row"]) for f in run.failed] == [("not_an_event", 1)]

    def test_a_file_that_breaks_off(self, send, server, tmp_path):
        whole = json_lines(tmp_path / "a.jsonl.gz", orders(20_000))
        whole.write_bytes(whole.read_bytes()[:-40_000])
        json_lines(tmp_path / "b.jsonl", orders(5, first=50_000))
        run = send(f"{tmp_path}/*.jsonl*")
        assert run.code == 1
        assert [f["reason"] for f in run.failed] == ["file_unreadable"]
        assert run.failed[0]["file"].endswith("a.jsonl.gz")
        assert "files not readable" in run.out

    def test_private_columns_are_not_in_the_text_of_a_bad_line(self, send, tmp_path):
        lines = [*orders(1, email="a@example.com"), '{"email": "b@example.com']
        run = send(json_lines(tmp_path / "a.jsonl", lines), "--drop_properties=email")
        assert run.code == 0
        assert [f["reason"] for f in run.failed] == ["line_unreadable"]
        assert "example.com" not in json.dumps(run.failed)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("[1, 2]", "is not JSON lines. Object 1 holds a int and no object"),
            ('[{"name": "Order", "usr": "u", "at": 1}]', "Did you mean 'usr'?"),
            ("name,user\nOrder,u", "is not JSON lines. Line 1 is not JSON"),
            ('{"name": "Order", "usr": "u", "at": 1}', "Did you mean 'usr'?"),
        ],
    )
    def test_what_is_wrong_before_anything_is_sent(self, send, server, tmp_path, content, says):
        (tmp_path / "a.jsonl").write_text(content)
        run = send(tmp_path / "a.jsonl")
        assert run.code == 2
        assert says in run.err
        assert "Traceback" not in run.err
        assert server.stats()["requests"] == 0

    def test_no_lines(self, send, tmp_path):
        run = send(json_lines(tmp_path / "a.jsonl", []))
        assert run.code == 0
        assert "0 read = 0 accepted + 0 failed" in run.out

    def test_the_config(self, send, server, tmp_path):
        line = {
            "name": "Page", "anonymous_id": "d1", "user_id": None, "message_id": "m1",
            "timestamp": "2024-05-06T07:08:09.123Z", "ip": "192.0.2.1", "url": "/x", "headers": {},
        }  # fmt: skip
        mapping = (ROOT / "configs/web_events.yaml").read_text()
        assert send(json_lines(tmp_path / "a.jsonl", [line]), mapping=mapping).code == 0
        (event,) = properties(server)
        moment = datetime.datetime(2024, 5, 6, 7, 8, 9, 123_000, UTC).timestamp()
        assert event == {
            "$device_id": "d1", "$insert_id": "m1", "distinct_id": "", "ip": "192.0.2.1",
            "source": "web", "time": round(moment * 1000), "url": "/x",
        }  # fmt: skip


class TestCsv:
    HEADER = "name,user,at,amount,paid,note"
    TYPES = "--types=at=integer,amount=number, paid=boolean"

    @pytest.fixture
    def send(self, send: Callable[..., Any]) -> Callable[..., Any]:
        return functools.partial(send, module=csv_to_mixpanel)

    def test_types_quotes_and_nulls(self, send, server, tmp_path):
        rows = [
            self.HEADER,
            f'Order,007,{AT},1.50,true,"two\r\nlines, and ""quotes"""',
            f"Order,u2,{AT},,FALSE,",
            f"Order,u3,{AT},1e3,0,ümlaut",
        ]
        (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
        run = send(tmp_path / "a.csv", self.TYPES)
        assert run.code == 0, run.err
        assert "3 read = 3 accepted + 0 failed" in run.out
        first, second, third = sorted(properties(server), key=lambda p: p["$insert_id"])
        assert first["distinct_id"] == "007"
        assert first["amount"] == 1.5
        assert first["paid"] is True
        assert first["note"] == 'two\r\nlines, and "quotes"'
        assert "amount" not in second
        assert "note" not in second
        assert second["paid"] is False
        assert third["amount"] == 1000
        assert third["note"] == "ümlaut"

    def test_twice_and_equal_rows(self, send, server, tmp_path):
        rows = [self.HEADER, *[f"Order,u,{AT},1,1,"] * 2500]
        (tmp_path / "a.csv").write_text("\n".join(rows))
        for _ in range(2):
            run = send(tmp_path / "a.csv", self.TYPES)
            assert "2,500 read = 2,500 accepted + 0 failed" in run.out
        assert server.stats()["events_distinct"] == 2500

    def test_bad_rows_cost_one_record_each(self, send, server, tmp_path):
        rows = [
            self.HEADER,
            f"Order,u0,{AT},1,1,ok",
            f"Order,u1,{AT},1,1",
            f"Order,u2,{AT},1_0,1,",
            "",
            f'Order,u3,{AT},1,1,"a" b',
            f"Order,u4,{AT},1,1,ok",
            "Order,u5,yesterday,1,1,ok",
            f"Order,u6,{AT},1,maybe,ok",
            f'Order,u7,{AT},1,1,"open',
            "and on",
        ]
        (tmp_path / "a.csv").write_text("\n".join(rows))
        run = send(tmp_path / "a.csv", self.TYPES)
        assert run.code == 0, run.err
        assert "8 read = 2 accepted + 6 failed" in run.out
        assert {p["distinct_id"] for p in properties(server)} == {"u0", "u4"}
        said = [(f["row"], f["message"]) for f in run.failed]
        assert {f["reason"] for f in run.failed} == {"line_unreadable"}
        assert [row for row, _ in said] == [1, 2, 3, 5, 6, 7]
        for (_, message), part in zip(
            said,
            [
                "Line 3 has 5 cells and the header 6",
                "Line 4 has something in amount that is no number",
                "Line 6 cannot be read",
                "Line 8 has something in at that is no integer",
                "Line 9 has something in paid that is no boolean",
                "The row in lines 10 to 11 cannot be read",
            ],
            strict=True,
        ):
            assert part in message
        assert run.failed[-1]["record"] == "\n".join(rows[-2:])

    @pytest.fixture
    def cell_limit(self, monkeypatch):
        """Of 1000 characters, so that files are small."""
        monkeypatch.setattr(csv_lines, "CELL_CHARACTERS", 1000)
        before = csv.field_size_limit(500)
        yield 1000
        csv.field_size_limit(before)

    def test_a_cell_as_long_as_an_event(self, send, server, tmp_path):
        long = "x" * 700_000 + f"\nOrder,false,{AT},1,1,event\n" + "y" * 200_000
        rows = [
            self.HEADER,
            f"Order,u0,{AT},1,1,{'z' * 140_000}",
            f'Order,u1,{AT},1,1,"{long}"',
            f"Order,u2,{AT},1,1,",
        ]
        (tmp_path / "a.csv").write_text("\n".join(rows))
        run = send(tmp_path / "a.csv", self.TYPES)
        assert run.code == 0, run.err
        assert "3 read = 3 accepted + 0 failed" in run.out
        assert {p["distinct_id"] for p in properties(server)} == {"u0", "u1", "u2"}
        read = [dict(record) for _, record in CsvRows().rows(str(tmp_path / "a.csv"))]
        assert [record["note"] for record in read] == ["z" * 140_000, long, None]

    def test_a_quoted_cell_that_is_too_long_ends_the_file(self, send, server, tmp_path, cell_limit):
        rows = [
            self.HEADER,
            f"Order,u0,{AT},1,1,ok",
            f'Order,u1,{AT},1,1,"{"x" * cell_limit}',
            f"Order,false,{AT},1,1,event",
            'end"',
            f"Order,u2,{AT},1,1,ok",
        ]
        (tmp_path / "a.csv").write_text("\n".join(rows))
        run = send(tmp_path / "a.csv", self.TYPES)
        assert run.code == 1
        assert [(f["reason"], f["file"]) for f in run.failed] == [
            ("file_unreadable", f"{tmp_path}/a.csv")
        ]
        message = run.failed[0]["message"]
        assert "up to line 3 only" in message
        assert "field limit (1000)" in message
        assert message.endswith("Close its quote, or shorten its cell.")
        assert {p["distinct_id"] for p in properties(server)} == {"u0"}

    @pytest.mark.parametrize("after", ["", f'Order,u2,{AT},1,1,"closed"\nOrder,u3,{AT},1,1,\n'])
    def test_a_quote_that_swallows_more_than_can_be_shown(self, send, server, tmp_path, after):
        rows = [self.HEADER, f"Order,u0,{AT},1,1,ok", f'Order,u1,{AT},1,1,"open']
        rows += [f"Order,swallowed,{AT},1,1,"] * 5000
        (tmp_path / "a.csv").write_text("\n".join([*rows, after]))
        run = send(tmp_path / "a.csv", self.TYPES)
        assert run.code == 1
        assert [f["reason"] for f in run.failed] == ["file_unreadable"]
        assert "up to line 3 only" in run.failed[0]["message"]
        assert {p["distinct_id"] for p in properties(server)} == {"u0"}

    def test_a_cell_that_is_too_long_without_quotes(self, send, server, tmp_path, cell_limit):
        rows = [f"Order,u{n},{AT},1,1,{'x' * (n % 2) * 1001}" for n in range(4)]
        (tmp_path / "a.csv").write_text("\n".join([self.HEADER, *rows]))
        run = send(tmp_path / "a.csv", self.TYPES)
        assert run.code == 0, run.err
        assert [(f["reason"], f["row"]) for f in run.failed] == [
            ("line_unreadable", 1),
            ("line_unreadable", 3),
        ]
        assert {p["distinct_id"] for p in properties(server)} == {"u0", "u2"}

    @pytest.mark.parametrize(("before", "after"), [(500, 1000), (5000, 5000)])
    def test_a_higher_limit_of_the_process_stays(self, tmp_path, cell_limit, before, after):
        csv.field_size_limit(before)
        (tmp_path / "a.csv").write_text("a,b\n1,2\n")
        assert list(CsvRows().rows(str(tmp_path / "a.csv"))) == [(0, {"a": "1", "b": "2"})]
        assert csv.field_size_limit() == after

    def test_one_file_of_many_with_a_column_without_a_name(self, send, server, tmp_path):
        (tmp_path / "a.csv").write_text(f"name,user,at\nOrder,u0,{AT}\n")
        (tmp_path / "b.csv").write_text(f",name,user,at\n0,Order,u1,{AT}\n")
        run = send(f"{tmp_path}/*.csv", "--types=at=integer")
        assert run.code == 1
        assert [f["reason"] for f in run.failed] == ["file_unreadable"]
        assert run.failed[0]["message"] == (
            f"In {tmp_path}/b.csv, column 1 of 4 has no name in the header, and would become a "
            "property without one. Name it or leave it out at its source "
            "(in pandas: to_csv(index=False))."
        )
        assert [p["distinct_id"] for p in properties(server)] == ["u0"]

    def test_text_that_is_not_utf8(self, send, server, tmp_path):
        rows = [self.HEADER, f"Order,u0,{AT},1,1,ok", f"Order,u1,{AT},1,1,caf\xe9"]
        (tmp_path / "a.csv").write_bytes("\n".join(rows).encode("latin-1"))
        run = send(tmp_path / "a.csv", self.TYPES)
        assert run.code == 0
        assert [(f["reason"], f["field"], f["row"]) for f in run.failed] == [
            ("invalid_text", "note", 1)
        ]

    def test_another_delimiter(self, send, server, tmp_path):
        (tmp_path / "a.tsv").write_text(f"name\tuser\tat\nOrder\tu,1\t{AT}\n")
        run = send(tmp_path / "a.tsv", "--types=at=integer", "--delimiter=tab")
        assert run.code == 0, run.err
        assert properties(server)[0]["distinct_id"] == "u,1"

    @pytest.mark.parametrize(
        ("content", "argument", "says"),
        [
            ("", "--types=", "it has no header"),
            ("name,usr,at\n", "--types=", "Did you mean 'usr'?"),
            ("name,user,at,at\n", "--types=", "two columns named 'at'"),
            (",name,user,at\n", "--types=", "column 1 of 4 has no name in the header"),
            (",name,user,at\n", "--types=", "(in pandas: to_csv(index=False))."),
            ("name,user, ,at\n", "--types=", "column 3 of 4 has no name in the header"),
            ("name,user,at,\n", "--types=", "Name it or leave it out at its source.\n"),
            ("name,user,at\n", "--types=att=integer", "no column 'att', which has a type. Did you"),
            ("name,user,at\n", "--types=at=int", "has the type 'int'"),
            ("name,user,at\n", "--types=at", "write it as NAME=integer"),
            ("name,user,at\n", "--delimiter=;;", "one character"),
            ("name,user,at\n", "--typs=at=integer", "did you mean --types?"),
        ],
    )
    def test_what_is_wrong(self, send, server, tmp_path, content, argument, says):
        (tmp_path / "a.csv").write_text(content)
        run = send(tmp_path / "a.csv", argument)
        assert run.code == 2
        assert says in run.err
        assert "Traceback" not in run.err
        assert server.stats()["requests"] == 0

    def test_the_config(self, send, server, tmp_path):
        (tmp_path / "a.csv").write_text(
            "order_number,customer,created_at,amount\nA-1,c1,1704067200,12.5\n"
        )
        run = send(
            tmp_path / "a.csv",
            "--types=created_at=integer,amount=number",
            mapping=(ROOT / "configs/orders_csv.yaml").read_text(),
        )
        assert run.code == 0
        (event,) = properties(server)
        assert event == {
            "$insert_id": "A-1", "amount_eur": 12.5, "distinct_id": "c1", "ip": "0", "time": AT,
        }  # fmt: skip


BIGQUERY_SCHEMA = {
    "type": "record",
    "name": "Root",
    "fields": [
        {"name": "event_name", "type": ["null", "string"]},
        {"name": "customer_id", "type": ["null", "string"]},
        {"name": "order_number", "type": ["null", "long"]},
        {
            "name": "ordered_at",
            "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}],
        },
        {"name": "local", "type": ["null", {"type": "string", "logicalType": "datetime"}]},
        {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]},
        {"name": "clock", "type": ["null", {"type": "long", "logicalType": "time-micros"}]},
        {
            "name": "total",
            "type": [
                "null",
                {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 9},
            ],
        },
        {"name": "raw", "type": ["null", "bytes"]},
        {"name": "paid", "type": ["null", "boolean"]},
        {
            "name": "items",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "namespace": "root",
                    "name": "Items",
                    "fields": [
                        {"name": "sku", "type": ["null", "string"]},
                        {"name": "count", "type": ["null", "long"]},
                    ],
                },
            },
        },
    ],
}


def exported(count: int = 3) -> list[dict[str, Any]]:
    return [
        {
            "event_name": "Order",
            "customer_id": f"c{i}",
            "order_number": i,
            "ordered_at": datetime.datetime(2024, 1, 1, 0, 0, i % 60, 250_000, UTC),
            "local": "2024-01-01T01:00:00.250000",
            "day": datetime.date(2024, 1, 1),
            "clock": datetime.time(1, 2, 3, 4),
            "total": decimal.Decimal("12.340000000"),
            "raw": b"\xff\x00",
            "paid": True,
            "items": [{"sku": "a", "count": 2}, {"sku": None, "count": 1}],
        }
        for i in range(count)
    ]


def avro(path: pathlib.Path, records: list[dict[str, Any]], codec: str = "deflate") -> pathlib.Path:
    with path.open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(BIGQUERY_SCHEMA), records, codec)
    return path


def as_bigquery_parquet(records: list[dict[str, Any]]) -> pa.Table:
    local = [datetime.datetime.fromisoformat(r["local"]) for r in records]
    return pa.table(
        {
            **{name: [r[name] for r in records] for name in records[0] if name != "local"},
            "local": pa.array(local, pa.timestamp("us")),
            "total": pa.array([r["total"] for r in records], pa.decimal128(38, 9)),
        }
    )


class TestBigQueryExport:
    MAPPING = (ROOT / "configs/bigquery.yaml").read_text()

    def test_avro_and_parquet_make_the_same_events(self, send, server, tmp_path):
        avro(tmp_path / "a.avro", exported())
        run = send(tmp_path / "a.avro", mapping=self.MAPPING, module=avro_to_mixpanel)
        assert run.code == 0, run.err
        assert "3 read = 3 accepted + 0 failed" in run.out
        by_avro = {p["$insert_id"]: p for p in properties(server)}
        server.reset(quota="none")
        pq.write_table(as_bigquery_parquet(exported()), tmp_path / "a.parquet")
        assert send(tmp_path / "a.parquet", mapping=self.MAPPING).code == 0
        by_parquet = {p["$insert_id"]: p for p in properties(server)}
        assert len(by_avro) == 3
        assert by_avro == by_parquet
        first = next(p for p in by_avro.values() if p["distinct_id"] == "c0")
        first.pop("$insert_id")
        assert first == {
            "amount": 12.34,
            "clock": "01:02:03.000004",
            "day": "2024-01-01",
            "distinct_id": "c0",
            "ip": "0",
            "items": [{"count": 2, "sku": "a"}, {"count": 1, "sku": None}],
            "local": "2024-01-01T01:00:00.250000",
            "paid": True,
            "raw": "/wA=",
            "source": "bigquery",
            "time": AT + 250,
        }

    def test_positions_equal_rows_and_a_datetime_as_time(self, send, server, tmp_path):
        mapping = """
            event: event_name
            distinct_id: customer_id
            time: {column: local, unit: iso8601, timezone: Europe/Berlin}
        """
        source = avro(tmp_path / "a.avro", exported(1) * 3000)
        for _ in range(2):
            run = send(source, mapping=mapping, module=avro_to_mixpanel)
            assert run.code == 0, run.err
        assert server.stats()["events_distinct"] == 3000
        assert properties(server, 1)[0]["time"] == AT + 250

    def test_bad_records_know_their_place(self, send, server, tmp_path):
        records = exported(5)
        records[3]["customer_id"] = None
        source = avro(tmp_path / "a.avro", records)
        run = send(source, mapping=self.MAPPING, module=avro_to_mixpanel)
        assert [(f["reason"], f["file"], f["row"]) for f in run.failed] == [
            ("distinct_id_null", str(source), 3)
        ]
        assert run.failed[0]["record"]["day"] == "2024-01-01"

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "cannot be read"),
            (b"PAR1 something", "cannot be read"),
        ],
    )
    def test_no_avro(self, send, server, tmp_path, content, says):
        (tmp_path / "a.avro").write_bytes(content)
        run = send(tmp_path / "a.avro", mapping=self.MAPPING, module=avro_to_mixpanel)
        assert run.code == 2
        assert says in run.err
        assert "Traceback" not in run.err

    def test_a_mapping_that_does_not_fit(self, send, server, tmp_path):
        source = avro(tmp_path / "a.avro", exported())
        mapping = self.MAPPING.replace("customer_id", "custmer_id")
        run = send(source, mapping=mapping, module=avro_to_mixpanel)
        assert run.code == 2
        assert "Did you mean 'customer_id'?" in run.err

    def test_values_that_are_no_records(self, send, tmp_path):
        with (tmp_path / "a.avro").open("wb") as file:
            fastavro.writer(file, {"type": "string"}, ["a"])
        run = send(tmp_path / "a.avro", mapping=self.MAPPING, module=avro_to_mixpanel)
        assert run.code == 2
        assert "holds no records" in run.err

    def test_a_file_that_breaks_off(self, send, server, tmp_path):
        source = avro(tmp_path / "a.avro", exported(20_000))
        source.write_bytes(source.read_bytes()[:-2000])
        run = send(source, mapping=self.MAPPING, module=avro_to_mixpanel)
        assert run.code == 1
        assert [f["reason"] for f in run.failed] == ["file_unreadable"]
        assert 10_000 <= server.stats()["events_distinct"] < 20_000


@pytest.mark.parametrize("module", [json_lines_to_mixpanel, csv_to_mixpanel, avro_to_mixpanel])
class TestEveryCommand:
    def test_help(self, capsys, module):
        with pytest.raises(SystemExit) as ended:
            module.main(["--help"])
        assert ended.value.code == 0
        out = capsys.readouterr().out
        assert f"python -m {module.__name__}" in out
        for option in ("--input", "--mapping", "--api_secret", "--checkpoint", "--failed_output"):
            assert option in out

    def test_an_input_that_is_missing(self, capsys, module):
        assert module.main([]) == 2
        assert "--input is missing" in capsys.readouterr().err

    def test_no_file(self, send, tmp_path, module):
        run = send(tmp_path / "none*", module=module)
        assert run.code == 2
        assert "No file matches" in run.err


def test_checkpoint_and_report(send, server, tmp_path):
    source = json_lines(tmp_path / "a.jsonl", orders(4000))
    options = (f"--checkpoint={tmp_path}/log", f"--report={tmp_path}/run.html")
    assert send(source, *options, module=json_lines_to_mixpanel).code == 0
    assert server.stats()["requests"] == 2
    run = send(source, *options, module=json_lines_to_mixpanel)
    assert run.code == 0
    assert "known to checkpoint" in run.out
    assert server.stats()["requests"] == 2
    assert (tmp_path / "run.html").exists()


def test_in_a_process_of_its_own(send, server, tmp_path):
    source = json_lines(tmp_path / "a.jsonl", orders(100))
    run = send(source, module=json_lines_to_mixpanel, own_process=True)
    assert run.code == 0, run.err
    assert server.stats()["events_distinct"] == 100
