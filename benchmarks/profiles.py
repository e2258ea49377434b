"""What only-changed profiles cost: memory, disk and time of the checkpoint alone, without requests.

    python -m benchmarks.profiles --profiles 10000000 --changed 0.01

Each step runs in a process of its own, as a day's run does: the first day sends all profiles, the
second finds those that changed, and the third begins with what the second left.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import pathlib
import resource
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator

import numpy as np

from mixpanel_sink.api.endpoints import ENGAGE
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.checkpoint.profile_store import ProfileStore
from mixpanel_sink.checkpoint.profiles import ProfileState

BATCH = 10_000
_LOOK_SECONDS = 0.05
OWNER = Owner("", "mapping", "engage", "projects")


def id_of(number: int, kind: str) -> str:
    """A user's id."""
    if kind == "uuid":
        return str(uuid.UUID(bytes=hashlib.md5(b"%d" % number).digest()))
    return f"user-{number}"


def updates(count: int, changed: float, day: int, kind: str) -> Iterator[list[bytes]]:
    """A day's updates in batches; those that changed come first."""
    new = int(count * changed) if day else 0
    for start in range(0, count, BATCH):
        yield [
            b'{"$distinct_id":"%s","$ip":"0","$set":{"plan":"pro","n":%d},"$token":"t"}'
            % (id_of(n, kind).encode(), n + day if n < new else n)
            for n in range(start, min(start + BATCH, count))
        ]


def run_day(path: str, count: int, changed: float, day: int, kind: str) -> str:
    """One day; gives what happened."""
    began = time.process_time()
    store = ProfileStore(path, OWNER)
    store.settle()
    settled = time.process_time()
    state = ProfileState(store, ENGAGE, f"run{day}")
    loaded = time.process_time()
    sent = 0
    seen = np.zeros(len(state.base.keys), bool)
    for records in updates(count, changed, day, kind):
        found = state.changed(records)
        seen[found.places] = True
        wanted = [record for record, send in zip(records, found.send, strict=True) if send]
        sent += len(wanted)
        for at in range(0, len(wanted), 2000):
            part = wanted[at : at + 2000]
            chunk = EventChunk.of(part, [Run(len(part), 0, ("",))])
            state.end(state.begin(chunk), chunk, [])
    state.flush()
    compared = time.process_time()
    return (
        f"{sent:,} of {count:,} sent, {int((~seen).sum()):,} missing; logs put away in "
        f"{settled - began:.1f} CPU-s, loaded in {loaded - settled:.1f}, compared and entered in "
        f"{compared - loaded:.1f}"
    )


def put_away(path: str) -> str:
    """What the next run begins with."""
    store = ProfileStore(path, OWNER)
    store.settle()
    return "the logs are in the shards"


def measured(title: str, path: str, step: Callable[..., str], *given: object) -> None:
    """Runs a step in a process of its own, and prints what it took."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def run() -> None:
        said = step(path, *given)
        theirs.send((said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))

    process = context.Process(target=run)
    process.start()
    most = 0
    while not ours.poll(_LOOK_SECONDS):
        most = max(most, on_disk(path))
    said, peak = ours.recv()
    process.join()
    disk = on_disk(path)
    print(
        f"{title}: {said}. Peak memory {peak / 1024:.0f} MB (of which {before / 1024:.0f} MB are "
        f"there before); {disk / 1e6:.0f} MB on disk, at most {max(most, disk) / 1e6:.0f} MB.",
        flush=True,
    )


def on_disk(path: str) -> int:
    """Bytes of a folder's files, some of which may be removed meanwhile."""
    found = 0
    for each in pathlib.Path(path).iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += each.stat().st_size
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profiles", type=int, default=1_000_000)
    parser.add_argument("--changed", type=float, default=0.01, help="share that changes each day")
    parser.add_argument("--ids", choices=("number", "uuid"), default="uuid")
    given = parser.parse_args()
    print(f"{given.profiles:,} profiles, ids: {given.ids}; {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as path:
        for day in range(3):
            title = f"day {day + 1}"
            measured(title, path, run_day, given.profiles, given.changed, day, given.ids)
        measured("after", path, put_away)


if __name__ == "__main__":
    main()
