"""`make flights`: three million real flights into the emulator, twice.

After both runs it must hold exactly three million distinct events.
"""

from __future__ import annotations

import sys

import pyarrow.parquet as pq

from mixpanel_sink.jobs.local import emulator, run_import


def main(path: str) -> int:
    """Sends the file twice; 0 if every row is stored exactly once."""
    rows = pq.read_metadata(path).num_rows
    fewest = -(-rows // 2000)
    with emulator(quota="none") as running:
        for run in (1, 2):
            before = running.stats()["requests"]
            code, seconds = run_import(
                running, [path, "--mapping=configs/flights.yaml", "--quota=none"]
            )
            stats = running.stats()
            requests = stats["requests"] - before
            print(
                f"Run {run}: {stats['events_distinct']:,} distinct events stored, {requests:,} "
                f"requests (fewest possible: {fewest:,}), {seconds:.1f} s.\n"
            )
            if code or stats["events_distinct"] != rows or requests > fewest + 1:
                print(f"Error: expected {rows:,} events in at most {fewest + 1:,} requests.")
                return 1
    print(f"{rows:,} rows, sent twice, stored once.")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
