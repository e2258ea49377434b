"""The main job through its command line: real files, the real runner, the emulator."""

from __future__ import annotations

import datetime
import decimal
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.emulator.testing import Emulator

NOW_MS = 1_704_067_200_000


def shop(rows: int, first: int = 0, **columns: Any) -> pa.Table:
    table = {
        "name": ["Order"] * rows,
        "user": [f"u{i}" for i in range(first, first + rows)],
        "at": [NOW_MS + i for i in range(rows)],
        "amount": [float(i) for i in range(rows)],
    }
    return pa.table(table | columns)


def write(path: pathlib.Path, table: pa.Table, **options: Any) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def properties(server: Emulator) -> list[dict[str, Any]]:
    return [event["properties"] for event in server.events(limit=10_000)]


class TestSends:
    def test_every_row_once_in_the_fewest_requests(self, send, server, tmp_path):
        source = write(tmp_path / "a.parquet", shop(5001), row_group_size=700)
        run = send(source)
        assert run.code == 0
        assert "5,001 read = 5,001 accepted + 0 failed" in run.out
        stats = server.stats()
        assert stats["events_distinct"] == 5001
        assert stats["requests"] == 3
        assert {p["distinct_id"] for p in properties(server)} == {f"u{i}" for i in range(5001)}
        first = next(p for p in properties(server) if p["distinct_id"] == "u7")
        assert first["amount"] == 7.0
        assert first["time"] == NOW_MS + 7
        assert first["ip"] == "0"

    def test_several_files_and_globs_share_batches(self, send, server, tmp_path):
        for i in range(3):
            write(tmp_path / f"day={i}" / "part.parquet", shop(500, first=i * 500))
        write(tmp_path / "more.parquet", shop(500, first=5000))
        run = send(f"{tmp_path}/day=*/*.parquet,{tmp_path}/more.parquet")
        assert run.code == 0
        assert server.stats()["events_distinct"] == 2000
        assert server.stats()["requests"] <= 2

    def test_equal_rows_are_events_of_their_own_and_a_second_run_adds_none(
        self, send, server, tmp_path
    ):
        same = shop(100, user=["u"] * 100, at=[NOW_MS] * 100, amount=[1.0] * 100)
        source = write(tmp_path / "same.parquet", same)
        assert send(source).code == 0
        assert server.stats()["events_distinct"] == 100
        ids = sorted(server.insert_ids())
        assert send(source).code == 0
        assert server.stats()["events_distinct"] == 100
        assert sorted(server.insert_ids()) == ids

    def test_ids_do_not_depend_on_how_the_path_is_written(
        self, send, server, tmp_path, monkeypatch
    ):
        write(tmp_path / "x" / "a.parquet", shop(10))
        send(tmp_path / "x" / "a.parquet")
        monkeypatch.chdir(tmp_path)
        send("x/*.parquet")
        assert server.stats()["events_distinct"] == 10

    def test_another_file_under_the_same_path_gets_other_ids(self, send, server, tmp_path):
        send(write(tmp_path / "a.parquet", shop(10)))
        send(write(tmp_path / "a.parquet", shop(10, amount=[float(i + 1) for i in range(10)])))
        assert len(set(server.insert_ids())) == 20

    def test_content_ids_collapse_equal_rows(self, send, server, tmp_path):
        same = shop(100, user=["u"] * 100, at=[NOW_MS] * 100, amount=[1.0] * 100)
        mapping = "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\n"
        run = send(
            write(tmp_path / "same.parquet", same), mapping=mapping + "insert_id: {from: content}\n"
        )
        assert run.code == 0
        assert server.stats()["events_distinct"] == 1

    def test_one_huge_row_group_is_read_in_slices(self, send, server, tmp_path):
        source = write(tmp_path / "a.parquet", shop(120_000), row_group_size=1_000_000)
        assert send(source).code == 0
        assert server.stats()["events_distinct"] == 120_000
        assert server.stats()["requests"] == 60

    def test_types_arrive_as_documented(self, send, server, tmp_path):
        day = datetime.datetime(2024, 1, 2, 3, 4, 5, 678000)
        table = shop(
            1,
            at=pa.array([day], pa.timestamp("us")),
            price=pa.array([decimal.Decimal("19.90")], pa.decimal128(10, 2)),
            day=pa.array([datetime.date(2024, 5, 6)]),
            seen=pa.array([day], pa.timestamp("ms", "Europe/Berlin")),
            raw=pa.array([b"\xff\x00"]),
            tags=[["a", None]],
            nested=[{"x": 1, "y": {"z": "é😀"}}],
            mapped=pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            kind=pa.array(["gold"]).dictionary_encode(),
            nothing=pa.nulls(1),
            **{"$city": ["Wien"]},
        )
        mapping = "event: name\ndistinct_id: user\ntime: at\n"
        assert send(write(tmp_path / "a.parquet", table), mapping=mapping).code == 0
        (event,) = properties(server)
        moment = int(day.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000)
        assert event["time"] == moment
        assert event["price"] == 19.9
        assert event["day"] == "2024-05-06"
        assert event["seen"] == "2024-01-02T03:04:05.678000Z"
        assert event["raw"] == "/wA="
        assert event["tags"] == ["a", None]
        assert event["nested"] == {"x": 1, "y": {"z": "é😀"}}
        assert event["mapped"] == {"k": 1}
        assert event["kind"] == "gold"
        assert event["$city"] == "Wien"
        assert "nothing" not in event

    def test_quota_of_the_whole_job_is_kept(self, send, server, tmp_path):
        server.settings(quota="4/2s")
        source = write(tmp_path / "a.parquet", shop(20_000))
        run = send(source, "--quota=4/2s")
        assert run.code == 0
        stats = server.stats()
        assert stats["max_attempts_in_window"] <= 4
        assert stats["requests_by_endpoint"] == {"/import": {"200": 10}}
        assert stats["events_distinct"] == 20_000

    def test_service_account_and_token(self, send, tmp_path, monkeypatch):
        monkeypatch.setenv("SA_SECRET", "sa-secret")
        monkeypatch.setenv("TOKEN", "emulator-token")
        source = write(tmp_path / "a.parquet", shop(5))
        with Emulator(
            quota="none", service_account=("importer", "sa-secret"), project_id=42
        ) as own:
            run = send(
                source,
                "--api-secret=",
                "--service-account=importer",
                "--service-account-secret=env:SA_SECRET",
                "--project-id=42",
                "--project-token=env:TOKEN",
                f"--endpoint={own.url}",
            )
            assert run.code == 0
            assert all(p["token"] == "emulator-token" for p in properties(own))


