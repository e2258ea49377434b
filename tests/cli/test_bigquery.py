"""A BigQuery table from the command line: init, check, import, verify."""

from __future__ import annotations

import pathlib

import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.process import forget
from tests.cli.conftest import Call
from tests.read.bigquery_server import BigQueryServer
from tests.read.test_bigquery import ORDERS, bigquery  # noqa: F401

TABLE = "bq://shop-prod.sales.orders"
ORDER = "event: {constant: Order}\ntime: at\ndistinct_id: user\ninsert_id: id\nexclude: [amount]\n"


@pytest.fixture
def place(
    mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    (tmp_path / "orders.yaml").write_text(ORDER)
    return tmp_path


def test_from_a_table_to_a_proof(
    call: Call,
    place: pathlib.Path,
    mixpanel: Emulator,
    bigquery: BigQueryServer,
) -> None:
    where = f"--endpoint={mixpanel.url}"
    done = call("init", TABLE, "-o", "proposed.yaml")
    assert done.code == 0, done.err
    assert "position" not in pathlib.Path("proposed.yaml").read_text()
    done = call("check", TABLE, "--mapping", "orders.yaml", "--all")
    assert done.code == 0, done.out + done.err
    assert "5,000" in done.out
    done = call("import", TABLE, "--mapping", "orders.yaml", where, "--quota=none")
    assert done.code == 0, done.out + done.err
    assert "5,000 read = 5,000 accepted + 0 failed" in done.out
    fields = [list(s.read_session.read_options.selected_fields) for s in bigquery.sessions]
    assert ["id", "user", "at", "n"] in fields  # what is excluded is not read
    assert f"verify '{TABLE}' --mapping orders.yaml --endpoint {mixpanel.url}" in done.out
    done = call("verify", TABLE, "--mapping", "orders.yaml", where)
    assert done.code == 0, done.out + done.err


def test_some_rows_of_a_table(
    call: Call, place: pathlib.Path, mixpanel: Emulator, bigquery: BigQueryServer
) -> None:
    bigquery.partitioned[ORDERS] = "at"
    some = (
        TABLE, "--partitions=20240506", "--row-restriction", "n >= 4990", "--columns=id,user,at",
        "--bigquery-project=payer",
    )  # fmt: skip
    mapping = ("--mapping", "orders.yaml")
    done = call("init", *some, "-o", "proposed.yaml")
    assert done.code == 0, done.err
    assert "--row-restriction 'n >= 4990'" in done.out  # the next command is one to copy
    place.joinpath("orders.yaml").write_text(ORDER.replace("exclude: [amount]\n", ""))
    done = call("import", *some, *mapping, f"--endpoint={mixpanel.url}", "--quota=none")
    assert done.code == 0, done.out + done.err
    assert "10 read = 10 accepted + 0 failed" in done.out
    assert {key for e in mixpanel.events() for key in e["properties"]} == {
        "distinct_id", "time", "$insert_id", "ip",
    }  # fmt: skip
    assert {session.parent for session in bigquery.sessions} == {"projects/payer"}
    assert call("verify", *some, *mapping, f"--endpoint={mixpanel.url}").code == 0


def test_a_query_is_run_once_for_a_command(
    call: Call, place: pathlib.Path, mixpanel: Emulator, bigquery: BigQueryServer
) -> None:
    query = "SELECT * FROM sales.orders, sales.customers"
    bigquery.results[query] = ORDERS
    some = ("bq://payer", "--query", query, "--mapping", "orders.yaml")
    done = call("import", *some, f"--endpoint={mixpanel.url}", "--quota=none")
    assert done.code == 0, done.out + done.err
    assert "5,000 read = 5,000 accepted + 0 failed" in done.out
    assert bigquery.queries == 1
    assert f"--query '{query}'" in done.out


def test_positions_are_refused(
    call: Call,
    place: pathlib.Path,
    bigquery: BigQueryServer,
) -> None:
    mapping = place / "orders.yaml"
    mapping.write_text(mapping.read_text().replace("insert_id: id\n", ""))
    done = call("check", TABLE, "--mapping", "orders.yaml")
    assert done.code == 2
    assert "BigQuery promises no order of rows" in done.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["bq://shop-prod.sales.nothing"], "does not exist"),
        ([TABLE, "events.parquet"], "one bq:// address at a time"),
        (["bq://orders"], "does not name a table"),
        ([TABLE, "--query", "SELECT 1"], "the address is only the project that runs it"),
        (["bq://payer", "--query", "SELECT"], "query SELECT cannot be read: "),
        (["bq://payer", "--query=SELECT 1", "--columns=a"], "chooses its rows and columns itself"),
        ([TABLE, "--row-restriction=n >"], "Syntax error"),
        ([TABLE, "--columns=ammount"], "do not exist in the table schema: ammount"),
        ([TABLE, "--partitions=May"], "does not name partitions"),
        ([TABLE, "--format=csv"], "--format is for files, and the input is a table"),
        (["orders.csv", "--query=SELECT 1"], "--query is for BigQuery, and the input is files"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    call: Call,
    place: pathlib.Path,
    bigquery: BigQueryServer,
    given: list[str],
    message: str,
) -> None:
    done = call("check", *given, "--mapping", "orders.yaml")
    assert done.code == 2
    assert message in done.err


def test_later_runs_read_rows_from_the_watermark_on(
    call: Call, place: pathlib.Path, mixpanel: Emulator, bigquery: BigQueryServer
) -> None:
    path = "projects/shop-prod/datasets/sales/tables/orders"
    whole = bigquery.tables[path]
    bigquery.tables[path] = whole.slice(0, 3000)
    given = (
        "import", TABLE, "--mapping", "orders.yaml", f"--endpoint={mixpanel.url}", "--quota=none",
        "--checkpoint", "log", "--since", "at", "--overlap", "100",
    )  # fmt: skip
    assert "3,000 read = 3,000 accepted + 0 failed" in call(*given).out
    bigquery.tables[path] = whole
    forget()
    done = call(*given)
    assert done.code == 0, done.err
    assert "were imported before; reading from there on." in done.out
    last = whole["at"][2999].as_py()
    again = sum(
        (last - at).total_seconds() <= 100 for at in whole["at"].to_pylist()[:3000]
    )  # fmt: skip
    assert 0 < again < 3000
    assert f"{2000 + again:,} read = {2000 + again:,} accepted + 0 failed" in done.out
    assert mixpanel.stats()["events_distinct"] == 5000
    shown = call("status", "log")
    assert f"{TABLE} at: up to {whole['at'][4999].as_py():%Y-%m-%d %H:%M}" in shown.out
    for column, said in (("name", "has no such column"), ("user", "of the type string")):
        done = call(*[column if word == "at" else word for word in given])
        assert done.code == 2
        assert said in done.err
