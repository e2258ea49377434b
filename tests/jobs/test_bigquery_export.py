"""What BigQuery exports as Avro and as Parquet makes the same events."""

from __future__ import annotations

import datetime
import decimal
import pathlib
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import avro_to_mixpanel
from tests.jobs.test_import_records import AT, ROOT, UTC, properties

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
