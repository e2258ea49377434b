"""How long the emulator's page waits for its queries when millions of events are stored.

Fills an emulator by /import, 2,000 events of 13 properties a request, then asks what the page
asks. A search is asked in portions, as the page does: "first" is the first of them, "all" is until
the last. Each query runs three times; "cold" is the first time, "warm" the median of the others.

    python -m benchmarks.emulator_page --events 3000000
"""

import argparse
import gzip
import json
import random
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from benchmarks.emulator_ingest import BATCH, process_usage, send
from mixpanel_sink.emulator.testing import Emulator

RARE = "needle in a haystack"
USERS = 200_000
_NAMES = ("Order Completed", "Product Viewed", "Cart Opened", "Sign Up", "Search", "Page View")
_START = 1_700_000_000_000
_EVENT = (
    '{"event":"%s","properties":{"time":%d,"distinct_id":"user-%d","$insert_id":"%016x-%08d",'
    '"ip":"0","token":"emulator-token","product":"%s","category":"furniture","price":%d.95,'
    '"quantity":%d,"currency":"USD","returning":%s,"campaign":"spring-%d","page":"/shop/item/%d"%s}}'
)


def body(request: int) -> bytes:
    """The gzip NDJSON of one request."""
    draw = random.Random(request)
    lines = []
    for number in range(request * BATCH, (request + 1) * BATCH):
        bits = draw.getrandbits(64)
        lines.append(
            _EVENT
            % (
                *(_NAMES[bits % 6], _START + number * 1000, bits % USERS, bits, number),
                *(("Chair", "Table", "Lamp", "Bookshelf")[bits & 3], bits % 500, bits % 9 + 1),
                *(("true", "false")[bits >> 8 & 1], bits % 40, bits % 99_991),
                f',"note":"{RARE.title()}"' if number == 1000 else "",
            )
        )
    return gzip.compress("\n".join(lines).encode(), 1)


def fill(mixpanel: Emulator, events: int, connections: int = 2) -> None:
    """Send so many events."""
    threads = [
        threading.Thread(
            target=send, args=(mixpanel, map(body, range(i, events // BATCH, connections)))
        )
        for i in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def ask(mixpanel: Emulator, path: str) -> Any:
    """What the emulator answers to one question."""
    with urllib.request.urlopen(mixpanel.url + path) as answer:
        return json.load(answer)


def portions(mixpanel: Emulator, **wanted: object) -> Iterator[int]:
    """Search as the page does; after each portion, how many events fitted it."""
    before: int | None = None
    while True:
        given = {**wanted, "limit": 100, "before": "" if before is None else before}
        part = ask(mixpanel, "/emulator/search?" + urlencode(given))
        yield part["matched"]
        if (before := part["before"]) is None:
            return


def counts(mixpanel: Emulator) -> Iterator[int]:
    """Ask for the chart until it is complete."""
    while True:
        part = ask(mixpanel, "/emulator/counts?unit=hour&partial=1")
        yield sum(map(sum, part["events"].values()))
        if part["complete"]:
            return


def queries(mixpanel: Emulator) -> dict[str, Callable[[], Iterator[int]]]:
    """What the page asks, by name."""

    def get(path: str) -> Callable[[], Iterator[int]]:
        return lambda: iter([len(str(ask(mixpanel, path)))])

    def search(**wanted: object) -> Callable[[], Iterator[int]]:
        return lambda: portions(mixpanel, **wanted)

    newest = ask(mixpanel, "/emulator/events?detail=1&limit=1")["events"][0]
    user, id = newest["user"], newest["event"]["properties"]["$insert_id"]
    middle = _START // 1000 + 1_000_000
    return {
        "events list": get("/emulator/events?detail=1&limit=100"),
        "older events": get("/emulator/events?detail=1&limit=100&before=1000000"),
        "tiles": get("/emulator/stats"),
        "requests": get("/emulator/requests?order=newest&limit=100"),
        "requests chart": get("/emulator/counts?by=arrival&unit=minute"),
        "one request": get("/emulator/requests/1"),
        "groups": get("/emulator/groups?limit=100"),
        "quota": get("/emulator/quota"),
        "chart": lambda: counts(mixpanel),
        "search: in none": search(search="no event has this"),
        "search: in one": search(search=RARE),
        "search: two letters in none": search(search="~~"),
        "search: in all": search(search="furniture"),
        "search: in a quarter": search(search="bookshelf"),
        "search: an insert id": search(search=id),
        "filter: event": search(event="Sign Up"),
        "filter: event and text": search(event="Sign Up", search="bookshelf"),
        "filter: user": search(distinct_id=user),
        "filter: time": search(**{"from": middle, "to": middle + 86_400}),
        "users list": get("/emulator/users?limit=100"),
        "users search": get("/emulator/users?limit=100&search=user-77"),
        "one user": get(f"/emulator/users/{quote(user)}?limit=50"),
    }


def measure(query: Callable[[], Iterator[int]]) -> tuple[float, float, int]:
    """Milliseconds until the first answer and until the last, and the sum of the answers."""
    start, first, total = time.perf_counter(), 0.0, 0
    for answer in query():
        first = first or (time.perf_counter() - start) * 1000
        total += answer
    return first, (time.perf_counter() - start) * 1000, total


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--db", type=Path, help="a database to keep; what it holds is not sent")
    options = parser.parse_args()
    with Emulator(db=options.db) as mixpanel:
        start, before = time.perf_counter(), process_usage(mixpanel.pid)
        missing = options.events - mixpanel.stats()["events_distinct"]
        if missing > 0:
            fill(mixpanel, missing)
        cpu, memory = process_usage(mixpanel.pid)
        print(
            f"{max(missing, 0):,} events stored in {time.perf_counter() - start:.0f} s, with"
            f" {cpu - before[0]:.0f} CPU-s of the emulator; resident memory {memory:.0f} MB"
        )
        print(f"{'ms':30}{'cold':>8}{'warm':>8}{'cold':>10}{'warm':>8}{'found':>12}")
        print(f"{'':30}{'first':>8}{'first':>8}{'all':>10}{'all':>8}")
        for name, query in queries(mixpanel).items():
            runs = [measure(query) for _ in range(3)]
            cold, warm = runs[0], [statistics.median(run[i] for run in runs[1:]) for i in (0, 1)]
            found = f"{cold[2]:,}" if ":" in name or name == "chart" else ""
            times = f"{cold[0]:8.0f}{warm[0]:8.0f}{cold[1]:10.0f}{warm[1]:8.0f}"
            print(f"{name:30}{times}{found:>12}", flush=True)
        print(f"resident memory after the queries {process_usage(mixpanel.pid)[1]:.0f} MB")


if __name__ == "__main__":
    main()