class TestBadRecords:
    """Each costs one record; the others land."""

    @pytest.mark.parametrize(
        ("column", "value", "reason"),
        [
            ("name", None, "event_null"),
            ("name", "", "event_empty"),
            ("name", "x" * 256, "event_too_long"),
            ("user", None, "distinct_id_null"),
            ("user", "NULL", "distinct_id_reserved"),
            ("user", "00000000-0000-0000-0000-000000000000", "distinct_id_reserved"),
            ("at", None, "time_null"),
            ("at", 1_704_067_200, "time_out_of_range"),
            ("at", 4_000_000_000_000, "time_out_of_range"),
            ("amount", float("nan"), "non_finite_number"),
            ("amount", float("-inf"), "non_finite_number"),
        ],
    )
    def test_values(self, send, server, tmp_path, column, value, reason):
        table = shop(10)
        values = table.column(column).to_pylist()
        values[3] = value
        table = table.set_column(
            table.schema.get_field_index(column),
            column,
            pa.array(values, table.schema.field(column).type),
        )
        source = write(tmp_path / "a.parquet", table)
        run = send(source)
        assert run.code == 0
        assert server.stats()["events_distinct"] == 9
        (failure,) = run.failed
        assert failure["reason"] == reason
        assert failure["field"] == column
        assert failure["file"] == str(source)
        assert failure["row"] == 3
        assert failure["insert_id"].endswith("-3"), "the id that a second try needs"
        assert failure["record"]["user"] == values[3] if column == "user" else "u3"
        assert f"{reason}" in run.out

    @pytest.mark.parametrize(
        ("extra", "reason"),
        [
            ({"big": ["x" * 2_100_000]}, "event_too_large"),
            ({"long": [list(range(300))]}, "list_too_long"),
            ({"deep": [{"a": {"b": {"c": {"d": 1}}}}]}, "nested_too_deep"),
            ({f"p{i}": [1] for i in range(300)}, "too_many_properties"),
            (
                {"m": pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64()))},
                None,
            ),
        ],
    )
    def test_shapes(self, send, server, tmp_path, extra, reason):
        source = write(tmp_path / "a.parquet", shop(1, **extra))
        good = write(tmp_path / "b.parquet", shop(3, first=10))
        run = send(f"{source},{good}")
        assert run.code == 0
        assert server.stats()["events_distinct"] == 3
        (failure,) = run.failed
        if reason is not None:
            assert failure["reason"] == reason

    def test_text_that_is_not_utf8(self, send, server, tmp_path):
        bad = pa.array([b"ok", b"\xff\xfe", "grün".encode()]).view(pa.string())
        source = write(tmp_path / "a.parquet", shop(3, note=bad))
        run = send(source)
        assert run.code == 0
        assert {p.get("note") for p in properties(server)} == {"ok", "grün"}
        (failure,) = run.failed
        assert failure["reason"] == "unreadable_value"
        assert failure["row"] == 1

    def test_columns_missing_in_one_of_many_files(self, send, server, tmp_path):
        write(tmp_path / "a.parquet", shop(4))
        write(tmp_path / "b.parquet", shop(3).drop_columns(["user"]))
        write(tmp_path / "c.parquet", shop(2, first=100))
        run = send(f"{tmp_path}/*.parquet")
        assert run.code == 0
        assert server.stats()["events_distinct"] == 6
        assert [f["reason"] for f in run.failed] == ["missing_column"] * 3
        assert all(f["file"].endswith("b.parquet") for f in run.failed)

    def test_another_type_in_one_of_many_files(self, send, server, tmp_path):
        write(tmp_path / "a.parquet", shop(4))
        write(tmp_path / "b.parquet", shop(3, at=["yesterday"] * 3))
        run = send(f"{tmp_path}/*.parquet")
        assert run.code == 0
        assert server.stats()["events_distinct"] == 4
        assert [f["reason"] for f in run.failed] == ["time_is_text"] * 3

    def test_half_of_many_rows_bad(self, send, server, tmp_path):
        users = [None if i % 2 else f"u{i}" for i in range(10_000)]
        run = send(write(tmp_path / "a.parquet", shop(10_000, user=users)))
        assert run.code == 0
        assert server.stats()["events_distinct"] == 5000
        assert server.stats()["requests"] == 3
        assert sorted(f["row"] for f in run.failed) == list(range(1, 10_000, 2))

    def test_if_null_keeps_the_record(self, send, server, tmp_path):
        mapping = "event: name\ntime: {column: at, unit: ms}\n"
        mapping += "distinct_id: {column: user, if_null: ''}\n"
        run = send(write(tmp_path / "a.parquet", shop(2, user=[None, "b"])), mapping=mapping)
        assert run.code == 0
        assert {p["distinct_id"] for p in properties(server)} == {"", "b"}


