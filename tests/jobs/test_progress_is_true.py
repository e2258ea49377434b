"""Bar, log line, message after Ctrl-C and server say the same at any moment.

Each seed makes a run under a small quota, with 429s, 500s and latency, and looks at random moments.
"""

from __future__ import annotations

import pathlib
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs import outcome
from mixpanel_sink.jobs.progress import line
from mixpanel_sink.jobs.watch import Standing, Watch
from mixpanel_sink.settings.options import Settings
from tests.jobs.conftest import Run
from tests.jobs.test_progress import rendered

ROWS, BATCH, IN_FLIGHT = 1_500, 10, 4
_SETTINGS = Settings.of({}, "import")


@pytest.mark.parametrize("seed", range(3))
def test_what_is_shown_is_what_the_server_has(
    seed: int, send: Callable[..., Run], server: Emulator, tmp_path: pathlib.Path
) -> None:
    rng = random.Random(seed)
    make_input(tmp_path / "events.parquet")
    server.settings(latency_ms=rng.choice([0, 3, 15]))
    server.faults(plan(rng))
    watch, moments, ended = Watch(lambda: ROWS), list[Moment](), threading.Event()
    looker = threading.Thread(target=look_often, args=(watch, server, rng, moments, ended))
    looker.start()
    try:
        run = send(
            tmp_path / "events.parquet",
            f"--batch-events={BATCH}",
            f"--max-in-flight={IN_FLIGHT}",
            f"--quota={rng.choice(['60/second', '40/0.8s'])}",
            "--first-wait=0.2",
            "--progress=none",
        )
    finally:
        ended.set()
        looker.join()
    assert run.code == 0, run.err
    print(f"seed {seed}: {len(moments)} moments")
    assert len(moments) > 10
    for before, now, after in moments:
        is_true(before, now, after)
    causes = {now.held.cause for _, now, _ in moments if now.held is not None}
    assert {"the quota is used up", "Mixpanel asked to wait"} <= causes
    end, held = watch.look(), server.stats()
    assert (end.accepted, end.requests) == (held["events_accepted"], held["requests"])
    assert end.accepted == ROWS
    assert f"{ROWS:,} read = {end.accepted:,} accepted + 0 failed" in run.out
    assert re.search(rf"requests +{end.requests:,} ", run.out)


Moment = tuple[dict[str, Any], Standing, dict[str, Any]]


def make_input(path: pathlib.Path) -> None:
    at = int(time.time() * 1000) - 86_400_000
    columns = {"name": ["Visit"] * ROWS, "user": [f"u{n}" for n in range(ROWS)], "at": [at] * ROWS}
    pq.write_table(pa.table(columns), path)


def plan(rng: random.Random) -> list[dict[str, Any]]:
    """A 429 with a pause that can be seen, and some 500s."""
    return [
        {"kind": "rate_limit", "retry_after": "1", "skip": rng.randrange(5, 40)},
        {"kind": "status", "status": 500, "times": rng.randrange(1, 6), "skip": rng.randrange(30)},
        {"kind": "status", "status": 503, "skip": rng.randrange(30)},
    ]


def look_often(
    watch: Watch, server: Emulator, rng: random.Random, into: list[Moment], end: threading.Event
) -> None:
    while not end.wait(rng.uniform(0, 0.06)):
        into.append((server.stats(), watch.look(), server.stats()))


def is_true(before: dict[str, Any], now: Standing, after: dict[str, Any]) -> None:
    """Nothing is shown that the server does not have, and nothing is missing but what is on its
    way."""
    assert before["requests"] - now.in_flight <= now.requests <= after["requests"]
    least = before["events_accepted"] - IN_FLIGHT * BATCH
    assert least <= now.accepted <= after["events_accepted"]
    shown = " ".join(rendered(now))
    message = outcome.so_far(_SETTINGS, now)
    for text in (shown, line(now)):
        assert f"{now.accepted:,} of {ROWS:,} accepted" in text
        assert re.search(rf"\b{now.requests} requests?\b", text)
        assert now.held is None or f"{now.held.cause} until" in text
    if now.requests:
        assert f"accepted {now.accepted:,} so far, in {now.requests} request" in message
    if now.done and now.done < ROWS:
        assert now.left is not None
        assert " left" in shown
