"""The steps of docs/undo.md, against the emulator."""

from __future__ import annotations

import datetime
import pathlib
import re
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.jobs import verify

ROWS = 4_100
WRONG = "event: kind\ndistinct_id: user\ntime: {column: at, unit: ms}\ninsert_id: id\n"
FIXED = f"{WRONG}rename: {{cents: amount_in_cents}}\n"
SALTED = FIXED.replace("insert_id: id", "insert_id: {column: id, salt: second}")


@pytest.fixture
def orders(tmp_path: pathlib.Path) -> pathlib.Path:
    """Of yesterday: older than 180 days nothing can be deleted."""
    first = int(time.time() * 1000) - 86_400_000
    path = tmp_path / "orders.parquet"
    table = {
        "kind": ["Order" if i % 10 else "Refund" for i in range(ROWS)],
        "user": [f"u{i % 7}" for i in range(ROWS)],
        "at": [first + i for i in range(ROWS)],
        "id": [f"order-{i}" for i in range(ROWS)],
        "cents": list(range(ROWS)),
    }
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture
def check(
    server: Any, orders: pathlib.Path, tmp_path: pathlib.Path, capsys: Any
) -> Callable[..., tuple[int, str]]:
    """Runs verify; gives the exit code and the first line."""

    def run(mapping: str, *more: str) -> tuple[int, str]:
        (tmp_path / "verify.yaml").write_text(mapping)
        given = [
            f"--input={orders}",
            f"--mapping={tmp_path}/verify.yaml",
            "--api-secret=env:TEST_API_SECRET",
            f"--endpoint={server.url}",
            *more,
        ]
        code = verify.main(given)
        out, err = capsys.readouterr()
        return code, (out or err).splitlines()[0]

    return run


def test_a_bad_import_is_taken_back(send, server, orders, check, tmp_path) -> None:
    marked = "--run-property=import_run"
    bad = send(orders, marked, f"--checkpoint={tmp_path}/checkpoint", mapping=WRONG)
    assert bad.code == 0
    (run,) = re.findall(r"every event carries import_run = (\S+)", bad.out)
    held = server.events(10_000)
    ids = {each["properties"]["$insert_id"] for each in held}
    assert ids == {f"order-{i}" for i in range(ROWS)}  # as without the property
    assert check(WRONG, marked) == (
        0,
        f"Mixpanel holds all {ROWS:,} events of the input, each once and unaltered.",
    )
    assert check(WRONG, marked, f"--run-id={run}")[0] == 0
    assert check(WRONG, marked, "--run-id=other")[0] == 1
    assert check(WRONG)[0] == 1  # a property that the import does not explain

    # The same job again sends nothing, though its run has another id.
    requests = server.stats()["requests"]
    assert send(orders, marked, f"--checkpoint={tmp_path}/checkpoint", mapping=WRONG).code == 0
    assert server.stats()["requests"] == requests

    # 2. Delete; another import of events of the same names and days stays.
    other = FIXED.replace("insert_id: id", "insert_id: at")
    assert send(orders, marked, "--run-id=other", mapping=other).code == 0
    today = datetime.datetime.now(datetime.UTC).date()
    days = str(today - datetime.timedelta(2)), str(today)
    gone = [
        server.delete_events(name, *days, {"import_run": run})["events"]
        for name in ("Order", "Refund")
    ]
    assert sum(gone) == ROWS
    left = server.events(10_000)
    assert {each["properties"]["import_run"] for each in left} == {"other"}
    assert len(left) == ROWS
    for name in ("Order", "Refund"):  # verify would find them unexpected
        server.delete_events(name, *days, {"import_run": "other"})

    # 3. With the old ids the import is accepted, and Mixpanel does not hold it.
    again = send(orders, marked, mapping=FIXED)
    assert again.code == 0
    assert "4,100 accepted + 0 failed" in again.out
    code, said = check(FIXED, marked)
    assert code == 1
    assert "of 4,100 events are missing" in said

    # 4. With a salt it does.
    last = send(orders, marked, f"--checkpoint={tmp_path}/checkpoint-2", mapping=SALTED)
    assert last.code == 0
    assert check(SALTED, marked)[0] == 0
    assert len(server.events(10_000)) == ROWS