class TestBadFiles:
    def test_no_file(self, send, server, tmp_path):
        run = send(tmp_path / "none*.parquet")
        assert run.code == 2
        assert "No file matches" in run.err
        assert server.stats()["requests"] == 0

    def test_no_rows(self, send, server, tmp_path):
        run = send(write(tmp_path / "a.parquet", shop(0)))
        assert run.code == 0
        assert "0 read = 0 accepted + 0 failed" in run.out
        assert server.stats()["requests"] == 0

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all, " * 9])
    def test_only_file_is_no_parquet(self, send, tmp_path, content):
        (tmp_path / "a.parquet").write_bytes(content)
        run = send(tmp_path / "a.parquet")
        assert run.code == 2
        assert "a.parquet" in run.err
        assert "Traceback" not in run.err

    def test_one_of_many_is_no_parquet(self, send, server, tmp_path):
        write(tmp_path / "a.parquet", shop(4))
        (tmp_path / "b.parquet").write_bytes(b"PAR1 upload broke off")
        run = send(f"{tmp_path}/*.parquet")
        assert run.code == 1, "a file was not read: the run must not look whole"
        assert server.stats()["events_distinct"] == 4
        (failure,) = run.failed
        assert failure["reason"] == "file_unreadable"
        assert failure["file"].endswith("b.parquet")
        assert "files not readable" in run.out

    def test_corrupt_data_behind_a_whole_footer(self, send, server, tmp_path):
        source = write(tmp_path / "a.parquet", shop(1000), compression="zstd")
        content = bytearray(source.read_bytes())
        content[100:600] = b"\x00" * 500
        source.write_bytes(bytes(content))
        write(tmp_path / "b.parquet", shop(4, first=5000))
        run = send(f"{tmp_path}/*.parquet")
        assert run.code == 1
        assert server.stats()["events_distinct"] == 4
        assert [f["reason"] for f in run.failed] == ["file_unreadable"]


def test_a_run_of_which_nothing_was_accepted_is_no_success(send, server, tmp_path):
    run = send(write(tmp_path / "a.parquet", shop(3, user=[None] * 3)))
    assert run.code == 1
    assert "3 read = 0 accepted + 3 failed" in run.out
    assert "no record was accepted" in run.err
    assert send(write(tmp_path / "a.parquet", shop(3, user=["u", None, "v"]))).code == 0
