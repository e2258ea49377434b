"""CSV files: types, quotes, bad rows."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from typing import Any

import pytest

from mixpanel_sink.read import csv_lines
from mixpanel_sink.read.csv import CsvRows
from pipelines import csv_to_mixpanel
from tests.jobs.test_import_records import AT, ROOT, properties


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
                "Line 4 has something in amount that is not a number",
                "Line 6 cannot be read",
                "Line 8 has something in at that is not an integer",
                "Line 9 has something in paid that is not a boolean",
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
