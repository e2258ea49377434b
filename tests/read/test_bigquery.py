"""Tables and queries of BigQuery: Google's real client against a server on loopback."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator

import pyarrow as pa
import pytest

from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read.bigquery import BigQueryTable, open_session, read_stream
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
    ],
)
def test_what_bigquery_refuses_is_one_sentence(
    bigquery: BigQueryServer, source: BigQueryTable, message: str
) -> None:
    bigquery.forbidden.add("projects/shop-prod/datasets/sales/tables/closed")
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
