"""`make demo`: 100,000 shop events, seven of them bad, into the emulator.

Under Mixpanel's default quota of 60 requests an hour: full batches make it 50.
"""

from __future__ import annotations

import pathlib
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_sink.jobs.local import emulator, run_pipeline

ROWS = 100_000
_EVENTS = ("Page Viewed", "Product Viewed", "Added To Cart", "Checkout Started", "Order Placed")
_START_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z."""


def shop_events(rows: int = ROWS, seed: int = 7) -> pa.Table:
    """A made-up shop's events; seven rows are bad on purpose if there are over 1000."""
    rng = random.Random(seed)
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


def main() -> int:
    """Runs the demo and gives the pipeline's exit code."""
    place = pathlib.Path("demo-output")
    place.mkdir(exist_ok=True)
    source = place / "shop.parquet"
    pq.write_table(shop_events(), source, row_group_size=40_000)
    print(f"Made {source}: {ROWS:,} rows, seven of them bad on purpose.")
    for old in place.glob("failed*.jsonl"):
        old.unlink()
    database = place / "emulator.db"
    for old in place.glob("emulator.db*"):
        old.unlink()
    with emulator(quota="60/hour", db=str(database)) as running:
        code, seconds = run_pipeline(
            running,
            [
                f"--input={source}",
                "--mapping=configs/shop.yaml",
                "--quota=60/hour",
                f"--failed_output={place}/failed",
            ],
        )
        stats = running.stats()
    print(
        f"\nThe stand-in holds {stats['events_distinct']:,} distinct events after "
        f"{stats['requests']} requests, in {seconds:.0f} s with start-up."
    )
    print("Where to look:")
    print(f"  the bad records    {place}/failed-00000-of-00001.jsonl")
    print("  the mapping        configs/shop.yaml")
    print(f"  the stored events  mixpanel-sink emulator --api-secret demo --db {database}")
    print("                     then http://127.0.0.1:8080/emulator/events?limit=5")
    return code


if __name__ == "__main__":
    sys.exit(main())
