"""How many events a second the emulator takes, and what they cost it.

Sends gzip NDJSON requests of 2000 events, 13 properties and about 310 bytes each, over a few
keep-alive connections. The bodies are made before the clock starts.

    python -m benchmarks.emulator_ingest --requests 300
"""

import argparse
import base64
import gzip
import hashlib
import http.client
import json
import os
import random
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from mixpanel_sink.emulator.testing import Emulator

BATCH = 2000


def event_line(number: int) -> bytes:
    """One shop event as JSON."""
    rand = random.Random(number)
    properties = {
        "time": 1_700_000_000_000 + number,
        "distinct_id": f"user-{number % 50_000}",
        "$insert_id": hashlib.md5(str(number).encode()).hexdigest(),
        "ip": "0",
        "token": "emulator-token",
        "product": rand.choice(("Chair", "Table", "Lamp", "Bookshelf")),
        "category": rand.choice(("furniture", "lighting")),
        "price": round(rand.random() * 500, 2),
        "quantity": rand.randint(1, 9),
        "currency": "USD",
        "returning": rand.random() < 0.5,
        "campaign": f"spring-{rand.randint(1, 40)}",
        "page": f"/shop/item/{rand.randint(1, 99999)}",
    }
    line = {"event": "Order Completed", "properties": properties}
    return json.dumps(line, separators=(",", ":")).encode()


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--variant", default="page", choices=("page", "reference"))
    options = parser.parse_args()

    bodies: list[bytes] = []
    size = 0
    for request in range(options.requests):
        lines = b"\n".join(event_line(request * BATCH + i) for i in range(BATCH))
        size += len(lines)
        bodies.append(gzip.compress(lines, 1))
    total = options.requests * BATCH
    with Emulator(variant=options.variant) as mixpanel:
        before = process_usage(mixpanel.pid)
        start = time.perf_counter()
        threads = [
            threading.Thread(target=send, args=(mixpanel, bodies[i :: options.connections]))
            for i in range(options.connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
        cpu, memory = process_usage(mixpanel.pid)
        stored = mixpanel.stats()["events_distinct"]
        assert stored == total, f"{stored} of {total} events are stored"
    cpu -= before[0]
    print(
        f"{total} events of {size / total:.0f} bytes in {options.requests} requests: "
        f"{total / seconds:,.0f} events/s, {options.requests / seconds:.1f} requests/s, "
        f"server {cpu:.2f} CPU-s ({total / cpu:,.0f} events per CPU-s), "
        f"resident memory {memory:.0f} MB"
    )


def send(mixpanel: Emulator, bodies: Iterable[bytes]) -> None:
    """Send each body to /import over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", mixpanel.port)
    credentials = base64.b64encode(f"{mixpanel.api_secret}:".encode()).decode()
    headers = {
        "Authorization": f"Basic {credentials}",
        "Content-Type": "application/x-ndjson",
        "Content-Encoding": "gzip",
    }
    for body in bodies:
        connection.request("POST", "/import?strict=1", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {said[:300]!r}")
    connection.close()


def process_usage(pid: int) -> tuple[float, float]:
    """CPU seconds and resident megabytes of a process; zeros where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0, 0.0
    ticks = int(fields[11]) + int(fields[12])
    memory = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return ticks / os.sysconf("SC_CLK_TCK"), memory


if __name__ == "__main__":
    main()
