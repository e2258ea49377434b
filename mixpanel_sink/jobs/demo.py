"""`mixpanel-sink demo`: 100,000 shop events, seven of them bad, into the emulator.

Under Mixpanel's default quota of 60 requests an hour: full batches make it 50. Everything that it
needs and makes is in the folder `demo-output`.
"""

from __future__ import annotations

import contextlib
import pathlib
import random
import sys
import tempfile
import threading

import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_sink.jobs.local import emulator, run_import

ROWS = 100_000
_EVENTS = ("Page Viewed", "Product Viewed", "Added To Cart", "Checkout Started", "Order Placed")
_START_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z."""
MAPPING = """\
# The demo's shop events. A bare name is a column; everything else is spelled out.
event: event_name
distinct_id: user_id
time: {column: created_at, unit: ms}   # numbers need their unit
insert_id: order_event_id              # one column makes events unique
ip: client_ip                          # null or empty: no geolocation
exclude: [internal_note]
rename: {amount_eur: amount}
constants: {source: warehouse}
"""
"""How shop events become Mixpanel events; configs/shop.yaml is the same text."""


def shop_events(rows: int = ROWS) -> pa.Table:
    """A made-up shop's events; seven rows are bad on purpose if there are over 1000."""
    rng = random.Random(7)
    columns: dict[str, list[object]] = {
        "order_event_id": [f"evt-{i:08d}" for i in range(rows)],
        "event_name": [rng.choice(_EVENTS) for _ in range(rows)],
        "user_id": [f"user-{rng.randrange(20_000)}" for _ in range(rows)],
        "created_at": [_START_MS + i * 300 + rng.randrange(300) for i in range(rows)],
        "client_ip": [
            f"198.51.100.{rng.randrange(256)}" if rng.random() < 0.8 else None for _ in range(rows)
        ],
        "product": [f"sku-{rng.randrange(500)}" for _ in range(rows)],
        "amount_eur": [
            round(rng.uniform(1, 500), 2) if rng.random() < 0.6 else None for _ in range(rows)
        ],
        "tags": [rng.sample(["new", "sale", "gift", "b2b"], rng.randrange(3)) for _ in range(rows)],
        "internal_note": ["not for Mixpanel"] * rows,
    }
    if rows > 1000:
        columns["user_id"][100] = None
        columns["user_id"][200] = "undefined"
        columns["event_name"][300] = ""
        columns["created_at"][400] = 1_704_067_200  # seconds among milliseconds
        columns["created_at"][500] = None
        columns["amount_eur"][600] = float("nan")
        columns["order_event_id"][700] = None
    return pa.table(columns)


def main(folder: str = "demo-output", rows: int = ROWS, keep: bool = False) -> int:
    """Runs the demo and gives the import's exit code.

    Args:
        folder: for its files; a temporary one if it cannot be made here.
        rows: of made-up data.
        keep: whether the emulator goes on until Ctrl-C, so that its page can be looked at.
    """
    place = _folder(folder)
    source, mapping = place / "shop.parquet", place / "shop.yaml"
    report, database = place / "run.html", place / "emulator.db"
    pq.write_table(shop_events(rows), source, row_group_size=40_000)
    mapping.write_text(MAPPING, encoding="utf-8")
    print(f"Made {source}: {rows:,} rows, seven of them bad on purpose.")
    with emulator(quota="60/hour", db=str(database)) as running:
        code, seconds = run_import(
            running,
            [
                *(str(source), "--mapping", str(mapping), "--quota", "60/hour"),
                *("--failed-output", f"{place}/failed", "--report", str(report)),
            ],
        )
        stats = running.stats()
        print(
            f"\nThe emulator holds {stats['events_distinct']:,} distinct events after "
            f"{stats['requests']} requests, in {seconds:.0f} s with start-up."
        )
        print("Where to look:")
        print(f"  the bad records    {place}/failed-00000-of-00001.jsonl")
        print(f"  the report         {report}")
        print(f"  the mapping        {mapping}")
        if keep:
            print(f"  the events         {running.url}/  (until you press Ctrl-C)", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
            print()
    if not keep:
        print(f"  the events         mixpanel-sink emulator --api-secret demo --db {database}")
        print("                     then http://127.0.0.1:8080/")
    return code


def _folder(name: str) -> pathlib.Path:
    """The demo's folder, without what an earlier demo left there."""
    place = pathlib.Path(name)
    try:
        place.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError:  # such as a folder of another user
        place = pathlib.Path(tempfile.mkdtemp(prefix="mixpanel-demo-"))
    for old in (*place.glob("failed*.jsonl"), *place.glob("emulator.db*")):
        old.unlink()
    return place


if __name__ == "__main__":
    sys.exit(main())
