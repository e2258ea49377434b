"""A table of BigQuery, from the loopback server through a pipeline into the emulator."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest

from mixpanel_sink import (
    ApiSecret,
    BigQueryTable,
    ContentId,
    EventMapping,
    InputError,
    ReadBigQueryTables,
    WriteToMixpanel,
)
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.settings.columns import ColumnsId, Constant, InsertId
from tests.read.bigquery_server import BigQueryServer
from tests.read.test_bigquery import bigquery  # noqa: F401
from tests.running import FAST, IN_PROCESS


def run(mixpanel: Emulator, source: Any, insert_id: InsertId) -> None:
    mapping = EventMapping(Constant("Order"), "at", distinct_id="user", insert_id=insert_id)
    secret = ApiSecret("env:TEST_API_SECRET")
    write = WriteToMixpanel(mapping, secret, endpoint=mixpanel.url, quota="none", retry=FAST)
    with beam.Pipeline(IN_PROCESS) as pipeline:
        _ = pipeline | ReadBigQueryTables(source) | write


@pytest.mark.parametrize("insert_id", [ColumnsId(("id",)), ContentId()])
def test_every_row_is_an_event_once(
    mixpanel: Emulator,
    bigquery: BigQueryServer,
    insert_id: InsertId,
) -> None:
    for _ in range(2):
        run(mixpanel, "bq://shop-prod.sales.orders", insert_id)
    assert mixpanel.stats()["events_distinct"] == 5000
    assert mixpanel.stats()["requests"] == 6  # three full ones each time


def test_a_filter_and_columns(mixpanel: Emulator, bigquery: BigQueryServer) -> None:
    columns = ["id", "user", "at", "n"]
    source = BigQueryTable("bq://shop-prod.sales.orders", columns=columns, where="n >= 4999")
    run(mixpanel, source, ContentId())
    (event,) = mixpanel.events()
    assert event["properties"]["n"] == 4999
    assert "amount" not in event["properties"]


def test_what_is_missing_fails_the_pipeline(
    mixpanel: Emulator,
    bigquery: BigQueryServer,
) -> None:
    with pytest.raises((InputError, RuntimeError), match=r"does not exist\. Check project"):
        run(mixpanel, "bq://shop-prod.sales.nothing", ContentId())
    assert mixpanel.stats()["requests"] == 0
