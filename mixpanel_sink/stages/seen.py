"""Which of the known profiles an input has: what all bundles of Convert saw, combined.

The result is written only after the whole input was read: a profile that it lacks is missing from
the input.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import orjson

from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.profiles import SEEN
from mixpanel_sink.settings.job import Job


class Seen(NamedTuple):
    """What one or more bundles saw.

    Attributes:
        mark: of the known profiles that they were compared with; "" where they differ.
        bits: one for each of these, packed and compressed.
        records: how many there were.
        failed: how many could not be updates, so that their profiles are unknown.
    """

    mark: str
    bits: bytes
    records: int = 0
    failed: int = 0

    @classmethod
    def of(cls, mark: str, known: int, places: list[Any], records: int, failed: int) -> Seen:
        """What one bundle saw."""
        bits = np.zeros(known, bool)
        for some in places:
            bits[some] = True
        return cls(mark, _packed(np.packbits(bits)), records, failed)

    @property
    def mask(self) -> Any:
        """The bits, as booleans; there may be some more at the end."""
        return np.unpackbits(np.frombuffer(zlib.decompress(self.bits), np.uint8)).astype(bool)


def _packed(bits: Any) -> bytes:
    return zlib.compress(bits.tobytes(), 1)


class _Together(beam.CombineFn):
    """Combines what bundles saw."""

    def create_accumulator(self) -> Seen | None:
        return None

    def add_input(self, total: Seen | None, seen: Seen) -> Seen:
        if total is None:
            return seen
        mark = total.mark if total.mark == seen.mark else ""
        bits = total.bits
        if mark and bits != seen.bits:
            both = (np.frombuffer(zlib.decompress(each.bits), np.uint8) for each in (total, seen))
            bits = _packed(np.bitwise_or(*both))
        return Seen(mark, bits, total.records + seen.records, total.failed + seen.failed)

    def merge_accumulators(self, totals: Any) -> Seen | None:
        merged = None
        for each in totals:
            merged = merged if each is None else self.add_input(merged, each)
        return merged

    def extract_output(self, total: Seen | None) -> Seen | None:
        return total


class KeepSeen(beam.PTransform):
    """Writes what all bundles saw to the checkpoint, once the input has ended."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        assert job.checkpoint is not None
        self._place = job.checkpoint.path, job.run

    def expand(self, seen: Any) -> Any:
        """Builds the flow."""
        return (
            seen
            | "Together" >> beam.CombineGlobally(_Together())
            | "Keep" >> beam.Map(_keep, *self._place)
        )


def _keep(seen: Seen | None, path: str, run: str) -> None:
    if seen is not None:
        head = orjson.dumps([run, seen.mark, seen.records, seen.failed])
        open_folder(path).write(SEEN, head + b"\n" + seen.bits)


def kept(data: bytes) -> tuple[str, Seen]:
    """What was written: by which run, and what it saw."""
    head, _, bits = data.partition(b"\n")
    run, mark, records, failed = orjson.loads(head)
    return run, Seen(mark, bits, records, failed)
