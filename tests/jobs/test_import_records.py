"""JSON lines, CSV and Avro, each through its own command on real files."""

from __future__ import annotations

import datetime
import functools
import gzip
import json
import logging
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.emulator.testing import Emulator
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

    @pytest.mark.parametrize("option", ["--dry-run", "--dry-run=5"])
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
        run = send(json_lines(tmp_path / "a.jsonl", lines), "--drop-properties=email")
        assert run.code == 0
        assert [f["reason"] for f in run.failed] == ["line_unreadable"]
        assert "example.com" not in json.dumps(run.failed)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("[1, 2]", "is not JSON lines. Object 1 holds an int and no object"),
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

    def test_the_log_is_itself_again_after_a_run(self, send, tmp_path):
        assert send(json_lines(tmp_path / "a.jsonl", [])).code == 0
        for name in ("failures", "failure_log", "accounting"):
            assert logging.getLogger(f"mixpanel_sink.report.{name}").level == logging.NOTSET

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


@pytest.mark.parametrize("module", [json_lines_to_mixpanel, csv_to_mixpanel, avro_to_mixpanel])
class TestEveryCommand:
    def test_help(self, capsys, module):
        with pytest.raises(SystemExit) as ended:
            module.main(["--help"])
        assert ended.value.code == 0
        out = capsys.readouterr().out
        assert f"python -m {module.__name__}" in out
        for option in ("--input", "--mapping", "--api-secret", "--checkpoint", "--failed-output"):
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
    assert "1 file was imported before, 0 are new." in run.out
    assert server.stats()["requests"] == 2
    assert (tmp_path / "run.html").exists()


def test_in_a_process_of_its_own(send, server, tmp_path):
    source = json_lines(tmp_path / "a.jsonl", orders(100))
    run = send(source, module=json_lines_to_mixpanel, own_process=True)
    assert run.code == 0, run.err
    assert server.stats()["events_distinct"] == 100
