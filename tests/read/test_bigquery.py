"""Tables and queries of BigQuery: Google's real client against a server on loopback."""

from __future__ import annotations

import datetime
import decimal
import pathlib
from collections.abc import Iterator

import pyarrow as pa
import pytest

from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read.bigquery import BigQueryTable, open_session, read_stream
from mixpanel_sink.read.source import Columns
from mixpanel_sink.read.tables import TableSource
from tests.read.bigquery_server import BigQueryServer

ORDERS = "projects/shop-prod/datasets/sales/tables/orders"


@pytest.fixture
def bigquery(monkeypatch: pytest.MonkeyPatch) -> Iterator[BigQueryServer]:
    with BigQueryServer().running() as server:
        monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", server.host)
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.rest_url)
        server.tables[ORDERS] = orders(5000)
        yield server


def orders(rows: int) -> pa.Table:
    at = datetime.datetime(2024, 5, 6, tzinfo=datetime.timezone.utc)
    times = [at + datetime.timedelta(seconds=i) for i in range(rows)]
    amounts = [decimal.Decimal(i) / 100 for i in range(rows)]
    return pa.table(
        {
            "id": [f"o{i}" for i in range(rows)],
            "user": [f"u{i % 7}" for i in range(rows)],
            "at": pa.array(times, pa.timestamp("us", "UTC")),
            "amount": pa.array(amounts, pa.decimal128(38, 9)),
            "n": range(rows),
        }
    )


def rows_of(tables: Iterator[pa.Table]) -> list[dict[str, object]]:
    return sorted((row for t in tables for row in t.to_pylist()), key=lambda row: row["n"])


def test_every_row_and_type_arrives(bigquery: BigQueryServer) -> None:
    source = BigQueryTable("bq://shop-prod.sales.orders")
    assert source.schema() == bigquery.tables[ORDERS].schema
    assert rows_of(source.tables()) == bigquery.tables[ORDERS].to_pylist()


def test_columns_and_filter_are_the_servers_work(bigquery: BigQueryServer) -> None:
    source = BigQueryTable("shop-prod.sales.orders", columns=["n", "id"], where="n >= 4990")
    assert rows_of(source.tables()) == [{"id": f"o{i}", "n": i} for i in range(4990, 5000)]
    request = bigquery.sessions[-1]
    assert list(request.read_session.read_options.selected_fields) == ["n", "id"]


def test_streams_are_read_side_by_side_and_add_up(bigquery: BigQueryServer) -> None:
    source = BigQueryTable("bq://shop-prod.sales.orders", streams=4)
    session = open_session(source)
    assert len(session.streams) == 4
    assert session.rows == 5000
    parts = [rows_of(read_stream(source, session.schema, each)) for each in session.streams]
    assert all(parts)
    assert sorted(row["n"] for part in parts for row in part) == list(range(5000))


def test_a_connection_that_breaks_goes_on_where_it_broke(bigquery: BigQueryServer) -> None:
    bigquery.breaks = 3
    assert rows_of(BigQueryTable("bq://shop-prod.sales.orders").tables()) == rows_of(
        iter([orders(5000)])
    )
    assert bigquery.breaks == 0


def test_a_query(bigquery: BigQueryServer) -> None:
    bigquery.tables["projects/payer/datasets/_temp/tables/anon1"] = orders(10)
    bigquery.results["SELECT * FROM x"] = "projects/payer/datasets/_temp/tables/anon1"
    source = BigQueryTable(query="SELECT * FROM x", project="payer")
    assert rows_of(source.tables()) == orders(10).to_pylist()
    assert bigquery.sessions[-1].parent == "projects/payer"
    assert bigquery.queries == 1


