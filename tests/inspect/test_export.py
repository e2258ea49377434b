"""The raw export as files, from the emulator, and back into another project."""

from __future__ import annotations

import datetime
import gzip
import json
import pathlib
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import DestinationError, SettingError
from mixpanel_sink.inspect.export import export_events
from mixpanel_sink.inspect.verify import Exporter, export_destination
from mixpanel_sink.settings.credentials import ApiSecret
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy

FIRST, LAST = datetime.date(2024, 5, 6), datetime.date(2024, 5, 8)


def event(number: int, name: str = "Visit") -> dict[str, Any]:
    at = datetime.datetime(2024, 5, 6 + number % 3, 12, tzinfo=datetime.timezone.utc)
    properties = {
        "distinct_id": f"u{number}",
        "time": int(at.timestamp() * 1000),
        "$insert_id": f"i{number}",
        "n": number,
        "tags": ["a", number],
    }
    return {"event": name, "properties": properties}


@pytest.fixture
def exporter(mixpanel: Emulator) -> Exporter:
    events = [event(n) for n in range(30)] + [event(n, "Order") for n in range(30, 40)]
    sent = requests.post(
        f"{mixpanel.url}/import?strict=1", json=events, auth=(mixpanel.api_secret, ""), timeout=10
    )
    assert sent.status_code == 200, sent.text
    retry = RetryPolicy(transient_seconds=1, first_wait=0.01, longest_wait=0.02)
    secret = ApiSecret("env:TEST_API_SECRET")
    return Exporter(export_destination(None, mixpanel.url), secret, retry, Quota.none())


def test_json_lines_are_raw_events(exporter: Exporter, tmp_path: pathlib.Path) -> None:
    told: list[tuple[str, int]] = []
    done = export_events(
        exporter, FIRST, LAST, f"{tmp_path}/out/raw", progress=lambda *at: told.append(at)
    )
    assert [pathlib.Path(path).name for path in done.files] == [
        f"raw-2024-05-0{day}.jsonl.gz" for day in (6, 7, 8)
    ]
    assert done.events == 40 == sum(count for _, count in told)
    found = {}
    for path in done.files:
        for line in gzip.decompress(pathlib.Path(path).read_bytes()).splitlines():
            parsed = json.loads(line)
            found[parsed["properties"]["$insert_id"]] = parsed
    assert len(found) == 40
    assert found["i7"]["properties"]["tags"] == ["a", 7]
    assert found["i7"]["properties"]["time"] == event(7)["properties"]["time"]


def test_parquet(exporter: Exporter, tmp_path: pathlib.Path) -> None:
    done = export_events(
        exporter, FIRST, LAST, f"{tmp_path}/raw", events=["Order"], format="parquet"
    )
    rows = [row for path in done.files for row in pq.read_table(path).to_pylist()]
    assert done.events == 10 == len(rows)
    row = next(row for row in rows if row["insert_id"] == "i31")
    assert row["event"] == "Order"
    assert row["distinct_id"] == "u31"
    assert row["time"] == datetime.datetime(2024, 5, 7, 12, tzinfo=datetime.timezone.utc)
    assert json.loads(row["properties"])["tags"] == ["a", 31]


def test_a_file_that_is_there_is_kept(exporter: Exporter, tmp_path: pathlib.Path) -> None:
    (tmp_path / "raw-2024-05-07.jsonl.gz").write_text("mine")
    with pytest.raises(SettingError, match="already exists"):
        export_events(exporter, FIRST, LAST, f"{tmp_path}/raw")
    assert len(list(tmp_path.iterdir())) == 1


def test_days_in_the_wrong_order(exporter: Exporter, tmp_path: pathlib.Path) -> None:
    with pytest.raises(SettingError, match="is before the first"):
        export_events(exporter, LAST, FIRST, f"{tmp_path}/raw")


def test_an_export_that_fails_leaves_no_part_of_a_file(
    mixpanel: Emulator, tmp_path: pathlib.Path
) -> None:
    retry = RetryPolicy(transient_seconds=0.1, first_wait=0.01, longest_wait=0.02)
    nowhere = export_destination(None, "http://127.0.0.1:9")
    exporter = Exporter(nowhere, ApiSecret("env:TEST_API_SECRET"), retry, Quota.none())
    with pytest.raises(DestinationError):
        export_events(exporter, FIRST, LAST, f"{tmp_path}/raw")
    assert not list(tmp_path.iterdir())
