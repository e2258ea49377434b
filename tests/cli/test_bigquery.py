"""A BigQuery table from the command line: init, check, import, verify."""

from __future__ import annotations

import pathlib

import pytest

from mixpanel_sink.emulator.testing import Emulator
from tests.cli.conftest import Call
from tests.read.bigquery_server import BigQueryServer
from tests.read.test_bigquery import bigquery  # noqa: F401

TABLE = "bq://shop-prod.sales.orders"


@pytest.fixture
def place(
    mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    (tmp_path / "orders.yaml").write_text(
        "event: {constant: Order}\ntime: at\ndistinct_id: user\ninsert_id: id\nexclude: [amount]\n"
    )
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
    done = call("verify", TABLE, "--mapping", "orders.yaml", where)
    assert done.code == 0, done.out + done.err


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
        ([TABLE, "events.parquet"], "one BigQuery table at a time"),
        (["bq://orders"], "does not name a table"),
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