def test_partitions_are_a_filter_on_the_column_that_the_table_has(bigquery: BigQueryServer) -> None:
    at = datetime.datetime(2024, 5, 6, 23, 59, 57, tzinfo=datetime.timezone.utc)
    times = [at + datetime.timedelta(seconds=i) for i in range(6)]
    bigquery.tables[ORDERS] = pa.table(
        {"at": pa.array(times, pa.timestamp("us", "UTC")), "n": range(6)}
    )
    bigquery.partitioned[ORDERS] = "at"

    def read(**given: str) -> list[object]:
        source = BigQueryTable("bq://shop-prod.sales.orders", **given)
        return [row["n"] for row in rows_of(source.tables())]

    assert read(partitions="20240506") == [0, 1, 2]
    assert read(partitions="20240507") == [3, 4, 5]
    assert read(partitions="20240506-202405") == [0, 1, 2, 3, 4, 5]
    assert read(partitions="20240507", where="n >= 5") == [5]
    by_address = BigQueryTable("bq://shop-prod.sales.orders$2024050623", columns=["n"])
    assert [row["n"] for row in rows_of(by_address.tables())] == [0, 1, 2]
    bigquery.partitioned[ORDERS] = None  # by the time of ingestion
    assert read(partitions="20240506") == [0, 1, 2]
    restriction = bigquery.sessions[-1].read_session.read_options.row_restriction
    assert restriction.startswith("_PARTITIONTIME >= TIMESTAMP '2024-05-06 00:00:00' AND ")


def test_a_table_without_partitions(bigquery: BigQueryServer) -> None:
    with pytest.raises(InputError, match="is not partitioned by time"):
        BigQueryTable("bq://shop-prod.sales.orders$20240506").schema()
    with pytest.raises(InputError, match=r"nothing\$20240506 does not exist"):
        BigQueryTable("bq://shop-prod.sales.nothing$20240506").schema()


@pytest.mark.parametrize("partitions", ["May", "20241301", "2024-05-01", "20240502-20240501", "-"])
def test_partitions_that_are_none(partitions: str) -> None:
    with pytest.raises(SettingError, match="artitions"):
        BigQueryTable("bq://shop-prod.sales.orders", partitions=partitions)


def test_columns_number_of_rows_and_rows_come_by_one_session(bigquery: BigQueryServer) -> None:
    source = TableSource(BigQueryTable("bq://shop-prod.sales.orders"))
    assert source.schema().names == ["id", "user", "at", "amount", "n"]
    assert source.row_count() == source.estimated_rows() == 5000
    assert source.sample(10).num_rows == 10
    assert sum(map(len, source.elements())) == 5000
    assert len(bigquery.sessions) == 1
    assert sum(map(len, source.elements(Columns(("n",))))) == 5000
    assert len(bigquery.sessions) == 2  # a session's columns cannot be changed


def test_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    for name in ("BIGQUERY_STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    for source in (
        BigQueryTable("bq://shop-prod.sales.orders"),
        BigQueryTable(query="SELECT 1", project="payer"),
    ):
        with pytest.raises(InputError, match=r"no Google credentials .*application-default login"):
            source.schema()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BigQueryTable("bq://shop-prod.sales.nothing"), "does not exist. Check project"),
        (BigQueryTable("bq://shop-prod.sales.closed"), "roles/bigquery.dataViewer on the table"),
        (
            BigQueryTable("bq://shop-prod.sales.orders", columns=["ammount"]),
            "do not exist in the table schema: ammount",
        ),
        (BigQueryTable("bq://shop-prod.sales.orders", where="n >"), "Syntax error"),
        (BigQueryTable(query="SELECT", project="payer"), "Syntax error: Unexpected end of script"),
        (BigQueryTable(query="SELECT 2", project="payer"), "roles/bigquery.jobUser to run a query"),
    ],
)
def test_what_bigquery_refuses_is_one_sentence(
    bigquery: BigQueryServer, source: BigQueryTable, message: str
) -> None:
    bigquery.forbidden.add("projects/shop-prod/datasets/sales/tables/closed")
    bigquery.results["SELECT 2"] = "Access Denied: Project payer: bigquery.jobs.create"
    with pytest.raises(InputError, match=message) as caught:
        list(source.tables())
    assert source.name in str(caught.value)


@pytest.mark.parametrize("table", ["orders", "sales.orders", "bq://a b.c.d", "bq://"])
def test_a_name_that_names_no_table(table: str) -> None:
    with pytest.raises(SettingError):
        BigQueryTable(table)


def test_a_table_or_a_query() -> None:
    with pytest.raises(SettingError, match="either a BigQuery table or a query"):
        BigQueryTable("p12345.d.t", query="SELECT 1", project="p12345")
    with pytest.raises(SettingError, match="project that runs it"):
        BigQueryTable(query="SELECT 1")
    with pytest.raises(SettingError, match="chooses its rows and columns itself"):
        BigQueryTable(query="SELECT 1", project="p12345", where="n > 1")
