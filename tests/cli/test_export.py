"""`mixpanel-sink export`, and from one project into another."""

from __future__ import annotations

import pathlib
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from mixpanel_sink.emulator.testing import Emulator
from tests.cli.conftest import Call

DAY = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86_400))
AT = int(time.time() * 1000) - 86_400_000


@pytest.fixture
def filled(mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Emulator:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    events = [
        {
            "event": "Visit",
            "properties": {"distinct_id": f"u{n}", "time": AT, "$insert_id": f"i{n}", "n": n},
        }
        for n in range(30)
    ]
    answer = requests.post(
        f"{mixpanel.url}/import?strict=1", json=events, auth=(mixpanel.api_secret, ""), timeout=10
    )
    assert answer.status_code == 200, answer.text
    return mixpanel


def test_from_project_to_project(call: Call, filled: Emulator) -> None:
    done = call("export", "--from", DAY, "--to", DAY, "-o", "out/raw", f"--endpoint={filled.url}")
    assert done.code == 0, done.err
    assert f"out/raw-{DAY}.jsonl.gz: 30 events" in done.out
    assert "30 events of 127.0.0.1" in done.out
    assert "in 1 file." in done.out
    before = filled.events()
    filled.reset()
    sent = call("import", f"out/raw-{DAY}.jsonl.gz", f"--endpoint={filled.url}", "--quota=none")
    assert sent.code == 0, sent.out + sent.err

    def kept(events: list[dict]) -> dict:  # type: ignore[type-arg]
        return {e["properties"]["$insert_id"]: e["properties"]["n"] for e in events}

    assert kept(filled.events()) == kept(before)


def test_a_day_is_needed(call: Call, filled: Emulator) -> None:
    done = call("export", "-o", "out/raw", f"--endpoint={filled.url}", "--to", DAY)
    assert done.code == 2
    assert "--from is missing" in done.err


def test_init_from_another_tool(
    call: Call,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"id": "1", "event_text": "Order", "anonymous_id": "a", "user_id": "u",
           "timestamp": "2024-05-06T07:08:09Z", "context_ip": "198.51.100.7"}  # fmt: skip
    pq.write_table(pa.Table.from_pylist([row]), "orders.parquet")
    done = call("init", "orders.parquet", "--from", "segment", "-o", "segment.yaml")
    assert done.code == 0, done.err
    assert pathlib.Path("segment.yaml").read_text().startswith("# Segment Warehouses")
    done = call("init", "orders.parquet", "--from", "ga4", "-o", "ga4.yaml")
    assert done.code == 2
    assert "does not look like an export of ga4" in done.err
    assert not pathlib.Path("ga4.yaml").exists()
    done = call("init", "orders.parquet", "--from", "segmnt", "-o", "x.yaml")
    assert done.code == 2
    assert "Did you mean 'segment'" in done.err
