"""A mapping with a shape, from the command line: check, import and verify agree."""

from __future__ import annotations

import json
import pathlib
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.emulator.testing import Emulator
from tests.cli.conftest import Call

MAPPING = """
event: name
distinct_id: user
time: {column: at, unit: ms}
shape:
  json: [payload]
  flatten: [params]
  where: n >= 10
"""


def test_what_is_checked_is_sent_and_proved(
    call: Call,
    tmp_path: pathlib.Path,
    mixpanel: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    at = int(time.time() * 1000) - 86_400_000
    rows = [
        {
            "name": "Visit",
            "at": at + n,
            "payload": json.dumps({"user": f"u{n}", "big": 2**53 + n, "tags": ["a", n]}),
            "params": [{"key": "n", "value": n}],
        }
        for n in range(50)
    ]
    rows[20]["payload"] = "{"
    pq.write_table(pa.Table.from_pylist(rows), "visits.parquet")
    pathlib.Path("visits.yaml").write_text(MAPPING)
    checked = call("check", "visits.parquet", "--mapping", "visits.yaml")
    assert checked.code == 0, checked.out + checked.err
    assert "shape_failed" in checked.out
    where = f"--endpoint={mixpanel.url}"
    sent = call("import", "visits.parquet", "--mapping", "visits.yaml", where)
    assert sent.code == 0, sent.out + sent.err
    assert "40 read = 39 accepted + 1 failed" in sent.out
    events = {each["properties"]["distinct_id"]: each["properties"] for each in mixpanel.events()}
    assert len(events) == 39
    assert events["u33"]["big"] == 2**53 + 33
    assert events["u33"]["tags"] == ["a", 33]
    proved = call("verify", "visits.parquet", "--mapping", "visits.yaml", where)
    assert proved.code == 0, proved.out + proved.err
